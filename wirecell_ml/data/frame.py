"""Frames: the waveforms of one readout, as Wire-Cell writes them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.errors import DataError


@dataclass(frozen=True)
class Frame:
    """Waveforms on a grid of channels and columns; a column is one tick, or several already averaged."""

    samples: NDArray[np.float32]  # (channel, column), electrons per tick
    channels: NDArray[np.int32]  # (channel,), idents
    time_ns: float  # time of the readout, which columns are counted from
    period_ns: float  # length of a column
    tbin: int = 0  # number of the first column
    summary: NDArray[np.float64] | None = None  # (channel,), one number of each waveform, if there is such

    def __post_init__(self) -> None:
        if len(self.samples) != len(self.channels):
            raise DataError(f"{len(self.samples)} rows of samples, but {len(self.channels)} channels")

    @property
    def start_ns(self) -> float:
        """Time of the first column."""
        return self.time_ns + self.tbin * self.period_ns

    def rows(self, first: int, end: int) -> NDArray[np.float32]:
        """Return the waveforms of channels ``first`` to ``end`` (excluded), zero where the frame has no such channel.

        Raises DataError where the range goes beyond the frame's channels.
        """
        lowest, highest = int(self.channels.min()), int(self.channels.max())
        if first < lowest or end > highest + 1:
            raise DataError(f"channels {first}..{end - 1} are outside the file, which holds {lowest}..{highest}")
        inside = (self.channels >= first) & (self.channels < end)
        if inside.all() and len(self.channels) == end - first and np.all(np.diff(self.channels) == 1):
            return self.samples
        image = np.zeros((end - first, self.samples.shape[1]), np.float32)
        image[self.channels[inside] - first] = self.samples[inside]
        return image
