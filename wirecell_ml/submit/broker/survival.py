"""Durations of which some are not over: quantiles by the estimate of Kaplan and Meier, with weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

ENDLESS = 0.05  # weight of a duration that never ends, so that nothing is certain to be over


@dataclass(frozen=True)
class Durations:
    """Durations, each with a weight; one that is not over is known to be longer than what it has lasted."""

    seconds: Floats
    over: NDArray[np.bool_]
    weight: Floats

    @classmethod
    def of(cls, seconds: ArrayLike, over: ArrayLike, weight: ArrayLike) -> "Durations":
        """Return durations in their order; none is shorter than a millisecond."""
        lasted = np.maximum(1e-3, np.asarray(seconds, float))
        order = np.argsort(lasted, kind="stable")
        return cls(lasted[order], np.asarray(over, bool)[order], np.asarray(weight, float)[order])

    @classmethod
    def around(cls, seconds: float, weight: float, spread: float) -> "Durations":
        """Return what stands for a belief: ``seconds``, and less and more by a factor of ``spread``."""
        values = [seconds / spread, seconds, seconds * spread]
        return cls.of(values, [True] * 3, [weight / 3] * 3)

    def weighted(self, factors: Floats) -> "Durations":
        """Return the same durations, each weight multiplied."""
        return Durations(self.seconds, self.over, self.weight * factors)

    @cached_property
    def survival(self) -> Floats:
        """Share of durations that last longer than each one, by Kaplan and Meier."""
        if not len(self.seconds):
            return np.zeros(0)
        at_risk = np.cumsum(self.weight[::-1])[::-1] + ENDLESS
        return np.asarray(np.cumprod(1 - np.where(self.over, self.weight, 0.0) / at_risk), float)

    def share_longer(self, seconds: float) -> float:
        """Return the share of durations longer than this; past the longest one it falls as its inverse."""
        index = int(np.searchsorted(self.seconds, seconds, side="right")) - 1
        if index < 0:
            return 1.0
        share = float(self.survival[index])
        longest = float(self.seconds[-1])
        return share * longest / seconds if seconds > longest else share

    def quantile(self, part: float, lasted: float = 0.0) -> float:
        """Return the length within which ``part`` of the durations end that have ``lasted`` so long already."""
        wanted = (1 - part) * self.share_longer(lasted)
        index = int(np.searchsorted(-self.survival, -wanted, side="left"))
        if index < len(self.seconds):
            return max(lasted, float(self.seconds[index]))
        return max(lasted, float(self.seconds[-1] * self.survival[-1] / wanted))


def together(parts: Sequence[Durations]) -> Durations:
    """Return all durations of several collections."""
    return Durations.of(
        np.concatenate([part.seconds for part in parts]),
        np.concatenate([part.over for part in parts]),
        np.concatenate([part.weight for part in parts]),
    )
