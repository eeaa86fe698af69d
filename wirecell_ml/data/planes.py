"""Plane images: one plane of one event on the grid that Wire-Cell's DNNROIFinding gives to a network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.events import Event, truth_name
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.hdf5 import Orientation, read_frame
from wirecell_ml.errors import ConfigError, DataError


@dataclass(frozen=True)
class Layout:
    """How waveforms become images: which tags, which channels, which ticks, how many ticks to a slice."""

    tags: tuple[str, ...]  # input waveforms, in the order of the network's input channels
    truth_tag: str
    traditional_tag: str | None  # waveform of the traditional ROIs, zero outside them
    planes: Mapping[str, tuple[int, int]]  # first and past-the-last channel ident of each plane
    tick_ns: float
    tick_per_slice: int  # ticks averaged into one column of the image
    tick_range: tuple[int, int] | None = None  # first and past-the-last tick; None: all
    ticks_per_column: int | None = None  # ticks already averaged in the file; None: period of the file over tick_ns
    orientation: Orientation = "auto"


@dataclass(frozen=True)
class PlaneImage:
    """One plane of one event, in electrons per tick."""

    inputs: NDArray[np.float32]  # (tag, channel, slice)
    truth: NDArray[np.float32]  # (channel, slice)
    traditional: NDArray[np.float32]  # (channel, slice), empty if there is none
    time_ns: float  # of the first slice


def read_planes(event: Event, layout: Layout) -> dict[str, PlaneImage]:
    """Return the images of every plane of ``event``.

    Raises DataError for whatever is wrong with the files, and ConfigError where they do not fit the layout.
    """
    inputs = [read_frame(event.inputs, event.ident, tag, layout.orientation) for tag in layout.tags]
    truth = read_truth(event, layout)
    traditional = None
    if layout.traditional_tag:
        traditional = read_frame(event.inputs, event.ident, layout.traditional_tag, layout.orientation)
    try:
        return {plane: read_plane(inputs, truth, traditional, plane, layout) for plane in layout.planes}
    except (ConfigError, DataError) as error:
        raise type(error)(f"{event.inputs}: event {event.ident}: {error}") from None


def read_truth(event: Event, layout: Layout) -> Frame:
    """Return the true frame of ``event``; where it has no file of its own, an error says which one was looked for."""
    try:
        return read_frame(event.truth, event.truth_ident, layout.truth_tag, layout.orientation)
    except DataError as error:
        if event.truth != event.inputs:
            raise
        raise DataError(
            f"{error}. Truth was looked for here, since there is no {truth_name(event.inputs)} beside it"
        ) from None


def read_plane(
    inputs: Sequence[Frame], truth: Frame, traditional: Frame | None, plane: str, layout: Layout
) -> PlaneImage:
    """Return the image of one plane from the frames of an event."""
    images = [image(frame, plane, layout) for frame in inputs]
    true = image(truth, plane, layout)
    wcts_own = image(traditional, plane, layout) if traditional else np.zeros((0, 0), np.float32)
    shapes = {one.shape for one in (*images, true, *([wcts_own] if traditional else []))}
    if len(shapes) > 1:
        raise DataError(f"the waveforms of plane {plane} have different shapes: {sorted(shapes)}; they do not pair")
    start = layout.tick_range[0] * layout.tick_ns if layout.tick_range else 0.0
    return PlaneImage(np.stack(images), true, wcts_own, inputs[0].start_ns + start)


def image(frame: Frame, plane: str, layout: Layout) -> NDArray[np.float32]:
    """Return the (channel, slice) image of ``plane``: channels and ticks cropped, ticks averaged."""
    try:
        rows = frame.rows(*layout.planes[plane])
    except DataError as error:
        raise DataError(f"plane {plane}: {error}. See the channel ranges in configs/detector") from None
    per_column = layout.ticks_per_column or columns_to_ticks(frame.period_ns, layout.tick_ns)
    if layout.tick_range:
        first, end = (tick // per_column for tick in layout.tick_range)
        if not 0 <= first < end or any(tick % per_column for tick in layout.tick_range):
            raise ConfigError(
                f"data.tick_range={list(layout.tick_range)}: give multiples of {per_column}, "
                "counted from the file's first tick"
            )
        if end > rows.shape[1]:
            raise DataError(f"ticks {layout.tick_range} are outside the file, which holds {rows.shape[1] * per_column}")
        rows = rows[:, first:end]
    if layout.tick_per_slice % per_column:
        raise ConfigError(
            f"data.tick_per_slice={layout.tick_per_slice} is no multiple of the file's {per_column} ticks per column"
        )
    return average(rows, layout.tick_per_slice // per_column)


def columns_to_ticks(period_ns: float, tick_ns: float) -> int:
    """Return how many ticks a column of the file holds."""
    ticks = round(period_ns / tick_ns)
    if ticks < 1 or abs(ticks * tick_ns - period_ns) > 1e-3 * tick_ns:
        raise DataError(
            f"a column is {period_ns:g} ns, no multiple of the {tick_ns:g} ns tick. Set data.ticks_per_column"
        )
    return ticks


def average(rows: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    """Return the mean of every ``columns`` columns, zeros added at the end as DNNROIFinding does."""
    if columns == 1:
        return np.ascontiguousarray(rows)
    missing = -rows.shape[1] % columns
    padded = np.pad(rows, ((0, 0), (0, missing))) if missing else rows
    return np.asarray(padded.reshape(len(rows), -1, columns).mean(axis=2, dtype=np.float32))
