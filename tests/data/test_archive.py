"""Frame archives: what is written is read, one event at a time, and nothing that a stranger wrote does harm."""

import io
import random
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tests.reading import ReaderContract
from wirecell_ml.data import container
from wirecell_ml.data.archive import FORMAT, read, read_events, write, write_archive
from wirecell_ml.data.container import SUFFIXES
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

Event = tuple[int, dict[str, Frame]]
Members = dict[str, NDArray[Any] | bytes]

KINDS = ("frame", "channels", "tickinfo")
TAGS = st.sampled_from(["*", "gauss0", "loose_lf0", "a__1_2", "_"]) | st.text("abz019_*-. ", min_size=1, max_size=12)
SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6))


def frame_like(num_channels: int, num_ticks: int, summary: bool = False) -> Frame:
    rng = np.random.default_rng(num_channels)
    samples = rng.normal(size=(num_channels, num_ticks)).astype(np.float32)
    channels = np.arange(100, 100 + num_channels, dtype=np.int32)
    return Frame(samples, channels, -250_000.0, 500.0, 40, rng.normal(size=num_channels) if summary else None)


def some_events(num: int = 3) -> list[Event]:
    frames = {"gauss0": frame_like(4, 9), "loose_lf0": frame_like(5, 9, summary=True)}
    return [(ident, frames) for ident in range(10, 10 + num)]


