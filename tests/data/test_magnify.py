"""Magnify files, as MagnifySink writes them and as we do."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from uproot.writing.identify import to_TAxis, to_TH1x, to_TH2x

from tests.reading import ReaderContract, assert_same_events
from wirecell_ml.data import magnify
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

CHANNELS, PLANES = np.arange(5, 12, dtype=np.int32), np.array([0, 0, 0, 1, 1, 2, 2], np.int32)


def frame(columns: int = 6, summary: bool = False, **more: Any) -> Frame:
    """Return a frame of seven channels, changed."""
    samples = np.arange(7 * columns, dtype=np.float32).reshape(7, columns) - 10
    usual = Frame(samples, CHANNELS, 0.0, 500.0, summary=np.arange(7.0) if summary else None)
    return dataclasses.replace(usual, **more)


def event(**more: Any) -> Contents:
    """Return an event with everything that a Magnify file holds, changed."""
    frames = {"raw0": frame(), "wiener0": frame(3, True, period_ns=2000.0, tbin=2), "gauss0": frame(2, True)}
    usual = Contents(
        17,
        run=3,
        subrun=2,
        frames=frames,
        masks={"bad0": np.array([[5, 0, 6], [11, 2, 3], [99, 0, 1]], np.int32), "noisy0": np.zeros((0, 3), np.int32)},
        tables={
            "Trun": {"total_time_bin": np.array([6], np.int32), "unit_dis": np.array([1.5], np.float32)},
            "T_geo": {"name": np.arange(3)},
            "other": {"plane": PLANES[:3], "channel": CHANNELS[:3], "value": np.array([1, 2, 3], np.float32)},
        },
        arrays={f"plane_{tag}": PLANES for tag in frames},
    )
    return dataclasses.replace(usual, **more)


class TestMagnify(ReaderContract):
    one_event = True

    def format(self) -> Format:
        return magnify.FORMAT

    def events(self) -> list[Contents]:
        return [event()]


def th2(values: NDArray[Any], x: tuple[float, float], y: tuple[float, float]) -> Any:
    """Return a TH2 of (x, y) values, as ROOT lays it out."""
    around = np.zeros((values.shape[1] + 2, values.shape[0] + 2), values.dtype)
    around[1:-1, 1:-1] = values.T
    axes = (
        to_TAxis(name, "", num, *ends) for name, num, ends in zip(("xaxis", "yaxis"), values.shape, (x, y), strict=True)
    )
    return to_TH2x("h", "", around.ravel(), values.size, *[0.0] * 7, np.zeros(0), *axes)


def th1(values: NDArray[Any], x: tuple[float, float]) -> Any:
    around = np.concatenate([[0], values, [0]]).astype(values.dtype)
    return to_TH1x("h", "", around, values.size, *[0.0] * 4, np.zeros(0), to_TAxis("xaxis", "", len(values), *x))


def read_one(path: Path, **objects: Any) -> Contents:
    """Write objects by plain uproot, and read the file."""
    with uproot.recreate(path) as file:
        for name, held in objects.items():
            if isinstance(held, dict):
                file.mktree(name, {column: values.dtype for column, values in held.items()}).extend(held)
            else:
                file[name] = held
    (found,) = magnify.read(Source.of(path))
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "magnify.root"


def test_channels_and_ticks_are_what_the_axes_say(path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    found = read_one(path, hv_raw3=th2(values, (7679.5, 7682.5), (100, 104))).frames["raw3"]
    np.testing.assert_array_equal(found.samples, values)
    np.testing.assert_array_equal(found.channels, [7680, 7681, 7682])
    assert found.channels.dtype == np.int32
    assert (found.tbin, found.period_ns, found.time_ns) == (100, 500, 0)


def test_planes_are_joined_in_their_order(path: Path) -> None:
    w, u = np.full((2, 3), 7, np.float32), np.full((1, 3), 5, np.float32)
    found = read_one(path, hw_raw0=th2(w, (9.5, 11.5), (0, 3)), hu_raw0=th2(u, (-0.5, 0.5), (0, 3)))
    np.testing.assert_array_equal(found.frames["raw0"].channels, [0, 10, 11])
    np.testing.assert_array_equal(found.frames["raw0"].samples[:, 0], [5, 7, 7])
    np.testing.assert_array_equal(found.arrays["plane_raw0"], [0, 2, 2])


def test_the_sum_of_rebinned_ticks_becomes_their_mean(path: Path) -> None:
    found = read_one(path, hu_raw0=th2(np.full((2, 5), 8, np.float32), (-0.5, 1.5), (8, 28))).frames["raw0"]
    assert np.all(found.samples == 2)
    assert (found.period_ns, found.tbin) == (2000, 2)


def test_ticks_that_make_no_whole_bin_do_not_change_the_period(path: Path) -> None:
    found = read_one(path, hu_raw0=th2(np.ones((2, 5), np.float32), (-0.5, 1.5), (3, 26))).frames["raw0"]
    assert (found.period_ns, found.tbin, found.start_ns) == (2000, 0, 1500)


def test_histograms_of_integers_are_read(path: Path) -> None:
    found = read_one(path, hu_orig=th2(np.array([[900, -1]], np.int32), (-0.5, 0.5), (0, 2))).frames["orig"]
    np.testing.assert_array_equal(found.samples, [[900, -1]])
    assert found.samples.dtype == np.float32


def test_thresholds_are_the_summary_of_the_wiener_filtered_frame(path: Path) -> None:
    image, line = th2(np.ones((3, 2), np.float32), (3.5, 6.5), (0, 2)), th1(np.array([1, 2, 3], np.float32), (4, 7))
    found = read_one(path, hu_wiener1=image, hu_gauss1=image, hu_threshold1=line)
    np.testing.assert_array_equal(found.frames["wiener1"].summary, [1, 2, 3])
    assert found.frames["gauss1"].summary is None
    assert not found.tables


def test_a_summary_of_no_frame_is_a_table(path: Path) -> None:
    image, line = th2(np.ones((3, 2), np.float32), (3.5, 6.5), (0, 2)), th1(np.array([1, 2], np.float32), (4, 6))
    found = read_one(path, hu_wiener1=image, hu_threshold1=line, hw_x=line)
    np.testing.assert_array_equal(found.tables["threshold1"]["channel"], [4, 5])
    np.testing.assert_array_equal(found.tables["x"]["plane"], [2, 2])
    np.testing.assert_array_equal(found.tables["x"]["value"], [1, 2])


def test_masks_and_numbers_come_from_trees(path: Path) -> None:
    one = np.array([1], np.int32)
    found = read_one(
        path,
        hu_raw0=th2(np.ones((1, 2), np.float32), (-0.5, 0.5), (0, 2)),
        T_lf_noisy0={"chid": one, "plane": 0 * one, "start_time": 5 * one, "end_time": 9 * one},
        Trun={"runNo": 7 * one, "eventNo": 40 * one, "total_time_bin": 2 * one},
    )
    np.testing.assert_array_equal(found.masks["lf_noisy0"], [[1, 5, 9]])
    assert (found.ident, found.run, found.subrun) == (40, 7, None)
    assert list(found.tables["Trun"]) == ["total_time_bin"]


def test_what_is_written_is_what_magnify_sink_would_write(path: Path) -> None:
    magnify.write(path, [event()])
    with uproot.open(path) as file:
        assert file.classnames(cycle=False)["hv_raw0"] == "TH2F"
        assert file.classnames(cycle=False)["hv_threshold0"] == "TH1F"
        np.testing.assert_array_equal(file["hv_raw0"].values(), frame().samples[3:5])
        np.testing.assert_array_equal(file["hv_raw0"].axis(0).edges(), [7.5, 8.5, 9.5])
        np.testing.assert_array_equal(file["hu_wiener0"].values(), frame(3).samples[:3] * 4)
        np.testing.assert_array_equal(file["hu_wiener0"].axis(1).edges(), [8, 12, 16, 20])
        np.testing.assert_array_equal(file["hw_threshold0"].axis().edges(), [10, 11, 12])
        bad = file["T_bad0"].arrays(library="np")
        assert list(bad) == ["chid", "plane", "start_time", "end_time"]
        np.testing.assert_array_equal(bad["plane"], [0, 2, -1])
        assert file["Trun"].arrays(library="np")["eventNo"] == 17


def test_a_clock_that_is_not_the_usual_one_is_kept(path: Path) -> None:
    held = {"raw0": frame(period_ns=512.0, time_ns=-250000.0), "gauss0": frame(2, period_ns=1024.0, time_ns=-250000.0)}
    given_event = event(frames=held, arrays={f"plane_{tag}": PLANES for tag in held})
    magnify.write(path, [given_event])
    assert_same_events(list(magnify.read(Source.of(path))), [given_event])


def test_the_planes_of_a_known_detector_need_not_be_given(path: Path) -> None:
    channels = np.arange(2560, 5120, dtype=np.int32)
    samples = np.ones((2560, 2), np.int16)
    magnify.write(path, [Contents(1, frames={"raw1": Frame(samples, channels, 0.0, 500.0)})])
    (found,) = magnify.read(Source.of(path))
    np.testing.assert_array_equal(np.bincount(found.arrays["plane_raw1"]), [800, 800, 960])
    np.testing.assert_array_equal(found.frames["raw1"].samples, samples)


def test_channels_that_are_missing_come_back_as_zeros(path: Path) -> None:
    held = Frame(np.ones((2, 3), np.float32), np.array([9, 4], np.int32), 0.0, 500.0)
    magnify.write(path, [Contents(1, frames={"a": held}, arrays={"plane_a": np.zeros(2, np.int32)})])
    (found,) = magnify.read(Source.of(path))
    np.testing.assert_array_equal(found.frames["a"].channels, range(4, 10))
    np.testing.assert_array_equal(found.frames["a"].samples[:, 0], [1, 0, 0, 0, 0, 1])


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(0, 4), min_size=3, max_size=3).filter(any),
    columns=st.integers(1, 5),
    first=st.integers(0, 1 << 30),
    tbin=st.integers(-1000, 1000),
    rebin=st.sampled_from([1, 2, 8]),
    seed=st.integers(0, 99),
)
def test_any_frame_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    counts: list[int],
    columns: int,
    first: int,
    tbin: int,
    rebin: int,
    seed: int,
) -> None:
    path = tmp_path_factory.mktemp("any") / "m.root"
    samples = np.random.default_rng(seed).normal(size=(sum(counts), columns)).astype(np.float32)
    held = Frame(samples, np.arange(first, first + sum(counts), dtype=np.int32), 0.0, 500.0 * rebin, tbin)
    planes = np.repeat(np.arange(3, dtype=np.int32), counts)
    given_event = Contents(seed, frames={"x": held}, arrays={"plane_x": planes})
    magnify.write(path, [given_event])
    assert_same_events(list(magnify.read(Source.of(path))), [given_event])


def one_plane(**more: Any) -> Contents:
    """Return an event whose frame has one plane, changed."""
    return event(frames={"raw0": frame(**more)}, arrays={"plane_raw0": PLANES})


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        ([], "no event to write"),
        ([event(), event(ident=18)], "more than one event"),
        ([Contents(1)], "has no frame"),
        ([event(tables={"T_bad0": {"x": np.zeros(1)}})], "both written as 'T_bad0'"),
        ([event(arrays={})], "give 0, 1 or 2 for U, V or W"),
        ([event(arrays={**event().arrays, "x": PLANES})], "array 'x' has no place"),
        ([event(frames={"a/b": frame()}, arrays={"plane_a/b": PLANES})], "the tag cannot be written"),
        ([event(frames={**event().frames, "raw0": frame(period_ns=700.0)})], "has one clock"),
        ([event(frames={**event().frames, "raw0": frame(time_ns=1.0)})], "has one clock"),
        ([one_plane(columns=0)], "0 ticks"),
    ],
)
def test_what_no_magnify_file_can_hold_is_refused(path: Path, refused: list[Contents], message: str) -> None:
    with pytest.raises(DataError, match=message):
        magnify.write(path, iter(refused))
    assert not path.exists()


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ({"Trun": {"runNo": np.ones(1)}}, "no frame in it; expected TH2F"),
        ({"hu_a": th2(np.ones((2, 2)), (0, 1), (0, 2))}, "frame 'a' has 2 channels from 0.0 to 1.0"),
        ({"hu_a": th2(np.ones((2, 2)), (-5.5, -3.5), (0, 2))}, "frame 'a' has 2 channels from -5.5"),
        (
            {"hu_a": th2(np.ones((1, 2)), (0, 1), (0, 2)), "hv_a": th2(np.ones((1, 2)), (1, 2), (0, 3))},
            "expected the same ticks",
        ),
    ],
)
def test_what_is_no_magnify_file_is_refused(path: Path, objects: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_one(path, **objects)
