"""Health: how often a site fails, and when its breaker opens and shuts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirecell_ml.submit.broker.columns import Columns
from wirecell_ml.submit.broker.health import LONGEST_PAUSE_S, Health, read_health
from wirecell_ml.submit.broker.past import Past
from wirecell_ml.submit.states import AttemptState

A = AttemptState


def health(ends: str, every_s: float = 100, now: float | None = None, begun_s: float = 90) -> Health:
    """Return the health after these ends: s success, f failure, l lost, p pre-empted, m the user's mistake."""
    states = {"s": A.SUCCEEDED, "f": A.FAILED_INFRA, "l": A.LOST, "p": A.PREEMPTED, "m": A.FAILED_APP}
    past = [
        Past("s", every_s * n - begun_s, every_s * n - begun_s, every_s * n, states[end], begun_s)
        for n, end in enumerate(ends)
    ]
    return read_health(Columns.of(past), every_s * len(ends) if now is None else now)


def test_a_new_site_is_believed_to_be_well() -> None:
    assert health("").tries < 1.1
    assert not health("").closed_until


def test_failures_raise_the_tries_that_are_expected() -> None:
    assert health("sfsf" * 20).tries == pytest.approx(2, rel=0.1)
    assert health("s" * 80).tries < 1.02


def test_a_row_of_faults_opens_the_breaker() -> None:
    assert health("ssssffff").closed_until
    assert health("ssssffll").closed_until
    assert not health("ssssfff").closed_until


def test_pre_emptions_and_mistakes_of_the_user_do_not_open_it() -> None:
    assert not health("s" + "p" * 20).closed_until
    assert not health("s" + "m" * 20).closed_until


def test_a_site_that_fails_often_needs_a_longer_row() -> None:
    often = "sf" * 30
    assert not health(often + "ffff").closed_until
    assert health(often + "f" * 12).closed_until


def test_after_its_pause_one_unit_is_on_trial() -> None:
    later = health("ssssffff", now=800 + 400)
    assert not later.closed_until
    assert later.on_trial


def test_each_trial_that_fails_doubles_the_pause_up_to_a_bound() -> None:
    once, twice = health("ssssffff"), health("ssssfffff")
    assert once.closed_until - 700 == 300
    assert twice.closed_until - 800 == 600
    assert health("ssss" + "f" * 60).closed_until - 6300 == LONGEST_PAUSE_S


def test_units_that_ran_when_it_opened_neither_open_nor_shut_it() -> None:
    opened = health("ssssffff", begun_s=90)
    many = [Past("s", 0, 0, 701 + n, A.LOST, 700) for n in range(50)]
    one_good = Past("s", 0, 0, 790, A.SUCCEEDED, 790)
    states = [A.SUCCEEDED] * 4 + [A.FAILED_INFRA] * 4
    row = [Past("s", 100 * n - 90, 100 * n - 90, 100 * n, state, 90) for n, state in enumerate(states)]
    assert read_health(Columns.of([*row, *many, one_good]), 800).closed_until == opened.closed_until


def test_crashes_are_judged_beside_what_began_with_them_and_still_runs() -> None:
    often = [Past("s", n, n, 100.0 + n, A.FAILED_INFRA if n % 3 else A.SUCCEEDED, 100) for n in range(60)]
    crashed = [Past("s", 1000, 1000, 1010.0 + n, A.FAILED_INFRA, 10 + n) for n in range(12)]
    running = [Past("s", 1000, 1000, None, A.RUNNING)] * 24
    assert read_health(Columns.of([*often, *crashed]), 1050).closed_until
    assert not read_health(Columns.of([*often, *crashed, *running]), 1050).closed_until


def test_faults_before_the_trouble_do_not_hide_it() -> None:
    running = [Past("s", 10, 10, None, A.RUNNING)] * 40
    now_and_then = [Past("s", 10, 10, 500.0 * n, A.FAILED_INFRA, 500 * n) for n in range(1, 4)]
    quick = [Past("s", 2000.0 + 20 * n, 2000.0 + 20 * n, 2010.0 + 20 * n, A.FAILED_INFRA, 10) for n in range(8)]
    assert not read_health(Columns.of([*running, *now_and_then]), 2200).closed_until
    assert read_health(Columns.of([*running, *now_and_then, *quick]), 2200).closed_until


def test_a_unit_on_trial_that_outlives_those_that_failed_shuts_it() -> None:
    row = [Past("s", 20.0 * n, 20.0 * n, 20.0 * n + 10, A.FAILED_INFRA, 10) for n in range(4)]
    trial = Past("s", 500, 500, None, A.RUNNING)
    assert read_health(Columns.of([*row, trial]), 530).on_trial
    assert not read_health(Columns.of([*row, trial]), 560).on_trial


def test_a_success_shuts_it_and_its_row_is_forgiven() -> None:
    well = health("s" * 20 + "f" * 8 + "s")
    assert not well.closed_until
    assert not well.on_trial
    assert well.tries < 1.1


@given(st.text("sflpm", max_size=60))
def test_whatever_happened_a_site_gets_another_chance(ends: str) -> None:
    past = health(ends)
    assert 1 <= past.tries <= 20.000001
    assert not health(ends, now=100.0 * len(ends) + LONGEST_PAUSE_S + 1).closed_until
