"""The check of a TorchScript model against the contract with Wire-Cell's C++, rule by rule."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from wirecell_ml.deploy.rules import ONE_ANSWER, BrokenRule, Outcome, Size, Subject
from wirecell_ml.timing import fastest, threads_set

PARITY = 1e-6  # largest difference of two probabilities that should be the same
INDEPENDENCE = 1e-4  # of one image, alone and in a batch: convolutions sum in another order there

LAST = 8  # slices that count as the end of an image
FALSE = 0.02  # largest share of the pixels there that may be ROI in an image that ends there, and not in a longer one


def check_contract(subject: Subject, advance: Callable[[], None] = lambda: None) -> Iterator[Outcome]:
    """Yield the outcome of every rule that applies to ``subject``; ``advance`` is called after each step."""
    checks = dict(CHECKS) if subject.trained is not None else {k: v for k, v in CHECKS.items() if k != "parity"}
    whole = True
    for rule, check in checks.items():
        if not whole:
            yield Outcome(rule, None, "")
            continue
        outcome = try_rule(rule, check, subject, advance)
        whole = whole and (outcome.passed is True or rule not in ONE_ANSWER)
        advance()
        yield outcome


def try_rule(
    rule: str, check: Callable[[Subject, Callable[[], None]], str], subject: Subject, advance: Callable[[], None]
) -> Outcome:
    """Return the outcome of one rule; a model that raises breaks it."""
    try:
        with torch.no_grad():
            return Outcome(rule, True, check(subject, advance))
    except BrokenRule as broken:
        return Outcome(rule, False, str(broken))
    except Exception as error:  # whatever a stranger's model raises
        return Outcome(rule, False, f"it raised: {reason(error)}")


def reason(error: Exception) -> str:
    """Return the line of an exception that says why; TorchScript puts it last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"


