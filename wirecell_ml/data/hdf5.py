"""HDF5 frame files: what HDF5FrameTap writes, in both orientations (wire-cell-toolkit, hio/src/HDF5FrameTap.cxx)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import h5py
import numpy as np

from wirecell_ml.data.frame import Frame
from wirecell_ml.errors import DataError, suggest

Orientation = Literal["auto", "channel_tick", "tick_channel"]
DAMAGE = (OSError, RuntimeError, KeyError, TypeError, ValueError)  # what h5py raises on wrong bytes, by where they are


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open ``path`` for reading; raises DataError where it is missing, empty, truncated or no HDF5 file."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty; write it again")
    if not h5py.is_hdf5(path):
        raise DataError(f"{path}: not an HDF5 file; expected the output of HDF5FrameTap (g4-rec-*.h5)")
    try:
        with h5py.File(path) as file:
            yield file
    except DAMAGE as error:
        raise DataError(f"{path}: damaged or truncated, write or copy it again ({error})") from error


def idents(path: Path) -> list[int]:
    """Return the idents of the frames in ``path``, ascending."""
    with opened(path) as file:
        return sorted(int(name) for name in file if name.isdecimal())


def tags(path: Path, ident: int) -> list[str]:
    """Return the tags of frame ``ident`` in ``path``."""
    with opened(path) as file:
        return [name.removeprefix("frame_") for name in file[str(ident)] if name.startswith("frame_")]


def read_frame(path: Path, ident: int, tag: str, orientation: Orientation = "auto") -> Frame:
    """Return frame ``ident`` with ``tag``, as float32 in (channel, column) order.

    Raises DataError for a missing event or tag, a damaged dataset, and an orientation that cannot be told.
    """
    where = f"{path}: event {ident}"
    with opened(path) as file:
        if str(ident) not in file:
            raise DataError(f"{path}: no event {ident}.{suggest(str(ident), file)}")
        group = file[str(ident)]
        for name in (f"frame_{tag}", f"channels_{tag}", f"tickinfo_{tag}"):
            if name not in group:
                raise DataError(f"{where}: no dataset '{name}'.{suggest(name, group)}")
        samples = group[f"frame_{tag}"][()]
        channels = group[f"channels_{tag}"][()].astype(np.int32)
        time_ns, period_ns, tbin = map(float, group[f"tickinfo_{tag}"][()])
    samples = oriented(samples, len(channels), orientation, f"{where}: 'frame_{tag}'")
    return Frame(samples.astype(np.float32), channels, time_ns, period_ns, round(tbin))


def oriented(samples: np.ndarray, num_channels: int, orientation: Orientation, where: str) -> np.ndarray:
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


def write_frame(path: Path, ident: int, tag: str, frame: Frame) -> None:
    """Add a frame to ``path`` as today's HDF5FrameTap does: (channel, column), gzip and shuffle."""
    with h5py.File(path, "a") as file:
        group = file.require_group(str(ident))
        group.create_dataset(f"frame_{tag}", data=frame.samples, compression="gzip", shuffle=True)
        group.create_dataset(f"channels_{tag}", data=frame.channels)
        group.create_dataset(f"tickinfo_{tag}", data=np.array([frame.time_ns, frame.period_ns, float(frame.tbin)]))
