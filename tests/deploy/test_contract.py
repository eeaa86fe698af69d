"""Every rule of the contract is broken here on purpose, and named; a good model holds them all."""

import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wirecell_ml.deploy import torchscript
from wirecell_ml.deploy.card import Card
from wirecell_ml.deploy.contract import CHECKS, check_contract, example
from wirecell_ml.deploy.exporting import plane_sizes, subject_of
from wirecell_ml.deploy.rules import ONE_ANSWER, RULES, Outcome, Size, Subject
from wirecell_ml.models import RoiFinder
from wirecell_ml.models.roi_net import RoiNet
from wirecell_ml.paths import shipped
from wirecell_ml.schema import load_flat
from wirecell_ml.timing import threads_set

PLANE = Size(16, 48, "tiny U")
SIZES = (Size(1, 48, "one channel"), Size(15, 47, "odd"), PLANE, Size(17, 80, "tiny V"), Size(16, 1, "one slice"))


class Good(nn.Module):
    """The smallest model that holds every rule."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True).sigmoid()


class Raises(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] == 1:
            raise ValueError("not today")
        return x


class HalfWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1).half()

    def forward(self, x: Tensor) -> Tensor:
        p: Tensor = self.conv(x).sigmoid()
        return p


class Twins(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        p = x.mean(1, keepdim=True).sigmoid()
        return p, p


class ThreeDimensions(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1).sigmoid()


class Half(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True).sigmoid().half()


class Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True).sigmoid().double()


class Smaller(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[..., 1:].mean(1, keepdim=True).sigmoid()


class TwoFeatures(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        p = x.mean(1, keepdim=True).sigmoid()
        return torch.cat([p, p], 1)


class Transposed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True).sigmoid().transpose(2, 3).contiguous().transpose(2, 3)


class Logits(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True)


class NotANumber(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        p = x.mean(1, keepdim=True).sigmoid()
        p[:, :, 0, 0] = float("nan")
        return p


class Normalised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        p: Tensor = self.norm(x).mean(1, keepdim=True).sigmoid()
        return p


class DroppedOut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        p: Tensor = self.dropout(x).mean(1, keepdim=True).sigmoid()
        return p


class Counting(nn.Module):
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 0.1
        return (x.mean(1, keepdim=True) + self.calls).sigmoid()


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.clamp_(min=0).mean(1, keepdim=True).sigmoid()


class PaddedToFixed(nn.Module):
    """Pads and crops by Python numbers, which a trace bakes in."""

    def forward(self, x: Tensor) -> Tensor:
        slices = int(x.shape[3])
        padded = F.pad(x, [0, -slices % 64])
        return F.interpolate(F.avg_pool2d(padded, [1, 2]), [int(x.shape[2]), 64])[..., :slices].mean(1, True).sigmoid()


class EvenOnly(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        p = F.avg_pool2d(x, 2).mean(1, keepdim=True).sigmoid()
        return F.interpolate(p, scale_factor=2.0)


class Striped(nn.Module):
    """Sees signal in the last slice, where no padding follows to whole halvings."""

    def forward(self, x: Tensor) -> Tensor:
        p = x.mean(1, keepdim=True).sigmoid()
        if x.shape[3] % 16 == 0:
            p[..., -1] = 1.0
        return p


class Cropped(nn.Module):
    """Pads to whole halvings and crops, so that its answer is contiguous only where there was nothing to crop."""

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, [0, -x.shape[3] % 16])
        return padded.mean(1, keepdim=True).sigmoid()[..., : x.shape[3]]


class WrongAtOddSizes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        p = x.mean(1, keepdim=True).sigmoid()
        return p / 0 * 0 if x.shape[2] % 2 == 1 else p


class WholeOnly(nn.Module):
    """Takes no image of fewer than 12 channels that is not a single one."""

    def forward(self, x: Tensor) -> Tensor:
        if 1 < x.shape[2] < 12:
            raise ValueError("too few channels")
        return x.mean(1, keepdim=True).sigmoid()


class Mixing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        return (2 * mean - mean.mean(0, keepdim=True)).sigmoid()


class ByThread(nn.Module):
    """Answers a caller in another thread differently; no TorchScript could."""

    def forward(self, x: Tensor) -> Tensor:
        own = threading.current_thread() is threading.main_thread()
        return x.mean(1, keepdim=True).sigmoid() * (1.0 if own else 0.5)


class ByThreads(nn.Module):
    """Answers according to the number of torch's threads."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True).sigmoid() / torch.get_num_threads()


