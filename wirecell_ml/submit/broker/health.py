"""Health: how often attempts at a site fail, and the breaker that opens when they do nothing else."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from wirecell_ml.submit.broker.past import Past
from wirecell_ml.submit.states import AttemptState

A = AttemptState
FAULTS = frozenset({A.FAILED_INFRA, A.LOST})  # of the site; the user's mistake is not, and a pre-emption is its habit
FRUITLESS = FAULTS | {A.PREEMPTED}  # work that has to be done again
FRUITFUL = frozenset({A.SUCCEEDED, A.FAILED_APP})

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


def read_health(past: Iterable[Past], now: float) -> Health:
    """Return the health of a site from its attempts that have ended."""
    ended = sorted((one for one in past if one.ended is not None), key=ended_at)
    breaker = Breaker()
    for one in ended:
        breaker.hear(one)
    failing, wasted_s = failure_rate([one for one in ended if id(one) not in breaker.troubled], now)
    until = breaker.closed_until
    return Health(failing, wasted_s, len(breaker.row), until if until > now else 0.0, 0 < until <= now)


def ended_at(one: Past) -> float:
    """Return when an attempt ended."""
    assert one.ended is not None
    return one.ended


def failure_rate(ended: Sequence[Past], now: float) -> tuple[float, float]:
    """Return the probability that an attempt has to be repeated, and the seconds that such an attempt has run."""
    failures, attempts, wasted = PRIOR_FAILURES, PRIOR_ATTEMPTS, 0.0
    for one in ended:
        if one.state not in FRUITLESS | FRUITFUL:
            continue
        weight = 0.5 ** ((now - ended_at(one)) / HALF_LIFE_S)
        attempts += weight
        if one.state in FRUITLESS:
            failures += weight
            wasted += weight * (ended_at(one) - (one.started or ended_at(one)))
    return min(0.95, failures / attempts), wasted / failures


@dataclass
class Breaker:
    """Opens at a row of faults that chance does not explain, and twice as long at each that follows.

    Attempts that were under way when it opened do not count again. What happened in such a row says nothing of the time
    after it: those attempts are ``troubled``.
    """

    row: list[Past] = field(default_factory=list)  # faults since the last success
    trips: int = 0
    opened_at: float = -math.inf
    failures: float = PRIOR_FAILURES  # before the row
    attempts: float = PRIOR_ATTEMPTS
    troubled: set[int] = field(default_factory=set)  # id of each

    def hear(self, one: Past) -> None:
        """Take account of one more attempt that has ended."""
        if one.state in FRUITFUL:
            if not self.trips:
                self.failures += len(self.row)
                self.attempts += len(self.row)
            self.attempts += 1
            self.row, self.trips, self.opened_at = [], 0, -math.inf
        elif one.state in FAULTS:
            self.row.append(one)
            improbable = (self.failures / self.attempts) ** len(self.row) < CHANCE
            if len(self.row) >= FEWEST_FAULTS and improbable and one.submitted > self.opened_at:
                self.trips, self.opened_at = self.trips + 1, ended_at(one)
            if self.trips:
                self.troubled.update(id(other) for other in self.row)

    @property
    def closed_until(self) -> float:
        """Until when nothing is sent, 0 where the breaker is shut."""
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self.trips - 1))
        return self.opened_at + pause_s if self.trips else 0.0
