"""Figures: what the network found, how well, and how it learned it, as PNG files."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

# Colours that stay apart for colour-blind eyes, the same in every figure.
TRUTH, TRADITIONAL, NETWORK = "#2b2b3a", "#d98200", "#0068ad"
QUIET = "#8c8c8c"

DOTS_PER_INCH = 150
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 13,
    "axes.titlesize": 14,
    "axes.edgecolor": "#606060",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "legend.fontsize": 12,
    "lines.linewidth": 2.0,
}
LINE_STYLES = ("-", "--", ":")  # one per plane
MARKED_THRESHOLDS = (0.1, 0.3, 0.7, 0.9)

Row = TypeVar("Row")


@dataclass(frozen=True)
class AngleBin:
    """Pixel efficiency of one plane in one range of track angle θxz; 90° is along the drift."""

    plane: str
    theta_low_deg: float
    theta_high_deg: float
    network: float
    network_error: float
    traditional: float
    traditional_error: float
    true_pixels: int


@dataclass(frozen=True)
class Scan:
    """Efficiency and purity of the network over its thresholds, and the traditional point."""

    plane: str
    level: str  # what is counted: "pixel" or "ROI"
    thresholds: NDArray[np.floating[Any]]
    efficiency: NDArray[np.floating[Any]]  # (threshold,)
    purity: NDArray[np.floating[Any]]  # (threshold,)
    working_threshold: float
    traditional_efficiency: float
    traditional_purity: float

    def at(self, threshold: float) -> tuple[float, float]:
        """Return purity and efficiency at the scanned threshold nearest to ``threshold``."""
        nearest = np.abs(self.thresholds - threshold).argmin()
        return float(self.purity[nearest]), float(self.efficiency[nearest])


@dataclass(frozen=True)
class CategoryDice:
    """Pixel Dice of network and traditional signal processing on one kind of event."""

    category: str
    plane: str
    network: float
    traditional: float


def efficiency_against_angle(path: Path, bins: Sequence[AngleBin]) -> None:
    """Draw pixel efficiency against track angle, and below it how many pixels stand behind."""
    by_plane = _grouped(bins, "plane")
    with figure_at(path, max(6.5, 5.5 * len(by_plane)), 5.2) as figure:
        if not by_plane:
            return
        grid = figure.subplots(2, len(by_plane), sharex="col", sharey="row", height_ratios=[4, 1], squeeze=False)
        for (plane, members), (upper, lower) in zip(by_plane.items(), grid.T, strict=True):
            _draw_angles(upper, members)
            _draw_counts(lower, members)
            upper.set_title(f"Plane {plane}")
        grid[0, 0].set_ylabel("pixel efficiency")
        grid[0, 0].set_ylim(top=1.01)
        grid[1, 0].set_ylabel("true pixels\n[10³]", fontsize=11)
        grid[0, 0].legend(loc="lower left")


def efficiency_against_purity(path: Path, scans: Sequence[Scan]) -> None:
    """Draw what each threshold buys: one panel per level, one curve and one star per plane."""
    by_level = _grouped(scans, "level")
    with figure_at(path, max(6.0, 5.5 * len(by_level)), 5.2) as figure:
        if not by_level:
            return
        grid = figure.subplots(1, len(by_level), squeeze=False)[0]
        for axes, (level, members) in zip(grid, by_level.items(), strict=True):
            for scan, style in zip(members, cycle(LINE_STYLES), strict=False):
                _draw_scan(axes, scan, style)
            _frame_scans(axes, members)
            axes.set(xlabel=f"{level} purity", ylabel=f"{level} efficiency")
        handles, labels = grid[0].get_legend_handles_labels()
        legend = dict(sorted(zip(labels, handles, strict=True), key=itemgetter(0)))  # each once
        figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=len(legend))


def training_curves(path: Path, rows: Sequence[Mapping[str, Any]], metric: str, mode: str) -> None:
    """Draw loss and ``metric``, best at its max or min, against epoch from the rows of a metrics CSV."""
    with figure_at(path, 11.0, 4.4) as figure:
        if not rows:
            return
        left, right = figure.subplots(1, 2)
        _draw_series(left, rows, "train/loss", "training", alpha=0.45)
        _draw_series(left, rows, "val/loss", "validation")
        left.set_yscale("log")
        epochs, values = _draw_series(right, rows, metric, "validation")
        if np.isfinite(values).any():
            best = np.nanargmax(values) if mode == "max" else np.nanargmin(values)
            label = f"best: {values[best]:.3f} at epoch {epochs[best]:g}"
            right.plot(epochs[best], values[best], "o", color=NETWORK, label=label)
        for axes, name in ((left, "loss"), (right, metric.rpartition("/")[2].replace("_", " ").capitalize())):
            axes.set(xlabel="epoch", ylabel=name)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if axes.lines:
                axes.legend()


def metrics_by_category(path: Path, rows: Sequence[CategoryDice]) -> None:
    """Draw Dice of network and traditional for each kind of event, one panel per plane."""
    by_plane = _grouped(rows, "plane")
    with figure_at(path, max(6.5, 5.5 * len(by_plane)), 4.4) as figure:
        if not by_plane:
            return
        grid = figure.subplots(1, len(by_plane), sharey=True, squeeze=False)[0]
        for axes, (plane, members) in zip(grid, by_plane.items(), strict=True):
            places = np.arange(len(members))
            for name, color, shift in (("traditional", TRADITIONAL, -0.2), ("network", NETWORK, 0.2)):
                heights = [getattr(member, name) for member in members]
                bars = axes.bar(places + shift, heights, 0.36, color=color, label=name)
                axes.bar_label(bars, fmt="%.2f", fontsize=10, color=color, padding=2)
            axes.set_xticks(places, [member.category for member in members])
            axes.grid(visible=False, axis="x")
            axes.set(title=f"Plane {plane}", ylim=(0, 1))
        grid[0].set_ylabel("pixel Dice")
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)


@contextmanager
def figure_at(path: Path, width_in: float, height_in: float) -> Iterator[Figure]:
    """Give a figure in our style, and write it to ``path``."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        yield figure
        if not figure.axes:
            figure.text(0.5, 0.5, "no data", ha="center", color=QUIET)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DOTS_PER_INCH)