def scripted(module: nn.Module, training: bool = False) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(module.train(training))


def traced(module: nn.Module, training: bool = False) -> Any:
    """Return a trace, whose modules say that they are in evaluation mode in any case."""
    image = torch.randn(1, 3, PLANE.channels, PLANE.slices)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and it warns of numbers that it bakes in
        return torch.jit.trace(module.train(training), image, check_trace=False).eval()  # type: ignore[no-untyped-call]


def subject(module: Any, trained: Callable[[Tensor], Tensor] | None = None) -> Subject:
    return Subject(module, 3, PLANE, SIZES, input_scale=1 / 4000, mask_thresh=0.9, trained=trained)


def outcomes(module: Any, trained: Callable[[Tensor], Tensor] | None = None) -> dict[str, Outcome]:
    return {outcome.rule: outcome for outcome in check_contract(subject(module, trained))}


def rules_broken(found: dict[str, Outcome]) -> list[str]:
    return [rule for rule, outcome in found.items() if outcome.passed is False]


@dataclass
class Case:
    """A model that breaks a rule, what is seen of it, and the rules that it breaks besides, as it must."""

    rule: str
    made: Callable[[], Any]
    seen: str
    besides: tuple[str, ...] = ()


CASES = {
    "raising": Case("runs", lambda: scripted(Raises()), "not today"),
    "half weights": Case("runs", lambda: scripted(HalfWeights()), "it raised: RuntimeError: "),
    "tuple": Case("one tensor", lambda: scripted(Twins()), "it is a tuple"),
    "rank": Case("rank", lambda: scripted(ThreeDimensions()), "its shape is (1, 16, 48)"),
    "half": Case("dtype", lambda: scripted(Half()), "it is torch.float16"),
    "double": Case("dtype", lambda: scripted(Double()), "it is torch.float64"),
    "smaller": Case("shape", lambda: scripted(Smaller()), "it is (1, 1, 16, 47) in place of (1, 1, 16, 48)"),
    "features": Case("shape", lambda: scripted(TwoFeatures()), "it is (1, 2, 16, 48) in place of (1, 1, 16, 48)"),
    "transposed": Case("contiguous", lambda: scripted(Transposed()), "its strides are (768, 768, 1, 16)"),
    "logits": Case("probability", lambda: scripted(Logits()), "it goes from -"),
    "nan": Case(
        "probability",
        lambda: scripted(NotANumber()),
        "it goes from nan to nan",
        ("memory of calls", "any size", "batch", "threads"),
    ),
    "train mode": Case(
        "evaluation mode", lambda: scripted(Normalised(), training=True), "in training mode, 'norm' for one", ("batch",)
    ),
    "train mode frozen": Case(
        "evaluation mode",
        lambda: traced(Normalised(), training=True),
        "frozen into its graph: aten::batch_norm",
        ("batch",),
    ),
    "dropout": Case(
        "evaluation mode",
        lambda: scripted(DroppedOut(), training=True),
        "in training mode, 'dropout' for one",
        ("memory of calls", "ends", "batch", "threads"),
    ),
    "dropout frozen": Case(
        "evaluation mode",
        lambda: traced(DroppedOut(), training=True),
        "frozen into its graph: aten::dropout",
        ("memory of calls", "ends", "batch", "threads"),
    ),
    "memory": Case(
        "memory of calls", lambda: scripted(Counting()), "the answer moved by 0.0", ("ends", "batch", "threads")
    ),
    "in place": Case("input untouched", lambda: scripted(InPlace()), "it changed by up to "),
    "baked size": Case(
        "any size", lambda: traced(PaddedToFixed()), "1 channels x 48 slices (one channel)", ("ends", "chunks")
    ),
    "odd sizes": Case("any size", lambda: scripted(EvenOnly()), "x 48 slices (one channel): ", ("ends",)),
    "stripe": Case("ends", lambda: scripted(Striped()), "12.5% of the last 8 slices become ROI, where there are 208"),
    "pieces": Case("chunks", lambda: scripted(WholeOnly()), "too few channels"),
    "batch": Case("batch", lambda: scripted(Mixing()), "they moved by "),
    "two callers": Case("threads", lambda: ByThread().eval(), "two callers at once move the answer by "),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_broken_rule_is_named_with_what_was_seen_and_what_wire_cell_would_do(case: Case) -> None:
    found = outcomes(case.made())
    line = found[case.rule].line()
    assert rules_broken(found)[0] == case.rule
    assert set(rules_broken(found)) <= {case.rule, *case.besides}
    assert case.seen in found[case.rule].seen
    assert line.startswith(f"BROKEN     {case.rule}: {RULES[case.rule][0]}, but ")
    assert line.endswith(f"In Wire-Cell: {RULES[case.rule][1]}")


def test_no_two_rules_and_no_two_broken_models_are_told_alike() -> None:
    lines = [outcomes(case.made())[case.rule].line() for case in CASES.values()]
    assert len(set(lines)) == len(lines)
    assert len({otherwise for _, otherwise in RULES.values()}) == len(RULES)


def test_every_rule_has_a_model_here_that_breaks_it() -> None:
    assert {case.rule for case in CASES.values()} | {"parity"} == set(RULES) == set(CHECKS)


@pytest.mark.parametrize("rule", ONE_ANSWER)
def test_after_a_structural_rule_is_broken_the_others_are_not_tried(rule: str) -> None:
    case = next(case for case in CASES.values() if case.rule == rule)
    found = outcomes(case.made())
    later = list(found)[list(found).index(rule) + 1 :]
    assert len(later) > 0
    assert all(found[one].passed is None and found[one].line().startswith("not tried") for one in later)


def test_after_any_other_rule_is_broken_the_others_are_tried() -> None:
    assert all(outcome.passed is not None for outcome in outcomes(scripted(Logits())).values())


def test_the_smallest_good_model_holds_every_rule() -> None:
    found = outcomes(scripted(Good()), trained=Good())
    assert list(found) == list(RULES)
    assert all(outcome.passed and outcome.line().startswith("holds") for outcome in found.values())


@pytest.mark.parametrize("module", [Normalised(), DroppedOut()], ids=["norm", "dropout"])
@pytest.mark.parametrize("made", [scripted, traced])
def test_a_model_in_evaluation_mode_holds_every_rule(made: Callable[[nn.Module], Any], module: nn.Module) -> None:
    assert rules_broken(outcomes(made(module))) == []


def test_odd_sizes_break_a_model_of_even_ones() -> None:
    even = replace(subject(scripted(EvenOnly())), sizes=(PLANE, Size(16, 47, "odd")))
    found = {outcome.rule: outcome for outcome in check_contract(even)}
    assert found["any size"].seen == "16 channels x 47 slices (odd) came back as (1, 1, 16, 46)"


def test_an_answer_that_is_scrambled_at_some_sizes_only_breaks_any_size() -> None:
    found = outcomes(scripted(Cropped()))
    assert found["contiguous"].passed
    assert found["any size"].seen == "15 channels x 47 slices (odd) came back scrambled or not finite"


def test_not_a_number_at_some_sizes_only_breaks_any_size_and_parity() -> None:
    found = outcomes(scripted(WrongAtOddSizes()), trained=Good())
    assert found["probability"].passed
    assert rules_broken(found) == ["any size", "parity"]


def test_a_trace_with_its_padding_baked_in_takes_one_size_only() -> None:
    fixed = replace(subject(traced(PaddedToFixed())), sizes=(PLANE,))
    assert {outcome.rule: outcome.passed for outcome in check_contract(fixed)}["any size"]
    assert not outcomes(traced(PaddedToFixed()))["any size"].passed


def test_answers_that_depend_on_the_number_of_threads_are_seen() -> None:
    with threads_set(2):
        found = outcomes(ByThreads().eval())
    assert found["threads"].seen.startswith("1 threads move the answer by ")
    assert rules_broken(found) == ["threads"]


def test_the_number_of_threads_is_as_before() -> None:
    before = torch.get_num_threads()
    outcomes(scripted(Good()))
    assert torch.get_num_threads() == before


def test_another_scale_than_in_the_training_breaks_parity() -> None:
    network = RoiNet(3, [4, 8], "batch")
    found = outcomes(torchscript.compiled(RoiFinder(network, [1.0] * 3)), RoiFinder(network, [2.0] * 3))
    assert rules_broken(found) == ["parity"]
    assert found["parity"].line().endswith(RULES["parity"][1])


def test_parity_is_not_checked_without_the_trained_network() -> None:
    assert "parity" not in outcomes(scripted(Good()))


def test_every_step_of_the_work_is_told() -> None:
    steps: list[None] = []
    found = list(check_contract(subject(scripted(Good())), advance=lambda: steps.append(None)))
    assert len(steps) == len(found) + len(SIZES)


def test_an_example_is_noise_and_a_track_that_flags_mark() -> None:
    image = 4000 * example(Size(100, 400, ""), subject(None))
    waveform, *flags = image[0]
    for one in flags:
        assert set(one.unique().tolist()) == {0.0, 4000.0}
        assert (one > 0).sum(dim=1).tolist() == [1] * 100
    assert waveform[flags[0] == 0].std() == pytest.approx(250, rel=0.02)
    assert waveform[flags[0] > 0].mean() == pytest.approx(5000, rel=0.02)


def tiny_finder(card: Card) -> RoiFinder:
    torch.manual_seed(0)
    return RoiFinder(RoiNet(len(card.intags), [4, 8], "batch"), card.scale_inside)


def test_a_roi_net_holds_every_rule_on_the_planes_of_every_detector(card: Card) -> None:
    exported = replace(card, input_scale=1.0, scale_inside=[4000.0] * 3)
    finder = tiny_finder(exported)
    found = list(check_contract(subject_of(torchscript.compiled(finder), exported, finder)))
    assert {outcome.rule: outcome.seen for outcome in found if not outcome.passed} == {}
    assert [outcome.rule for outcome in found] == list(RULES)


RECORDED_PLANE = Size(800, 224, "recorded")


def test_the_recorded_model_holds_every_rule_on_whole_planes(
    card: Card, recorded_model: torch.jit.ScriptModule
) -> None:
    sizes = [RECORDED_PLANE, Size(799, 223, "odd"), *(size for size in plane_sizes(10) if size.channels == 286)]
    whole = replace(subject_of(recorded_model, card), plane=RECORDED_PLANE, sizes=sizes)
    assert [outcome.rule for outcome in check_contract(whole) if not outcome.passed] == []


@pytest.mark.parametrize("size", [Size(800, 1, "one slice"), Size(1, 224, "one channel")])
def test_the_recorded_model_takes_no_image_of_one_pixel_in_width(
    card: Card, recorded_model: torch.jit.ScriptModule, size: Size
) -> None:
    narrow = replace(subject_of(recorded_model, card), plane=Size(40, 48, ""), sizes=[size])
    broken = [outcome for outcome in check_contract(narrow) if not outcome.passed]
    assert [outcome.rule for outcome in broken] == ["any size"]
    assert broken[0].seen.startswith(f"{size.channels} channels x {size.slices} slices ({size.whose}): RuntimeError: ")


def test_a_subject_is_what_its_card_says(card: Card) -> None:
    made = subject_of(None, card)
    assert (made.num_tags, made.input_scale, made.mask_thresh) == (len(card.intags), card.input_scale, card.mask_thresh)
    assert made.plane == Size(800, 600, "protodune_sp U")


def test_a_detector_that_we_do_not_know_has_the_channels_of_its_card(card: Card) -> None:
    made = subject_of(None, replace(card, detector="mine", planes=["V"]))
    first, end = card.plane_channels["V"]
    assert (made.plane.channels, made.plane.whose) == (end - first, "mine V")


@pytest.mark.parametrize("tick_per_slice", [1, 4, 10])
def test_sizes_are_the_planes_of_every_detector(tick_per_slice: int) -> None:
    sizes = {(size.whose, size.channels, size.slices) for size in plane_sizes(tick_per_slice)}
    for path in (shipped("configs") / "detector").glob("*.yaml"):
        detector = load_flat(path)
        slices = -(-detector.readout_ticks // tick_per_slice)
        assert {
            (f"{path.stem} {plane}", end - first, slices) for plane, (first, end) in detector.planes.items()
        } <= sizes


@pytest.mark.parametrize("tick_per_slice", [4, 10])
def test_sizes_that_ended_jobs_are_among_those_checked(card: Card, tick_per_slice: int) -> None:
    sizes = subject_of(None, replace(card, tick_per_slice=tick_per_slice)).sizes
    assert {286, 476, 800} <= {size.channels for size in sizes}
    assert {-(-ticks // tick_per_slice) for ticks in (4492, 6000)} <= {size.slices for size in sizes}
    assert any(size.channels % 2 and size.slices % 2 for size in sizes)
    assert 1 in {size.slices for size in sizes}
    assert 1 in {size.channels for size in sizes}


def test_no_size_is_checked_twice_and_small_ones_come_first(card: Card) -> None:
    pixels = [size.channels * size.slices for size in subject_of(None, card).sizes]
    shapes = [(size.channels, size.slices) for size in subject_of(None, card).sizes]
    assert pixels == sorted(pixels)
    assert len(set(shapes)) == len(shapes)
