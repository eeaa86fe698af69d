"""The table and the pictures of an evaluation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from wirecell_ml import displays, figures
from wirecell_ml.data import RoiData
from wirecell_ml.data.cache import load
from wirecell_ml.data.dataset import Item
from wirecell_ml.data.events import Event
from wirecell_ml.models.metrics import FINDERS


def comparison(metrics: dict[str, Any]) -> Table:
    """Return the table that people look at first."""
    title = f"{len(metrics['events'])} {metrics['split']} events, threshold {metrics['threshold']:g}"
    names = ["pixel_dice", "pixel_efficiency", "pixel_purity", "roi_efficiency", "roi_purity", "charge_bias"]
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("plane")
    table.add_column("finder")
    for name in names:
        table.add_column(name.replace("_", "\n").replace("roi", "ROI"), justify="right")
    for plane, finders in metrics["planes"].items():
        for finder in reversed(list(finders)):
            table.add_row(plane, finder, *(f"{finders[finder][name]:.4f}" for name in names))
        table.add_section()
    return table


def write_table(path: Path, table: Table) -> None:
    """Write a table to a text file."""
    with path.open("w") as file:
        Console(file=file, width=100).print(table)


def draw_event(
    folder: Path, data: RoiData, threshold: float, item: Item, event: Event, probability: NDArray[np.float32]
) -> None:
    """Draw one plane of one event, whole and its busiest part."""
    layout = data.layout
    truth = np.asarray(load(item.place, item.plane, "truth"), np.float32)
    traditional = np.asarray(load(item.place, item.plane, "traditional"), np.float32)
    whole = displays.busiest_window(truth > data.target.threshold, *truth.shape)
    close = displays.busiest_window(truth > data.target.threshold)
    for name, window in (("event", whole), ("close-up", close)):
        displays.event_display(
            folder / f"{name}-{item.category}-{item.plane}.png",
            image=np.asarray(load(item.place, item.plane, "inputs")[0], np.float32),
            truth=truth,
            traditional=traditional if traditional.size else np.zeros_like(truth),
            probability=probability,
            threshold=threshold,
            title=f"{item.category} event {event.ident}, plane {item.plane}",
            channels=np.arange(*layout.planes[item.plane], dtype=np.int32),
            start_us=data.summaries[event].time_ns / 1000,
            slice_us=layout.tick_ns * layout.tick_per_slice / 1000,
            true_charge=data.target.threshold,
            window=window,
        )


def draw_summaries(folder: Path, metrics: dict[str, Any], threshold: float) -> None:
    """Draw efficiency against angle and against purity, and Dice by category."""
    planes = [plane for plane in metrics["planes"] if plane != "all"]
    scans = [scan(metrics, plane, level, threshold) for level in ("pixel", "ROI") for plane in planes]
    figures.efficiency_against_purity(folder / "purity.png", scans)
    unknown = {"traditional": np.nan, "traditional_error": np.nan}
    bins = [
        figures.AngleBin(**{k: v for k, v in (unknown | row).items() if k != "tracks"}) for row in metrics["angles"]
    ]
    figures.efficiency_against_angle(folder / "angle.png", bins)
    dice = [
        figures.CategoryDice(
            category, plane, *(members[plane].get(finder, {}).get("pixel_dice", np.nan) for finder in FINDERS)
        )
        for plane in planes
        for category, members in metrics["categories"].items()
    ]
    figures.metrics_by_category(folder / "categories.png", dice)


def scan(metrics: dict[str, Any], plane: str, level: str, threshold: float) -> figures.Scan:
    """Return the curve of one plane for one level, pixel or ROI."""
    rows, traditional = metrics["scan"][plane], metrics["planes"][plane].get("traditional", {})
    efficiency, purity = f"{level.lower()}_efficiency", f"{level.lower()}_purity"
    column: Callable[[str], NDArray[np.float64]] = lambda name: np.array([row[name] for row in rows])  # noqa: E731
    return figures.Scan(
        plane,
        level,
        column("threshold"),
        column(efficiency),
        column(purity),
        threshold,
        traditional.get(efficiency, np.nan),
        traditional.get(purity, np.nan),
    )
