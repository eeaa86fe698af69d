"""What a network makes of points that it never saw, beside a cut on the one feature that tells most by itself."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.table import Table

from wirecell_ml import point_figures
from wirecell_ml.data.point_data import PointData
from wirecell_ml.data.point_labels import NEUTRINO, UNKNOWN
from wirecell_ml.data.point_sample import FEATURES, Near, PointEvent, as_graph
from wirecell_ml.data.split import PARTS, Part
from wirecell_ml.models.blob_metrics import Mask, Values, scan
from wirecell_ml.models.metrics import ratio
from wirecell_ml.models.point_task import PointTask
from wirecell_ml.provenance import git_commit
from wirecell_ml.report import write_table

CURVE_POINTS = 200  # of each curve in metrics.json
DEFINITIONS: Mapping[str, Mapping[str, str | int]] = {
    "points": {"version": 1, "text": "the points whose label is known: those near a particle of known kind"},
    "precision": {"version": 1, "text": "neutrino points found / points found"},
    "recall": {"version": 1, "text": "neutrino points found / neutrino points"},
    "f1": {"version": 1, "text": "harmonic mean of precision and recall"},
    "charge_precision": {"version": 1, "text": "precision with every point counted by its charge"},
    "charge_recall": {"version": 1, "text": "recall with every point counted by its charge"},
    "average_precision": {
        "version": 1,
        "text": "mean over the neutrino points of the precision among all points that score at least as high",
    },
    "overlaid": {
        "version": 1,
        "text": "the same events, each with the neutrino points of another instead of its own, where they were",
    },
    "one feature": {
        "version": 1,
        "text": "a cut on the feature, from above or below, whose F1 is highest on training and validation events",
    },
}


@dataclass(frozen=True)
class Judged:
    """The points of some events whose label is known, with what the network says of them."""

    category: NDArray[Any]  # (point,)
    features: NDArray[np.float32]  # (point, feature)
    charge: Values  # (point,), electrons
    neutrino: Mask  # (point,)
    score: Values  # (point,): the network's probability of "neutrino"

    def select(self, rows: Mask) -> "Judged":
        """Return some of the points."""
        return Judged(**{name: values[rows] for name, values in vars(self).items()})


@dataclass(frozen=True)
class Cuts:
    """Where scores are cut: a point above is called neutrino."""

    score: float
    feature: int  # of FEATURES
    sign: int  # -1 where small values mean neutrino
    value: float  # of the feature times the sign

    @property
    def text(self) -> str:
        """The cut on the feature, for people."""
        return f"{FEATURES[self.feature]} {'>' if self.sign > 0 else '<'} {self.sign * self.value:.3g}"

    def scores(self, points: Judged) -> dict[str, Values]:
        """Return by finder what it cuts on; everything is called neutrino by the last one."""
        cue = self.sign * points.features[:, self.feature]
        return {"network": points.score, "one feature": cue, "all neutrino": np.ones(len(cue))}

    def masks(self, points: Judged) -> dict[str, Mask]:
        """Return which points each finder calls neutrino."""
        cuts = {"network": self.score, "one feature": self.value, "all neutrino": 0.0}
        return {name: score > cuts[name] for name, score in self.scores(points).items()}


def evaluate(
    task: PointTask,
    data: PointData,
    settings: DictConfig,
    cfg: DictConfig,  # noqa: ARG001  (every evaluation is given it)
    name: str,
    folder: Path,
) -> dict[str, Any]:
    """Measure a network on the events that ``settings`` name, and write metrics, table and figures to ``folder``.

    ``cfg`` is the config that it was trained with, and ``name`` what the metrics call it.
    """
    answers = {event: score_of(task, event, data.near) for event in data.selected(settings.split)}
    points, cuts = judged(answers), choose_cuts(task, data, settings)
    metrics = collect(points, cuts) | {"by_event": by_event(answers, cuts)}
    mixed = overlaid(task, data, list(answers))
    metrics["overlaid"] = finders(judged(mixed), cuts) if mixed else {}
    metrics |= provenance(name, type(task.model).__name__, data, settings.split, cuts)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    table = comparison(metrics)
    write_table(folder / "table.txt", table)
    Console().print(table)
    if settings.figures:
        draw(folder, metrics, answers)
    return metrics


def score_of(task: PointTask, event: PointEvent, near: Near) -> NDArray[np.float64]:
    """Return the network's probability of "neutrino" for each point of an event."""
    with torch.inference_mode():
        score = task(as_graph(event, near).to(str(task.device)))
    return np.asarray(score.cpu().numpy(), np.float64)


