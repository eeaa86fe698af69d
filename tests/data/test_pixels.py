"""Files of labelled pixels and of their particles: types, tables, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reading import ReaderContract, assert_same_events
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.pixels import CLASSES, FORMAT, read, write
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

FLOATS = ("rebinned_reco", "total_numelectrons", "trackid_1st", "trackid_2nd", "energyfrac_1st", "energyfrac_2nd")
LABELS = ("label_1st", "label_2nd")


def frame(seed: int, kind: Any = np.float32) -> Frame:
    """Return a small frame."""
    samples = np.random.default_rng(seed).integers(0, len(CLASSES), (6, 4)).astype(kind)
    return Frame(samples, np.arange(100, 106, dtype=np.int32), 0.0, 500.0)


def particles(num: int) -> dict[str, Any]:
    """Return a table of particles."""
    starts = np.arange(4.0 * num, dtype=np.float32).reshape(num, 4)
    return {"track_ids": np.arange(num, dtype=np.int32) - 1, "start_xyzts": starts, "labels": np.ones(num, np.int8)}


class TestContract(ReaderContract):
    """What every format keeps to."""

    def format(self) -> Format:
        return FORMAT

    def events(self) -> list[Contents]:
        frames = {tag: frame(seed) for seed, tag in enumerate(FLOATS)}
        labels = {tag: frame(seed, np.int8) for seed, tag in enumerate(LABELS)}
        tables = {"mcpart": particles(3), "simchnl": particles(0)}
        return [Contents(2, frames=frames | labels, tables=tables), Contents(10, tables=tables)]

    def many(self, count: int) -> list[Contents]:
        dice = np.random.default_rng(1)
        samples = dice.normal(size=(300, 200)).astype(np.float32)
        noise = Frame(samples, np.arange(300, dtype=np.int32), 0.0, 500.0)
        return [Contents(ident, frames={"trackid_1st": noise}) for ident in range(count)]


def sample(path: Path) -> h5py.File:
    """Write a file as LArSoft does, and leave it open."""
    file = h5py.File(path, "w")
    for ident in (1, 10, 9):
        for tag in (*FLOATS, *LABELS):
            samples = np.full((6, 4), ident, np.int8 if tag in LABELS else np.float32)
            file.create_dataset(f"{ident}/frame_{tag}", data=samples, compression="gzip")
            file[f"{ident}/channels_{tag}"] = np.arange(6, dtype=np.int32)
            file[f"{ident}/tickinfo_{tag}"] = np.array([0.0, 500.0, 0.0])
    for name in ("track_ids", "pids"):
        file[f"9/mcpart/{name}"] = np.array([5, 6], np.int32)
    file["9/simchnl/energies"] = np.array([0.5], np.float32)
    return file


def events(path: Path) -> list[Contents]:
    """Return the events of a file."""
    return list(read(Source.of(path)))


def test_labels_are_small_numbers_and_charges_are_not(tmp_path: Path) -> None:
    sample(tmp_path / "a.h5").close()
    found = events(tmp_path / "a.h5")
    assert [one.ident for one in found] == [1, 9, 10]
    assert set(found[0].frames) == {*FLOATS, *LABELS}
    assert {found[0].frames[tag].samples.dtype for tag in LABELS} == {np.dtype(np.int8)}
    assert {found[0].frames[tag].samples.dtype for tag in FLOATS} == {np.dtype(np.float32)}
    assert found[2].frames["label_2nd"].samples.tolist() == [[10] * 4] * 6
    assert found[2].frames["label_2nd"].period_ns == 500


def test_tables_of_particles_are_with_their_event(tmp_path: Path) -> None:
    sample(tmp_path / "a.h5").close()
    first, second, _ = events(tmp_path / "a.h5")
    assert not first.tables
    assert set(second.tables) == {"mcpart", "simchnl"}
    assert second.tables["mcpart"]["pids"].tolist() == [5, 6]
    assert second.tables["simchnl"]["energies"].dtype == np.float32


def test_files_written_by_the_older_tap_are_transposed(tmp_path: Path) -> None:
    with sample(tmp_path / "a.h5") as file:
        del file["1/frame_label_1st"]
        file["1/frame_label_1st"] = np.arange(24, dtype=np.int8).reshape(4, 6)
    samples = events(tmp_path / "a.h5")[0].frames["label_1st"].samples
    assert samples.tolist() == np.arange(24).reshape(4, 6).T.tolist()


def test_there_are_seven_classes() -> None:
    assert CLASSES.index("Michel") == 3
    assert len(CLASSES) == 7


def changed(name: str, made: Any) -> Callable[[h5py.File], None]:
    """Return a change of a file: an object that is replaced."""

    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = made

    return change


def sparse(file: h5py.File) -> None:
    """Make a frame a list of pixels."""
    del file["1/frame_label_1st"]
    file["1/frame_label_1st/coords"] = np.zeros((3, 2), np.int32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("9/mcpart/pids", np.zeros(3)), "event 9: mcpart has columns of shapes"),
        (changed("9/mcpart/pids", 3), "event 9: mcpart has columns of shapes"),
        (changed("9/mcpart/pids", np.array([b"a", b"b"])), "expected numbers"),
        (changed("9/mcpart/pids", h5py.ExternalLink("b.h5", "/x")), "link to elsewhere"),
        (changed("9/mcpart", h5py.SoftLink("/9/simchnl")), "link to elsewhere"),
        (changed("9/mcpart", np.zeros(3)), "'mcpart' is no group"),
        (changed("1/frame_label_1st", np.zeros((7, 4), np.int8)), "event 1: 'frame_label_1st' has shape"),
        (sparse, "'frame_label_1st' is no array"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, change: Callable[[h5py.File], None], message: str) -> None:
    path = tmp_path / "a.h5"
    with sample(path) as file:
        change(file)
    with pytest.raises(DataError, match=f"^{path}.*{message}"):
        events(path)


def test_a_file_is_told_by_its_labels_or_particles() -> None:
    for name in ("1/frame_label_1st", "12/frame_trackid_2nd", "3/mcpart", "3/simchnl"):
        assert FORMAT.recognises(Peek("hdf5", ("1", name)))
    assert not FORMAT.recognises(Peek("hdf5", ("1", "1/frame_gauss0", "1/channels_label_1st")))
    assert not FORMAT.recognises(Peek("archive", ("1/mcpart",)))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ([Contents(1, tables={"hits": particles(1)})], "no place for the table 'hits'"),
        ([Contents(1, tables={"mcpart": {"a/b": np.zeros(1)}})], "column 'a/b' is"),
        ([Contents(1, tables={"mcpart": {"a": np.array(["x"])}})], "column 'a' is"),
        ([Contents(1, tables={"mcpart": {"a": np.zeros(1), "b": np.zeros(2)}})], "column 'a' is .* a row of each"),
        ([Contents(1, tables={"mcpart": {"a": np.zeros(())}})], "column 'a' is"),
        ([Contents(1, tables={"mcpart": particles(1)})] * 2, "event 1 comes twice"),
        ([Contents(1, arrays={"x": np.zeros(1)})], "event 1 holds arrays"),
        ([Contents(1, frames={"a/b": frame(1)})], "tag 'a/b' cannot be written"),
    ],
)
def test_what_a_file_cannot_hold_is_not_written(tmp_path: Path, written: list[Contents], message: str) -> None:
    with pytest.raises(DataError, match=message):
        write(tmp_path / "a.h5", written)
    assert not list(tmp_path.iterdir())


@settings(max_examples=40, deadline=None)
@given(labels=st.booleans(), nums=st.lists(st.integers(0, 5), max_size=2), seed=st.integers(0, 99))
def test_any_event_comes_back(
    tmp_path_factory: pytest.TempPathFactory, labels: bool, nums: list[int], seed: int
) -> None:
    frames = {"label_1st": frame(seed, np.int8)} if labels else {"trackid_1st": frame(seed)}
    tables = {name: particles(num) for name, num in zip(("mcpart", "simchnl"), nums, strict=False)}
    expected = [Contents(seed, frames=frames, tables=tables), Contents(seed + 7, frames=frames)]
    path = tmp_path_factory.mktemp("pixels") / "a.h5"
    write(path, expected)
    assert_same_events(events(path), expected)
