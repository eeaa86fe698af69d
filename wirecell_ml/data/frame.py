"""Frames: the waveforms of one readout, as Wire-Cell writes them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.errors import DataError

DIGITIZED = (np.dtype(np.int16), np.dtype(np.int8))  # types that samples may have besides float32
MOST_TICKS = 1 << 53  # up to here every whole number is a double


@dataclass(frozen=True)
class Frame:
    """Waveforms on a grid of channels and columns; a column is one tick, or several already averaged."""

    samples: NDArray[Any]  # (channel, column); float32: electrons per tick, or int16: ADC counts, int8: labels
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

    def rows(self, first: int, end: int) -> NDArray[Any]:
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


def timing(tickinfo: NDArray[Any], where: str) -> tuple[float, float, int]:
    """Return the time in ns, the period in ns and the first column of a frame from its tickinfo, (3,).

    Raises DataError, whose text ``where`` opens, unless they are finite numbers, the period above 0.
    """
    if tickinfo.shape != (3,):
        raise DataError(f"{where}: tickinfo has shape {tickinfo.shape}; expected (3,)")
    time_ns, period_ns, tbin = map(float, tickinfo)
    if not np.isfinite(tickinfo).all() or period_ns <= 0 or abs(tbin) > MOST_TICKS:
        raise DataError(f"{where}: tickinfo is {tickinfo.tolist()}; expected [time ns, period ns > 0, first tick]")
    return time_ns, period_ns, round(tbin)
