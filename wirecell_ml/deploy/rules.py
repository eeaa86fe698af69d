"""The rules of the contract between a TorchScript model and Wire-Cell's C++, and what came of checking one.

Sources: wire-cell-toolkit, pytorch/src/{DNNROIFinding,TorchService,TorchTensorSetService,Util}.cxx and
triton/src/TritonService.cxx; what happens when a rule is broken was seen with the binary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

RULES: dict[str, tuple[str, str]] = {  # what is demanded, and what happens where it does not hold
    "runs": (
        "forward takes one float32 tensor (1, tag, channel, slice) and raises nothing",
        "TorchService hands on a null pointer and the job ends in a segmentation fault",
    ),
    "one tensor": ("the answer is one tensor", "the conversion from TorchScript throws and the job aborts"),
    "rank": ("the answer has four dimensions", "the conversion to ITensor throws and the job aborts"),
    "dtype": ("the answer is float32", "the job aborts; half precision is not converted"),
    "shape": (
        "the answer is (1, 1, channel, slice) of the same channels and slices",
        "more features than one are ignored in silence; another size aborts the job where charge is masked",
    ),
    "contiguous": (
        "the answer is contiguous in memory",
        "its memory is read as if it were, and the image is scrambled in silence",
    ),
    "probability": (
        "the answer is finite, from 0 to 1",
        "C++ applies no sigmoid: the mask is answer > mask_thresh, so logits give wrong ROIs and NaN none, in silence",
    ),
    "evaluation mode": (
        "the model was saved in evaluation mode",
        "TorchService never calls eval(), TorchTensorSetService does: dropout and batch statistics differ there, "
        "in silence",
    ),
    "memory of calls": (
        "the same image gives the same answer, whatever was asked in between",
        "the result of an event depends on the events before it, in silence",
    ),
    "input untouched": (
        "the input is not changed in place",
        "the tensor shares its memory with C++ (from_blob), and what reads it later reads changed waveforms in silence",
    ),
    "any size": (
        "every plane of every detector, odd sizes and a single slice go through",
        "the first plane of another size ends the job",
    ),
    "ends": (
        "the end of an image does not look like signal, at any number of slices",
        "a readout of another length has a stripe of false ROIs at its end, in silence",
    ),
    "chunks": (
        "channels may come in pieces (nchunks 1, 2, 3)",
        "a model that cannot take pieces ends the job when nchunks is raised to save memory",
    ),
    "batch": (
        "images of a batch do not change each other's answers",
        "DNNROIFinding sends one image at a time; a Triton server that batches would mix events in silence",
    ),
    "threads": (
        "one thread or several, one caller or two at once: the same answer",
        "results depend on the machine, or on the semaphore's concurrency",
    ),
    "parity": (
        "TorchScript gives the trained network's answers, to 1e-6",
        "Wire-Cell runs another network than was measured, in silence",
    ),
}
ONE_ANSWER = ("runs", "one tensor", "rank", "dtype", "shape", "contiguous")  # the others make no sense without these


@dataclass(frozen=True)
class Size:
    """An image size, and whose it is."""

    channels: int
    slices: int
    whose: str


@dataclass(frozen=True)
class Subject:
    """A model to check, and what it is said to be."""

    module: Any  # forward(images) -> probabilities: a TorchScript module, or anything called like one
    num_tags: int
    plane: Size  # a plane of the detector that it was trained for
    sizes: Sequence[Size]  # all that it should take
    input_scale: float  # what C++ multiplies the waveforms by
    mask_thresh: float
    trained: Callable[[Tensor], Tensor] | None = None  # the network that was measured, if it is at hand


@dataclass(frozen=True)
class Outcome:
    """What came of one rule."""

    rule: str
    passed: bool | None  # None: not tried, since a rule before it is broken
    seen: str

    def line(self) -> str:
        """Return the outcome for people; a broken rule says what C++ would do."""
        demand, otherwise = RULES[self.rule]
        if self.passed is None:
            return f"not tried  {self.rule}: {demand}"
        if self.passed:
            return f"holds      {self.rule}: {self.seen}"
        return f"BROKEN     {self.rule}: {demand}, but {self.seen}. In Wire-Cell: {otherwise}"


class BrokenRule(Exception):  # noqa: N818  (the outcome of a check, not an error of the program)
    """What was seen where a rule does not hold."""
