"""Attempts as columns of numbers, so that what is learned from thousands of them is learned in milliseconds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.submit.broker.past import Past
from wirecell_ml.submit.broker.survival import Floats
from wirecell_ml.submit.states import AttemptState

Flags = NDArray[np.bool_]

A = AttemptState
FRUITFUL, FRUITLESS, FAULT, SUCCESS = 1, 2, 4, 8  # flags of an end
MEANING = {
    A.SUCCEEDED: FRUITFUL | SUCCESS,
    A.FAILED_APP: FRUITFUL,  # the user's mistake: the site did its part
    A.PREEMPTED: FRUITLESS,  # has to be done again, but this is the habit of a site and no fault
    A.FAILED_INFRA: FRUITLESS | FAULT,
    A.LOST: FRUITLESS | FAULT,
}


@dataclass(frozen=True)
class Columns:
    """Attempts at one site in the order of their submissions; a time that has not come is infinite."""

    submitted: Floats
    started: Floats
    ended: Floats
    run_s: Floats
    mine: Flags
    kind: NDArray[np.int64]
    complete_since: float  # of all attempts that ended later, none is missing

    @classmethod
    def of(cls, past: Sequence[Past], newest: int | None = None) -> "Columns":
        """Return attempts as columns; of those that have run and ended the ``newest`` only, and what ended later."""
        rows = [(one.submitted, one.started, one.ended, one.run_s, one.mine, MEANING.get(one.state, 0)) for one in past]
        table = np.array(rows, float).reshape(len(rows), 6)  # None becomes NaN
        table = table[np.argsort(table[:, 0], kind="stable")]
        table[:, 1:3][np.isnan(table[:, 1:3])] = np.inf
        ends, since = table[:, 2], -np.inf
        ran = ends[np.isfinite(ends) & np.isfinite(table[:, 1])]
        if newest is not None and len(ran) >= newest:
            since = float(np.sort(ran)[-newest])
            table = table[ends >= since]
        columns = table.T
        submitted, started, ended, run_s = columns[:4]
        return cls(submitted, started, ended, run_s, columns[4] > 0, columns[5].astype(int), since)

    def __len__(self) -> int:
        return len(self.submitted)

    @property
    def left(self) -> Floats:
        """When each attempt left the queue, to run or without having run."""
        return np.minimum(self.started, self.ended)

    @property
    def has_started(self) -> Flags:
        """Whether each attempt has started."""
        return np.isfinite(self.started)

    @property
    def has_ended(self) -> Flags:
        """Whether each attempt has ended."""
        return np.isfinite(self.ended)

    def any_of(self, flags: int) -> Flags:
        """Return whether the end of each attempt has one of these flags."""
        return (self.kind & flags) > 0

    def lasted_s(self, now: float) -> Floats:
        """Return how long each attempt that has started has run, by its runner's clock where it has ended."""
        by_ours = np.minimum(self.ended, now) - np.minimum(self.started, now)
        return np.where(self.run_s > 0, self.run_s, by_ours)
