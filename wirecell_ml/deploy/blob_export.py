"""Export of blob networks: TorchScript that takes tensors by position, checked, with a card that says what they are."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from wirecell_ml.data.blob_data import as_graph, network_inputs
from wirecell_ml.data.blob_features import ACTIVITY_FEATURES, BLOB_FEATURES
from wirecell_ml.data.blob_files import Job, Names, read_job
from wirecell_ml.deploy import torchscript
from wirecell_ml.deploy.folders import whole_folder
from wirecell_ml.deploy.source import Trained
from wirecell_ml.errors import RunError
from wirecell_ml.models.blob_scorer import BlobScorer
from wirecell_ml.paths import shipped
from wirecell_ml.timing import fastest, threads_set

MODEL = "model.ts"
MOST_DIFFERENCE = 1e-5  # of probabilities, and relative of charges, between the network and its TorchScript
Inputs = tuple[Tensor, ...]

INPUTS = (
    ("blobs", "float32", "(blob, feature), features as listed"),
    ("activities", "float32", "(activity, feature), features as listed; an activity is a channel in a slice"),
    ("planes", "int64", "(activity,): 0, 1, 2 for U, V, W"),
    ("pairs", "int64", "(2, pair): rows of a blob and of an activity that it is made of"),
    ("neighbours", "int64", "(2, pair): rows of two blobs that touch in neighbouring slices, both ways"),
)
OUTPUTS = (
    ("probability", "float32", "(blob,): that the blob is real"),
    ("charge", "float32", "(blob,): corrected charge, electrons"),
)


@dataclass(frozen=True)
class Checked:
    """What one check of an exported blob network saw."""

    rule: str
    passed: bool
    seen: str


def export(trained: Trained, folder: Path) -> Path:
    """Write a blob network to ``folder``, all or nothing, and return it; raises RunError where a check fails."""
    with whole_folder(folder, trained.name) as unfinished:
        scorer = BlobScorer(trained.network)
        digest = torchscript.save(torchscript.compiled(scorer), unfinished / MODEL)
        checks = check(scorer, torchscript.load(unfinished / MODEL), example())
        for one in checks:
            Console().print(f"{'holds ' if one.passed else 'BROKEN'} {one.rule}: {one.seen}", soft_wrap=True)
        if broken := [one.rule for one in checks if not one.passed]:
            raise RunError(f"{trained.name} cannot be exported: {', '.join(broken)}. What was seen is above")
        card = describe(trained, digest, checks)
        (unfinished / "card.json").write_text(json.dumps(card, indent=1) + "\n")
        (unfinished / "README.md").write_text(markdown(card))
    Console().print(f"model and card: {folder}", soft_wrap=True)
    return folder


def example() -> Inputs:
    """Return what a network is given of the first event of the shipped sample."""
    path = shipped("data") / "blobs" / "clusters-apa0-0.tar.xz"
    event = next(read_job(Job(path, bundled=True), Names("clusters-tru5-*.npz", "clusters-img-*.npz")))
    return network_inputs(as_graph(event, ghost_below=0))


def check(scorer: BlobScorer, module: Any, inputs: Inputs) -> list[Checked]:
    """Return what was seen of an exported network, rule by rule."""
    checks: dict[str, Callable[[BlobScorer, Any, Inputs], tuple[bool, str]]] = {
        "parity": parity,
        "inputs untouched": untouched,
        "plain operators": plain_operators,
        "any size": any_size,
        "output": output,
        "threads": threads,
    }
    with torch.inference_mode():
        return [Checked(rule, *look(scorer, module, copied(inputs))) for rule, look in checks.items()]


def copied(inputs: Inputs) -> Inputs:
    """Return copies, which a network that writes on its inputs may spoil."""
    return tuple(tensor.clone() for tensor in inputs)


def parity(scorer: BlobScorer, module: Any, inputs: Inputs) -> tuple[bool, str]:
    """Compare the answers of the network and of its TorchScript."""
    (probability, charge), (other, other_charge) = scorer(*inputs), module(*inputs)
    moved = float((probability - other).abs().max())
    changed = float(((charge - other_charge).abs() / charge.clamp(min=1.0)).max())
    return max(moved, changed) <= MOST_DIFFERENCE, f"probabilities differ by {moved:.2g}, charges by {changed:.2g}"


def untouched(_: BlobScorer, module: Any, inputs: Inputs) -> tuple[bool, str]:
    """See whether a call changes what it is given, which may be the memory of C++."""
    before = copied(inputs)
    module(*inputs)
    same = all(torch.equal(a, b) for a, b in zip(before, inputs, strict=True))
    return same, "unchanged" if same else "changed by a call"


def plain_operators(_: BlobScorer, module: Any, __: Inputs) -> tuple[bool, str]:
    """See whether the network needs operators that libtorch alone does not have."""
    kinds = {node.kind() for node in module.inlined_graph.nodes()}
    foreign = sorted(kind for kind in kinds if not kind.startswith(("aten::", "prim::")))
    return not foreign, f"needs {', '.join(foreign)}" if foreign else "only libtorch's own"


def any_size(scorer: BlobScorer, module: Any, inputs: Inputs) -> tuple[bool, str]:
    """Call with one blob and nothing else, and with nothing."""
    blobs, activities, planes, pairs, neighbours = inputs
    for num_blobs in (1, 0):
        few = (blobs[:num_blobs], activities[:0], planes[:0], pairs[:, :0], neighbours[:, :0])
        answers = [answer.shape for network in (scorer, module) for answer in network(*few)]
        if any(shape != (num_blobs,) for shape in answers):
            return False, f"{num_blobs} blobs give {answers}"
    return True, "one blob without activities, and none"


def output(_: BlobScorer, module: Any, inputs: Inputs) -> tuple[bool, str]:
    """See whether the answers are what C++ can copy."""
    answers = module(*inputs)
    good = all(one.dtype == torch.float32 and one.is_contiguous() and len(one) == len(inputs[0]) for one in answers)
    bounded = bool(((answers[0] >= 0) & (answers[0] <= 1)).all()) and bool(torch.isfinite(answers[1]).all())
    return good and bounded, ", ".join(f"{one.dtype} {tuple(one.shape)}" for one in answers)


def threads(_: BlobScorer, module: Any, inputs: Inputs) -> tuple[bool, str]:
    """Time a call in one thread and in two, and see that the answers are nearly the same."""
    seen, answers = [], []

    def call(given: Inputs) -> Any:
        return module(*given)

    for number in (1, 2):
        with threads_set(number):
            answers.append(call(inputs)[0])
            seen.append(f"{fastest(call, inputs):.2g} s on {number} thread{'s' * (number > 1)}")
    same = torch.allclose(answers[0], answers[1], atol=MOST_DIFFERENCE)
    return same, f"{', '.join(seen)}, for {len(inputs[0]):,} blobs"


def describe(trained: Trained, digest: str, checks: list[Checked]) -> dict[str, Any]:
    """Return the card of an exported blob network."""
    cfg, metrics = trained.cfg, trained.metrics or {}
    kept = ("split", "events", "threshold", "finders", "average_precision", "matched", "charge", "definitions")
    return {
        "name": trained.name,
        "network": type(trained.network).__name__,
        "parameters": sum(weight.numel() for weight in trained.network.parameters()),
        "detector": cfg.detector.name,
        "apa": cfg.detector.apa,
        "inputs": [dict(zip(("name", "dtype", "holds"), one, strict=True)) for one in INPUTS],
        "outputs": [dict(zip(("name", "dtype", "holds"), one, strict=True)) for one in OUTPUTS],
        "blob_features": list(BLOB_FEATURES),
        "activity_features": list(ACTIVITY_FEATURES),
        "threshold": metrics.get("threshold"),
        "ghost_below_electrons": cfg.data.ghost_below,
        "model": {"file": MODEL, "sha256": digest, "torch": version("torch")},
        "checks": [vars(one) for one in checks],
        "metrics": {name: metrics[name] for name in kept if name in metrics},
        "training": {name: trained.provenance.get(name) for name in ("commit", "data_digest", "written")},
        "limits": [
            f"trained and measured on anode {cfg.detector.apa} of {cfg.detector.name} only: other wires, other blobs",
            "the features take the charge that Wire-Cell's own solver found before: it must have run",
            f"libtorch older than {version('torch')} may not read the file",
        ],
    }


def markdown(card: dict[str, Any]) -> str:
    """Return the page of a card."""
    tensors = [
        f"| {kind} | `{one['name']}` | {one['dtype']} | {one['holds']} |"
        for kind in ("inputs", "outputs")
        for one in card[kind]
    ]
    checks = [f"| {one['rule']} | {'holds' if one['passed'] else 'broken'} | {one['seen']} |" for one in card["checks"]]
    cut = "none chosen" if card["threshold"] is None else f"{card['threshold']:.4f}"
    return "\n".join(
        [
            f"# {card['name']}",
            "",
            f"`{card['network']}`, {card['parameters']:,} parameters, tells real blobs from ghosts in "
            f"{card['detector']} (trained on anode {card['apa']}).",
            f"A blob is kept where its probability is above {cut}; a ghost has less than "
            f"{card['ghost_below_electrons']:g} electrons of true charge.",
            "",
            "## Tensors, by position",
            "",
            *("| | name | type | |", "|---|---|---|---|", *tensors),
            "",
            f"Features of a blob: {', '.join(card['blob_features'])}.",
            f"Features of an activity: {', '.join(card['activity_features'])}.",
            "`wirecell_ml/data/blob_features.py` computes them; charges and counts are log(1 + …).",
            "",
            "## Checks",
            "",
            *("| rule | | seen |", "|---|---|---|", *checks),
            "",
            "## Limits",
            "",
            *(f"- {limit}" for limit in card["limits"]),
            "",
        ]
    )
