"""Plane images: averaging, cropping and missing channels, as Wire-Cell's DNNROIFinding does."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wirecell_ml.data.frame import Frame
from wirecell_ml.data.planes import Layout, average, columns_to_ticks, image, read_plane
from wirecell_ml.errors import ConfigError, DataError

NUM_CHANNELS, NUM_TICKS = 6, 40


@pytest.fixture
def frame() -> Frame:
    samples = np.random.default_rng(1).normal(size=(NUM_CHANNELS, NUM_TICKS)).astype(np.float32)
    return Frame(samples, np.arange(NUM_CHANNELS, dtype=np.int32), -250_000.0, 500.0)


@pytest.fixture
def layout() -> Layout:
    return Layout(
        tags=("loose_lf0",),
        truth_tag="ductor0",
        traditional_tag=None,
        planes={"U": (0, 4), "V": (4, 6)},
        tick_ns=500.0,
        tick_per_slice=10,
    )


@given(columns=st.integers(1, 12), num_ticks=st.integers(1, 50))
def test_a_slice_is_the_mean_of_its_ticks_with_zeros_after_the_last(columns: int, num_ticks: int) -> None:
    rows = np.arange(1, 1 + 2 * num_ticks, dtype=np.float32).reshape(2, num_ticks)
    slices = average(rows, columns)
    assert slices.shape == (2, -(-num_ticks // columns))
    for i in range(slices.shape[1]):
        np.testing.assert_allclose(slices[:, i], rows[:, i * columns : (i + 1) * columns].sum(1) / columns, rtol=1e-6)


def test_a_plane_has_its_channels_in_slices_of_ten_ticks(frame: Frame, layout: Layout) -> None:
    slices = image(frame, "V", layout)
    assert slices.shape == (2, 4)
    np.testing.assert_allclose(slices[1, 3], frame.samples[5, 30:40].mean(), rtol=1e-5)


def test_columns_of_5000_ns_are_slices_of_ten_ticks_already(frame: Frame, layout: Layout) -> None:
    np.testing.assert_array_equal(image(replace(frame, period_ns=5000.0), "U", layout), frame.samples[:4])


def test_ticks_per_column_overrides_a_period_that_is_wrong(frame: Frame, layout: Layout) -> None:
    averaged = replace(layout, ticks_per_column=10)
    np.testing.assert_array_equal(image(frame, "U", averaged), frame.samples[:4])


def test_slices_must_be_whole_columns(frame: Frame, layout: Layout) -> None:
    with pytest.raises(ConfigError, match=r"data\.tick_per_slice=10 is no multiple of the file's 4 ticks per column"):
        image(frame, "U", replace(layout, ticks_per_column=4))


@pytest.mark.parametrize("period_ns", [512.0, 250.0, 0.0, -500.0])
def test_a_column_that_is_no_multiple_of_the_tick_is_refused(period_ns: float) -> None:
    with pytest.raises(DataError, match=rf"a column is {period_ns:g} ns, .* Set data\.ticks_per_column"):
        columns_to_ticks(period_ns, 500.0)


def test_missing_channels_are_zero(frame: Frame, layout: Layout) -> None:
    held = [0, 1, 3, 4, 5]
    partial = replace(frame, samples=frame.samples[held], channels=frame.channels[held])
    expected = image(frame, "U", layout)
    expected[2] = 0
    np.testing.assert_array_equal(image(partial, "U", layout), expected)


def test_channels_in_any_order_are_put_in_theirs(frame: Frame, layout: Layout) -> None:
    mixed = np.array([5, 0, 3, 1, 4, 2])
    shuffled = replace(frame, samples=frame.samples[mixed], channels=frame.channels[mixed])
    np.testing.assert_array_equal(image(shuffled, "U", layout), image(frame, "U", layout))


@pytest.mark.parametrize("channels", [(4, 7), (100, 103)])
def test_channels_outside_the_file_are_refused(frame: Frame, layout: Layout, channels: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=rf"plane V: channels {channels[0]}\..* which holds 0\.\.5\. See .*detector"):
        image(frame, "V", replace(layout, planes={"V": channels}))


@pytest.mark.parametrize("ticks_per_column", [1, 2])
def test_a_tick_range_is_cut_out_before_averaging(frame: Frame, layout: Layout, ticks_per_column: int) -> None:
    cut = replace(layout, tick_range=(10, 30), ticks_per_column=ticks_per_column)
    rows = frame.samples[:4, 10 // ticks_per_column : 30 // ticks_per_column]
    np.testing.assert_array_equal(image(frame, "U", cut), average(rows, 10 // ticks_per_column))


def test_a_tick_range_beyond_the_file_is_refused(frame: Frame, layout: Layout) -> None:
    with pytest.raises(DataError, match=r"ticks \(10, 50\) are outside the file, which holds 40"):
        image(frame, "U", replace(layout, tick_range=(10, 50)))


def test_a_tick_range_delays_the_first_slice(frame: Frame, layout: Layout) -> None:
    whole, cut = (read_plane([frame], frame, None, "U", one) for one in (layout, replace(layout, tick_range=(20, 40))))
    assert cut.time_ns - whole.time_ns == 20 * 500


def test_inputs_and_truth_of_different_shapes_are_refused(frame: Frame, layout: Layout) -> None:
    short = replace(frame, samples=frame.samples[:, :20])
    with pytest.raises(DataError, match=r"plane U have different shapes.*they do not pair"):
        read_plane([frame], short, None, "U", layout)


def test_no_traditional_tag_is_an_empty_image(frame: Frame, layout: Layout) -> None:
    held: NDArray[np.float32] = read_plane([frame], frame, None, "U", layout).traditional
    assert held.size == 0


def test_rows_without_channels_are_refused(frame: Frame) -> None:
    with pytest.raises(DataError, match="6 rows of samples, but 5 channels"):
        replace(frame, channels=frame.channels[:5])
