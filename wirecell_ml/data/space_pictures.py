"""Pictures of charge in space: depos, blobs and points, seen from three sides and turned so that depth shows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wirecell_ml.data.blob_space import centres, middle_ns
from wirecell_ml.data.blobs import BlobGraph
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.depos import DepoSet
from wirecell_ml.data.frame_pictures import SMALLEST
from wirecell_ml.data.picture_text import drawn
from wirecell_ml.data.points import PointCloud
from wirecell_ml.figures import NETWORK, QUIET

MOST_DOTS = 150_000  # of a row; more are thinned out
MOST_ROWS = 6
ROW_IN, TITLE_IN = (19.0, 4.6), 0.4
VIEWS = ((2, 1), (2, 0), (0, 1))  # axes to the right and up: from the side, from above, along the beam
CHARGE, LABELS = mpl.colormaps["viridis_r"], mpl.colormaps["tab20"]

MOST_LINES = 2000  # of edges; more are thinned out, lest they hide the points
FARTHEST_MM = 1e9  # what is farther away is no place
LARGEST_CHARGE = 1e15  # electrons, of one dot; what has more is drawn as if it had none
DECADES = 1e4  # that the colours of charge span at most

Column = NDArray[Any]


@dataclass(frozen=True)
class Dots:
    """Places in space, and what their colour says."""

    title: str
    place: NDArray[np.float64]  # (dot, 3)
    axes: tuple[str, str, str]
    color: Column | str  # (dot,), or one for all
    color_name: str  # empty where the colour says nothing
    shades: Colormap
    norm: Normalize
    path: NDArray[np.float64] | None = None  # (point, 3), broken by NaN: what edges link
    thinned: str = ""


def rows_of(event: Contents) -> list[Dots]:
    """Return what is drawn of an event, a row each."""
    rows: list[Dots] = []
    if event.depos is not None:
        rows += depo_rows(event.depos)
    for name, graph in event.blobs.items():
        rows += blob_rows(name, graph)
    for name, cloud in event.points.items():
        rows += point_rows(name, cloud)
    return [thinned(row) for row in rows if len(row.place)][:MOST_ROWS]


def size_in(rows: Sequence[Dots]) -> tuple[float, float]:
    """Return width and height of the picture of some rows, in inches."""
    return ROW_IN[0], ROW_IN[1] * len(rows) + TITLE_IN


def depo_rows(depos: DepoSet) -> Iterator[Dots]:
    """Yield depos, without their priors; drifted ones lie on a plane, so that their time stands for the drift."""
    latest = depos.latest()
    place, axes = latest.position.astype(np.float64), ("x [mm]", "y [mm]", "z [mm]")
    if len(latest) and np.all(place[:, 0] == place[0, 0]):
        place[:, 0], axes = latest.time_ns / 1000, ("time [µs]", *axes[1:])
    yield charged("depos", place, axes, -latest.charge)


def blob_rows(name: str, graph: BlobGraph) -> Iterator[Dots]:
    """Yield blobs at the centres of their corners, in the middle of their slices."""
    place = np.column_stack([middle_ns(graph) / 1000, centres(graph)])
    yield charged(f"blobs of {name}", place, ("time [µs]", "y [mm]", "z [mm]"), graph.charge)


def point_rows(name: str, cloud: PointCloud) -> Iterator[Dots]:
    """Yield points coloured by their charge, and again by what labels them, if anything does; edges are lines."""
    place, axes = cloud.position.astype(np.float64), ("x [mm]", "y [mm]", "z [mm]")
    path = path_of(place, cloud.edges)
    charge, label = cloud.columns.get("charge"), label_of(cloud)
    if charge is not None:
        yield replace(charged(name, place, axes, charge), path=path)
    if label is not None:
        yield replace(labelled(name, place, axes, cloud.columns[label], label), path=path)
    if charge is None and label is None:
        yield Dots(name, place[has_place(place)], axes, NETWORK, "", CHARGE, Normalize(), path)


def path_of(place: NDArray[np.float64], edges: NDArray[np.int64] | None) -> NDArray[np.float64] | None:
    """Return the ends of each edge and NaN after them, (point, 3); None where there are no edges."""
    if edges is None or not edges.shape[1]:
        return None
    some = edges.T[:: 1 + edges.shape[1] // MOST_LINES]
    ends = np.where(has_place(place)[:, None], place, np.nan)[some]
    return np.insert(ends, 2, np.nan, axis=1).reshape(-1, 3)


def has_place(place: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which dots can be drawn, (dot,)."""
    return np.asarray((np.abs(place) < FARTHEST_MM).all(axis=1))


