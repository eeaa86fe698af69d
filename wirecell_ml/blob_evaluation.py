"""What a network makes of blobs that it never saw, beside Wire-Cell's own deghosting and a cut on the solved charge."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track

from wirecell_ml import blob_report
from wirecell_ml.data.blob_data import BlobData, as_graph
from wirecell_ml.data.blob_sample import BlobEvent
from wirecell_ml.data.split import PARTS, Part
from wirecell_ml.models import BlobTask
from wirecell_ml.models.blob_metrics import DEFINITIONS, Mask, Scan, Values, charge_errors, kept, scan
from wirecell_ml.models.metrics import ratio
from wirecell_ml.provenance import git_commit
from wirecell_ml.report import write_table

CURVE_POINTS = 200  # of each curve in metrics.json


@dataclass(frozen=True)
class Judged:
    """The blobs of some events, with what is true of them and what everyone says of them, (blob,) each."""

    category: Any
    charge: Values  # true, electrons
    real: Mask
    solved: Values  # electrons; not above zero where Wire-Cell's own deghosting dropped the blob
    chain: Values  # the same after the full chain; NaN where it was not run
    score: Values  # the network's probability that the blob is real
    found: Values  # the network's charge, electrons

    def select(self, rows: Mask) -> "Judged":
        """Return some of the blobs."""
        return Judged(**{name: values[rows] for name, values in vars(self).items()})


@dataclass(frozen=True)
class Cuts:
    """Where scores are cut: a blob above is kept."""

    score: float
    solved: float

    def masks(self, blobs: Judged) -> dict[str, Mask]:
        """Return which blobs each finder keeps; the full chain is left out where it was not run."""
        masks = {
            "network": blobs.score > self.score,
            "solved-charge cut": blobs.solved > self.solved,
            "kept": blobs.solved > 0,
            "full chain": blobs.chain > 0,
        }
        if np.isnan(blobs.chain).any():
            del masks["full chain"]
        return masks


def evaluate(
    task: BlobTask,
    data: BlobData,
    settings: DictConfig,
    cfg: DictConfig,  # noqa: ARG001  (every evaluation is given it)
    name: str,
    folder: Path,
) -> dict[str, Any]:
    """Measure a network on the events that ``settings`` name, and write metrics, table and figures to ``folder``.

    ``cfg`` is the config that it was trained with, and ``name`` what the metrics call it.
    """
    events = [event for _, event in data.loaded(settings.split)]
    shown = track(events, "evaluating", console=Console(stderr=True))
    judged = [judge(task, event, data.ghost_below) for event in shown]
    blobs, cuts = together(judged), choose_cuts(task, data, settings)
    metrics = collect(blobs, cuts) | provenance(name, type(task.model).__name__, data, settings.split, cuts)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    table = blob_report.comparison(metrics)
    write_table(folder / "table.txt", table)
    Console().print(table)
    if settings.figures:
        blob_report.draw(folder, metrics, blobs, list(zip(events, judged, strict=True)), cuts)
    return metrics


def judge(task: BlobTask, event: BlobEvent, ghost_below: float) -> Judged:
    """Return the blobs of one event with what the network says of them."""
    graph = as_graph(event, ghost_below).to(str(task.device))
    with torch.inference_mode():
        score, found = (answer.cpu().numpy().astype(np.float64) for answer in task(graph))
    truth = event.truth
    return Judged(
        category=np.full(len(score), event.category),
        charge=truth.charge.astype(np.float64),
        real=truth.charge >= ghost_below,
        solved=truth.solved,
        chain=truth.chain,
        score=score,
        found=found,
    )


def together(events: list[Judged]) -> Judged:
    """Return the blobs of all events."""
    names = vars(events[0])
    return Judged(**{name: np.concatenate([getattr(event, name) for event in events]) for name in names})


def choose_cuts(task: BlobTask, data: BlobData, settings: DictConfig) -> Cuts:
    """Return the cuts of highest F1, chosen on events that are not measured.

    The network's is chosen on the validation events, unless ``settings`` give one; that of the solved charge, which
    nothing was fitted to, on training and validation events. Where a run has none of these the measured events serve.
    """
    parts: list[Part] = [part for part in PARTS[1::-1] if data.selected(part)] or [settings.split]
    judged = {part: [judge(task, e, data.ghost_below) for _, e in data.loaded(part)] for part in parts}
    network, all_known = together(judged[parts[0]]), together([one for part in parts for one in judged[part]])
    given = settings.threshold
    score = below(network.score, network) if given is None else float(given)
    return Cuts(score=score, solved=below(all_known.solved, all_known))


def below(score: Values, blobs: Judged) -> float:
    """Return a cut just below the threshold of highest F1, so that blobs at the threshold are kept."""
    found = scan(score, blobs.real, blobs.charge)
    best = int(found.f1.argmax())
    return float(np.mean(found.thresholds[best : best + 2]))


def collect(blobs: Judged, cuts: Cuts) -> dict[str, Any]:
    """Return all metrics: of all blobs, by category, at the working points of the others, and the curves."""
    categories = list(dict.fromkeys(blobs.category.tolist()))
    network = scan(blobs.score, blobs.real, blobs.charge)
    solved = scan(blobs.solved, blobs.real, blobs.charge)
    finders = measures(blobs, cuts)
    return {
        "blobs": len(blobs.score),
        "real": int(blobs.real.sum()),
        "finders": finders,
        "average_precision": {"network": network.average_precision, "solved charge": solved.average_precision},
        "matched": matched(network, finders),
        "categories": {name: measures(blobs.select(blobs.category == name), cuts) for name in categories},
        "charge": charges(blobs, cuts),
        "scan": {"network": curve(network), "solved charge": curve(solved)},
    }


def measures(blobs: Judged, cuts: Cuts) -> dict[str, dict[str, float]]:
    """Return what each finder does with some blobs."""
    return {name: kept(mask, blobs.real, blobs.charge).as_dict() for name, mask in cuts.masks(blobs).items()}


def matched(network: Scan, finders: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return what the network does where it keeps as much charge as each other, or removes as many ghosts."""
    rows = {}
    for name, other in finders.items():
        if name == "network":
            continue
        same_charge = network.at_completeness(other["completeness"])
        same_ghosts = network.at_ghosts_removed(other["ghosts_removed"])
        rows[name] = {
            "f1_at_its_completeness": same_charge.f1,
            "ghosts_removed_at_its_completeness": same_charge.ghosts_removed,
            "completeness_at_its_ghosts_removed": same_ghosts.completeness,
        }
    return rows


