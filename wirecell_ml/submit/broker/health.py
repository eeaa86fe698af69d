"""Health: how often attempts at a site fail, and the breaker that opens when they do nothing else."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from wirecell_ml.submit.broker.columns import FAULT, FRUITFUL, FRUITLESS, Columns, Flags

HALF_LIFE_S = 4 * 3600.0  # after so long a failure counts half
PRIOR_FAILURES, PRIOR_ATTEMPTS = 0.2, 4.0
USUAL_FAILURES, USUAL_ATTEMPTS = 1.0, 10.0  # what the breaker takes for usual where nothing is known
SURVIVED = 5.0  # times as long as those that failed an attempt has to run to show that the site is well again
FEWEST_FAULTS = 4  # in a row that open the breaker
CHANCE = 1e-3  # as rare as this the row must be, if the site failed as often as before it
FIRST_PAUSE_S, LONGEST_PAUSE_S = 300.0, 600.0  # a trial costs one unit, a site that is well again and idle many


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
    breaker = Breaker(past)
    telling = np.flatnonzero(past.has_ended & past.any_of(FRUITFUL | FAULT))
    order = telling[np.argsort(past.ended[telling], kind="stable")]
    faults = past.any_of(FAULT)[order]
    if faults.any():
        for index, is_fault in zip(order.tolist(), faults.tolist(), strict=True):
            breaker.hear(index, is_fault)
        breaker.heed_trials(now)
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

    A row is judged beside what began with it and still runs: where many begin at once, those that crash are heard of
    first. A success shuts the breaker if it began with the row or later; a fault of what ran already when it opened
    does not open it again. What happened in such a row says nothing of the time after it: it is ``troubled``.
    """

    past: Columns
    row: list[int] = field(default_factory=list)  # faults since the last success
    trips: int = 0
    opened_at: float = -math.inf
    failures: float = USUAL_FAILURES  # before the row
    attempts: float = USUAL_ATTEMPTS
    troubled: set[int] = field(default_factory=set)

    def hear(self, index: int, is_fault: bool) -> None:
        """Take account of one more attempt that has ended."""
        begun, ended = float(self.past.left[index]), float(self.past.ended[index])
        self.heed_trials(ended)
        if not is_fault:
            self.attempts += 1
            if not self.row or begun >= self.since(self.row):
                self.shut()
        elif begun <= self.opened_at:
            self.troubled.add(index)
        else:
            self.row.append(index)
            self.judge(ended)

    def judge(self, now: float) -> None:
        """Open if the row, or its end, is too much: ordinary faults before the trouble began must not hide it."""
        sizes = [FEWEST_FAULTS << step for step in range(len(self.row).bit_length())]
        rows = [self.row[-size:] for size in sizes if size < len(self.row)]
        unlikely = [row for row in [*rows, self.row] if len(row) >= FEWEST_FAULTS and self.chance(row, now) < CHANCE]
        if unlikely:
            self.trips, self.opened_at = self.trips + 1, now
            self.ordinary(len(self.row) - len(unlikely[0]))
            self.row = unlikely[0]
            self.troubled.update(self.row)

    def heed_trials(self, now: float) -> None:
        """Shut where an attempt that began after it opened has run for longer than those of the row did."""
        if not self.trips:
            return
        trial = (self.past.started > self.opened_at) & (self.past.started <= now)
        lasted = np.minimum(self.past.ended, now)[trial] - self.past.started[trial]
        if lasted.max(initial=0.0) > SURVIVED * float(np.median(self.past.lasted_s(now)[self.row])):
            self.shut()

    def shut(self) -> None:
        """Begin anew."""
        if not self.trips:
            self.ordinary(len(self.row))
        self.row, self.trips, self.opened_at = [], 0, -math.inf

    def ordinary(self, faults: int) -> None:
        """Count faults that did not open anything as what the site does."""
        self.failures += faults
        self.attempts += faults

    def since(self, row: Sequence[int]) -> float:
        """Return when the first attempt of a row began."""
        return float(self.past.left[row].min())

    def chance(self, row: Sequence[int], now: float) -> float:
        """Return how probable such a row is at most (Chernoff), if the site fails as often as before it."""
        begun = (self.past.started >= self.since(row)) & (self.past.started <= now)
        number = len(row) + int((begun & (self.past.ended > now)).sum())
        part, usual = len(row) / number, self.failures / self.attempts
        if part <= usual:
            return 1.0
        others = (1 - part) * math.log((1 - part) / (1 - usual)) if part < 1 else 0.0
        return math.exp(-number * (part * math.log(part / usual) + others))

    @property
    def closed_until(self) -> float:
        """Until when nothing is sent, 0 where the breaker is shut."""
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self.trips - 1))
        return self.opened_at + pause_s if self.trips else 0.0