def overlaid(task: PointTask, data: PointData, events: list[PointEvent]) -> dict[PointEvent, NDArray[np.float64]]:
    """Return the answers to events with the neutrinos of others instead of their own; none without neutrinos."""
    sources = [event for event in events if event.has_neutrinos]
    mixed = [event.overlaid(sources[n % len(sources)]) for n, event in enumerate(events) if sources]
    return {event: score_of(task, event, data.near) for event in mixed}


def judged(answers: Mapping[PointEvent, NDArray[np.float64]]) -> Judged:
    """Return the points of known label of all events together."""
    known = [event.label != UNKNOWN for event in answers]
    pairs = list(zip(answers.items(), known, strict=True))
    return Judged(
        category=np.concatenate([np.full(int(rows.sum()), event.category) for (event, _), rows in pairs]),
        features=np.concatenate([event.features()[rows] for (event, _), rows in pairs]),
        charge=np.concatenate([event.charge[rows] for (event, _), rows in pairs]),
        neutrino=np.concatenate([event.label[rows] == NEUTRINO for (event, _), rows in pairs]),
        score=np.concatenate([score[rows] for (_, score), rows in pairs]),
    )


def choose_cuts(task: PointTask, data: PointData, settings: DictConfig) -> Cuts:
    """Return the cuts of highest F1, chosen on events that are not measured.

    The network's is chosen on the validation events, unless ``settings`` give one; that of the feature, which nothing
    was fitted to, on training and validation events. Where a run has none of these the measured events serve.
    """
    parts: list[Part] = [part for part in PARTS[1::-1] if data.selected(part)] or [settings.split]
    answers = {part: {e: score_of(task, e, data.near) for e in data.selected(part)} for part in parts}
    chosen, known = judged(answers[parts[0]]), judged({e: s for part in parts for e, s in answers[part].items()})
    tried = [
        (*best_cut(sign * known.features[:, feature], known.neutrino), feature, sign)
        for feature in range(len(FEATURES))
        for sign in (1, -1)
    ]
    _, value, feature, sign = max(tried)
    given = settings.threshold
    score = best_cut(chosen.score, chosen.neutrino)[1] if given is None else float(given)
    return Cuts(score, feature, sign, value)


def best_cut(score: Values, neutrino: Mask) -> tuple[float, float]:
    """Return the highest F1, and a cut just below the threshold that has it."""
    found = scan(score, neutrino, np.ones(len(score)))
    best = int(found.f1.argmax())
    return float(found.f1[best]), float(np.mean(found.thresholds[best : best + 2]))


def collect(points: Judged, cuts: Cuts) -> dict[str, Any]:
    """Return all metrics of some points: all of them, by category, and the curves."""
    categories = list(dict.fromkeys(points.category.tolist()))
    scans = {name: scan(score, points.neutrino, points.charge) for name, score in cuts.scores(points).items()}
    rows = {name: np.unique(np.linspace(0, len(s.f1) - 1, CURVE_POINTS).astype(int)) for name, s in scans.items()}
    return {
        "points": len(points.score),
        "neutrino": int(points.neutrino.sum()),
        "finders": finders(points, cuts),
        "categories": {name: finders(points.select(points.category == name), cuts) for name in categories},
        "scan": {
            name: {"recall": s.recall[rows[name]].tolist(), "precision": s.precision[rows[name]].tolist()}
            for name, s in scans.items()
            if name != "all neutrino"
        },
    }


