"""Waits: how long the scheduler of a site keeps a unit, from our own waits there and the scheduler's word.

A unit also waits for those of ours that are ahead of it while all slots that we get are taken; such a wait says nothing
of the scheduler. It is told apart by the number of units that run: one that started while that number grew waited for
the scheduler only, one that took the place of another waited for a slot.
"""

from dataclasses import dataclass

import numpy as np

from wirecell_ml.submit.broker.columns import Columns, Flags
from wirecell_ml.submit.broker.survival import Durations, Floats, together

HALF_LIFE_S = 7200.0  # after so long a submission counts half: queues change within the day
MOST_WEIGHT = 20.0  # of all waits together: many that start together say little more than one
PRIOR_S, PRIOR_WEIGHT, PRIOR_SPREAD = 300.0, 0.5, 3.0  # of a site that nothing is known of
OUTLOOK_WEIGHT, OUTLOOK_SPREAD = 3.0, 2.0  # the scheduler's word counts as so many waits
LATELY = 30  # starts whose waits are those of late
RECENT = 10  # starts that tell whether the slots are all taken
FRESH = 0.3  # part of these in which the number of running units grew: with fewer, they are
FLOWING = 0.8  # part of the units at the last start that still run, or units wait although slots are free


@dataclass(frozen=True)
class Waits:
    """What the scheduler of one site has made units wait."""

    durations: Durations
    full: bool  # our units have all slots that we get: the next one starts when one of them ends
    flowing: bool  # those that end have had successors
    lately_s: float = 0.0  # mean wait of those that started last, whatever they waited for

    def given(self, outlook_s: float | None) -> Durations:
        """Return the waits together with what is believed, and with the scheduler's word."""
        parts = [self.durations, Durations.around(PRIOR_S, PRIOR_WEIGHT, PRIOR_SPREAD)]
        if outlook_s is not None and not self.full:
            parts.append(Durations.around(max(1.0, outlook_s), OUTLOOK_WEIGHT, OUTLOOK_SPREAD))
        return together(parts)

    def quantile_s(self, part: float, outlook_s: float | None, waited_s: float = 0.0) -> float:
        """Return within how many seconds more, after ``waited_s``, this ``part`` of the units would start."""
        return self.given(outlook_s).quantile(part, waited_s) - waited_s


def read_waits(past: Columns, now: float) -> Waits:
    """Return the waits at one site; those of attempts that still wait, or were taken back, last longer than that."""
    begun, left = past.has_started, np.minimum(past.left, now)
    starts, ended = np.sort(past.started[begun]), np.sort(past.ended[begun & past.has_ended])
    fresh = np.where(starts > past.complete_since, freshness(starts, ended, starts), 0.0)
    flowing = not len(starts) or bool(len(starts) - len(ended) >= FLOWING * running_at(starts, ended, starts[-1:])[0])
    full = bool(len(starts)) and flowing and float(fresh[-RECENT:].mean()) < FRESH
    alone = np.minimum(1.0, (1 + running_at(starts, ended, past.submitted)) / (1 + units_ahead(past)))
    told = np.where(past.left > now, not full, ~was_full(starts, fresh, left) & (left > past.complete_since))
    weight = 0.5 ** ((now - past.submitted) / HALF_LIFE_S) * alone * told
    weight *= MOST_WEIGHT / max(MOST_WEIGHT, weight.sum())
    waited = left - past.submitted
    lately = waited[begun][np.argsort(past.started[begun], kind="stable")][-LATELY:]
    lately_s = float(np.mean(lately)) if len(lately) else 0.0
    return Waits(Durations.of(waited, begun, weight), full, flowing, lately_s)


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


def was_full(starts: Floats, fresh: Floats, times: Floats) -> Flags:
    """Return whether the units that started last, at each of these times, took the places of others."""
    if not len(starts):
        return np.zeros(len(times), bool)
    sums = np.concatenate([[0.0], np.cumsum(fresh)])
    last = np.searchsorted(starts, times, side="right")
    first = np.maximum(0, last - RECENT)
    return np.asarray((sums[last] - sums[first]) / np.maximum(1, last - first) < FRESH)


def units_ahead(past: Columns) -> Floats:
    """Return how many of ours each unit found in the queue, those that were sent with it and before it included."""
    gone = np.sort(past.left[np.isfinite(past.left)])
    return np.asarray(np.maximum(0.0, np.arange(len(past)) - np.searchsorted(gone, past.submitted, side="right")))
