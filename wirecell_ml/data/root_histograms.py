"""Histograms of ROOT files as arrays with axes of equal bins."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from uproot.models.TArray import Model_TArray
from uproot.writing.identify import to_TAxis, to_TH1x, to_TH2x

from wirecell_ml.data.root_files import read_object
from wirecell_ml.errors import DataError

CLASSES = (tuple(f"TH1{kind}" for kind in "FDIS"), tuple(f"TH2{kind}" for kind in "FDIS"))  # of one and two axes


@dataclass(frozen=True)
class Axis:
    """Bins of equal width."""

    count: int
    low: float  # where the first begins
    high: float  # where the last ends

    @property
    def width(self) -> float:
        """Width of a bin."""
        return (self.high - self.low) / self.count


@dataclass(frozen=True)
class Histogram:
    """A histogram of one or two axes."""

    axes: tuple[Axis, ...]  # the last is that along which the values follow one another in memory, x
    values: NDArray[Any]  # one axis each, without what is under or over


def read_histogram(key: Any, where: str) -> Histogram:
    """Return the histogram that a key leads to, its values as they lie in the file, not copied.

    Raises DataError where they do not fit the axes, or an axis is not of equal bins.
    """
    held = read_object(key)
    names = ("fYaxis", "fXaxis") if key.fClassName in CLASSES[1] else ("fXaxis",)
    axes = tuple(axis_of(held.member(name), where) for name in names)
    (content,) = held.base(Model_TArray)
    values, shape = np.asarray(content), tuple(axis.count + 2 for axis in axes)
    if values.size != math.prod(shape):
        raise DataError(f"{where} has {values.size} values; expected {shape}, with those under and over")
    return Histogram(axes, values.reshape(shape)[(slice(1, -1),) * len(axes)])


def axis_of(held: Any, where: str) -> Axis:
    """Return an axis."""
    count, low, high = int(held.member("fNbins")), float(held.member("fXmin")), float(held.member("fXmax"))
    if count < 1 or not -math.inf < low < high < math.inf or len(held.member("fXbins")):
        raise DataError(f"{where} has an axis of {count} bins from {low} to {high}; expected equal bins")
    return Axis(count, low, high)


def new_histogram(name: str, histogram: Histogram) -> Any:
    """Return a histogram as uproot writes it: TH1F or TH2F."""
    around = np.zeros([count + 2 for count in histogram.values.shape], ">f4")
    around[(slice(1, -1),) * around.ndim] = histogram.values
    axes = [
        to_TAxis(label, "", axis.count, axis.low, axis.high)
        for label, axis in zip(("xaxis", "yaxis"), reversed(histogram.axes), strict=False)
    ]
    make, moments = (to_TH1x, 4) if len(axes) == 1 else (to_TH2x, 7)  # zero: ROOT works them out from the values
    return make(name, name, around.ravel(), histogram.values.size, *[0.0] * moments, np.zeros(0), *axes)