def charges(blobs: Judged, cuts: Cuts) -> dict[str, dict[str, float]]:
    """Return how well charge is known: of the real blobs, and the sum over the blobs that are kept."""
    whole, masks = float(blobs.charge.sum()), cuts.masks(blobs)
    solved = np.clip(blobs.solved, 0, None)
    return {
        name: charge_errors(found, blobs.charge, blobs.real) | {"sum_bias": ratio(found[mask].sum(), whole) - 1}
        for name, found, mask in (
            ("network", blobs.found, masks["network"]),
            ("solved", solved, masks["solved-charge cut"]),
        )
    }


def curve(found: Scan) -> dict[str, list[float]]:
    """Return a scan at points that are evenly spread over it."""
    rows = np.unique(np.linspace(0, len(found.thresholds) - 1, CURVE_POINTS).astype(int))
    return {name: values[rows].tolist() for name, values in vars(found).items()}


def provenance(name: str, network: str, data: BlobData, part: Part, cuts: Cuts) -> dict[str, Any]:
    """Return what the metrics were measured on, and what they mean."""
    events = {one: len(data.selected(one)) for one in PARTS}
    return {
        "run": name,
        "network": network,
        "commit": git_commit(),
        **data.identity(part),
        "events_of_the_run": events,
        "threshold": cuts.score,
        "solved_charge_threshold_electrons": cuts.solved,
        "ghost_below_electrons": data.ghost_below,
        "definitions": {name: dict(text) for name, text in DEFINITIONS.items()},
    }