def _grouped(rows: Sequence[Row], field: str) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[getattr(row, field)].append(row)
    return groups


def _draw_angles(axes: Axes, bins: Sequence[AngleBin]) -> None:
    middle = np.array([(b.theta_low_deg + b.theta_high_deg) / 2 for b in bins])
    half = np.array([(b.theta_high_deg - b.theta_low_deg) / 2 for b in bins])
    for name, color, marker in (("traditional", TRADITIONAL, "s"), ("network", NETWORK, "o")):
        values = [getattr(b, name) for b in bins]
        errors = [getattr(b, f"{name}_error") for b in bins]
        axes.errorbar(middle, values, errors, half, fmt=marker, color=color, label=name)


def _draw_counts(axes: Axes, bins: Sequence[AngleBin]) -> None:
    left = [b.theta_low_deg for b in bins]
    widths = [b.theta_high_deg - b.theta_low_deg for b in bins]
    thousands = [b.true_pixels / 1000 for b in bins]
    axes.bar(left, thousands, widths, align="edge", color="#d0d0d0", edgecolor="white")
    axes.yaxis.set_major_locator(MaxNLocator(2))
    axes.set_xlabel(r"track angle $\theta_{xz}$ [°]")


def _draw_scan(axes: Axes, scan: Scan, style: str) -> None:
    axes.plot(scan.purity, scan.efficiency, ls=style, color=NETWORK, label=f"network, {scan.plane}")
    for threshold in MARKED_THRESHOLDS:
        axes.plot(*scan.at(threshold), ".", ms=8, color=NETWORK)
        _note(axes, f"{threshold:g}", scan.at(threshold), QUIET)
    axes.plot(*scan.at(scan.working_threshold), "o", ms=10, color=NETWORK, label="working threshold")
    _note(axes, f"{scan.working_threshold:g}", scan.at(scan.working_threshold), NETWORK)
    star = scan.traditional_purity, scan.traditional_efficiency
    axes.plot(*star, "*", ms=17, color=TRADITIONAL, label="traditional")
    _note(axes, scan.plane, star, TRADITIONAL)


def _note(axes: Axes, text: str, at: tuple[float, float], color: str) -> None:
    axes.annotate(text, at, (6, 5), textcoords="offset points", fontsize=11, color=color)


def _frame_scans(axes: Axes, scans: Sequence[Scan]) -> None:
    """Show what is marked, not the far ends where everything or nothing is selected."""
    marks = [scan.at(threshold) for scan in scans for threshold in MARKED_THRESHOLDS]
    marks += [scan.at(scan.working_threshold) for scan in scans]
    marks += [(scan.traditional_purity, scan.traditional_efficiency) for scan in scans]
    left, bottom = np.nanmin(marks, axis=0) - 0.03
    axes.set(xlim=(left, 1.005), ylim=(bottom, 1.005))


def _draw_series(
    axes: Axes, rows: Sequence[Mapping[str, Any]], key: str, label: str, alpha: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw the mean of ``key`` in each epoch that has it, and return the epochs and the means."""
    by_epoch: dict[float, list[float]] = defaultdict(list)
    for row in rows:
        if row.get(key) not in (None, "") and row.get("epoch") not in (None, ""):
            by_epoch[float(row["epoch"])].append(float(row[key]))
    epochs = np.array(sorted(by_epoch))
    values = np.array([np.mean(by_epoch[epoch]) for epoch in epochs])
    if len(epochs):
        axes.plot(epochs, values, color=NETWORK, label=label, alpha=alpha)
    return epochs, values
