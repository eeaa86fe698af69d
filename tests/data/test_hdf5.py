"""HDF5 frame files: both orientations, what is written is read, and damage is always said."""

import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tests.reading import ReaderContract
from wirecell_ml.data import container
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.hdf5 import FORMAT, Orientation, idents, read, read_frame, tags, widened, write, write_frame
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError
from wirecell_ml.paths import shipped

CUTS = 20  # places where a file is cut short
FLOATS = arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.floats(width=32))


def frame_of(samples: NDArray[np.float32]) -> Frame:
    return Frame(samples, np.arange(100, 100 + len(samples), dtype=np.int32), -250_000.0, 500.0)


class TestContract(ReaderContract):
    def format(self) -> Format:
        return FORMAT

    def events(self) -> list[Contents]:
        real, adc = np.arange(24, dtype=np.float32).reshape(4, 6), np.arange(-9, 9, dtype=np.int16).reshape(2, 9)
        return [
            Contents(-2, frames={"*": replace(frame_of(real[:2]), samples=adc, tbin=-7)}),
            Contents(3, frames={"gauss0": frame_of(real * np.nan), "loose_lf0": frame_of(real[1:, :5])}),
            Contents(20, frames={"label": replace(frame_of(real[:2]), samples=adc.astype(np.int8))}),
            Contents(100, frames={"empty": frame_of(real[:, :0])}),
        ]


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


def one_event(path: Path) -> Contents:
    (event,) = read(Source.of(path))
    return event


@pytest.mark.parametrize(
    ("written", "held"), [("i2", "int16"), ("i1", "int8"), ("f2", "float32"), ("f8", "float32"), (">f4", "float32")]
)
def test_digitized_frames_keep_their_type_in_contents(written: str, held: str, frame: Frame, tmp_path: Path) -> None:
    samples = np.arange(240).reshape(30, 8).astype(written)
    write_frame(tmp_path / "one.h5", 0, "gauss0", frame)
    with h5py.File(tmp_path / "one.h5", "a") as file:
        del file["0/frame_gauss0"]
        file["0/frame_gauss0"] = samples
    kept = one_event(tmp_path / "one.h5").frames["gauss0"].samples
    assert kept.dtype.name == held
    np.testing.assert_array_equal(kept, samples.T)
    assert read_frame(tmp_path / "one.h5", 0, "gauss0").samples.dtype == np.float32


@settings(max_examples=40, deadline=None)
@given(halves=arrays(np.float16, st.tuples(st.integers(0, 5), st.integers(0, 40_000))))
def test_half_floats_are_widened_as_numpy_does(halves: NDArray[np.float16]) -> None:
    np.testing.assert_array_equal(widened(halves), halves.astype(np.float32))


def test_a_double_beyond_single_precision_is_infinite(frame: Frame, tmp_path: Path) -> None:
    write_frame(tmp_path / "one.h5", 0, "gauss0", frame)
    with h5py.File(tmp_path / "one.h5", "a") as file:
        del file["0/frame_gauss0"]
        file["0/frame_gauss0"] = np.full((8, 30), 1e300)
    assert np.isinf(one_event(tmp_path / "one.h5").frames["gauss0"].samples).all()


def test_events_come_in_the_order_of_their_numbers(frame: Frame, tmp_path: Path) -> None:
    for ident in (10, 9, 100, -1):
        write_frame(tmp_path / "one.h5", ident, "gauss0", frame)
    assert [event.ident for event in read(Source.of(tmp_path / "one.h5"))] == [-1, 9, 10, 100]


def test_the_frames_of_the_published_layout_are_read() -> None:
    sample_file = shipped("data") / "g4-rec-0.h5"
    events = list(read(Source.of(sample_file)))
    assert [event.ident for event in events] == idents(sample_file)
    for event in events[:2]:
        for tag, frame in event.frames.items():
            assert_same(frame, read_frame(sample_file, event.ident, tag))
        assert len(event.frames) == len(tags(sample_file, event.ident)) >= 3


