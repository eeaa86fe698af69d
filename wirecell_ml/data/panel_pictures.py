"""Pictures of what has no shape of its own: arrays as images, columns as histograms, hits as wire against time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wirecell_ml.data.contents import Columns, Contents
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.frame_pictures import NATIVE, pool, shown_of, with_zero_white
from wirecell_ml.data.picture_text import drawn
from wirecell_ml.figures import NETWORK

MOST_PANELS = 12
MOST_ACROSS = 4
PANEL_IN = (4.8, 3.8)
SMALLEST_IMAGE = 16  # rows and columns
MOST_VALUES = 1_000_000  # of a histogram or a plane of hits; more are thinned out
BINS = 60
LARGEST_LABEL = 1e9
LARGEST = 1e100  # what is larger is left out
WIRE, TIME, PLANE = ("local_wire", "wire", "proj"), ("local_time", "time", "drift"), ("local_plane", "plane", "view")
WEIGHT = ("integral", "charge", "q")

Array = NDArray[Any]


class Panel(NamedTuple):
    """One part of a picture."""

    title: str
    draw: Callable[[Axes], None]


def panels_of(event: Contents) -> list[Panel]:
    """Return what is drawn of the tables, tensors and arrays of an event, a panel each."""
    hits = [panel for name, table in event.tables.items() for panel in hit_panels(name, table)]
    arrays: dict[str, Array] = {path: held.array for path, held in event.tensors.items() if held.array is not None}
    images = [panel for name, array in (arrays | dict(event.arrays)).items() for panel in array_panels(name, array)]
    rest = [panel for name, table in event.tables.items() for panel in column_panels(name, table)]
    return [*hits, *images, *rest][:MOST_PANELS]


def size_in(panels: Sequence[Panel]) -> tuple[float, float]:
    """Return width and height of the picture of some panels, in inches."""
    across = min(MOST_ACROSS, len(panels))
    return PANEL_IN[0] * across, PANEL_IN[1] * ceil(len(panels) / across) + 0.6


def draw_panels(figure: Figure, panels: Sequence[Panel]) -> None:
    """Draw the panels beside and below one another."""
    across = min(MOST_ACROSS, len(panels))
    grid = figure.subplots(ceil(len(panels) / across), across, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        axes.set_title(drawn(panel.title), loc="left", fontsize=11)
        panel.draw(axes)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()


def array_panels(name: str, array: Array) -> Iterator[Panel]:
    """Yield an image of each layer of an array of two or more dimensions, and a histogram of any other."""
    if array.dtype.kind not in "biuf" or not array.size:
        return
    if array.ndim < 2 or min(array.shape[-2:]) < SMALLEST_IMAGE:
        yield Panel(name, partial(draw_histogram, array))
        return
    layers = array.reshape(-1, *array.shape[-2:])[:MOST_PANELS]
    for i, layer in enumerate(layers):
        yield Panel(f"{name} [{i}]" if len(layers) > 1 else name, partial(draw_image, layer))


def draw_image(layer: Array, axes: Axes) -> None:
    """Draw rows to the right and columns upwards, as the channels and ticks of a frame."""
    with np.errstate(over="ignore"):  # a file may say anything
        samples = layer.astype(np.float32)
    frame = Frame(samples, np.arange(len(layer), dtype=np.int32), 0.0, 1000.0)
    shown = shown_of("array", frame)
    pooled = with_zero_white(pool(shown.image, frame.channels, (0, len(layer))), shown.norm)
    extent = (-0.5, len(layer) - 0.5, -0.5, layer.shape[1] - 0.5)
    picture = axes.imshow(pooled.T, extent=extent, cmap=shown.shades, norm=shown.norm, **NATIVE)
    axes.grid(visible=False)
    axes.set(xlabel="row", ylabel="column")
    bar = axes.figure.colorbar(picture, ax=axes, pad=0.02, aspect=30)
    bar.outline.set_visible(False)


def column_panels(name: str, table: Columns) -> Iterator[Panel]:
    """Yield a curve, or else a histogram of each column of numbers that are not all the same."""
    if is_curve(table):
        yield Panel(name, partial(draw_curve, table))
        return
    for column, values in table.items():
        flat = flat_numbers(values)
        if len(flat) and flat.min() < flat.max():
            yield Panel(f"{name}: {column}", partial(draw_histogram, flat))


def is_curve(table: Columns) -> bool:
    """Tell whether a table is one column against another that grows, such as a spectrum."""
    columns = [values for values in table.values() if isinstance(values, np.ndarray) and values.dtype.kind in "iuf"]
    if len(table) != 2 or len(columns) != 2 or len(columns[0]) < SMALLEST_IMAGE:
        return False
    return columns[0].ndim == columns[1].ndim == 1 and bool(np.all(np.diff(columns[0]) > 0))


def draw_curve(table: Columns, axes: Axes) -> None:
    """Draw the second column of a table against its first."""
    (across, places), (up, values) = table.items()
    axes.plot(places, values, color=NETWORK, linewidth=1.2)
    axes.set(xlabel=drawn(across), ylabel=drawn(up))


def flat_numbers(values: Any) -> NDArray[np.float64]:
    """Return the finite numbers in a column, flat, thinned out where there are very many; none where it holds text."""
    flat = np.asarray(values if isinstance(values, np.ndarray) else flattened(values)).ravel()
    if flat.dtype.kind not in "biuf":
        return np.zeros(0)
    numbers = flat[:: 1 + len(flat) // MOST_VALUES].astype(np.float64)
    return np.asarray(numbers[np.abs(numbers) < LARGEST])


def flattened(values: Any) -> Array:
    """Return all numbers of a jagged column."""
    import awkward as ak  # here, since few files have such columns and it takes long to load

    flat = ak.to_numpy(ak.flatten(ak.drop_none(values), axis=None), allow_missing=False)
    return np.asarray(flat)


def draw_histogram(values: Array, axes: Axes) -> None:
    """Draw a histogram, a bin for each whole number where they are few, counts logarithmic where they differ much."""
    flat = flat_numbers(values)
    if not len(flat):
        return
    low, high = float(flat.min()), float(flat.max())
    whole = high - low < BINS and -LARGEST_LABEL < low < LARGEST_LABEL and np.all(flat == np.round(flat))
    widest = max(high, low + max(1.0, abs(low)) * 1e-6)  # so that edges differ even where all values are one
    edges = np.arange(low - 0.5, high + 1) if whole else np.linspace(low, widest, BINS + 1)
    counts, _ = np.histogram(flat, edges)
    axes.stairs(counts, edges, fill=True, color=NETWORK)
    if counts.max() > 50 * counts[counts > 0].min():
        axes.set_yscale("log")
    axes.set_ylabel("entries")


def hit_panels(name: str, table: Columns) -> Iterator[Panel]:
    """Yield wire against time of each plane, where a table has hits of a wire chamber."""
    wire, time, plane = (first_of(names, table) for names in (WIRE, TIME, PLANE))
    if wire is None or time is None or plane is None or not len(wire) == len(time) == len(plane):
        return
    weight = first_of(WEIGHT, table)
    charge = np.zeros(len(wire)) if weight is None or len(weight) != len(wire) else weight.astype(np.float64)
    hits = np.column_stack([wire, time, np.where(np.abs(charge) < LARGEST, charge, 0)]).astype(np.float64)
    known = (np.abs(hits) < LARGEST).all(axis=1)
    for number in np.unique(plane[known]).tolist()[:MOST_PANELS]:
        rows = np.flatnonzero(known & (plane == number))
        yield Panel(f"{name}: plane {number}", partial(draw_hits, hits[rows[:: 1 + len(rows) // MOST_VALUES]]))


def first_of(names: Sequence[str], table: Mapping[str, Any]) -> Array | None:
    """Return the first column of these names that is a plain row of numbers, (row,)."""
    held = [table[name] for name in names if isinstance(table.get(name), np.ndarray)]
    plain = [one for one in held if one.dtype.kind in "biuf" and one.shape in ((len(one),), (len(one), 1))]
    return plain[0].reshape(-1) if plain else None


def draw_hits(hits: NDArray[np.float64], axes: Axes) -> None:
    """Draw hits (hit, 3) of wire, time and charge, the largest on top, coloured by their charge if they have any."""
    wire, time, charge = hits[np.argsort(hits[:, 2], kind="stable")].T
    look: dict[str, Any] = {"s": float(np.clip(4000 / len(hits), 1.0, 8.0)), "linewidths": 0}
    axes.set(xlabel="wire", ylabel="time [ticks]")
    if not charge.any():
        axes.scatter(wire, time, color=NETWORK, **look)
        return
    color = np.clip(charge, *np.percentile(charge, [2, 98]))
    bar = axes.figure.colorbar(axes.scatter(wire, time, c=color, cmap="viridis_r", **look), ax=axes, label="integral")
    bar.outline.set_visible(False)
