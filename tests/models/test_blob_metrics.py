"""Blob metrics: every number against its definition, written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirecell_ml.models.blob_metrics import charge_errors, kept, scan

SCORES = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans(), st.floats(1, 1e5)), min_size=1)


def test_what_is_kept_is_counted_in_blobs_and_in_charge() -> None:
    real, charge = np.array([True, True, False, False]), np.array([300.0, 100.0, 50.0, 50.0])
    found = kept(np.array([True, False, True, False]), real, charge)
    assert (found.precision, found.recall, found.f1, found.ghosts_removed) == (0.5, 0.5, 0.5, 0.5)
    assert found.completeness == pytest.approx(0.7)


def test_keeping_nothing_is_no_error() -> None:
    found = kept(np.zeros(2, bool), np.array([True, False]), np.ones(2))
    assert (found.precision, found.recall, found.ghosts_removed, found.completeness) == (0, 0, 1, 0)


@given(SCORES)
def test_average_precision_is_what_its_definition_says(blobs: list[tuple[float, bool, float]]) -> None:
    score, real, charge = (np.array(values) for values in zip(*blobs, strict=True))
    precisions = [real[score >= one].mean() for one in score[real]]
    wanted = np.mean(precisions) if precisions else 0.0
    assert scan(score, real, charge).average_precision == pytest.approx(wanted)


@given(SCORES)
def test_every_point_of_a_scan_is_what_keeping_these_blobs_does(blobs: list[tuple[float, bool, float]]) -> None:
    score, real, charge = (np.array(values) for values in zip(*blobs, strict=True))
    found = scan(score, real, charge)
    for row, threshold in enumerate(found.thresholds):
        wanted = kept(score >= threshold, real, charge)
        assert found.at(row).completeness == pytest.approx(wanted.completeness)
        assert found.at(row).f1 == pytest.approx(wanted.f1)


def test_working_points_are_the_ones_that_just_suffice() -> None:
    score, real = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    found = scan(score, real, np.array([50.0, 0.0, 50.0, 0.0]))
    assert found.at_completeness(0.5).completeness == 0.5
    assert found.at_completeness(0.6).completeness == 1.0
    assert found.at_ghosts_removed(0.5).completeness == 1.0
    assert found.at_ghosts_removed(1.0).completeness == 0.5


def test_charge_errors_weigh_blobs_alike_or_by_their_charge() -> None:
    found = charge_errors(np.array([110.0, 2000.0, 5.0]), np.array([100.0, 1000.0, 1.0]), np.array([True, True, False]))
    assert found["charge_error_median"] == pytest.approx(0.55)
    assert found["charge_error_mean"] == pytest.approx((0.1 * 100 + 1.0 * 1000) / 1100)