class TestContract(ReaderContract):
    def format(self) -> Format:
        return FORMAT

    def events(self) -> list[Contents]:
        real, digitized = frame_like(4, 9, summary=True), frame_like(5, 7)
        adc = np.arange(35, dtype=np.int16).reshape(5, 7)
        masks = {"bad": np.array([[100, 0, 9], [102, 3, 4]], np.int32), "noisy_a": np.zeros((0, 3), np.int32)}
        return [
            Contents(40896, frames={"gauss0": real, "loose_lf0": frame_like(6, 2)}, masks=masks),
            Contents(-3, frames={"*": replace(digitized, samples=adc), "label": replace(digitized, samples=adc // 9)}),
            Contents(0, frames={"label": replace(digitized, samples=adc.astype(np.int8))}),
            Contents(1, masks={"bad": masks["bad"]}),
        ]


def wct_members(ident: int = 0, tag: str = "gauss0", **change: Any) -> Members:
    """Return what FrameFileSink writes for one frame, some arrays replaced or, with None, left out."""
    whole: dict[str, NDArray[Any] | bytes | None] = {
        "frame": np.asfortranarray(np.arange(12).reshape(3, 4), np.float32),
        "channels": np.arange(3, dtype=np.int32),
        "tickinfo": np.array([0.0, 500.0, 0.0]),
    }
    return {f"{kind}_{tag}_{ident}.npy": held for kind, held in (whole | change).items() if held is not None}


def npy(array: NDArray[Any] | bytes) -> bytes:
    if isinstance(array, bytes):
        return array
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npy_claiming(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode("latin1") + data


NO_ARRAYS = {
    "empty": b"",
    "cut": b"\x93NUM",
    "text": b"no numpy array at all",
    "no shape": npy_claiming("{'descr': '<f4', 'fortran_order': True}"),
    "negative shape": npy_claiming("{'descr': '<f4', 'fortran_order': True, 'shape': (-3, -4)}", bytes(48)),
    "huge empty shape": npy_claiming(f"{{'descr': '<f4', 'fortran_order': True, 'shape': (0, {10**30})}}"),
    "unknown type": npy_claiming("{'descr': 'nonsense', 'fortran_order': True, 'shape': (3, 4)}"),
    "open brackets": npy_claiming("(" * 9000),
    "many signs": npy_claiming("-" * 9000 + "1"),  # these three make Python's parser
    "long sum": npy_claiming("1" + "+1" * 4500),  # run out of memory or stack,
    "open string": npy_claiming("[['"),  # or end in an error of its own
    "long header": npy_claiming("{" + " " * 20_000 + "}"),
}


def store(path: Path, members: Members) -> Path:
    """Write members as they are, not by the code under test."""
    if path.suffix in (".npz", ".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, array in members.items():
                packed.writestr(name, npy(array))
        return path
    mode: Any = "w:" + path.suffix.removeprefix(".tar").removeprefix(".")
    with tarfile.open(path, mode) as tar:
        for name, array in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(npy(array))
            tar.addfile(info, io.BytesIO(npy(array)))
    return path


def assert_same(one: Frame, other: Frame) -> None:
    np.testing.assert_array_equal(one.samples, other.samples)
    np.testing.assert_array_equal(one.channels, other.channels)
    assert (one.time_ns, one.period_ns, one.tbin) == (other.time_ns, other.period_ns, other.tbin)
    assert (one.summary is None) == (other.summary is None)
    if one.summary is not None and other.summary is not None:
        np.testing.assert_array_equal(one.summary, other.summary)


def assert_same_events(some: list[Event], others: list[Event]) -> None:
    assert [(ident, list(frames)) for ident, frames in some] == [(ident, list(frames)) for ident, frames in others]
    for (_, frames), (_, other_frames) in zip(some, others, strict=True):
        for tag, frame in frames.items():
            assert_same(frame, other_frames[tag])


def fault_of(path: Path) -> str:
    """Return the one line that reading ``path`` ends with."""
    with pytest.raises(DataError) as refused:
        list(read_events(path))
    text = str(refused.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


@st.composite
def frames_of_any_kind(draw: st.DrawFn) -> Frame:
    shape = draw(SHAPES)
    by_column = draw(st.booleans())
    values = arrays(np.float32, shape, elements=st.floats(width=32)) | arrays(np.int16, shape)
    channels = draw(arrays(np.int32, shape[0]))
    summary = draw(st.none() | arrays(np.float64, shape[0]))
    time_ns, period_ns = draw(st.floats(allow_nan=False, allow_infinity=False)), draw(st.floats(1e-3, 1e9))
    samples = np.array(draw(values), np.float32, order="F" if by_column else "C")
    return Frame(samples, channels, time_ns, period_ns, draw(st.integers(-(2**31), 2**31)), summary)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_archive_is_read_as_it_was_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"frames{suffix}"
    write_archive(path, some_events())
    assert_same_events(list(read_events(path)), some_events())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@settings(max_examples=80, deadline=None)
@given(
    events=st.dictionaries(
        st.integers(-(10**9), 10**9),
        st.dictionaries(TAGS, frames_of_any_kind(), min_size=1, max_size=3),
        min_size=1,
        max_size=3,
    ),
    suffix=st.sampled_from(SUFFIXES),
)
def test_any_events_are_read_as_they_were_written(events: dict[int, dict[str, Frame]], suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"frames{suffix}"
        write_archive(path, events.items())
        assert_same_events(list(read_events(path)), list(events.items()))


@settings(max_examples=40, deadline=None)
@given(
    adc=SHAPES.flatmap(lambda shape: arrays(np.int16, shape)),
    order=st.sampled_from(["C", "F"]),
    suffix=st.sampled_from([".npz", ".tar", ".tar.gz"]),
)
def test_digitized_frames_become_float32_in_channel_order(adc: NDArray[np.int16], order: Any, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        channels = np.arange(len(adc), dtype=np.int32)
        members = wct_members(tag="*", frame=np.array(adc, order=order), channels=channels)
        ((_, frames),) = read_events(store(Path(folder) / f"raw{suffix}", members))
    np.testing.assert_array_equal(frames["*"].samples, adc)
    assert frames["*"].samples.dtype == np.float32
    assert frames["*"].samples.flags.c_contiguous


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_frames_give_the_same_bytes_at_any_time(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / f"one{suffix}", tmp_path / f"other{suffix}"
    write_archive(one, some_events())
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_archive(other, some_events())
    assert one.read_bytes() == other.read_bytes()


def test_numpy_reads_what_was_written_under_the_names_of_wct(tmp_path: Path) -> None:
    write_archive(tmp_path / "frames.npz", some_events(1))
    with np.load(tmp_path / "frames.npz", allow_pickle=False) as held:
        names = [f"{kind}_{tag}_10" for tag in ("gauss0", "loose_lf0") for kind in KINDS]
        assert list(held) == [*names, "summary_loose_lf0_10"]
        np.testing.assert_array_equal(held["frame_gauss0_10"], frame_like(4, 9).samples)
        np.testing.assert_array_equal(held["tickinfo_gauss0_10"], [-250_000.0, 500.0, 40.0])


def test_frames_are_written_by_column_and_in_the_types_of_wct(tmp_path: Path) -> None:
    write_archive(tmp_path / "frames.tar.bz2", some_events(1))
    with tarfile.open(tmp_path / "frames.tar.bz2") as tar:
        held = {name: np.load(io.BytesIO(tar.extractfile(name).read())) for name in tar.getnames()}  # type: ignore[union-attr]
    assert held["frame_loose_lf0_10.npy"].flags.f_contiguous
    assert not held["frame_loose_lf0_10.npy"].flags.c_contiguous
    assert [array.dtype.str for array in held.values()] == ["<f4", "<i4", "<f8"] * 2 + ["<f8"]


@pytest.mark.parametrize("suffix", [".npz", ".tar.xz"])
def test_only_the_tags_asked_for_are_decoded(suffix: str, tmp_path: Path) -> None:
    members = {**wct_members(tag="bad", frame=b"no array"), **wct_members(tag="gauss0")}
    path = store(tmp_path / f"frames{suffix}", members)
    assert [(ident, list(frames)) for ident, frames in read_events(path, ["gauss0"])] == [(0, ["gauss0"])]


def test_an_event_without_the_tags_asked_for_is_empty(tmp_path: Path) -> None:
    path = store(tmp_path / "frames.npz", {**wct_members(0, "gauss0"), **wct_members(1, "wiener0")})
    assert [(ident, list(frames)) for ident, frames in read_events(path, ["wiener0"])] == [(0, []), (1, ["wiener0"])]


def test_channel_masks_and_other_files_are_skipped(tmp_path: Path) -> None:
    others: Members = {"chanmask_bad_0.npy": np.zeros((1, 3), np.int32), "README": b"hello", "frame_gauss0.npy": b""}
    path = store(tmp_path / "frames.tar.gz", {**others, **wct_members()})
    assert [(ident, list(frames)) for ident, frames in read_events(path)] == [(0, ["gauss0"])]


def test_the_first_event_of_a_tar_comes_without_reading_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "frames.tar.gz"
    write_archive(path, [(ident, {"gauss0": frame_like(64, 500)}) for ident in range(10)])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    events = read_events(path)
    assert next(events)[0] == 0
    with pytest.raises(DataError, match=r"member 'frame_gauss0_\d.npy' is damaged, truncated .*Compressed file ended"):
        list(events)


def test_a_zip_is_read_only_where_a_tag_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, opened = tmp_path / "frames.npz", []
    write_archive(path, some_events())
    honest = zipfile.ZipFile.open

    def spy(self: zipfile.ZipFile, info: zipfile.ZipInfo) -> Any:
        opened.append(info.filename)
        return honest(self, info)

    monkeypatch.setattr(zipfile.ZipFile, "open", spy)
    next(read_events(path, ["gauss0"]))
    assert opened == [f"{kind}_gauss0_10.npy" for kind in KINDS]


def test_no_more_than_one_event_is_taken_from_a_writer_at_a_time(tmp_path: Path) -> None:
    path, partial = tmp_path / "frames.tar", tmp_path / "frames.tar.partial"

    def events() -> Iterator[Event]:
        for ident in range(3):
            assert partial.stat().st_size >= ident * 120_000  # of 128,000 that an event takes
            assert not path.exists()
            yield ident, {"gauss0": frame_like(64, 500)}

    write_archive(path, events())
    assert path.exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_writer_that_fails_leaves_the_archive_of_before(suffix: str, tmp_path: Path) -> None:
    def fail() -> Iterator[Event]:
        yield 7, {"gauss0": frame_like(4, 9)}
        raise KeyboardInterrupt

    path = tmp_path / f"frames{suffix}"
    write_archive(path, some_events(1))
    with pytest.raises(KeyboardInterrupt):
        write_archive(path, fail())
    assert [ident for ident, _ in read_events(path)] == [10]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("tag", ["", "a\nb", "a\0b", "gauß"])
def test_a_tag_that_could_not_be_read_back_is_not_written(tag: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"frames\.npz: event 3: tag .* cannot be written; use printable ASCII"):
        write_archive(tmp_path / "frames.npz", [(3, {tag: frame_like(2, 3)})])


def test_an_event_is_not_written_twice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"frames\.npz: event 10 comes twice; give all that it holds at once"):
        write_archive(tmp_path / "frames.npz", some_events(1) * 2)


def test_an_unknown_suffix_is_refused_beside_the_known(tmp_path: Path) -> None:
    known = "known are .npz, .zip, .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz, .tar.zst"
    with pytest.raises(DataError, match=f"a.rar: unknown kind of archive; {known}"):
        write_archive(tmp_path / "a.rar", some_events())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_missing_empty_or_no_archive_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"frames{suffix}"
    assert fault_of(path) == "no such file"
    path.touch()
    assert fault_of(path) == "the file is empty; write it again"
    path.write_bytes(b"neither zip nor tar" * 100)
    kind = {".npz": ".zip", ".tgz": ".tar.gz"}.get(suffix, suffix)
    assert fault_of(path).startswith(f"damaged, truncated or no {kind} at its start; copy it again (")


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_an_archive_without_frames_is_refused_beside_what_it_holds(suffix: str, tmp_path: Path) -> None:
    path = store(tmp_path / f"depos{suffix}", {"depo_data_0.npy": np.zeros(3), "depo\n": b"x"})
    assert fault_of(path) == ("no frame in it, but 'depo_data_0.npy', 'depo\\n'; expected 'frame_<tag>_<ident>.npy'")
    assert fault_of(store(path, {})) == "no frame in it, but nothing; expected 'frame_<tag>_<ident>.npy'"


def test_channel_masks_are_read_by_name(tmp_path: Path) -> None:
    mask = np.asfortranarray([[7, 0, 6000], [9, 10, 20]], np.int32)
    path = store(tmp_path / "frames.tar.bz2", {**wct_members(5), "chanmask_bad_5.npy": mask})
    (event,) = read(Source.of(path))
    assert {name: held.tolist() for name, held in event.masks.items()} == {"bad": [[7, 0, 6000], [9, 10, 20]]}
    assert list(event.frames) == ["gauss0"]
    assert [list(frames) for _, frames in read_events(path)] == [["gauss0"]]


@pytest.mark.parametrize("shape", [(3,), (2, 2), (1, 3, 1)])
def test_a_channel_mask_of_another_shape_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = store(tmp_path / "frames.npz", {**wct_members(5), "chanmask_bad_5.npy": np.zeros(shape, np.int32)})
    with pytest.raises(DataError) as refused:
        list(read(Source.of(path)))
    assert str(refused.value).endswith(
        f"event 5: chanmask has shape {shape}; expected (range, 3): channel, first tick, end"
    )


@pytest.mark.parametrize(
    ("written", "held"),
    [
        ("i2", "int16"),
        ("i1", "int8"),
        ("f4", "float32"),
        (">i2", "int16"),
        ("u1", "float32"),
        ("f2", "float32"),
        ("?", "float32"),
    ],
)
def test_digitized_frames_keep_their_type(written: str, held: str, tmp_path: Path) -> None:
    path = store(tmp_path / "frames.npz", wct_members(frame=np.arange(12).reshape(3, 4).astype(written)))
    (event,) = read(Source.of(path))
    assert event.frames["gauss0"].samples.dtype.name == held
    assert event.frames["gauss0"].samples.dtype.isnative
    (_, frames), *_ = read_events(path)
    assert frames["gauss0"].samples.dtype == np.float32


def test_digitized_frames_are_written_as_wire_cell_does(tmp_path: Path) -> None:
    adc = replace(frame_like(3, 4), samples=np.arange(12, dtype=np.int16).reshape(3, 4))
    write(tmp_path / "frames.npz", [Contents(2, frames={"*": adc})])
    with np.load(tmp_path / "frames.npz") as held:
        assert held["frame_*_2"].dtype.str == "<i2"
        assert held["frame_*_2"].flags.f_contiguous
        np.testing.assert_array_equal(held["frame_*_2"], adc.samples)


def test_a_type_without_byte_order_is_that_of_this_machine(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32)
    content = npy_claiming("{'descr': 'f4', 'fortran_order': False, 'shape': (3, 4)}", values.tobytes())
    (event,) = read(Source.of(store(tmp_path / "frames.npz", wct_members(frame=content))))
    np.testing.assert_array_equal(event.frames["gauss0"].samples, values.reshape(3, 4))


def test_an_event_of_frames_too_large_together_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path / "frames.npz", {**wct_members(3, "a"), **wct_members(3, "b")})
    monkeypatch.setattr(container, "MOST_BYTES", 900)
    assert fault_of(path) == "event 3 has more than 900 bytes; at most these are read"


@pytest.mark.parametrize(
    ("event", "fault"),
    [
        (Contents(1), "event 1 has no frames and no masks"),
        (Contents(1, arrays={"a": np.zeros(3)}), "event 1 holds arrays; expected frames, masks"),
    ],
)
def test_what_an_archive_cannot_hold_is_not_written(event: Contents, fault: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=fault):
        write(tmp_path / "frames.npz", [event])
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("missing", "fault"),
    [
        (["channels"], "has no channels;"),
        (["tickinfo"], "has no tickinfo;"),
        (["frame"], "has no frame;"),
        (["channels", "tickinfo"], "has no channels and no tickinfo;"),
    ],
)
def test_a_frame_needs_all_its_parts(missing: list[str], fault: str, tmp_path: Path) -> None:
    left_out: dict[str, Any] = dict.fromkeys(missing)
    path = store(tmp_path / "frames.npz", wct_members(7, **left_out))
    assert fault_of(path) == f"event 7, tag 'gauss0' {fault} frame, channels and tickinfo go together"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"frame": np.zeros(3, np.float32)}, "frame has shape (3,); expected (channel, tick)"),
        ({"frame": np.zeros((4, 3), np.float32)}, "channels has shape (3,); expected (4,)"),
        ({"channels": np.zeros((3, 1), np.int32)}, "channels has shape (3, 1); expected (3,)"),
        ({"tickinfo": np.zeros(2)}, "tickinfo has shape (2,); expected (3,)"),
        ({"summary": np.zeros(4)}, "summary has shape (4,); expected (3,)"),
        ({"tickinfo": np.array([0, np.nan, 0])}, "tickinfo is [0.0, nan, 0.0]; expected [time ns, period ns > 0,"),
        ({"tickinfo": np.zeros(3)}, "tickinfo is [0.0, 0.0, 0.0]; expected [time ns, period ns > 0, first tick]"),
    ],
)
def test_arrays_that_make_no_frame_are_refused(change: dict[str, Any], fault: str, tmp_path: Path) -> None:
    path = store(tmp_path / "frames.tar", wct_members(**change))
    assert fault_of(path).startswith(f"event 0, tag 'gauss0': {fault}")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"frame": np.zeros((3, 4))}, "'frame_gauss0_0.npy' holds float64; expected float32 or what fits in it"),
        ({"channels": np.zeros(3)}, "'channels_gauss0_0.npy' holds float64; expected int32 or what fits in it"),
        ({"tickinfo": np.array(["a", "b", "c"])}, "'tickinfo_gauss0_0.npy' holds <U1; expected float64 or"),
        ({"frame": np.array([[print]])}, "'frame_gauss0_0.npy' holds object; expected float32 or"),
    ],
)
def test_an_array_of_another_type_is_refused_and_never_unpickled(
    change: dict[str, Any], fault: str, tmp_path: Path
) -> None:
    assert fault_of(store(tmp_path / "frames.tar.xz", wct_members(**change))).startswith(f"member {fault}")


