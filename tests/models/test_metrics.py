"""Metrics against a loop over pixels that nobody can get wrong."""

from itertools import groupby

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from wirecell_ml.errors import ConfigError
from wirecell_ml.models.metrics import Counts, Mask, Matching, count, find_rois, roi_charge, summarize

Run = tuple[int, int, int]  # channel, first slice, last slice


def slow_runs(mask: Mask) -> list[Run]:
    """Return the runs of true pixels of each channel."""
    runs = []
    for channel, row in enumerate(mask.tolist()):
        for true, group in groupby(enumerate(row), key=lambda pixel: pixel[1]):
            slices = [number for number, _ in group]
            if true:
                runs.append((channel, slices[0], slices[-1]))
    return runs


def slow_seen(mask: Mask, other: Mask) -> int:
    """Return how many runs of ``mask`` share a pixel with ``other``."""
    return sum(any(other[channel, i] for i in range(first, last + 1)) for channel, first, last in slow_runs(mask))


def slow_count(found: Mask, true: Mask) -> Counts:
    pixels = list(zip(found.ravel().tolist(), true.ravel().tolist(), strict=True))
    return Counts(
        pixels_both=sum(f and t for f, t in pixels),
        pixels_found=sum(f for f, _ in pixels),
        pixels_true=sum(t for _, t in pixels),
        rois_true_seen=slow_seen(true, found),
        rois_true=len(slow_runs(true)),
        rois_found_real=slow_seen(found, true),
        rois_found=len(slow_runs(found)),
    )


def mask(*rows: str) -> Mask:
    """Return a mask drawn with # and dots, a string for each channel."""
    return np.array([[pixel == "#" for pixel in row] for row in rows])


shapes = array_shapes(min_dims=2, max_dims=2, max_side=12)
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no mistake
pairs_of_masks = shapes.flatmap(lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape)))


@patient
@given(pairs_of_masks)
def test_exact_counts_are_those_of_a_loop_over_pixels(masks: tuple[Mask, Mask]) -> None:
    assert count(*masks) == slow_count(*masks)


@patient
@given(pairs_of_masks)
def test_published_counts_leave_out_the_rois_that_touch_the_last_slice(masks: tuple[Mask, Mask]) -> None:
    exact, published = count(*masks), count(*masks, "published")
    touching = [int(one[:, -1].sum()) for one in masks]
    assert [published.rois_found, published.rois_true] == [
        exact.rois_found - touching[0],
        exact.rois_true - touching[1],
    ]
    assert [published.pixels_both, published.pixels_found] == [exact.pixels_both, exact.pixels_found]


@patient
@given(arrays(np.bool_, shapes))
def test_rois_are_the_runs_along_a_channel(drawn: Mask) -> None:
    assert list(zip(*(part.tolist() for part in find_rois(drawn)), strict=True)) == slow_runs(drawn)


@pytest.mark.parametrize("matching", ["exact", "published"])
def test_a_roi_is_not_continued_on_the_next_channel(matching: Matching) -> None:
    assert count(mask("..##.", "##..."), mask(".....", "....."), matching).rois_found == 2


def test_published_matching_misses_a_single_pixel_that_was_found_exactly() -> None:
    pixel = mask("..#..")
    assert count(pixel, pixel, "published").ratios()["roi_efficiency"] == 0
    assert count(pixel, pixel, "exact").ratios()["roi_efficiency"] == 1


@pytest.mark.parametrize(
    ("found", "seen"),
    [("#......", 0), (".#.....", 1), ("..#....", 1), ("...#...", 1), ("....#..", 0), (".....#.", 0)],
)
def test_published_window_of_a_run_from_a_to_b_is_a_minus_1_to_b_minus_1(found: str, seen: int) -> None:
    assert count(mask(found), mask("..###.."), "published").rois_true_seen == seen


def test_published_window_of_a_run_from_the_first_slice_starts_there() -> None:
    assert count(mask("#...."), mask("##..."), "published").rois_true_seen == 1
    assert count(mask(".#..."), mask("##..."), "published").rois_true_seen == 0


@pytest.mark.parametrize(("true", "seen"), [(".###.", 1), ("..###", 0)])
def test_published_matching_never_sees_a_roi_that_touches_the_last_slice(true: str, seen: int) -> None:
    assert count(mask("#####"), mask(true), "published").rois_true_seen == seen


def test_exact_ratios_are_those_of_all_images_together() -> None:
    images = [Counts(pixels_both=1, pixels_true=1), Counts(pixels_both=0, pixels_true=3)]
    assert summarize(images, "exact")["pixel_efficiency"] == 1 / 4


def test_published_ratios_are_averaged_over_images() -> None:
    images = [Counts(pixels_both=1, pixels_true=1), Counts(pixels_both=0, pixels_true=3), Counts()]
    assert summarize(images, "published")["pixel_efficiency"] == pytest.approx((1 + 0 + 0) / 3)


@pytest.mark.parametrize("matching", ["exact", "published"])
def test_nothing_to_find_and_nothing_found_is_zero(matching: Matching) -> None:
    empty = np.zeros((3, 4), np.bool_)
    assert set(summarize([count(empty, empty, matching)], matching).values()) == {0.0}
    assert set(summarize([], matching).values()) == {0.0}


@patient
@given(pairs_of_masks)
def test_counts_of_two_halves_add_up_to_those_of_the_whole(masks: tuple[Mask, Mask]) -> None:
    found, true = masks
    half = len(found) // 2
    assert count(found[:half], true[:half]) + count(found[half:], true[half:]) == count(found, true)


def test_charge_of_rois_leaves_out_what_is_negative_or_outside() -> None:
    waveform = np.array([[5, -3, 2, 100]], np.float32)
    assert roi_charge(waveform, mask("###.")) == 5 + 2


def test_an_unknown_matching_is_refused() -> None:
    with pytest.raises(ConfigError, match="Known here: exact, published"):
        count(mask("#"), mask("#"), "near")  # type: ignore[arg-type]
