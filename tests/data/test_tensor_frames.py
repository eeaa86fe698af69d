"""Frames of tensors, in the three layouts that Wire-Cell writes and in that of SPNG."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.reading import same
from wirecell_ml.data import tensor_frames
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.tensor_frames import frames, masks
from wirecell_ml.data.tensor_writing import from_frames
from wirecell_ml.data.tensors import Tensor, Tensors
from wirecell_ml.errors import DataError

ONES = np.ones((2, 3), np.float32)


def tensor(datatype: str, array: object = None, **metadata: object) -> Tensor:
    return Tensor({"datatype": datatype, **metadata}, array if array is None else np.asarray(array))


def told(path: str, tag: str = "", **columns: np.ndarray[Any, Any]) -> dict[str, Tensor]:
    """Return what is told of traces, as a ``pcdataset``."""
    top = tensor("pcdataset", arrays={name: f"{path}/{name}" for name in columns}, **({"tag": tag} if tag else {}))
    return {path: top, **{f"{path}/{name}": tensor("pcarray", values) for name, values in columns.items()}}


def frame_of(blocks: dict[str, Tensor], *data: dict[str, Tensor], **metadata: object) -> dict[str, Tensor]:
    """Return a frame with its traces and what is told of them."""
    paths = {"traces": list(blocks), "tracedata": [next(iter(one)) for one in data]}
    held = {"f": tensor("frame", **{"ident": 0, "time": -250.0, "tick": 500.0, **paths, **metadata}), **blocks}
    for one in data:
        held |= one
    return held


def sparse() -> dict[str, Tensor]:
    """Return four traces, each a tensor, of channels 5, 9, 5 and 7, of which three have a tag."""
    samples = np.repeat(np.arange(1, 5, dtype=np.float32), 2).reshape(4, 2)
    traces = {f"f/{n}": tensor("trace", samples[n], tbin=tbin) for n, tbin in enumerate((10, 12, 14, 11))}
    chids = told("f/data/_", chid=np.array([5, 9, 5, 7], np.int32))
    tagged = told("f/data/gauss", "gauss", index=np.array([0, 1, 2], np.uint64), summary=np.array([1.0, 2.0, 3.0]))
    return frame_of(traces, chids, tagged)


def test_single_traces_are_put_on_a_grid() -> None:
    (frame,) = frames(sparse()).values()
    np.testing.assert_array_equal(frame.channels, [5, 9])
    np.testing.assert_array_equal(frame.samples, [[1, 1, 0, 0, 3, 3], [0, 0, 2, 2, 0, 0]])
    assert (frame.time_ns, frame.period_ns, frame.tbin) == (-250.0, 500.0, 10)
    np.testing.assert_array_equal(frame.summary, [3, 2])
    assert list(frames(sparse())) == ["gauss"]


def test_traces_that_overlap_are_added() -> None:
    block = tensor("trace", np.array([[1, 2], [10, 20], [5, 5]], np.int16), tbin=2)
    held = frame_of({"f/t": block}, told("d", chid=np.array([3, 3, 1])))
    frame = frames(held)["*"]
    np.testing.assert_array_equal(frame.samples, [[11, 22], [5, 5]])
    np.testing.assert_array_equal(frame.channels, [3, 1])


def test_all_traces_in_one_block_are_a_frame_without_a_copy() -> None:
    held = frame_of({"f/traces": tensor("trace", ONES, tbin=7)}, told("d", chid=np.array([4, 2], np.int32)))
    frame = frames(held)["*"]
    assert np.shares_memory(frame.samples, held["f/traces"].array)
    assert frame.tbin == 7


def test_each_tag_has_its_block() -> None:
    blocks = {"f/traces/a": tensor("trace", ONES), "f/traces/b": tensor("trace", 2 * ONES, tbin=5)}
    a = told("da", "a", chid=np.array([4, 2], np.int32), index=np.array([0, 1]))
    b = told("db", "b", chid=np.array([2, 4], np.int32), index=np.array([2, 3]))
    held = frames(frame_of(blocks, a, b))
    assert held["a"].tbin == 0
    np.testing.assert_array_equal(held["b"].channels, [2, 4])
    np.testing.assert_array_equal(held["b"].samples, 2 * ONES)


@pytest.mark.parametrize(
    ("written", "read"), [("i2", np.int16), ("i1", np.int16), ("u2", np.float32), ("f2", np.float32)]
)
def test_adc_counts_stay_whole_numbers(written: str, read: type) -> None:
    held = frame_of({"t": tensor("trace", ONES.astype(written))}, told("d", chid=np.array([4, 2], np.int32)))
    assert frames(held)["*"].samples.dtype == read


def test_traces_of_adc_counts_are_put_on_a_grid_of_them_if_none_overlap() -> None:
    traces = {f"t{n}": tensor("trace", np.array([30_000], np.int16), tbin=n) for n in range(2)}
    apart = frames(frame_of(traces, told("d", chid=np.array([4, 2]))))["*"]
    assert apart.samples.dtype == np.int16
    np.testing.assert_array_equal(apart.samples, [[30_000, 0], [0, 30_000]])
    added = frames(frame_of({**traces, "t1": traces["t0"]}, told("d", chid=np.array([4, 4]))))["*"]
    np.testing.assert_array_equal(added.samples, [[60_000]])


def test_a_tag_in_two_frames_is_told_apart_by_their_datapaths() -> None:
    two = frame_of({"t": tensor("trace", ONES)}, told("d", chid=np.array([4, 2])))
    assert list(frames({**two, "g": two["f"]})) == ["f/*", "g/*"]


def test_a_frame_of_no_traces_has_no_channels() -> None:
    assert len(frames(frame_of({}, told("d", chid=np.zeros(0, np.int32))))["*"].channels) == 0


@pytest.mark.parametrize("key", ["masks", "cmm"])
def test_masks_are_rows_of_channel_and_ticks(key: str) -> None:
    held = frame_of({}, **{key: {"bad": {"10": [[0, 5], [7, 9]], "9": [[1, 2]]}, "noisy": {}}})
    np.testing.assert_array_equal(masks(held)["bad"], [[9, 1, 2], [10, 0, 5], [10, 7, 9]])
    assert masks(held)["noisy"].shape == (0, 3)


def spng(path: str, rows: int, tag: str = "null", **parts: object) -> dict[str, Tensor]:
    """Return a group of traces of SPNG, and what else there is of it."""
    held = {f"{path}/traces": tensor("traces", np.ones((rows, 3), np.float32), parent="f", tag=tag)}
    return held | {f"{path}/{part}": tensor(part, array, parent="f", tag=tag) for part, array in parts.items()}


SPNG_FRAME = {"f": tensor("frame", ident=0, time=1.0, period=500.0)}


def test_groups_of_spng_that_name_their_channels_are_one_frame() -> None:
    held = SPNG_FRAME | spng("g/0", 2, chids=[5, 4], summaries=[1.0, 2.0]) | spng("g/1", 1, chids=[9], summaries=[3.0])
    frame = frames(held)["*"]
    np.testing.assert_array_equal(frame.channels, [5, 4, 9])
    np.testing.assert_array_equal(frame.summary, [1, 2, 3])
    assert frame.samples.shape == (3, 3)
    assert frame.period_ns == 500


def test_traces_of_spng_without_channels_are_no_frame() -> None:
    assert not frames(SPNG_FRAME | spng("g/0", 2))
    assert not frames(spng("g/0", 2, chids=[5, 4]))


def test_masks_of_spng_are_an_array() -> None:
    held = {"m": tensor("chmasks", [[0, 9, 1, 2], [0, 3, 0, 5]], label="bad")}
    np.testing.assert_array_equal(masks(held)["bad"], [[3, 0, 5], [9, 1, 2]])


CHIDS = told("d", chid=np.array([4, 2], np.int32))
BLOCK = {"t": tensor("trace", ONES)}


@pytest.mark.parametrize(
    ("tensors", "fault"),
    [
        (frame_of(BLOCK, CHIDS, time=None), "tensor 'f': 'time' is None; expected a number"),
        (frame_of(BLOCK, CHIDS, time=float("nan")), "tensor 'f': 'time' is nan; expected a number"),
        (frame_of(BLOCK, CHIDS, time=True), "tensor 'f': 'time' is True; expected a number"),
        (frame_of(BLOCK, CHIDS, time=10**400), "tensor 'f': 'time' is 1000"),
        (frame_of(BLOCK, CHIDS, tick=0), "a period of 0.0 ns; expected more than 0"),
        (frame_of(BLOCK, CHIDS, traces="t"), "'traces' is 't'; expected a list of datapaths"),
        (frame_of(BLOCK, CHIDS, traces=[1]), r"'traces' is \[1\]; expected a list of datapaths"),
        (frame_of(BLOCK, CHIDS, traces=["t", "t"]), "tensor 'f': a datapath comes twice in 'traces'"),
        (frame_of(BLOCK, CHIDS, traces=["u"]), "tensor 'f' refers to 'u', which is missing"),
        (frame_of(BLOCK, CHIDS, traces=["d"]), "'d', which is of datatype 'pcdataset'; expected trace"),
        (frame_of(BLOCK, CHIDS, tracedata=["t"]), "'t', which is of datatype 'trace'; expected pcdataset"),
        (frame_of(BLOCK, told("d", chid=np.array([4]))), r"'d': chid: int64 of shape \(1,\); expected 2 numbers"),
        (frame_of(BLOCK, told("d", chid=np.array([4.0, 2.0]))), "'d': chid: float64"),
        (frame_of(BLOCK, told("d", chid=np.array([2**40, 2]))), "chid: a number does not fit in 32 bits"),
        (frame_of(BLOCK, CHIDS, told("e", chid=np.array([4, 2]))), "the tag '' comes twice"),
        (frame_of(BLOCK, told("a", "a", index=np.array([1, 1]))), "tensor 'a': a trace comes twice in the index"),
        (frame_of({"t": tensor("trace", np.ones((2, 0), "f4"))}, CHIDS), r"tensor 't': float32 of shape \(2, 0\)"),
        (frame_of(BLOCK, told("a", "a", chid=np.array([4, 2]))), "tensor 'a': traces with a tag need an 'index'"),
        (frame_of(BLOCK, told("a", "a", index=np.array([0, 2]))), "tensor 'a': an index of 2, of 2 traces"),
        (frame_of(BLOCK, told("a", "a", index=np.array([0.0]))), "tensor 'a': traces with a tag need an 'index'"),
        (frame_of(BLOCK, told("a", "a", index=np.array([1]))), "trace 1 of tag 'a' has no channel"),
        (frame_of(BLOCK, told("d", q=ONES)), "trace 0 of tag '\\*' has no channel"),
        (frame_of({"t": tensor("trace")}, CHIDS), "tensor 't' has no array; a 'trace' is one"),
        (frame_of({"t": tensor("trace", np.ones((1, 2, 3)))}, CHIDS), r"tensor 't': float64 of shape \(1, 2, 3\)"),
        (frame_of({"t": tensor("trace", np.ones((2, 3)))}, CHIDS), "expected float32 or int16"),
        (frame_of({"t": tensor("trace", ONES, tbin="x")}, CHIDS), "tensor 't': 'tbin' is 'x'; expected a number"),
        (frame_of({"t": tensor("trace", ONES, tbin=0.5)}, CHIDS), "tensor 't': tbin is 0.5; expected the number of"),
        (frame_of({"t": tensor("trace", ONES, tbin=1 << 31)}, CHIDS), "expected the number of a tick"),
        (SPNG_FRAME | spng("g", 2, chids=[5]), r"tensor 'g/chids': int64 of shape \(1,\); expected 2 numbers"),
        (SPNG_FRAME | spng("g", 1, chids=[5], tag=3), "tensor 'g/traces': tag is 3; expected a name"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_frame_is_refused(tensors: Tensors, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        frames(tensors)


def test_a_summary_of_another_length_is_refused() -> None:
    held = frame_of(BLOCK, CHIDS, told("a", "a", index=np.array([0, 1]), summary=np.zeros(3)))
    with pytest.raises(DataError, match="tensor 'a' has columns of lengths"):
        frames(held)


def test_a_grid_far_beyond_the_samples_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_frames, "FREE_SAMPLES", 1000)
    traces = {f"t{n}": tensor("trace", ONES[0], tbin=n * (1 << 14)) for n in range(2)}
    with pytest.raises(DataError, match="tensor 'f': 2 channels and 16387 ticks are too much for what the traces hold"):
        frames(frame_of(traces, told("d", chid=np.array([4, 2]))))


def test_many_tags_of_the_same_traces_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_frames, "MOST_SAMPLES", 20)
    index = np.array([0, 1])
    tags = [told(f"d{n}", f"tag{n}", index=index, chid=index) for n in range(4)]
    assert len(frames(frame_of(BLOCK, *tags[:3]))) == 3
    with pytest.raises(DataError, match="2 channels and 3 ticks are too much"):
        frames(frame_of(BLOCK, *tags))


@pytest.mark.parametrize(
    "held", [3, {"bad": 3}, {"bad": {"x": [[1, 2]]}}, {"bad": {"1": [3]}}, {"bad": {"1": [[1, 2, 3]]}}]
)
def test_masks_that_are_none_are_refused(held: object) -> None:
    with pytest.raises(DataError, match="tensor 'f': masks"):
        masks(frame_of({}, masks=held))


@pytest.mark.parametrize("array", [None, np.zeros(4, int), np.zeros((1, 3), int), np.zeros((1, 4))])
def test_masks_of_spng_of_another_shape_are_refused(array: object) -> None:
    with pytest.raises(DataError, match="tensor 'm'"):
        masks({"m": tensor("chmasks", array)})


def test_frames_are_written_as_cpp_takes_them() -> None:
    frame = Frame(ONES, np.array([4, 2], np.int32), 0.0, 500.0, 3, np.zeros(2))
    held = from_frames({"a": frame, "b": frame}, {"bad": np.array([[4, 0, 5]], np.int32)}, 7)
    top = held["frames/7"].metadata
    assert (top["ident"], top["time"], top["tick"], top["tags"]) == (7, 0.0, 500.0, [])
    assert top["masks"] == {"bad": {"4": [[0, 5]]}}
    assert top["traces"] == ["frames/7/traces/a", "frames/7/traces/b"]
    assert held["frames/7/traces/b"].metadata["tbin"] == 3
    assert held["frames/7/tracedata/b"].metadata["tag"] == "b"
    dtypes = {"chid": np.int32, "summary": np.float64, "index": np.uint64}
    for name, dtype in dtypes.items():
        array = held[f"frames/7/tracedata/b/arrays/{name}"].array
        assert array is not None
        assert array.dtype == dtype
    np.testing.assert_array_equal(held["frames/7/tracedata/b/arrays/index"].array, [2, 3])


def test_labels_of_8_bits_are_written_as_the_whole_numbers_that_cpp_reads() -> None:
    held = from_frames({"a": Frame(ONES.astype(np.int8), np.array([4, 2], np.int32), 0.0, 500.0)}, {}, 0)
    array = held["frames/0/traces/a"].array
    assert array is not None
    assert array.dtype == np.int16


@pytest.mark.parametrize(
    ("tag", "frame", "fault"),
    [
        ("", Frame(ONES, np.array([4, 2], np.int32), 0.0, 500.0), "empty tag"),
        ("a", Frame(ONES, np.array([4, 4], np.int32), 0.0, 500.0), "a channel comes twice in frame 'a'"),
        ("a", Frame(ONES[:0], np.zeros(0, np.int32), 0.0, 500.0), "frame 'a' has no channels, ticks or time"),
        ("a", Frame(ONES, np.array([4, 2], np.int32), np.nan, 500.0), "frame 'a' has no channels, ticks or time"),
    ],
)
def test_a_frame_that_would_not_come_back_is_not_written(tag: str, frame: Frame, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        from_frames({tag: frame}, {}, 0)


@st.composite
def any_frame(draw: st.DrawFn) -> Frame:
    """Draw a frame of a few channels."""
    rows, number = draw(st.integers(1, 3)), st.integers(-(2**31), 2**31 - 1)
    channels = draw(st.lists(number, min_size=rows, max_size=rows, unique=True))
    samples = draw(hnp.arrays(st.sampled_from([np.float32, np.int16]), (rows, draw(st.integers(1, 3)))))
    summary = draw(st.none() | hnp.arrays(np.float64, rows))
    time_ns, period_ns = draw(st.sampled_from([-250000.0, 0.0])), draw(st.sampled_from([500.0, 512.5]))
    return Frame(samples, np.array(channels, np.int32), time_ns, period_ns, draw(st.integers(-9, 9)), summary)


MASK = hnp.arrays(np.int32, st.tuples(st.integers(0, 4), st.just(3))).map(lambda rows: np.unique(rows, axis=0))


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.just("*") | st.text(min_size=1), any_frame(), min_size=1, max_size=4),
    st.dictionaries(st.text(), MASK, max_size=2),
    st.integers(0, 10**6),
)
def test_frames_become_tensors_and_come_back(
    held: dict[str, Frame], masked: dict[str, np.ndarray[Any, Any]], ident: int
) -> None:
    tensors = from_frames(held, masked, ident)
    assert same(frames(tensors), held)
    assert same(masks(tensors), masked)