@pytest.mark.parametrize("suffix", [".npz", ".tar"])
@pytest.mark.parametrize("shape", ["(3, 5)", "(0, 12)", "(1000000000000, 1000000000000)", "(-3, 4)", "(3, 3)"])
def test_a_shape_that_does_not_fit_its_member_is_refused(shape: str, suffix: str, tmp_path: Path) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': True, 'shape': {shape}, }}"
    path = store(tmp_path / f"frames{suffix}", wct_members(frame=npy_claiming(header, bytes(48))))
    assert fault_of(path).startswith(f"member 'frame_gauss0_0.npy' declares shape {shape} of float32, ")


@pytest.mark.parametrize("content", NO_ARRAYS.values(), ids=NO_ARRAYS)
def test_a_member_that_is_no_numpy_array_is_refused(content: bytes, tmp_path: Path) -> None:
    fault = fault_of(store(tmp_path / "frames.npz", wct_members(frame=content)))
    assert fault.startswith("member 'frame_gauss0_0.npy' is damaged, truncated or no .npy; copy it again (")
    assert len(fault) < 300


def test_a_header_of_a_later_version_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.zeros((3, 4), np.float32), version=(2, 0))
    fault = fault_of(store(tmp_path / "frames.npz", wct_members(frame=buffer.getvalue())))
    assert fault == "member 'frame_gauss0_0.npy' is .npy of version (2, 0); numbers are written in version (1, 0)"


