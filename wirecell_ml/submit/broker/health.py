"""Health: how often attempts at a site fail, and the breaker that opens when they do nothing else."""

import math
from dataclasses import dataclass, field

import numpy as np

from wirecell_ml.submit.broker.columns import FAULT, FRUITFUL, FRUITLESS, Columns, Flags

HALF_LIFE_S = 4 * 3600.0  # after so long a failure counts half
PRIOR_FAILURES, PRIOR_ATTEMPTS = 0.2, 4.0
FEWEST_FAULTS = 4  # in a row that open the breaker
CHANCE = 1e-3  # as rare as this the row must be, if the site failed as often as before it
FIRST_PAUSE_S, LONGEST_PAUSE_S = 300.0, 1800.0


@dataclass(frozen=True)
class Health:
    """What is to be expected of an attempt at a site."""

    failing: float  # probability that it has to be repeated
    wasted_s: float  # that such an attempt has run, on average
    row: int  # faults in a row until now
    closed_until: float  # nothing is sent before; 0: the breaker is shut
    on_trial: bool  # one unit may go and show that the site is well again

    @property
    def tries(self) -> float:
        """Attempts per unit that are to be expected."""
        return 1 / (1 - self.failing)


def read_health(past: Columns, now: float) -> Health:
    """Return the health of a site from its attempts that have ended."""
    breaker = Breaker()
    telling = np.flatnonzero(past.has_ended & past.any_of(FRUITFUL | FAULT))
    order = telling[np.argsort(past.ended[telling], kind="stable")]
    if past.any_of(FAULT)[order].any():
        for index, is_fault in zip(order.tolist(), past.any_of(FAULT)[order].tolist(), strict=True):
            breaker.hear(index, is_fault, float(past.left[index]), float(past.ended[index]))
    counted = past.has_ended & past.any_of(FRUITFUL | FRUITLESS)
    counted[sorted(breaker.troubled)] = False
    failing, wasted_s = failure_rate(past, counted, now)
    until = breaker.closed_until
    return Health(failing, wasted_s, len(breaker.row), until if until > now else 0.0, 0 < until <= now)


def failure_rate(past: Columns, counted: Flags, now: float) -> tuple[float, float]:
    """Return the probability that an attempt has to be repeated, and the seconds that such an attempt has run."""
    weight = np.where(counted, 0.5 ** ((now - np.minimum(past.ended, now)) / HALF_LIFE_S), 0.0)
    failed = weight * past.any_of(FRUITLESS)
    failures, attempts = PRIOR_FAILURES + failed.sum(), PRIOR_ATTEMPTS + weight.sum()
    wasted = (failed * past.lasted_s(now) * past.has_started).sum()
    return min(0.95, float(failures / attempts)), float(wasted / failures)


@dataclass
class Breaker:
    """Opens at a row of faults that chance does not explain, and twice as long at each that follows.

    Attempts that ran already when it opened neither open nor shut it. What happened in such a row says nothing of the
    time after it: those attempts are ``troubled``.
    """

    row: list[int] = field(default_factory=list)  # faults since the last success
    trips: int = 0
    opened_at: float = -math.inf
    failures: float = PRIOR_FAILURES  # before the row
    attempts: float = PRIOR_ATTEMPTS
    troubled: set[int] = field(default_factory=set)

    def hear(self, index: int, is_fault: bool, begun: float, ended: float) -> None:
        """Take account of one more attempt that has ended."""
        if begun <= self.opened_at:
            if is_fault:
                self.troubled.add(index)
            return
        if not is_fault:
            if not self.trips:
                self.failures += len(self.row)
                self.attempts += len(self.row)
            self.attempts += 1
            self.row, self.trips, self.opened_at = [], 0, -math.inf
            return
        self.row.append(index)
        improbable = (self.failures / self.attempts) ** len(self.row) < CHANCE
        if len(self.row) >= FEWEST_FAULTS and improbable:
            self.trips, self.opened_at = self.trips + 1, ended
        if self.trips:
            self.troubled.update(self.row)

    @property
    def closed_until(self) -> float:
        """Until when nothing is sent, 0 where the breaker is shut."""
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self.trips - 1))
        return self.opened_at + pause_s if self.trips else 0.0
