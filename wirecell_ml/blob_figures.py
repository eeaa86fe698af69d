"""Figures of deghosting: blobs in space, what each cut buys, and how well charge is known, as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, LogNorm, Normalize
from numpy.typing import NDArray

from wirecell_ml.figures import NETWORK, QUIET, TRADITIONAL, TRUTH, figure_at

REAL, GHOST, DROPPED = NETWORK, "#e6a0c4", "#c00030"
SCORES = LinearSegmentedColormap.from_list("score", [GHOST, "#b9b9c9", REAL])
COLORS = {"network": NETWORK, "solved-charge cut": TRADITIONAL, "kept": QUIET, "full chain": TRUTH}
MARKERS = {"network": "o", "solved-charge cut": "s", "kept": "v", "full chain": "D"}
VIEW: dict[str, Any] = {"elev": 18, "azim": -62}
LEAST_ELECTRONS = 10.0  # of the logarithmic axes; what is less is drawn there

Values = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


def event_display(path: Path, title: str, position: Values, real: Mask, score: Values, kept: Mask, by: str) -> None:
    """Draw the blobs of one event: what is true, the network's score, and what Wire-Cell keeps.

    ``position`` (blob, 3) is time in us, then y and z in mm; the others are (blob,); ``by`` says who keeps.
    """
    panels = (
        ("truth", real.astype(float), ListedColormap([GHOST, REAL])),
        ("network", score, SCORES),
        (by, np.where(kept, real.astype(float), np.where(real, 2.0, np.nan)), ListedColormap([GHOST, REAL, DROPPED])),
    )
    with figure_at(path, 17.0, 10.5) as figure:
        figure.suptitle(f"{title}: {real.sum():,} real blobs, {(~real).sum():,} ghosts", fontsize=17)
        for column, (name, values, colors) in enumerate(panels):
            shown = np.isfinite(values)
            order = np.nonzero(shown)[0][np.argsort(values[shown], kind="stable")]  # ghosts below
            points, top = position[order], 2.0 if colors.N == 3 else 1.0
            style: dict[str, Any] = {"c": values[order], "cmap": colors, "vmin": 0, "vmax": top, "s": 5, "lw": 0}
            space: Any = figure.add_subplot(2, 3, column + 1, projection="3d", **VIEW)
            space.scatter(points[:, 2] / 1000, points[:, 0] / 1000, points[:, 1] / 1000, **style)
            space.set(title=name, xlabel="z [m]", ylabel="time [ms]", zlabel="y [m]")
            plane = figure.add_subplot(2, 3, column + 4)
            plane.scatter(points[:, 2] / 1000, points[:, 1] / 1000, **style)
            plane.set(xlabel="z [m]", ylabel="y [m]")
            add_key(plane, colors)


def add_key(axes: Axes, colors: Any) -> None:
    """Say below a panel what its colours mean."""
    if colors is SCORES:
        bar = axes.figure.colorbar(ScalarMappable(Normalize(0, 1), colors), ax=axes, location="bottom", shrink=0.8)
        bar.set_label("probability of a real blob")
        return
    names = ("ghost", "real") if colors.N == 2 else ("ghost kept", "real kept", "real dropped")
    for name, color in zip(names, (GHOST, REAL, DROPPED), strict=False):
        axes.plot([], [], "o", color=color, label=name)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, handletextpad=0)


def curves(path: Path, scans: Mapping[str, Any], finders: Mapping[str, Mapping[str, float]]) -> None:
    """Draw what each threshold buys: precision against recall, and charge kept against ghosts removed."""
    lines = (("network", COLORS["network"]), ("solved charge", COLORS["solved-charge cut"]))
    panels = (("recall", "precision"), ("ghosts_removed", "completeness"))
    with figure_at(path, 13.0, 5.6) as figure:
        grid = figure.subplots(1, 2)
        for axes, (across, up) in zip(grid, panels, strict=True):
            for name, color in lines:
                axes.plot(scans[name][across], scans[name][up], color=color)
            for name, found in finders.items():
                axes.plot(found[across], found[up], MARKERS[name], color=COLORS[name], label=name, markersize=9)
            names = {"ghosts_removed": "ghosts removed", "completeness": "true charge kept"}
            axes.set(xlabel=names.get(across, across), ylabel=names.get(up, up))
        grid[0].set(xlim=(0.6, 1.005), ylim=(0.6, 1.005))
        grid[1].set(xlim=(0, 1.01), ylim=(0.95, 1.002))
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(finders))


def scores(path: Path, score: Values, real: Mask, charge: Values, cut: float, ghost_below: float) -> None:
    """Draw the score of real blobs and ghosts, and score against true charge."""
    bins = np.linspace(0, 1, 61)
    with figure_at(path, 13.0, 5.2) as figure:
        left, right = figure.subplots(1, 2)
        for name, mask, color in (("ghosts", ~real, GHOST), ("real blobs", real, REAL)):
            left.hist(score[mask], bins, histtype="stepfilled", alpha=0.65, color=color, label=name)
        left.set(xlabel="probability of a real blob", ylabel="blobs", yscale="log")
        left.axvline(cut, color=TRUTH, linestyle="--", label=f"cut at {cut:.2f}")
        left.legend(loc="upper left", bbox_to_anchor=(0.12, 1))
        electrons = np.maximum(charge, LEAST_ELECTRONS)
        edges = np.geomspace(LEAST_ELECTRONS, max(electrons.max(), 1e6), 70)
        picture = right.hist2d(electrons, score, [edges, bins], norm=LogNorm(), cmap="viridis")[3]
        right.axvline(ghost_below, color=GHOST, linestyle="--")
        right.axhline(cut, color=TRUTH, linestyle="--")
        right.set(xscale="log", xlabel="true charge [electrons]", ylabel="probability of a real blob")
        right.grid(visible=False)
        figure.colorbar(picture, ax=right, label="blobs")


def charges(path: Path, charge: Values, found: Mapping[str, Values]) -> None:
    """Draw the ratio of each charge in ``found`` to the true charge of the real blobs against true charge."""
    edges = np.geomspace(100, max(charge.max(), 1e3), 18)
    middle, bins = np.sqrt(edges[1:] * edges[:-1]), np.digitize(charge, edges) - 1
    with figure_at(path, 8.5, 5.4) as figure:
        axes = figure.subplots()
        for name, color in (("solved", TRADITIONAL), ("network", NETWORK)):
            bands = np.full((len(middle), 3), np.nan)
            for row in range(len(middle)):
                inside = found[name][bins == row] / charge[bins == row]
                if len(inside) >= 10:
                    bands[row] = np.percentile(inside, (16, 50, 84))
            axes.fill_between(middle, bands[:, 0], bands[:, 2], color=color, alpha=0.2, lw=0)
            axes.plot(middle, bands[:, 1], color=color, label=f"{name}: median, and 68 % of the blobs")
        axes.axhline(1, color=TRUTH, linewidth=1)
        axes.set(xscale="log", ylim=(0, 2), xlabel="true charge [electrons]", ylabel="charge / true charge")
        axes.legend()


def categories(path: Path, rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """Draw F1 and the charge that is kept for each kind of event and each finder."""
    with figure_at(path, 14.0, 5.2) as figure:
        grid = figure.subplots(1, 2)
        for axes, name, low in zip(grid, ("f1", "completeness"), (0.0, 0.9), strict=True):
            draw_bars(axes, rows, name)
            axes.set(ylabel={"f1": "F1"}.get(name, "true charge kept"), ylim=(low, 1.005))
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def draw_bars(axes: Axes, rows: Mapping[str, Mapping[str, Mapping[str, float]]], name: str) -> None:
    """Draw one metric as a group of bars for each kind of event."""
    finders: Sequence[str] = list(next(iter(rows.values()), {}))
    width = 0.8 / max(len(finders), 1)
    for number, finder in enumerate(finders):
        places = np.arange(len(rows)) + (number - (len(finders) - 1) / 2) * width
        heights = [row[finder][name] for row in rows.values()]
        axes.bar(places, heights, width * 0.92, color=COLORS[finder], label=finder)
    axes.set_xticks(np.arange(len(rows)), list(rows))
    axes.grid(visible=False, axis="x")
