"""Writing Magnify files, and the names in them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data import detectors
from wirecell_ml.data.contents import Columns, Contents
from wirecell_ml.data.formats import check_event
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.root_files import MOST_BYTES
from wirecell_ml.data.root_histograms import Axis, Histogram, new_histogram
from wirecell_ml.data.root_writing import TreeWriter, new_file
from wirecell_ml.errors import DataError

PLANES = "uvw"
NAME = re.compile(rf"h([{PLANES}])_([A-Za-z0-9_.*+-]+)")  # of a histogram: plane and tag
NUMBERS = ("runNo", "subRunNo", "eventNo")
CLOCK = {"tick_ns": 500.0, "time_ns": 0.0}  # in Trun, and what holds without
MASK = ("chid", "start_time", "end_time")
LINE = {"plane", "channel", "value"}  # the columns of a summary that is a table
PLANE = "plane_"  # begins the name of an array of 0, 1 or 2 for each channel of a frame
SUMMARY = "_summary"  # ends the name of the summary of a tag


def owners(name: str) -> tuple[str, ...]:
    """Return the tags that a summary of this name may be of: thresholds are those of the Wiener filtered waveforms."""
    return name, name.removesuffix(SUMMARY), re.sub("^threshold", "wiener", name)


def summary_name(tag: str) -> str:
    """Return the name that the summary of a tag is written under."""
    return re.sub("^wiener", "threshold", tag) if tag.startswith("wiener") else tag + SUMMARY


def write(path: Path, events: Iterable[Contents]) -> None:
    """Write one event; a plane is a range of channels, as ``arrays["plane_<tag>"]`` or else a known detector has it.

    Raises DataError for more or fewer events, and for what the histograms cannot hold.
    """
    with new_file(path) as file:
        rest = iter(events)
        event = next(rest, None)
        if event is None:
            raise DataError(f"{path}: no event to write")
        check_event(event, ("frames", "masks", "tables", "arrays"), set(), str(path))
        write_event(file, event, f"{path}: event {event.ident}")
        if next(rest, None):
            raise DataError(f"{path}: more than one event; a Magnify file holds one, so write each to its own")


def write_event(file: Any, event: Contents, where: str) -> None:
    """Write an event to an open file."""
    if not event.frames:
        raise DataError(f"{where} has no frame; a Magnify file has some")
    if strange := set(event.arrays) - {PLANE + tag for tag in event.frames}:
        raise DataError(f"{where}: array '{min(strange)}' has no place in a Magnify file")
    clock = clock_of(event.frames, where)
    planes = {tag: planes_of(event, tag, f"{where}: frame '{tag}'") for tag in event.frames}
    for tag, frame in event.frames.items():
        add_histograms(file, tag, images_of(frame, planes[tag], clock["tick_ns"], f"{where}: frame '{tag}'"))
        if frame.summary is not None:
            add_histograms(file, summary_name(tag), lines_of(planes[tag], frame.channels, frame.summary, where))
    writer, masks = TreeWriter(file), masks_of(event, planes)
    if twice := set(masks) & set(event.tables):
        raise DataError(f"{where} has a table and a mask that are both written as '{min(twice)}'; rename one")
    for name, table in {**event.tables, "Trun": run_of(event, clock), **masks}.items():
        if set(table) == LINE:
            add_histograms(file, name, lines_of(table["plane"], table["channel"], table["value"], where))
        else:
            writer.add(name, table, f"{where}: tree '{name}'")
    writer.flush()


def add_histograms(file: Any, tag: str, planes: Iterator[tuple[int, Histogram]]) -> None:
    """Add the histograms of some planes."""
    for plane, histogram in planes:
        name = f"h{PLANES[plane]}_{tag}"
        file[name] = new_histogram(name, histogram)


def clock_of(frames: Mapping[str, Frame], where: str) -> dict[str, float]:
    """Return the tick that all periods are multiples of, and the time that all ticks are counted from."""
    periods, times = {frame.period_ns for frame in frames.values()}, {frame.time_ns for frame in frames.values()}
    tick_ns = CLOCK["tick_ns"] if all(period % CLOCK["tick_ns"] == 0 for period in periods) else min(periods)
    if len(times) != 1 or any(period % tick_ns for period in periods):
        raise DataError(f"{where} has frames from {times} ns, of periods {periods} ns; a Magnify file has one clock")
    return {"tick_ns": tick_ns, "time_ns": min(times)}


def planes_of(event: Contents, tag: str, where: str) -> NDArray[np.int32]:
    """Return 0, 1 or 2 for each channel of a frame; raises DataError where that is not known."""
    if not NAME.fullmatch(f"hu_{tag}"):
        raise DataError(f"{where}: the tag cannot be written; use letters, digits and _")
    channels = event.frames[tag].channels
    known = event.arrays.get(PLANE + tag)
    if known is None:
        known = np.full(len(channels), -1)
        for name, (first, end) in detectors.planes_of(channels).items():
            known[(channels >= first) & (channels < end)] = "UVW".find(name)
    if known.shape != channels.shape or not np.isin(known, range(len(PLANES))).all():
        raise DataError(f"{where}: give 0, 1 or 2 for U, V or W of each channel as arrays['{PLANE}{tag}']")
    return known.astype(np.int32)


def images_of(frame: Frame, planes: NDArray[Any], tick_ns: float, where: str) -> Iterator[tuple[int, Histogram]]:
    """Yield the number and the histogram of each plane that a frame has channels of."""
    rebin = round(frame.period_ns / tick_ns)
    columns = frame.samples.shape[1]
    ticks = Axis(columns, frame.tbin * rebin, (frame.tbin + columns) * rebin)
    for plane, rows, first, count in ranges(planes, frame.channels, columns, where):
        values = np.zeros((columns, count), np.float32)
        values[:, frame.channels[rows] - first] = frame.samples[rows].T
        yield plane, Histogram((ticks, Axis(count, first - 0.5, first + count - 0.5)), values * np.float32(rebin))


def lines_of(planes: Any, channels: Any, summary: Any, where: str) -> Iterator[tuple[int, Histogram]]:
    """Yield the number of each plane and the histogram of a summary, (channel,), in it."""
    for plane, rows, first, count in ranges(np.asarray(planes), np.asarray(channels), 1, where):
        values = np.zeros(count, np.float32)
        values[channels[rows] - first] = summary[rows]
        yield plane, Histogram((Axis(count, first, first + count),), values)


def ranges(
    planes: NDArray[Any], channels: NDArray[Any], columns: int, where: str
) -> Iterator[tuple[int, NDArray[np.int64], int, int]]:
    """Yield each plane, with the rows of its channels, the first of them, and how many are in their range."""
    if not len(channels) or not columns:
        raise DataError(f"{where} has {len(channels)} channels and {columns} ticks; a histogram has some")
    for plane in range(len(PLANES)):
        rows = np.flatnonzero(planes == plane)
        if not len(rows):
            continue
        first, last = int(channels[rows].min()), int(channels[rows].max())
        if len(np.unique(channels[rows])) < len(rows):
            raise DataError(f"{where} has a channel twice in plane {PLANES[plane]}")
        if first < 0 or (last + 1 - first) * columns > MOST_BYTES // 4:
            raise DataError(f"{where} has channels {first} to {last} in plane {PLANES[plane]}; too far apart to write")
        yield plane, rows, first, last + 1 - first


def run_of(event: Contents, clock: Mapping[str, float]) -> Columns:
    """Return the row of Trun: numbers of the event, the clock if it is not the usual one, and what it had besides."""
    numbers = zip(NUMBERS, (event.run, event.subrun, event.ident), strict=True)
    row = {name: np.array([number], np.int32) for name, number in numbers if number is not None}
    row |= {name: np.array([value]) for name, value in clock.items() if value != CLOCK[name]}
    return row | dict(event.tables.get("Trun", {}))


def masks_of(event: Contents, planes: Mapping[str, NDArray[np.int32]]) -> dict[str, Columns]:
    """Return the channel masks as tables; the plane is -1 for a channel of no frame here."""
    channels = np.concatenate([frame.channels for frame in event.frames.values()])
    known, first = np.unique(channels, return_index=True)
    numbers = np.concatenate(list(planes.values()))[first]
    found: dict[str, Columns] = {}
    for name, mask in event.masks.items():
        places = np.searchsorted(known, mask[:, 0]).clip(max=len(known) - 1)
        plane = np.where(known[places] == mask[:, 0], numbers[places], -1).astype(np.int32)
        chid, start, end = mask.T.astype(np.int32)
        found[f"T_{name}"] = {"chid": chid, "plane": plane, "start_time": start, "end_time": end}
    return found
