"""HDF5 frame files: what HDF5FrameTap writes, in both orientations (wire-cell-toolkit, hio/src/HDF5FrameTap.cxx)."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data import container
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek, check_event
from wirecell_ml.data.frame import DIGITIZED, Frame, timing
from wirecell_ml.data.hdf5_access import created, holds, names, opened, subgroup, values
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError, suggest

Orientation = Literal["auto", "channel_tick", "tick_channel"]
IDENT = re.compile(r"0|-?[1-9][0-9]{0,17}")
SINGLE = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)  # each float16, by its bits


def read(source: Source) -> Iterator[Contents]:
    """Yield the frames of each event, idents ascending, in the type that they were written in if it is int16 or int8.

    Raises DataError for a damaged dataset, and for a frame whose orientation cannot be told.
    """
    with opened(source) as file:
        found = idents_in(file)
        if not found:
            raise DataError(f"{source}: no event in it; expected groups named by their idents, such as '0'")
        for ident in found:
            group = subgroup(file, str(ident), str(source))
            yield Contents(ident, frames=frames_in(group, f"{source}: event {ident}"))


def frames_in(group: h5py.Group, where: str) -> dict[str, Frame]:
    """Return the frames of one event by tag."""
    frames, size = {}, 0
    for tag in tags_in(group):
        frames[tag] = frame_in(group, tag, "auto", where)
        size += frames[tag].samples.nbytes
        if size > container.MOST_BYTES:
            raise DataError(f"{where} has more than {container.MOST_BYTES} bytes; at most these are read")
    return frames


def idents(path: Path) -> list[int]:
    """Return the idents of the frames in ``path``, ascending."""
    with opened(path) as file:
        return idents_in(file)


def idents_in(file: h5py.File) -> list[int]:
    """Return the idents of the frames in an open file, ascending."""
    return sorted(int(name) for name in names(file) if IDENT.fullmatch(name))


def tags(path: Path, ident: int) -> list[str]:
    """Return the tags of frame ``ident`` in ``path``."""
    with opened(path) as file:
        return tags_in(event_in(file, ident, path))


def tags_in(group: h5py.Group) -> list[str]:
    """Return the tags of the frames of one event."""
    return [name.removeprefix("frame_") for name in names(group) if name.startswith("frame_")]


def event_in(file: h5py.File, ident: int, path: Path) -> h5py.Group:
    """Return the group of event ``ident``; raises DataError where there is none."""
    if not holds(file, str(ident)):
        raise DataError(f"{path}: no event {ident}.{suggest(str(ident), names(file))}")
    return subgroup(file, str(ident), str(path))


def read_frame(path: Path, ident: int, tag: str, orientation: Orientation = "auto") -> Frame:
    """Return frame ``ident`` with ``tag``, as float32 in (channel, column) order.

    Raises DataError for a missing event or tag, a damaged dataset, and an orientation that cannot be told.
    """
    with opened(path) as file:
        frame = frame_in(event_in(file, ident, path), tag, orientation, f"{path}: event {ident}")
    return replace(frame, samples=frame.samples.astype(np.float32, copy=False))


def frame_in(group: h5py.Group, tag: str, orientation: Orientation, where: str) -> Frame:
    """Return the frame with ``tag`` of one event; raises DataError where it is missing, damaged or no frame."""
    samples = usual(values(group, f"frame_{tag}", where))
    channels = values(group, f"channels_{tag}", where, kinds="iu")
    time_ns, period_ns, tbin = timing(values(group, f"tickinfo_{tag}", where), f"{where}: 'tickinfo_{tag}'")
    if channels.ndim != 1 or not np.array_equal(channels, channels.astype(np.int32)):
        raise DataError(f"{where}: 'channels_{tag}' has shape {channels.shape}; expected (channel,) idents of 32 bit")
    samples = oriented(samples, len(channels), orientation, f"{where}: 'frame_{tag}'")
    return Frame(samples, channels.astype(np.int32, copy=False), time_ns, period_ns, tbin)


def usual(samples: NDArray[Any]) -> NDArray[Any]:
    """Return ``samples`` of a type that frames have: float32, or int16 or int8 if they are so already."""
    if samples.dtype in DIGITIZED:
        return samples
    if samples.dtype == np.float16:
        return widened(samples)
    with np.errstate(over="ignore"):  # float64 beyond the range of float32
        return samples.astype(np.float32, copy=False)


def widened(halves: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return numbers of float16, as published files hold them, as float32; numpy's own way takes twice as long."""
    wide = np.empty(halves.shape, np.float32)
    return np.take(SINGLE, halves.view(np.uint16), out=wide, mode="clip")