def test_a_written_file_is_compressed_in_todays_orientation(frame: Frame, tmp_path: Path) -> None:
    write(tmp_path / "one.h5", [Contents(4, frames={"gauss0": frame})])
    with h5py.File(tmp_path / "one.h5") as file:
        samples = file["4/frame_gauss0"]
        assert (samples.shape, samples.dtype.str) == ((8, 30), "<f4")
        assert (samples.compression, samples.shuffle) == ("gzip", True)
        assert (file["4/channels_gauss0"].dtype.str, file["4/tickinfo_gauss0"].dtype.str) == ("<i4", "<f8")


def lose(name: str, held: Any) -> Any:
    """Return a change of a file that puts something else in the place of a dataset."""

    def change(file: h5py.File) -> None:
        del file[f"0/{name}"]
        if held is not None:
            file[f"0/{name}"] = held

    return change


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lose("channels_gauss0", None), "event 0: no dataset 'channels_gauss0'"),
        (lose("channels_gauss0", np.zeros(8)), "'channels_gauss0' holds float64"),
        (
            lose("channels_gauss0", np.arange(8) << 40),
            "'channels_gauss0' has shape (8,); expected (channel,) idents of 32",
        ),
        (lose("channels_gauss0", np.zeros((8, 1), np.int32)), "'channels_gauss0' has shape (8, 1)"),
        (lose("tickinfo_gauss0", np.zeros(2)), "tickinfo has shape (2,); expected (3,)"),
        (lose("tickinfo_gauss0", np.zeros(3)), "tickinfo is [0.0, 0.0, 0.0]"),
        (lose("tickinfo_gauss0", np.array([0, np.inf, 0])), "tickinfo is [0.0, inf, 0.0]"),
        (lose("frame_gauss0", h5py.ExternalLink("other.h5", "/a")), "'frame_gauss0' is a link to elsewhere"),
        (lose("frame_gauss0", h5py.SoftLink("/0/frame_gauss0")), "'frame_gauss0' is a link to elsewhere"),
        (lambda file: file.move("0", "zero"), "no event in it; expected groups named by their idents"),
    ],
)
def test_events_that_are_no_frames_are_refused(change: Any, fault: str, frame: Frame, tmp_path: Path) -> None:
    write_frame(tmp_path / "one.h5", 0, "gauss0", frame)
    with h5py.File(tmp_path / "one.h5", "a") as file:
        change(file)
    with pytest.raises(DataError) as refused:
        one_event(tmp_path / "one.h5")
    assert fault in str(refused.value)


def test_one_dataset_under_many_names_is_not_read_without_end(
    frame: Frame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_frame(tmp_path / "one.h5", 0, "gauss0", frame)
    with h5py.File(tmp_path / "one.h5", "a") as file:
        for tag in range(9):
            for kind in ("frame", "channels", "tickinfo"):
                file[f"0/{kind}_{tag}"] = file[f"0/{kind}_gauss0"]
    monkeypatch.setattr(container, "MOST_BYTES", 5000)
    with pytest.raises(DataError, match="event 0 has more than 5000 bytes; at most these are read"):
        one_event(tmp_path / "one.h5")


@pytest.mark.parametrize(
    ("frames", "fault"),
    [
        ({"a/b": (2, 3)}, "event 1: tag 'a/b' cannot be written"),
        ({"a\nb": (2, 3)}, "event 1: tag .* cannot be written"),
        ({"gauss0": (3, 3)}, "event 1: the frame 'gauss0' is square"),
    ],
)
def test_a_frame_that_could_not_be_read_back_is_not_written(
    frames: dict[str, tuple[int, int]], fault: str, tmp_path: Path
) -> None:
    held = {tag: frame_of(np.zeros(shape, np.float32)) for tag, shape in frames.items()}
    with pytest.raises(DataError, match=fault):
        write(tmp_path / "one.h5", [Contents(1, frames=held)])
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        ([Contents(1), Contents(1)], "event 1 comes twice"),
        ([Contents(1, masks={"bad": np.zeros((1, 3), np.int32)})], "event 1 holds masks; expected frames"),
    ],
)
def test_events_that_could_not_be_read_back_are_not_written(events: list[Contents], fault: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=fault):
        write(tmp_path / "one.h5", events)