@pytest.mark.parametrize("suffix", [".npz", ".tar.gz"])
def test_a_member_too_large_to_be_a_frame_is_refused(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "MOST_BYTES", 1000)
    path = store(tmp_path / f"bomb{suffix}", wct_members(frame=np.zeros((3, 400), np.float32)))
    assert "4928 bytes; at most 1000 are read" in fault_of(path)


def test_a_tar_header_too_large_to_be_a_name_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("a" * (2 << 20)))
    assert "a header of 2097153 bytes; at most 1048576 are read" in fault_of(tmp_path / "bomb.tar.gz")


def test_a_link_in_a_tar_is_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "frames.tar", "w") as tar:
        link = tarfile.TarInfo("frame_gauss0_0.npy")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert fault_of(tmp_path / "frames.tar").startswith("no frame in it, but nothing;")


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = store(tmp_path / "frames.npz", wct_members())
    content = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + flags] |= 1
    path.write_bytes(content)
    assert "is encrypted, password required" in fault_of(path)


@pytest.mark.parametrize("suffix", [".npz", ".tar"])
def test_a_member_that_comes_twice_is_refused(suffix: str, tmp_path: Path) -> None:
    path = store(tmp_path / f"frames{suffix}", {**wct_members(), "frame_gauss0_00.npy": np.zeros((3, 4), np.float32)})
    assert fault_of(path) == "member 'frame_gauss0_00.npy' comes twice; write it once"


