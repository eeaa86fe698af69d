"""What a network finds on events it never saw, beside what Wire-Cell's own ROI finding does on the same events."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track

from wirecell_ml import report
from wirecell_ml.data import RoiData
from wirecell_ml.data.cache import load
from wirecell_ml.data.dataset import Item, PlaneDataset
from wirecell_ml.data.events import Event
from wirecell_ml.data.particles import WireGeometry, label_tracks, read_tracks
from wirecell_ml.data.split import Part
from wirecell_ml.errors import DataError, suggest
from wirecell_ml.models import RoiTask
from wirecell_ml.models.metrics import DEFINITIONS, Counts, Mask, count, ratio, roi_charge, summarize
from wirecell_ml.provenance import git_commit

Image = NDArray[np.float32]
STEEP_DEG = 80.0  # θxz above which a track is nearly along the drift, and traditional ROIs lose most of it


@dataclass(frozen=True)
class Charge:
    """Charge of one image, electrons per tick summed over its pixels."""

    true: float
    found: dict[str, float]  # by finder: what it would write out
    inside: dict[str, float]  # by finder: true charge inside its ROIs


@dataclass(frozen=True)
class TrackPixels:
    """Pixels of one true track in one plane."""

    theta_xz_deg: float
    true: int
    found: dict[str, int]  # by finder


@dataclass(frozen=True)
class PlaneResult:
    """What was found in one plane of one event."""

    plane: str
    category: str
    counts: dict[str, Counts]  # by finder
    scan: dict[float, Counts]  # of the network, by threshold
    charge: Charge
    tracks: list[TrackPixels]
    steep: dict[str, Counts]  # by finder, on the channels of true tracks that are nearly along the drift


@dataclass(frozen=True)
class Evaluator:
    """A trained network, and how it is to be measured."""

    task: RoiTask
    data: RoiData
    settings: DictConfig
    geometry: WireGeometry | None

    @property
    def threshold(self) -> float:
        """Probability above which a pixel is found."""
        return float(self.task.threshold if self.settings.threshold is None else self.settings.threshold)

    def probability(self, images: PlaneDataset, number: int) -> Image:
        """Return the network's probability of "signal here" in one image, (channel, slice)."""
        with torch.inference_mode():
            found: Image = self.task(images[number].images[None].to(self.task.device))[0, 0].cpu().numpy()
        return found

    def measure(self, item: Item, event: Event, probability: Image) -> PlaneResult:
        """Return what was found in one plane of ``event``."""
        charge = np.asarray(load(item.place, item.plane, "truth"), np.float32)
        true = charge > self.data.target.threshold
        traditional = np.asarray(load(item.place, item.plane, "traditional"), np.float32)
        waveform = np.asarray(load(item.place, item.plane, "inputs")[self.charge_layer()], np.float32)
        network = probability > self.threshold
        masks, found = {"network": network}, {"network": roi_charge(waveform, network)}
        if traditional.size:
            masks["traditional"] = traditional != 0
            found["traditional"] = float(traditional.sum(dtype=np.float64))
        matching = self.settings.matching
        angles, labels = self.label_tracks(item, event, true)
        steep = np.isin(labels, np.nonzero(angles > STEEP_DEG)[0]).any(axis=1)
        return PlaneResult(
            plane=item.plane,
            category=item.category,
            counts={finder: count(mask, true, matching) for finder, mask in masks.items()},
            scan={threshold: count(probability > threshold, true, matching) for threshold in self.settings.scan},
            charge=Charge(
                true=float(charge.sum(dtype=np.float64)),
                found=found,
                inside={finder: float(charge[mask].sum(dtype=np.float64)) for finder, mask in masks.items()},
            ),
            tracks=track_pixels(angles, labels, masks),
            steep={finder: count(mask[steep], true[steep], matching) for finder, mask in masks.items()},
        )

    def label_tracks(
        self, item: Item, event: Event, true: Mask
    ) -> tuple[NDArray[np.float64], NDArray[np.signedinteger]]:
        """Return θxz of each true track in a plane, and the number of the track that each true pixel belongs to, or -1.

        There are no tracks where the wires of the plane, or the particles of the event, are not known.
        """
        if self.geometry is None or item.plane not in self.geometry.planes or event.particles is None:
            return np.zeros(0), np.full(true.shape, -1)
        layout = self.data.layout
        _, tracks = read_tracks(event.particles, event.truth_ident)
        channels = np.arange(*layout.planes[item.plane])
        start_ns, slice_ns = self.data.summaries[event].time_ns, layout.tick_ns * layout.tick_per_slice
        labels = label_tracks(tracks, self.geometry, item.plane, true, channels, start_ns, slice_ns)
        return np.array([track.theta_xz_deg[item.plane] for track in tracks]), labels

    def charge_layer(self) -> int:
        """Return which input tag holds the waveform whose charge is summed."""
        tag, tags = self.settings.charge_tag, self.data.layout.tags
        if tag is not None and tag not in tags:
            raise DataError(f"charge_tag: '{tag}' is not among data.tags.{suggest(tag, tags)}")
        return tags.index(tag) if tag else 0


def track_pixels(
    angles: NDArray[np.float64], labels: NDArray[np.signedinteger], masks: dict[str, Mask]
) -> list[TrackPixels]:
    """Return how many pixels of each true track were found; tracks without a pixel are left out."""
    pixels = np.bincount(labels[labels >= 0], minlength=len(angles))
    found = {name: np.bincount(labels[mask & (labels >= 0)], minlength=len(angles)) for name, mask in masks.items()}
    return [
        TrackPixels(float(angle), int(pixels[i]), {name: int(found[name][i]) for name in found})
        for i, angle in enumerate(angles)
        if pixels[i]
    ]


