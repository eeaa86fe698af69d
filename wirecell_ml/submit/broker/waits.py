"""Waits: how long a unit waits in the queue of a site, from its own waits there and the scheduler's word."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wirecell_ml.submit.broker.past import Past
from wirecell_ml.submit.broker.survival import Durations, Floats, together

HALF_LIFE_S = 7200.0  # after so long a wait counts half: queues change within the day
PRIOR_S, PRIOR_WEIGHT, PRIOR_SPREAD = 600.0, 0.5, 4.0  # of a site that nothing is known of
OUTLOOK_WEIGHT, OUTLOOK_SPREAD = 3.0, 2.0  # the scheduler's word counts as so many waits
GRID = 24  # powers of 2 of units ahead at which a wait is computed


@dataclass(frozen=True)
class Waits:
    """The waits at one site, each with the number of units of ours that were ahead in the queue."""

    durations: Durations
    ahead: Floats  # in the order of the durations

    def given(self, ahead: float, outlook_s: float | None) -> Durations:
        """Return the waits as they bear on a unit that finds so many of ours ahead: those of its like count most."""
        likeness = np.minimum((1 + self.ahead) / (1 + ahead), (1 + ahead) / (1 + self.ahead))
        parts = [self.durations.weighted(likeness), Durations.around(PRIOR_S, PRIOR_WEIGHT, PRIOR_SPREAD)]
        if outlook_s is not None:
            parts.append(Durations.around(max(1.0, outlook_s), OUTLOOK_WEIGHT, OUTLOOK_SPREAD))
        return together(parts)

    def quantile_s(self, part: float, ahead: float, outlook_s: float | None, waited_s: float = 0.0) -> float:
        """Return within how many seconds more, after ``waited_s``, this ``part`` of such units has started."""
        return self.given(ahead, outlook_s).quantile(part, waited_s) - waited_s


def read_waits(past: Sequence[Past], now: float) -> Waits:
    """Return the waits at one site; those of attempts that still wait, or were taken back, last longer than that."""
    ordered = sorted(past, key=lambda one: one.submitted)
    submitted = np.array([one.submitted for one in ordered])
    left = np.array([left_queue(one, now) for one in ordered])
    over = np.array([one.started is not None for one in ordered], dtype=bool)
    still = np.array([one.started is None and one.ended is None for one in ordered], dtype=bool)
    gone = np.sort(left[~still])
    ahead = np.arange(len(ordered)) - np.searchsorted(gone, submitted, side="right")
    seconds = np.maximum(1e-3, left - submitted)
    weight = 0.5 ** ((now - left) / HALF_LIFE_S)
    order = np.argsort(seconds, kind="stable")
    return Waits(Durations(seconds[order], over[order], weight[order]), np.maximum(0.0, ahead[order].astype(float)))


def left_queue(one: Past, now: float) -> float:
    """Return when an attempt left the queue: it started, or ended without; now, where it still waits."""
    times = [time for time in (one.started, one.ended) if time is not None]
    return min(times, default=now)