def label_of(cloud: PointCloud) -> str | None:
    """Return the column of whole numbers that tells groups of points apart best; None if there is none."""
    whole = [name for name, column in cloud.columns.items() if column.dtype.kind in "biu" and column.ndim == 1]
    several = [name for name in whole if 1 < len(np.unique(cloud.columns[name])) <= max(2, len(cloud) // 2)]
    return min(several, key=lambda name: "nu" not in name and "cluster" not in name, default=None)


def charged(title: str, place: NDArray[np.float64], axes: tuple[str, str, str], charge: Column) -> Dots:
    """Return dots coloured by their charge, the largest on top; those without place are left out."""
    held = np.flatnonzero(has_place(place))
    charge = charge.astype(np.float64)[held]
    charge = np.where(np.abs(charge) < LARGEST_CHARGE, charge, 0)
    order = np.argsort(charge, kind="stable")
    positive = charge[charge > 0]
    low, high = np.percentile(positive, [2, 99.5]) if len(positive) else (1.0, 10.0)
    low = max(low, high / DECADES, SMALLEST)
    norm = LogNorm(low, max(high, 1.01 * low))
    return Dots(title, place[held[order]], axes, np.maximum(charge[order], low), "charge [electrons]", CHARGE, norm)


def labelled(title: str, place: NDArray[np.float64], axes: tuple[str, str, str], label: Column, name: str) -> Dots:
    """Return dots coloured by a label: neighbouring numbers differ, and colours come again after twenty."""
    held = np.flatnonzero(has_place(place))
    numbers = np.unique(label[held], return_inverse=True)[1]
    return Dots(title, place[held], axes, numbers % LABELS.N, name, LABELS, Normalize(-0.5, LABELS.N - 0.5))


def thinned(dots: Dots) -> Dots:
    """Return at most ``MOST_DOTS`` of the dots, taken evenly."""
    if len(dots.place) <= MOST_DOTS:
        return dots
    kept = np.linspace(0, len(dots.place) - 1, MOST_DOTS).astype(np.int64)
    note = f", {MOST_DOTS} of {len(dots.place)}"
    color = dots.color if isinstance(dots.color, str) else dots.color[kept]
    return replace(dots, place=dots.place[kept], color=color, thinned=note)


def draw_dots(figure: Figure, rows: Sequence[Dots]) -> None:
    """Draw each row of dots, turned and from three sides."""
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, dots in zip(parts, rows, strict=True):
        part.suptitle(f"{drawn(dots.title)}: {len(dots.place)}{dots.thinned}", x=0.02, ha="left", fontsize=14)
        grid = part.add_gridspec(1, 4, width_ratios=[1.15, 1, 1, 1])
        colors = {} if isinstance(dots.color, str) else {"cmap": dots.shades, "norm": dots.norm}
        look = colors | {"c": dots.color, "linewidths": 0, "s": float(np.clip(30000 / len(dots.place), 1.0, 14.0))}
        draw_turned(part.add_subplot(grid[0], projection="3d"), dots, look)
        flat = [part.add_subplot(grid[i + 1]) for i in range(3)]
        for axes, view in zip(flat, VIEWS, strict=True):
            picture = draw_flat(axes, dots, view, look)
        if dots.color_name:
            bar = part.colorbar(picture, ax=flat, pad=0.01, aspect=30, label=drawn(dots.color_name))
            bar.outline.set_visible(False)
            if dots.shades is LABELS:
                bar.set_ticks([])


def draw_turned(axes: Any, dots: Dots, look: dict[str, Any]) -> None:
    """Draw dots so that depth shows, with y upwards."""
    order = (2, 0, 1)
    axes.scatter(*(dots.place[:, i] for i in order), depthshade=False, **look)
    if dots.path is not None:
        axes.plot(*(dots.path[:, i] for i in order), linewidth=0.5, color=QUIET)
    axes.set(**{f"{side}label": dots.axes[i] for side, i in zip("xyz", order, strict=True)})
    axes.view_init(elev=18, azim=-62)
    axes.set_box_aspect(None, zoom=0.84)  # leaves room for the label beside it
    axes.tick_params(labelsize=8)


def draw_flat(axes: Axes, dots: Dots, view: tuple[int, int], look: dict[str, Any]) -> PathCollection:
    """Draw dots from one side."""
    if dots.path is not None:
        axes.plot(*(dots.path[:, i] for i in view), linewidth=0.5, color=QUIET, zorder=1)
    axes.set(xlabel=dots.axes[view[0]], ylabel=dots.axes[view[1]])
    return axes.scatter(*(dots.place[:, i] for i in view), **look)
