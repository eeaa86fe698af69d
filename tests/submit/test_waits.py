"""Waits: what is learned from a queue, when our own units stood in it, and what the scheduler's word is worth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirecell_ml.submit.broker.columns import Columns
from wirecell_ml.submit.broker.past import Past
from wirecell_ml.submit.broker.survival import Durations
from wirecell_ml.submit.broker.waits import Waits, read_waits
from wirecell_ml.submit.states import AttemptState

A = AttemptState


def started(submitted: float, wait_s: float, run_s: float | None = None) -> Past:
    """Return an attempt that waited so long, and has succeeded where ``run_s`` is given."""
    begun = submitted + wait_s
    if run_s is None:
        return Past("s", submitted, begun, None, A.RUNNING)
    return Past("s", submitted, begun, begun + run_s, A.SUCCEEDED, run_s)


def waiting(submitted: float) -> Past:
    """Return an attempt that still waits."""
    return Past("s", submitted, None, None, A.SUBMITTED)


def learned(*past: Past, now: float) -> Waits:
    """Return what these attempts teach."""
    return read_waits(Columns.of(past), now)


def test_waits_of_a_scheduler_are_learned() -> None:
    waits = learned(*(started(100.0 * n, 1000) for n in range(30)), now=5000)
    assert waits.quantile_s(0.5, None) == pytest.approx(1000, rel=0.05)
    assert not waits.full


def test_a_queue_of_our_own_says_nothing_of_the_scheduler() -> None:
    slots, run_s = 4, 600.0
    at_once = [started(0, 10, run_s) for _ in range(slots)]
    later = [started(0, 10 + run_s * rank, run_s if rank < 5 else None) for rank in range(1, 6) for _ in range(slots)]
    waits = learned(*at_once, *later, waiting(0), now=10 + 6 * run_s - 1)
    assert waits.full
    assert waits.quantile_s(0.5, None) < 400  # though units waited up to 3000 s


def test_units_that_still_wait_lengthen_what_is_expected() -> None:
    begun = [started(0, 60) for _ in range(5)]
    alone = learned(*begun, now=7200)
    beside = learned(*begun, *(waiting(10) for _ in range(20)), now=7200)
    assert beside.quantile_s(0.75, None) > 2 * alone.quantile_s(0.75, None)


def test_the_word_of_the_scheduler_counts_where_little_is_known() -> None:
    nothing = learned(now=0)
    assert nothing.quantile_s(0.5, 7200) == pytest.approx(7200, rel=0.1)
    assert nothing.quantile_s(0.5, None) < 1000


def test_old_waits_give_way_to_new_ones() -> None:
    old = [started(n, 10) for n in range(20)]
    new = [started(86400 + n, 3000) for n in range(20)]
    assert learned(*old, *new, now=86400 + 4000).quantile_s(0.5, None) == pytest.approx(3000, rel=0.05)


def test_what_was_forgotten_is_no_growth() -> None:
    past = [started(600.0 * n, 5, 600) for n in range(100)]
    kept = Columns.of(past, newest=10)
    assert len(kept) == 10
    assert kept.complete_since == past[-10].ended


@given(
    st.lists(st.tuples(st.floats(1, 1e5), st.booleans(), st.floats(0.1, 5)), min_size=1, max_size=40),
    st.floats(0.05, 0.9),
    st.floats(0, 1e5),
)
def test_a_quantile_grows_with_its_part_and_is_never_in_the_past(
    rows: list[tuple[float, bool, float]], part: float, lasted: float
) -> None:
    durations = Durations.of(*zip(*rows, strict=True))
    assert durations.quantile(part, lasted) >= lasted
    assert durations.quantile(part + 0.05, lasted) >= durations.quantile(part, lasted)
    assert (np.diff(durations.survival) <= 1e-12).all()


def test_without_open_ends_the_median_is_the_median() -> None:
    durations = Durations.of([10, 20, 30, 40, 50], [True] * 5, [100.0] * 5)
    assert durations.quantile(0.5) == 30