def finders(points: Judged, cuts: Cuts) -> dict[str, dict[str, float]]:
    """Return what each finder does with some points."""
    scores = cuts.scores(points)
    return {
        name: measures(mask, points.neutrino, points.charge)
        | {"average_precision": scan(scores[name], points.neutrino, points.charge).average_precision}
        for name, mask in cuts.masks(points).items()
    }


def measures(found: Mask, neutrino: Mask, charge: Values) -> dict[str, float]:
    """Return what calling the points of ``found`` neutrino does, with the confusion in numbers of points."""
    both = found & neutrino
    return {
        "precision": ratio(both.sum(), found.sum()),
        "recall": ratio(both.sum(), neutrino.sum()),
        "f1": ratio(2 * both.sum(), found.sum() + neutrino.sum()),
        "charge_precision": ratio(charge[both].sum(), charge[found].sum()),
        "charge_recall": ratio(charge[both].sum(), charge[neutrino].sum()),
        "neutrino_found": int(both.sum()),
        "neutrino_missed": int((neutrino & ~found).sum()),
        "cosmic_found": int((found & ~neutrino).sum()),
        "cosmic_left": int((~found & ~neutrino).sum()),
    }


def by_event(answers: Mapping[PointEvent, NDArray[np.float64]], cuts: Cuts) -> dict[str, dict[str, float]]:
    """Return by event what the network does with its points of known label."""
    rows = {}
    for event, score in answers.items():
        one = judged({event: score})
        rows[event.key] = measures(cuts.masks(one)["network"], one.neutrino, one.charge)
    return rows


def provenance(name: str, network: str, data: PointData, part: Part, cuts: Cuts) -> dict[str, Any]:
    """Return what the metrics were measured on, and what they mean."""
    return {
        "run": name,
        "network": network,
        "commit": git_commit(),
        **data.identity(part),
        "events_of_the_run": {one: len(data.selected(one)) for one in PARTS},
        "threshold": cuts.score,
        "one_feature": cuts.text,
        "definitions": {name: dict(text) for name, text in DEFINITIONS.items()},
    }


def comparison(metrics: dict[str, Any]) -> Table:
    """Return the table that people look at first: every finder on all events, and on those that have neutrinos."""
    counts = f"{metrics['neutrino']:,} of {metrics['points']:,} points neutrino"
    title = f"{len(metrics['events'])} {metrics['split']} events, {counts}"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    columns = ("precision", "recall", "f1", "average_precision", "charge_precision", "charge_recall")
    table.add_column("events")
    table.add_column("finder")
    for name in columns:
        table.add_column(name.replace("f1", "F1").replace("_", "\n"), justify="right")
    for events, found in rows_of(metrics):
        for name in reversed(list(found)):
            called = {"network": metrics["network"], "one feature": metrics["one_feature"]}.get(name, name)
            table.add_row(events, called, *(f"{found[name][column]:.4f}" for column in columns))
        table.add_section()
    return table


def rows_of(metrics: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Mapping[str, float]]]]:
    """Yield all events, the same with laid over neutrinos, and each category that has some but is not all there is."""
    yield "all", metrics["finders"]
    if metrics["overlaid"]:
        yield "overlaid", metrics["overlaid"]
    if len(metrics["categories"]) > 1:
        for name, found in metrics["categories"].items():
            if found["network"]["neutrino_found"] + found["network"]["neutrino_missed"]:
                yield name, found


def draw(folder: Path, metrics: dict[str, Any], answers: Mapping[PointEvent, NDArray[np.float64]]) -> None:
    """Draw every event that has neutrinos, and the curves of all."""
    number = 0
    for event, score in answers.items():
        if event.has_neutrinos:
            number += 1
            title = f"{event.category} event {event.key.rpartition(':')[2]}"
            point_figures.event_display(folder / f"event-{number}.png", title, event.position, event.label, score)
    point_figures.curves(folder / "curves.png", metrics["scan"], metrics["finders"], metrics["one_feature"])