def example(size: Size, subject: Subject, seed: int = 0) -> Tensor:
    """Return an image as C++ would make it: noise of 250 electrons, and a straight track that flags mark with 4000."""
    noise = torch.randn(
        (1, subject.num_tags, size.channels, size.slices), generator=torch.Generator().manual_seed(seed)
    )
    image = torch.zeros_like(noise)
    image[:, 0] = 250 * noise[:, 0]
    channels = torch.arange(size.channels)
    slices = (channels * (seed + 1) + size.slices // 3) % size.slices
    image[:, 0, channels, slices] += 5000
    image[:, 1:, channels, slices] = 4000
    return image * subject.input_scale


def answer(subject: Subject, size: Size | None = None, seed: int = 0) -> Any:
    """Return the model's answer to an example, as it is."""
    return subject.module(example(size or subject.plane, subject, seed))


def difference(one: Tensor, other: Tensor) -> float:
    """Return the largest difference of two answers; NaN is infinitely far from anything."""
    return float((one - other).abs().nan_to_num(nan=torch.inf).max())


def runs(subject: Subject, _: Callable[[], None]) -> str:
    """Return how large an image went through."""
    answer(subject)
    return f"{subject.plane.whose}: (1, {subject.num_tags}, {subject.plane.channels}, {subject.plane.slices})"


def one_tensor(subject: Subject, _: Callable[[], None]) -> str:
    """Return the type of the answer."""
    kind = type(answer(subject)).__name__
    return kind if kind == "Tensor" else broken(f"it is a {kind}")


def rank(subject: Subject, _: Callable[[], None]) -> str:
    """Return the dimensions of the answer."""
    shape = tuple(answer(subject).shape)
    return str(shape) if len(shape) == 4 else broken(f"its shape is {shape}")


def dtype(subject: Subject, _: Callable[[], None]) -> str:
    """Return the type of the answer's numbers."""
    kind = answer(subject).dtype
    return str(kind) if kind == torch.float32 else broken(f"it is {kind}")


def shape(subject: Subject, _: Callable[[], None]) -> str:
    """Return the shape of the answer."""
    got, wanted = tuple(answer(subject).shape), (1, 1, subject.plane.channels, subject.plane.slices)
    return str(got) if got == wanted else broken(f"it is {got} in place of {wanted}")


def contiguous(subject: Subject, _: Callable[[], None]) -> str:
    """Return the strides of the answer."""
    image = answer(subject)
    return f"strides {image.stride()}" if image.is_contiguous() else broken(f"its strides are {image.stride()}")


def probability(subject: Subject, _: Callable[[], None]) -> str:
    """Return the range of the answer."""
    image = answer(subject)
    low, high = float(image.min()), float(image.max())
    text = f"from {low:.3g} to {high:.3g}"
    return text if 0 <= low <= high <= 1 else broken(f"it goes {text}")


def evaluation_mode(subject: Subject, _: Callable[[], None]) -> str:
    """Return how evaluation mode was seen: in the flags of the modules, or frozen into the graph."""
    training = [
        name or "the model" for name, part in subject.module.named_modules() if getattr(part, "training", False)
    ]
    if training:
        broken(f"{len(training)} of its modules are in training mode, '{training[-1]}' for one")
    nodes = trained_nodes(subject.module)
    if nodes:
        broken(f"training is frozen into its graph: {', '.join(sorted(set(nodes)))}")
    return "no module and no operation of the graph is in training mode"


def trained_nodes(module: Any) -> list[str]:
    """Return the operations of a TorchScript graph that run as in training, by constants that say so."""
    graph = getattr(module, "inlined_graph", None)
    flags = {"aten::batch_norm": 5, "aten::dropout": 2, "aten::feature_dropout": 2}  # which input says "training"
    if graph is None:
        return []
    found = [(node, place) for name, place in flags.items() for node in graph.findAllNodes(name, True)]
    return [node.kind() for node, place in found if list(node.inputs())[place].toIValue() is True]


def memory_of_calls(subject: Subject, _: Callable[[], None]) -> str:
    """Return how far the answer to an image moves when another image was asked in between."""
    first = answer(subject).clone()
    answer(subject, seed=1)
    moved = difference(first, answer(subject))
    return f"moved by {moved:.1g}" if moved <= PARITY else broken(f"the answer moved by {moved:.3g}")


def input_untouched(subject: Subject, _: Callable[[], None]) -> str:
    """Return that the input is as it was."""
    image = example(subject.plane, subject)
    kept = image.clone()
    subject.module(image)
    return "unchanged" if torch.equal(image, kept) else broken(f"it changed by up to {difference(image, kept):.3g}")


def any_size(subject: Subject, advance: Callable[[], None]) -> str:
    """Return how many sizes went through, and the smallest and largest."""
    for size in subject.sizes:
        try:
            image = answer(subject, size)
        except Exception as error:
            raise BrokenRule(
                f"{size.channels} channels x {size.slices} slices ({size.whose}): {reason(error)}"
            ) from error
        if tuple(image.shape) != (1, 1, size.channels, size.slices):
            broken(f"{size.channels} channels x {size.slices} slices ({size.whose}) came back as {tuple(image.shape)}")
        if not (image.is_contiguous() and image.isfinite().all()):
            broken(f"{size.channels} channels x {size.slices} slices ({size.whose}) came back scrambled or not finite")
        advance()
    last = subject.sizes[-1]
    return f"{len(subject.sizes)} sizes up to {last.channels} channels x {last.slices} slices ({last.whose})"


def ends(subject: Subject, _: Callable[[], None]) -> str:
    """Return the largest share of pixels that become ROI because the image ends there, over 16 lengths."""
    long = example(Size(min(subject.plane.channels, 128), 240, ""), subject)
    reference = subject.module(long)[0, 0] > subject.mask_thresh
    shares = {}
    for slices in range(193, 209):
        roi = subject.module(long[..., :slices].contiguous())[0, 0] > subject.mask_thresh
        last = slice(slices - LAST, slices)
        shares[slices] = float((roi[:, last] & ~reference[:, last]).float().mean())
    worst = max(shares, key=lambda slices: shares[slices])
    seen = f"at most {shares[worst]:.1%} of the last {LAST} slices become ROI, where there are {worst}"
    return seen if shares[worst] <= FALSE else broken(seen.removeprefix("at most "))


def chunks(subject: Subject, _: Callable[[], None]) -> str:
    """Return how much the answer changes where channels come in two and three pieces."""
    image = example(subject.plane, subject)
    whole = subject.module(image)
    seen = []
    for number in (2, 3):
        parts = torch.cat([subject.module(piece.clone()) for piece in image.chunk(number, dim=2)], dim=2)
        flipped = float(((parts > subject.mask_thresh) != (whole > subject.mask_thresh)).float().mean())
        seen.append(
            f"{number} pieces change {flipped:.2%} of the mask, probabilities by up to {difference(parts, whole):.2g}"
        )
    return "; ".join(seen)


def batch(subject: Subject, _: Callable[[], None]) -> str:
    """Return how much two images change each other's answers."""
    images = [example(subject.plane, subject, seed) for seed in (0, 1)]
    together = subject.module(torch.cat(images))
    moved = max(difference(together[i], subject.module(image)[0]) for i, image in enumerate(images))
    return f"moved by {moved:.1g}" if moved <= INDEPENDENCE else broken(f"they moved by {moved:.3g}")


def threads(subject: Subject, _: Callable[[], None]) -> str:
    """Return the time of one image on one thread and on all, where the answers agree."""
    image, several = example(subject.plane, subject), torch.get_num_threads()
    reference = subject.module(image)
    seconds = {}
    for number in sorted({1, several}):
        with threads_set(number):
            moved = difference(reference, subject.module(image))
            seconds[number] = fastest(subject.module, image)
        if moved > PARITY:
            broken(f"{number} threads move the answer by {moved:.3g}")
    with ThreadPoolExecutor(2) as pool:
        moved = max(difference(reference, one) for one in pool.map(lambda _: called(subject, image), range(2)))
    if moved > PARITY:
        broken(f"two callers at once move the answer by {moved:.3g}")
    return ", ".join(f"{time:.2g} s on {number} thread{'s'[: number - 1]}" for number, time in seconds.items())


def called(subject: Subject, image: Tensor) -> Tensor:
    """Return the answer of a thread of its own, where gradients are on unless switched off."""
    with torch.no_grad():
        found: Tensor = subject.module(image)
    return found


def parity(subject: Subject, _: Callable[[], None]) -> str:
    """Return the largest difference from the trained network, over a whole plane and an odd piece of it."""
    assert subject.trained
    odd = Size(max(1, subject.plane.channels - 3), max(1, subject.plane.slices - 7), "odd")
    images = [example(size, subject, seed) for seed, size in enumerate((subject.plane, odd))]
    moved = max(difference(subject.module(image), subject.trained(image)) for image in images)
    return f"they differ by {moved:.1g}" if moved <= PARITY else broken(f"they differ by {moved:.3g}")


def broken(seen: str) -> str:
    """Raise BrokenRule with what was seen."""
    raise BrokenRule(seen)


CHECKS: dict[str, Callable[[Subject, Callable[[], None]], str]] = {
    "runs": runs,
    "one tensor": one_tensor,
    "rank": rank,
    "dtype": dtype,
    "shape": shape,
    "contiguous": contiguous,
    "probability": probability,
    "evaluation mode": evaluation_mode,
    "memory of calls": memory_of_calls,
    "input untouched": input_untouched,
    "any size": any_size,
    "ends": ends,
    "chunks": chunks,
    "batch": batch,
    "threads": threads,
    "parity": parity,
}
