"""Waits: how long the scheduler of a site keeps a unit, from our own waits there and the scheduler's word.

A unit also waits for those of ours that are ahead of it while all slots that we get are taken; such a wait says nothing
of the scheduler. It is told apart by the number of units that run: one that started while that number grew waited for
the scheduler only, one that took the place of another waited for a slot.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.submit.broker.past import Past
from wirecell_ml.submit.broker.survival import Durations, Floats, together

HALF_LIFE_S = 7200.0  # after so long a submission counts half: queues change within the day
MOST_WEIGHT = 20.0  # of all waits together: many that start together say little more than one
PRIOR_S, PRIOR_WEIGHT, PRIOR_SPREAD = 300.0, 0.5, 3.0  # of a site that nothing is known of
OUTLOOK_WEIGHT, OUTLOOK_SPREAD = 3.0, 2.0  # the scheduler's word counts as so many waits
RECENT = 10  # starts that tell whether the slots are all taken
FRESH = 0.3  # part of these in which the number of running units grew: with fewer, they are
FLOWING = 0.8  # part of the units at the last start that still run, or units wait although slots are free


@dataclass(frozen=True)
class Waits:
    """What the scheduler of one site has made units wait."""

    durations: Durations
    full: bool  # our units have all slots that we get: the next one starts when one of them ends
    flowing: bool  # those that end have had successors

    def given(self, outlook_s: float | None) -> Durations:
        """Return the waits together with what is believed, and with the scheduler's word."""
        parts = [self.durations, Durations.around(PRIOR_S, PRIOR_WEIGHT, PRIOR_SPREAD)]
        if outlook_s is not None and not self.full:
            parts.append(Durations.around(max(1.0, outlook_s), OUTLOOK_WEIGHT, OUTLOOK_SPREAD))
        return together(parts)

    def quantile_s(self, part: float, outlook_s: float | None, waited_s: float = 0.0) -> float:
        """Return within how many seconds more, after ``waited_s``, this ``part`` of the units would start."""
        return self.given(outlook_s).quantile(part, waited_s) - waited_s


def read_waits(past: Sequence[Past], now: float, known_since: float = -np.inf) -> Waits:
    """Return the waits at one site; those of attempts that still wait, or were taken back, last longer than that.

    All attempts that have ended after ``known_since`` are in ``past``.
    """
    ordered = sorted(past, key=lambda one: one.submitted)
    submitted = np.array([one.submitted for one in ordered])
    left = np.array([left_queue(one, now) for one in ordered])
    begun = np.array([one.started is not None for one in ordered], dtype=bool)
    ended = np.sort([one.ended for one in ordered if one.started is not None and one.ended is not None])
    starts = np.sort(left[begun])
    now_running = len(starts) - len(ended)
    fresh = np.where(starts > known_since, freshness(starts, ended, starts), 0.0)
    flowing = not len(starts) or bool(now_running >= FLOWING * running_at(starts, ended, starts[-1:])[0])
    full = bool(len(starts)) and flowing and float(fresh[-RECENT:].mean()) < FRESH
    alone = np.minimum(1.0, (1 + running_at(starts, ended, submitted)) / (1 + units_ahead(ordered, submitted, left)))
    still = np.array([one.started is None and one.ended is None for one in ordered], dtype=bool)
    told = np.where(still, not full, ~was_full(starts, fresh, left) & (left > known_since))
    weight = 0.5 ** ((now - submitted) / HALF_LIFE_S) * alone * told
    weight *= MOST_WEIGHT / max(MOST_WEIGHT, weight.sum())
    return Waits(Durations.of(left - submitted, begun, weight), full, flowing)


def left_queue(one: Past, now: float) -> float:
    """Return when an attempt left the queue: it started, or ended without; now, where it still waits."""
    times = [time for time in (one.started, one.ended) if time is not None]
    return min(times, default=now)


def running_at(starts: Floats, ended: Floats, times: Floats) -> Floats:
    """Return how many units ran just after each of these times."""
    begun = np.searchsorted(starts, times, side="right")
    return np.asarray(begun - np.searchsorted(ended, times, side="right"), float)


def count_at(starts: Floats, times: Floats) -> Floats:
    """Return how many units started at each of these times."""
    number = np.searchsorted(starts, times, side="right") - np.searchsorted(starts, times, side="left")
    return np.asarray(number, float)


def freshness(starts: Floats, ended: Floats, times: Floats) -> Floats:
    """Return the part of the starts at each of these times by which the number of running units grew."""
    first = np.searchsorted(starts, times, side="left")
    before = np.where(first > 0, starts[np.maximum(0, first - 1)] if len(starts) else 0.0, -np.inf)
    growth = running_at(starts, ended, times) - running_at(starts, ended, before)
    return np.asarray(np.clip(growth / np.maximum(1, count_at(starts, times)), 0, 1))


def was_full(starts: Floats, fresh: Floats, times: Floats) -> NDArray[np.bool_]:
    """Return whether the units that started last, at each of these times, took the places of others."""
    if not len(starts):
        return np.zeros(len(times), bool)
    sums = np.concatenate([[0.0], np.cumsum(fresh)])
    last = np.searchsorted(starts, times, side="right")
    first = np.maximum(0, last - RECENT)
    return np.asarray((sums[last] - sums[first]) / np.maximum(1, last - first) < FRESH)


def units_ahead(ordered: Sequence[Past], submitted: Floats, left: Floats) -> Floats:
    """Return how many of ours each unit found in the queue, those that were sent with it and before it included."""
    gone = np.sort([time for one, time in zip(ordered, left, strict=True) if one.started is not None or one.ended])
    return np.maximum(0.0, np.arange(len(ordered)) - np.searchsorted(gone, submitted, side="right"))