def evaluate(
    task: RoiTask, data: RoiData, settings: DictConfig, cfg: DictConfig, name: str, folder: Path
) -> dict[str, Any]:
    """Measure a network on the events that ``settings`` name, and write metrics, table and figures to ``folder``.

    ``cfg`` is the config that it was trained with, and ``name`` what the metrics call it.
    """
    geometry = WireGeometry.from_numbers(**cfg.detector.wires) if cfg.detector.wires else None
    evaluator = Evaluator(task, data, settings, geometry)
    metrics = collect(measure_all(evaluator, folder), evaluator) | provenance(name, evaluator, settings.split)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    table = report.comparison(metrics)
    report.write_table(folder / "table.txt", table)
    Console().print(table)
    if settings.figures:
        report.draw_summaries(folder, metrics, evaluator.threshold)
    return metrics


def measure_all(evaluator: Evaluator, folder: Path) -> list[PlaneResult]:
    """Return what was found in each plane of each event, and draw one event of each category."""
    settings, part = evaluator.settings, evaluator.settings.split
    items, events = evaluator.data.items(part), {event.key: event for event in evaluator.data.selected(part)}
    images = PlaneDataset(items, evaluator.data.target)
    results, displayed = [], set()
    for number in track(range(len(items)), "evaluating", console=Console(stderr=True)):
        item = items[number]
        probability = evaluator.probability(images, number)
        results.append(evaluator.measure(item, events[item.key], probability))
        if settings.figures and (item.category, item.plane) not in displayed:
            displayed.add((item.category, item.plane))
            report.draw_event(folder, evaluator.data, evaluator.threshold, item, events[item.key], probability)
    return results


def collect(results: Sequence[PlaneResult], evaluator: Evaluator) -> dict[str, Any]:
    """Return all metrics: by plane, by category, by angle, by threshold."""
    planes, categories = unique(r.plane for r in results), unique(r.category for r in results)
    by_plane = {plane: [r for r in results if r.plane == plane] for plane in planes} | {"all": list(results)}
    matching = evaluator.settings.matching
    return {
        "planes": {plane: measures(members, matching) for plane, members in by_plane.items()},
        "steep": {
            plane: {finder: summarize([r.steep[finder] for r in members], matching) for finder in members[0].steep}
            for plane, members in by_plane.items()
        },
        "categories": {
            category: {
                plane: measures([r for r in members if r.category == category], matching)
                for plane, members in by_plane.items()
            }
            for category in categories
        },
        "angles": [row for plane in planes for row in angle_rows(by_plane[plane], plane, evaluator.settings)],
        "scan": {
            plane: [
                {"threshold": threshold} | summarize([r.scan[threshold] for r in members], matching)
                for threshold in evaluator.settings.scan
            ]
            for plane, members in by_plane.items()
        },
    }


def unique(names: Iterable[str]) -> list[str]:
    """Return each name once, in order of appearance."""
    return list(dict.fromkeys(names))


def measures(results: Sequence[PlaneResult], matching: Any) -> dict[str, dict[str, float]]:
    """Return the metrics of each finder over some images."""
    true = sum(r.charge.true for r in results)
    return {
        finder: summarize([r.counts[finder] for r in results], matching)
        | {
            "charge_bias": ratio(sum(r.charge.found[finder] for r in results), true) - 1,
            "charge_inside": ratio(sum(r.charge.inside[finder] for r in results), true),
        }
        for finder in results[0].counts
    }


def angle_rows(results: Sequence[PlaneResult], plane: str, settings: DictConfig) -> list[dict[str, Any]]:
    """Return the pixel efficiency of true tracks in bins of their angle; empty bins are left out."""
    edges = settings.angle_edges_deg
    tracks = [one for r in results for one in r.tracks]
    rows = []
    for low, high in zip(edges, edges[1:], strict=False):
        inside = [one for one in tracks if low <= one.theta_xz_deg < high or one.theta_xz_deg == high == edges[-1]]
        if inside:
            row = {"plane": plane, "theta_low_deg": low, "theta_high_deg": high, "tracks": len(inside)}
            rows.append(row | {"true_pixels": sum(one.true for one in inside)} | track_efficiencies(inside))
    return rows


def track_efficiencies(tracks: Sequence[TrackPixels]) -> dict[str, float]:
    """Return each finder's efficiency over the pixels of some tracks, and its error from the scatter between tracks."""
    true = np.array([one.true for one in tracks], float)
    values = {}
    for finder in tracks[0].found:
        found = np.array([one.found[finder] for one in tracks], float)
        efficiency = found.sum() / true.sum()
        values[finder] = float(efficiency)
        values[f"{finder}_error"] = float(np.sqrt(((found - efficiency * true) ** 2).sum()) / true.sum())
    return values


def provenance(name: str, evaluator: Evaluator, part: Part) -> dict[str, Any]:
    """Return what the metrics were measured on, and what they mean."""
    data, layout = evaluator.data, evaluator.data.layout
    return {
        "run": name,
        "commit": git_commit(),
        **data.identity(part),
        "threshold": evaluator.threshold,
        "matching": evaluator.settings.matching,
        "truth_threshold_electrons_per_tick": data.target.threshold,
        "tick_per_slice": layout.tick_per_slice,
        "tags": list(layout.tags),
        "definitions": {name: dict(text) for name, text in DEFINITIONS.items()},
    }