def test_an_event_whose_members_are_scattered_is_refused(tmp_path: Path) -> None:
    members = {**wct_members(0), **wct_members(1), **wct_members(0, "wiener0")}
    fault = fault_of(store(tmp_path / "frames.npz", members))
    assert fault == "event 0 comes twice; the members of one event must follow one another"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_cut_archive_is_refused_or_whole(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"frames{suffix}"
    write_archive(path, some_events())
    content = path.read_bytes()
    for twentieth in range(1, 20):
        path.write_bytes(content[: len(content) * twentieth // 20])
        try:
            assert_same_events(list(read_events(path)), some_events())
        except DataError as error:
            assert str(path) in str(error)  # noqa: PT017  (most cuts are refused; a plain tar ends in 20 empty blocks)
        else:
            assert suffix == ".tar"


def test_a_tar_cut_between_two_members_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "frames.tar"
    write_archive(path, some_events(2))
    with tarfile.open(path) as tar:
        offset = tar.getmember("frame_gauss0_11.npy").offset
    path.write_bytes(path.read_bytes()[:offset])
    fault = fault_of(path)
    assert fault.startswith("damaged, truncated or no .tar after member 'summary_loose_lf0_10.npy'; copy it again (")


def test_the_checksum_at_the_end_of_a_tar_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "frames.tar.gz"
    write_archive(path, [(0, {"gauss0": frame_like(64, 500)})])
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    assert "CRC check failed" in fault_of(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_wrong_byte_is_never_another_error(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"frames{suffix}"
    write_archive(path, some_events(1))
    whole, dice, refused = path.read_bytes(), random.Random(1), 0  # noqa: S311
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[dice.randrange(len(whole))] ^= dice.randrange(1, 256)
        path.write_bytes(damaged)
        try:
            list(read_events(path))
        except DataError:
            refused += 1
    assert refused > 50
