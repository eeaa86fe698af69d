"""HDF5 frame files: both orientations, what is written is read, and damage is always said."""

import random
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from wirecell_ml.data.frame import Frame
from wirecell_ml.data.hdf5 import Orientation, idents, read_frame, tags, write_frame
from wirecell_ml.errors import DataError

CUTS = 20  # places where a file is cut short
FLOATS = arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.floats(width=32))


def frame_of(samples: NDArray[np.float32]) -> Frame:
    return Frame(samples, np.arange(100, 100 + len(samples), dtype=np.int32), -250_000.0, 500.0)


def write_old(path: Path, ident: int, tag: str, frame: Frame) -> None:
    """Write a frame as HDF5FrameTap of WCT up to 0.28 does: (column, channel)."""
    write_frame(path, ident, tag, frame)
    with h5py.File(path, "a") as file:
        del file[f"{ident}/frame_{tag}"]
        file[f"{ident}/frame_{tag}"] = frame.samples.T


def assert_same(one: Frame, other: Frame) -> None:
    np.testing.assert_array_equal(one.samples, other.samples)
    np.testing.assert_array_equal(one.channels, other.channels)
    assert (one.time_ns, one.period_ns) == (other.time_ns, other.period_ns)


@pytest.fixture
def frame() -> Frame:
    return frame_of(np.random.default_rng(1).normal(size=(8, 30)).astype(np.float32))


def test_a_frame_that_was_written_is_read_as_it_was(frame: Frame, tmp_path: Path) -> None:
    write_frame(tmp_path / "one.h5", 7, "gauss0", frame)
    held = read_frame(tmp_path / "one.h5", 7, "gauss0")
    assert_same(held, frame)
    assert (held.samples.dtype.name, held.channels.dtype.name) == ("float32", "int32")


def test_both_orientations_hold_the_same_frame(frame: Frame, tmp_path: Path) -> None:
    write_frame(tmp_path / "new.h5", 0, "gauss0", frame)
    write_old(tmp_path / "old.h5", 0, "gauss0", frame)
    assert_same(read_frame(tmp_path / "new.h5", 0, "gauss0"), read_frame(tmp_path / "old.h5", 0, "gauss0"))


@settings(max_examples=40, deadline=None)
@given(samples=FLOATS, old=st.booleans())
def test_any_frame_is_read_in_the_orientation_it_was_written_in(samples: NDArray[np.float32], old: bool) -> None:
    frame, orientation = frame_of(samples), orientation_of(old)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.h5"
        (write_old if old else write_frame)(path, 3, "gauss0", frame)
        assert_same(read_frame(path, 3, "gauss0", orientation), frame)
        if samples.shape[0] != samples.shape[1]:
            assert_same(read_frame(path, 3, "gauss0", "auto"), frame)


def orientation_of(old: bool) -> Orientation:
    return "tick_channel" if old else "channel_tick"


def test_a_square_frame_needs_an_orientation(tmp_path: Path) -> None:
    path, square = tmp_path / "square.h5", frame_of(np.arange(9, dtype=np.float32).reshape(3, 3))
    write_frame(path, 0, "gauss0", square)
    with pytest.raises(DataError, match=r"square\.h5: event 0: 'frame_gauss0' is square, \(3, 3\)"):
        read_frame(path, 0, "gauss0")
    assert_same(read_frame(path, 0, "gauss0", "channel_tick"), square)
    assert_same(read_frame(path, 0, "gauss0", "tick_channel"), frame_of(square.samples.T))


@pytest.mark.parametrize("old", [True, False])
def test_an_orientation_that_does_not_fit_the_channels_is_refused(frame: Frame, tmp_path: Path, old: bool) -> None:
    (write_old if old else write_frame)(tmp_path / "one.h5", 0, "gauss0", frame)
    with pytest.raises(DataError, match=f"which is not {orientation_of(not old)} for 8 channels"):
        read_frame(tmp_path / "one.h5", 0, "gauss0", orientation_of(not old))


@pytest.mark.parametrize(
    ("shape", "fault"), [((5, 6), r"has shape \(5, 6\), but there are 8 channels"), ((8,), "has 1 dimensions")]
)
def test_samples_that_do_not_fit_the_channels_are_refused(
    frame: Frame, tmp_path: Path, shape: tuple[int, ...], fault: str
) -> None:
    write_frame(tmp_path / "one.h5", 0, "gauss0", frame)
    with h5py.File(tmp_path / "one.h5", "a") as file:
        del file["0/frame_gauss0"]
        file["0/frame_gauss0"] = np.zeros(shape, np.float32)
    with pytest.raises(DataError, match=fault):
        read_frame(tmp_path / "one.h5", 0, "gauss0")


def test_the_first_tick_of_tickinfo_delays_the_frame(frame: Frame, tmp_path: Path) -> None:
    write_frame(tmp_path / "one.h5", 0, "gauss0", frame)
    with h5py.File(tmp_path / "one.h5", "a") as file:
        file["0/tickinfo_gauss0"][2] = 40
    assert read_frame(tmp_path / "one.h5", 0, "gauss0").start_ns == -250_000 + 40 * 500


def test_idents_ascend_as_numbers(frame: Frame, tmp_path: Path) -> None:
    for ident in (10, 9, 100):
        write_frame(tmp_path / "one.h5", ident, "gauss0", frame)
    assert idents(tmp_path / "one.h5") == [9, 10, 100]


def test_tags_are_those_of_the_event(frame: Frame, tmp_path: Path) -> None:
    for tag in ("gauss0", "loose_lf0"):
        write_frame(tmp_path / "one.h5", 0, tag, frame)
    assert tags(tmp_path / "one.h5", 0) == ["gauss0", "loose_lf0"]


@pytest.mark.parametrize(
    ("ident", "tag", "fault"),
    [
        (1, "gauss0", "no event 1. Known here: 0"),
        (0, "gaus0", "event 0: no dataset 'frame_gaus0'. Did you mean 'frame_gauss0'?"),
    ],
)
def test_what_is_missing_is_named_beside_what_is_there(
    frame: Frame, tmp_path: Path, ident: int, tag: str, fault: str
) -> None:
    write_frame(tmp_path / "one.h5", 0, "gauss0", frame)
    with pytest.raises(DataError) as refused:
        read_frame(tmp_path / "one.h5", ident, tag)
    assert fault in str(refused.value)


@pytest.mark.parametrize("twentieth", range(CUTS))
def test_a_truncated_file_is_refused(frame: Frame, tmp_path: Path, twentieth: int) -> None:
    whole, cut = tmp_path / "whole.h5", tmp_path / "cut.h5"
    for ident in range(3):
        write_frame(whole, ident, "gauss0", frame)
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) * twentieth // CUTS])
    with pytest.raises(DataError, match=r"cut\.h5: (the file is empty|not an HDF5 file|damaged or truncated)"):
        idents(cut)


def test_a_wrong_byte_is_never_another_error(frame: Frame, tmp_path: Path) -> None:
    path = tmp_path / "one.h5"
    write_frame(path, 0, "gauss0", frame)
    whole, dice, refused = path.read_bytes(), random.Random(1), 0  # noqa: S311
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[dice.randrange(len(whole))] ^= dice.randrange(1, 256)
        path.write_bytes(damaged)
        try:
            read_frame(path, 0, "gauss0")
        except DataError:
            refused += 1
    assert 10 < refused < 300
