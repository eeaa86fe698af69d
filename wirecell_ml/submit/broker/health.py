"""Health: how often attempts at a site fail, and the breaker that opens when they do nothing else."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
FIRST_PAUSE_S, LONGEST_PAUSE_S = 300.0, 4 * 3600.0


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
    failing, wasted_s = failure_rate(ended, now)
    row, closed_until = breaker(ended)
    return Health(failing, wasted_s, row, closed_until if closed_until > now else 0.0, 0 < closed_until <= now)


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


def breaker(ended: Sequence[Past]) -> tuple[int, float]:
    """Return the faults in a row and until when the breaker is open, 0 for shut.

    Attempts that were under way when it opened do not count again; each later one that fails opens it twice as long.
    """
    row, trips, opened_at = 0, 0, -math.inf
    failures, attempts = PRIOR_FAILURES, PRIOR_ATTEMPTS
    for one in ended:
        if one.state in FRUITFUL:
            attempts += 1 + row
            failures += row
            row, trips, opened_at = 0, 0, -math.inf
        elif one.state in FAULTS:
            row += 1
            improbable = row >= FEWEST_FAULTS and (failures / attempts) ** row < CHANCE
            if improbable and one.submitted > opened_at:
                trips, opened_at = trips + 1, ended_at(one)
    pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (trips - 1))
    return row, opened_at + pause_s if trips else 0.0
