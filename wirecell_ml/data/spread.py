"""Spread: what the values of an array are like, found without a copy of the whole array."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 16  # values looked at at once: 512 kB stay in the processor's cache
LARGEST = float(np.finfo(float).max)

Range = tuple[float, float]


@dataclass(frozen=True)
class Spread:
    """What the values of an array are like; NaN and infinity are counted, and left out of everything else."""

    size: int
    nonzero: int
    nonfinite: int
    lowest: float | None  # None where no value is finite, as the next three
    highest: float | None
    mean: float | None
    rms: float | None
    total: float

    @property
    def occupancy(self) -> float:
        """Share of values that are not zero."""
        return self.nonzero / self.size if self.size else 0.0


def spread(array: NDArray[Any]) -> Spread:
    """Return what the values of an array of numbers are like."""
    nonzero = int(np.count_nonzero(array))
    ranges, sums, finite = [], [(0.0, 0.0)], 0
    for values in blocks(array):
        finite += values.size
        if values.size:
            ranges.append((float(values.min()), float(values.max())))
            sums.append(sums_of(values))
    total, squares = (min(max(math.fsum(part), -LARGEST), LARGEST) for part in zip(*sums, strict=True))
    if not ranges:
        return Spread(array.size, nonzero, array.size, None, None, None, None, 0.0)
    lowest, highest = min(low for low, _ in ranges), max(high for _, high in ranges)
    rms = math.sqrt(squares / finite)
    return Spread(array.size, nonzero, array.size - finite, lowest, highest, total / finite, rms, total)


def blocks(array: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """Yield the finite values of an array in blocks, as float64."""
    flat = array.reshape(-1, order="A")
    for first in range(0, flat.size, BLOCK):
        values = flat[first : first + BLOCK].astype(np.float64)
        finite = np.isfinite(values)
        yield values if finite.all() else values[finite]


def sums_of(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the sum of values and of their squares, the largest number where either is larger."""
    with np.errstate(over="ignore"):
        total, squares = float(values.sum()), float(np.einsum("i,i->", values, values))  # np.dot would wait for threads
    if math.isfinite(total) and math.isfinite(squares):
        return total, squares
    shares = values / LARGEST / values.size
    return float(shares.sum()) * LARGEST, LARGEST / 2


def range_of(array: NDArray[Any]) -> Range | None:
    """Return the lowest and the highest of the finite values; None where there is none."""
    values = array[np.isfinite(array)]
    return (float(values.min()), float(values.max())) if values.size else None