def oriented(samples: NDArray[Any], num_channels: int, orientation: Orientation, where: str) -> NDArray[Any]:
    """Return ``samples`` as (channel, column); files of WCT up to 0.28 hold (column, channel)."""
    if samples.ndim != 2:
        raise DataError(f"{where} has {samples.ndim} dimensions; a frame has two")
    rows, columns = (size == num_channels for size in samples.shape)
    if not rows and not columns:
        raise DataError(f"{where} has shape {samples.shape}, but there are {num_channels} channels")
    if rows and columns and orientation == "auto":
        raise DataError(
            f"{where} is square, {samples.shape}, so its orientation cannot be told. "
            "Set data.orientation=channel_tick (WCT from 0.29.1) or tick_channel (WCT up to 0.28)"
        )
    by_channel = rows if orientation == "auto" else orientation == "channel_tick"
    if not (rows if by_channel else columns):
        raise DataError(f"{where} has shape {samples.shape}, which is not {orientation} for {num_channels} channels")
    return samples if by_channel else samples.T


def write(path: Path, events: Iterable[Contents]) -> None:
    """Write events one at a time as today's HDF5FrameTap does: (channel, column), gzip and shuffle.

    Raises DataError for an event that comes twice or holds something else, for a tag that cannot be a name, and for
    a frame with as many columns as channels, whose orientation nobody could tell.
    """
    written: set[int] = set()
    with created(path) as file:
        for event in events:
            check_event(event, FORMAT.kinds, written, str(path))
            put_frames(file.create_group(str(event.ident)), event.frames, f"{path}: event {event.ident}")


def put_frames(group: h5py.Group, frames: Mapping[str, Frame], where: str) -> None:
    """Add frames by tag to the group of their event; raises DataError for those that could not be read."""
    for tag, frame in frames.items():
        if not tag.isprintable() or "/" in tag:
            raise DataError(f"{where}: tag {tag!r} cannot be written; use printable characters and no '/'")
        if frame.samples.shape[0] == frame.samples.shape[1]:
            raise DataError(f"{where}: the frame '{tag}' is square; write it to a frame archive, or crop it")
        put_frame(group, tag, frame)


def write_frame(path: Path, ident: int, tag: str, frame: Frame) -> None:
    """Add a frame to ``path`` as today's HDF5FrameTap does: (channel, column), gzip and shuffle."""
    with h5py.File(path, "a") as file:
        put_frame(file.require_group(str(ident)), tag, frame)


def put_frame(group: h5py.Group, tag: str, frame: Frame) -> None:
    """Add a frame to the group of its event."""
    packing: dict[str, Any] = {"compression": "gzip", "shuffle": True} if frame.samples.size else {}
    samples = frame.samples if frame.samples.dtype in DIGITIZED else frame.samples.astype(np.float32, copy=False)
    group.create_dataset(f"frame_{tag}", data=samples, **packing)
    group.create_dataset(f"channels_{tag}", data=frame.channels)
    group.create_dataset(f"tickinfo_{tag}", data=np.array([frame.time_ns, frame.period_ns, float(frame.tbin)]))


def recognises(peek: Peek) -> bool:
    """Tell a file by a frame in its first event."""
    return peek.container == "hdf5" and any(re.match(r"-?[0-9]+/frame_", name) for name in peek.names)


FORMAT = Format(
    name="hdf5 frames",
    title="HDF5FrameTap",
    kinds=("frames",),
    suffixes=(".h5", ".hdf5"),
    recognises=recognises,
    read=read,
    write=write,
    loses="run and subrun numbers, and summaries of channels",
)
