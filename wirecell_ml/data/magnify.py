"""Magnify files: what MagnifySink writes (wire-cell-toolkit, root/src/MagnifySink.cxx), one event of some anodes.

A frame is a TH2F of each plane, ``h{u,v,w}_<tag>``, of channel and tick; where ticks were rebinned it holds their sums.
A summary is a TH1F of each plane, and a channel mask is a tree, ``T_<mask>``.
No file says how long a tick is, or when they begin: 500 ns and 0, unless Trun has our own ``tick_ns`` and ``time_ns``.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.contents import Columns, Contents
from wirecell_ml.data.formats import Format
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.magnify_writing import CLOCK, MASK, NAME, NUMBERS, PLANE, PLANES, owners
from wirecell_ml.data.magnify_writing import write as write
from wirecell_ml.data.root_files import latest, opened
from wirecell_ml.data.root_histograms import CLASSES, Axis, Histogram, read_histogram
from wirecell_ml.data.root_trees import trees
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

MOST_CHANNEL = 1 << 31
SMALL = 1e-6  # of a bin: what an edge may be off

Planes = Mapping[str, Histogram]  # by letter


def read(source: Source) -> Iterator[Contents]:
    """Yield the one event of a file; ``arrays["plane_<tag>"]`` has 0, 1 or 2 for each channel of a frame.

    Raises DataError for whatever is wrong.
    """
    with opened(source) as file:
        images, lines = histograms(file, 2, source), histograms(file, 1, source)
        if not images:
            raise DataError(f"{source}: no frame in it; expected TH2F with names like 'hu_gauss0'")
        tables: dict[str, Columns] = {name: tree.read(0, tree.rows) for name, tree in trees(file, source).items()}
        run = tables.pop("Trun", {})
        frames = {tag: frame_of(planes, run, f"{source}: frame '{tag}'") for tag, planes in images.items()}
        left = summarise(frames, {tag: line_of(planes, f"{source}: summary '{tag}'") for tag, planes in lines.items()})
        masks = {name: tables.pop(name) for name in list(tables) if is_mask(name, tables[name])}
        rest = {name: values for name, values in run.items() if name not in (*NUMBERS, *CLOCK)}
        run_number, subrun, ident = (number_in(run, name) for name in NUMBERS)
        yield Contents(
            int(ident or 0),
            None if run_number is None else int(run_number),
            None if subrun is None else int(subrun),
            frames=frames,
            masks={name.removeprefix("T_"): mask_of(table) for name, table in masks.items()},
            tables=({"Trun": rest} if rest else {}) | tables | left,
            arrays={f"{PLANE}{tag}": plane_numbers(planes) for tag, planes in images.items()},
        )


def histograms(file: Any, axes: int, source: Source) -> dict[str, Planes]:
    """Return the histograms of so many axes in a file, by tag and plane."""
    found: dict[str, dict[str, Histogram]] = {}
    for name, key in latest(file, *CLASSES[axes - 1]).items():
        if match := NAME.fullmatch(name):
            plane, tag = match.groups()
            found.setdefault(tag, {})[plane] = read_histogram(key, f"{source}: histogram '{name}'")
    return {tag: {plane: held[plane] for plane in PLANES if plane in held} for tag, held in found.items()}


def frame_of(planes: Planes, run: Columns, where: str) -> Frame:
    """Return the frame that histograms of planes make, column after column in memory, as they are in the file."""
    ticks = next(iter(planes.values())).axes[0]
    if any(held.axes[0] != ticks for held in planes.values()):
        raise DataError(f"{where} has planes of {[held.axes[0] for held in planes.values()]}; expected the same ticks")
    channels = channels_of(planes, where)
    samples = np.empty((ticks.count, len(channels)), np.float32)
    np.concatenate([held.values for held in planes.values()], axis=1, out=samples, casting="unsafe")
    rebin = max(math.floor(ticks.width + SMALL), 1)  # ticks that do not make a whole bin were added to the last
    if rebin > 1:
        samples /= rebin
    tick_ns, time_ns = (number_in(run, name) or default for name, default in CLOCK.items())
    if tick_ns < 0:
        raise DataError(f"{where} has ticks of {tick_ns} ns in Trun; expected more than 0")
    first = ticks.low / rebin
    if not first.is_integer():
        first, time_ns = 0, time_ns + ticks.low * tick_ns
    return Frame(samples.T, channels, time_ns, rebin * tick_ns, int(first))


def channels_of(planes: Planes, where: str) -> NDArray[np.int32]:
    """Return the channels of some planes, as their axes say: each in the middle of its bin, or where that begins."""
    return np.concatenate([channels_along(held.axes[-1], where) for held in planes.values()])


def channels_along(axis: Axis, where: str) -> NDArray[np.int32]:
    """Return the channels along an axis."""
    first = math.ceil(axis.low - SMALL)
    if abs(axis.width - 1) > SMALL or first < 0 or first + axis.count > MOST_CHANNEL:
        raise DataError(f"{where} has {axis.count} channels from {axis.low} to {axis.high}; expected one in each bin")
    return np.arange(first, first + axis.count, dtype=np.int32)


def plane_numbers(planes: Planes) -> NDArray[np.int32]:
    """Return 0, 1 or 2 for each channel of some planes."""
    counts = [held.axes[-1].count for held in planes.values()]
    return np.repeat(np.array([PLANES.index(plane) for plane in planes], np.int32), counts)


def line_of(planes: Planes, where: str) -> Columns:
    """Return a summary as a table with a row for each channel."""
    values = np.concatenate([held.values for held in planes.values()]).astype(np.float32)
    return {"plane": plane_numbers(planes), "channel": channels_of(planes, where), "value": values}


def summarise(frames: dict[str, Frame], lines: Mapping[str, Columns]) -> dict[str, Columns]:
    """Give each summary to the frame that it is of, and return those of no frame here."""
    left = {}
    for tag, line in lines.items():
        fitting = (
            owner
            for owner in owners(tag)
            if owner in frames
            and frames[owner].summary is None
            and np.array_equal(frames[owner].channels, line["channel"])
        )
        if owner := next(fitting, None):
            frames[owner] = replace(frames[owner], summary=line["value"].astype(np.float64))
        else:
            left[tag] = line
    return left


def number_in(run: Columns, name: str) -> float | None:
    """Return the number in the first row of a table; None where there is none."""
    values = run.get(name)
    if not isinstance(values, np.ndarray) or values.ndim != 1 or not len(values) or not np.isfinite(values[0]):
        return None
    number: float = values[0].item()
    return number


def is_mask(name: str, table: Columns) -> bool:
    """Tell whether a table is of masked channels."""
    columns = [table.get(column) for column in MASK]
    return name.startswith("T_") and all(
        isinstance(column, np.ndarray) and column.ndim == 1 and np.can_cast(column.dtype, np.int32)
        for column in columns
    )


def mask_of(table: Columns) -> NDArray[np.int32]:
    """Return a channel mask, (range, 3)."""
    return np.stack([table[column] for column in MASK], axis=1).astype(np.int32)


FORMAT = Format(
    name="magnify",
    title="MagnifySink",
    kinds=("frames", "masks", "tables", "arrays"),
    suffixes=(".root",),
    recognises=lambda peek: (
        peek.container == "root" and any(NAME.fullmatch(key.partition(";")[0]) for key in peek.names)
    ),
    read=read,
    write=write,
    loses="all numbers in single precision, channels plane after plane and ascending, those missing between as zeros",
)
