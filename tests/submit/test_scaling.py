"""The universal scalability law: its parameters are found again, and never negative."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirecell_ml.submit.broker.speeds import Scaling
from wirecell_ml.submit.scaling import best_workers, fit_scaling

RATES = st.floats(1e-3, 1e6)
SHARES = st.one_of(st.just(0.0), st.floats(1e-4, 0.9))
LAWS = st.builds(Scaling, RATES, SHARES, SHARES.map(lambda share: share / 10))
WORKERS = st.sets(st.integers(2, 256), min_size=2, max_size=12).map(lambda some: [1, *sorted(some)])


@settings(deadline=None)
@given(LAWS, WORKERS)
def test_the_law_of_exact_points_is_found_again(law: Scaling, workers: list[int]) -> None:
    found = fit_scaling({number: law.throughput(number) for number in workers})
    assert found is not None
    assert found.rate == pytest.approx(law.rate, rel=1e-6)
    for number in workers:
        assert found.throughput(number) == pytest.approx(law.throughput(number), rel=1e-6)


def test_its_parameters_are_found_again() -> None:
    law = Scaling(12.5, 0.07, 0.002)
    found = fit_scaling({number: law.throughput(number) for number in (1, 2, 4, 8, 16)})
    assert found is not None
    assert (found.rate, found.contention, found.coherency) == pytest.approx((12.5, 0.07, 0.002))


@settings(deadline=None)
@given(st.dictionaries(st.integers(1, 128), st.floats(1e-6, 1e6), max_size=10))
def test_nothing_that_was_measured_makes_it_negative(points: dict[int, float]) -> None:
    found = fit_scaling(points)
    if found is not None:
        assert 0 < found.rate < math.inf
        assert 0 <= found.contention < math.inf
        assert 0 <= found.coherency < math.inf


@settings(deadline=None)
@given(LAWS, WORKERS, st.randoms(use_true_random=False))
def test_five_percent_of_noise_move_no_point_by_more_than_fifteen(
    law: Scaling, workers: list[int], dice: object
) -> None:
    noisy = {number: law.throughput(number) * dice.uniform(0.95, 1.05) for number in workers}  # type: ignore[attr-defined]
    found = fit_scaling(noisy)
    assert found is not None
    for number in workers:
        assert found.throughput(number) == pytest.approx(law.throughput(number), rel=0.15)


@pytest.mark.parametrize("points", [{}, {1: 2.0}, {1: 2.0, 2: 3.0}, {2: 3.0, 3: 4.0, 4: 5.0}, {0: 1.0, 1: 2.0, 2: 3.0}])
def test_where_points_are_too_few_there_is_no_law(points: dict[int, float]) -> None:
    assert fit_scaling(points) is None


def test_more_workers_help_up_to_a_number_that_the_law_knows() -> None:
    law = Scaling(1.0, 0.1, 0.01)
    best = best_workers(law)
    assert best == pytest.approx(math.sqrt(90))
    assert law.throughput(round(best)) > max(law.throughput(5), law.throughput(15))
    assert best_workers(Scaling(1.0, 0.1, 0.0)) == math.inf
    assert best_workers(Scaling(1.0, 1.2, 0.5)) == 1.0
