"""NuML event files: rows of tables by event, in both vocabularies, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.reading import ReaderContract, assert_same_events
from wirecell_ml.data import container, numl
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.numl import FORMAT, read, write
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

TEXT = np.dtypes.StringDType()
KEYS = [[1, 2, 30], [1, 2, 31], [1, 3, 7]]  # run, subrun and event of the events of ``sample``
HITS = [2, 0, 3]  # rows of each
NUMBERING = ("event_id", "event_id.seq", "event_id.seq_cnt")


class TestContract(ReaderContract):
    """What every format keeps to."""

    def format(self) -> Format:
        return FORMAT

    def events(self) -> list[Contents]:
        return [held(5, 3), held(-2, 0), held(4, 1)]

    def many(self, count: int) -> list[Contents]:
        return [table({"x": np.full(1000, ident)}, ident=ident) for ident in range(count)]


def held(ident: int, num: int) -> Contents:
    """Return an event with ``num`` hits and particles, in columns of every type."""
    hits = {
        "hit_id": np.arange(num, dtype=np.int32),
        "integral": np.linspace(0, 1, num, dtype=np.float32),
        "pos": np.full((num, 3), np.nan),
        "good": np.arange(num) % 2 == 0,
    }
    names = {
        "start_process": np.array(["primary", "", "μIoni"], TEXT)[:num],
        "end": np.array([b"a", b"bc"], "S4")[:1].repeat(num),
    }
    event = {"is_cc": np.ones(1, np.uint8), "nu_vtx": np.zeros((1, 3))}
    return Contents(ident, 7, 1, tables={"event_table": event, "hit_table": hits, "particle_table": names})


def sample(path: Path, *numbering: str) -> h5py.File:
    """Write a file as HDF5Maker does, with some of what numbers the rows, and leave it open."""
    file = h5py.File(path, "w")
    file["event_table/event_id"] = np.array(KEYS, np.int32)
    file["event_table/nu_energy"] = np.array([[0.5], [1.5], [2.5]], np.float32)
    hits, sequence = file.create_group("hit_table"), np.repeat(range(3), HITS)
    hits["local_wire"] = np.arange(5, dtype=np.int32)[:, None]
    hits["local_time"] = np.arange(5, dtype=">f4")[:, None]
    hits["position"] = np.arange(15.0).reshape(5, 3)
    hits.create_dataset("process", data=[["a"], ["b"], ["c"], ["d"], ["e"]], dtype=h5py.string_dtype())
    made = {
        "event_id": np.repeat(np.array(KEYS, np.int32), HITS, axis=0),
        "event_id.seq": sequence[:, None],
        "event_id.seq_cnt": np.array([[0, 2], [2, 3]]),
    }
    for name in numbering:
        hits[name] = made[name]
    return file


def events(path: Path) -> list[Contents]:
    """Return the events of a file."""
    return list(read(Source.of(path)))


@pytest.mark.parametrize("numbering", [NUMBERING, *((name,) for name in NUMBERING), NUMBERING[:2]])
def test_each_event_has_its_rows_however_they_are_numbered(tmp_path: Path, numbering: tuple[str, ...]) -> None:
    sample(tmp_path / "a.h5", *numbering).close()
    found = events(tmp_path / "a.h5")
    assert [[one.run, one.subrun, one.ident] for one in found] == KEYS
    assert [one.tables["hit_table"]["local_wire"].tolist() for one in found] == [[0, 1], [], [2, 3, 4]]
    assert [one.tables["hit_table"]["process"].tolist() for one in found] == [["a", "b"], [], ["c", "d", "e"]]
    assert [one.tables["event_table"]["nu_energy"].tolist() for one in found] == [[0.5], [1.5], [2.5]]
    assert found[2].tables["hit_table"]["position"].tolist() == [[6, 7, 8], [9, 10, 11], [12, 13, 14]]


def test_columns_keep_their_type_with_or_without_rows(tmp_path: Path) -> None:
    sample(tmp_path / "a.h5", "event_id.seq_cnt").close()
    for found in events(tmp_path / "a.h5"):
        hits = found.tables["hit_table"]
        assert hits["local_wire"].dtype == np.int32
        assert hits["local_time"].dtype == np.dtype("<f4")
        assert hits["local_time"].shape == (len(hits["local_wire"]),)
        assert hits["process"].dtype == TEXT
        assert set(hits) == {"local_wire", "local_time", "position", "process"}


def test_numbers_of_rows_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numl, "BLOCK", 2)
    for name in NUMBERING:
        sample(tmp_path / "a.h5", name).close()
        found = events(tmp_path / "a.h5")
        assert [one.tables["hit_table"]["local_wire"].tolist() for one in found] == [[0, 1], [], [2, 3, 4]]


def test_groups_that_are_no_tables_are_left_out(tmp_path: Path) -> None:
    with sample(tmp_path / "a.h5", "event_id") as file:
        file["notes/author"] = np.zeros(3)
    assert set(events(tmp_path / "a.h5")[0].tables) == {"event_table", "hit_table"}


def changed(name: str, array: Any) -> Callable[[h5py.File], None]:
    """Return a change of a file: a dataset that is replaced."""

    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = array

    return change


def linked(file: h5py.File) -> None:
    """Make a column a link to another file."""
    del file["hit_table/local_wire"]
    file["hit_table/local_wire"] = h5py.ExternalLink("other.h5", "/x")


def referring(file: h5py.File) -> None:
    """Add a column of references to objects."""
    file["hit_table/refs"] = np.array([file["hit_table"].ref] * 5, h5py.ref_dtype)


def jagged(file: h5py.File) -> None:
    """Add a column of lists."""
    file.create_dataset("hit_table/lists", (5,), h5py.vlen_dtype(np.int32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("hit_table/event_id.seq_cnt", [[0, 2], [2, 4]]), "hit_table has 5 rows, but event .* 2 to 6"),
        (changed("hit_table/event_id.seq_cnt", [[0, 2], [2, 2]]), "hit_table has 5 rows, but 4 that belong"),
        (changed("hit_table/event_id.seq_cnt", [[2, 2], [0, 3]]), "hit_table: rows of event 0 are out of the order"),
        (changed("hit_table/event_id.seq_cnt", [[0, 2], [0, 3]]), "hit_table: rows of event 0 are out of the order"),
        (changed("hit_table/event_id.seq_cnt", [[0, 2], [9, 3]]), "hit_table: rows of event 9 are out of the order"),
        (changed("hit_table/event_id.seq_cnt", [[0, -2], [2, 7]]), "gives the event in row 0 of event_table -2 rows"),
        (changed("hit_table/event_id.seq_cnt", [[0, 2**62], [2, 7]]), "hit_table has 5 rows"),
        (changed("hit_table/event_id.seq_cnt", [0, 5]), r"event_id.seq_cnt has shape \(2,\); expected \(row, 2\)"),
        (changed("hit_table/event_id.seq_cnt", [[0.0, 5.0]]), "float64; expected numbers"),
        (changed("event_table/event_id", np.zeros((3, 4), int)), r"event_id has shape \(3, 4\)"),
        (changed("event_table/nu_energy", np.zeros(4)), "event_table has columns of 3 and of 4 rows"),
        (changed("hit_table/local_wire", np.zeros(4)), "hit_table has columns of 4 and of 5 rows"),
        (changed("hit_table/local_wire", 3), "local_wire has shape ()"),
        (linked, "'local_wire' is a link to elsewhere"),
        (referring, "refs has shape .* of object"),
        (jagged, "lists has shape .* of object"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, change: Callable[[h5py.File], None], message: str) -> None:
    path = tmp_path / "a.h5"
    with sample(path, *NUMBERING) as file:
        change(file)
    with pytest.raises(DataError, match=f"^{path}.*{message}"):
        events(path)


@pytest.mark.parametrize("name", ["event_id", "event_id.seq"])
def test_rows_of_an_event_that_are_apart_are_refused(tmp_path: Path, name: str) -> None:
    with sample(tmp_path / "a.h5", name) as file:
        rows = file["hit_table"][name][()]
        rows[[1, 4]] = rows[[4, 1]]
        file["hit_table"][name][...] = rows
    with pytest.raises(DataError, match="out of the order of event_table"):
        events(tmp_path / "a.h5")


def test_a_file_without_events_is_refused(tmp_path: Path) -> None:
    with sample(tmp_path / "a.h5", *NUMBERING) as file:
        del file["event_table"]
    with pytest.raises(DataError, match="no group 'event_table'"):
        events(tmp_path / "a.h5")


def test_text_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with sample(tmp_path / "a.h5", *NUMBERING) as file:
        file["hit_table/process"][0] = b"\xff\xfe"
    with pytest.raises(DataError, match="damaged"):
        events(tmp_path / "a.h5")


def test_an_event_of_too_many_bytes_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    with sample(path, *NUMBERING) as file:
        file.create_dataset("hit_table/adc", data=np.zeros((5, 6400), np.float32), chunks=(1, 6400))
    monkeypatch.setattr(container, "MOST_BYTES", 60_000)
    with pytest.raises(DataError, match=r"hit_table: event .* has \d+ bytes; at most 60000 are read"):
        events(path)


def test_a_file_is_told_by_its_event_table() -> None:
    assert FORMAT.recognises(Peek("hdf5", ("edep_table", "edep_table/energy", "event_table")))
    assert not FORMAT.recognises(Peek("hdf5", ("0", "0/frame_gauss0")))
    assert not FORMAT.recognises(Peek("archive", ("event_table",)))


def test_a_written_file_has_the_datasets_that_others_look_for(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", [held(5, 3), held(6, 0), held(7, 1)])
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["event_table/event_id"][()].tolist() == [[7, 1, 5], [7, 1, 6], [7, 1, 7]]
        assert file["event_table/event_id.seq_cnt"][()].tolist() == [[0, 1], [1, 1], [2, 1]]
        assert file["hit_table/event_id.seq_cnt"][()].tolist() == [[0, 3], [2, 1]]
        assert file["hit_table/event_id"][()].tolist() == [[7, 1, 5]] * 3 + [[7, 1, 7]]
        assert file["hit_table/hit_id"].shape == (4, 1)
        assert file["hit_table/pos"].shape == (4, 3)
        assert h5py.check_string_dtype(file["particle_table/start_process"].dtype)


def test_events_are_written_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numl, "BATCH", 2)
    expected = [held(ident, ident % 4) for ident in range(7)]
    write(tmp_path / "a.h5", iter(expected))
    assert_same_events(events(tmp_path / "a.h5"), expected)


def test_events_need_no_table_of_their_own(tmp_path: Path) -> None:
    expected = [Contents(ident, 1, 0, tables={"hit": {"x": np.arange(ident)}}) for ident in range(3)]
    write(tmp_path / "a.h5", expected)
    assert_same_events(events(tmp_path / "a.h5"), expected)


def table(columns: dict[str, NDArray[Any]], name: str = "hit_table", ident: int = 1) -> Contents:
    """Return an event with one table."""
    return Contents(ident, 1, 1, tables={name: columns})


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (table({}), "hit_table.* expected names"),
        (table({"a/b": np.zeros(1)}), "expected names without '/'"),
        (table({"event_id": np.zeros(1)}), "expected names without '/'"),
        (table({"x": np.zeros(1)}, "a/b"), "expected names without '/'"),
        (table({"x": np.zeros(())}), "expected rows of numbers or text"),
        (table({"x": np.zeros((2, 0))}), "expected rows of numbers or text"),
        (table({"x": np.array(["a"])}), "expected rows of numbers or text"),
        (table({"x": np.array(["a\0b"], TEXT)}), "expected rows of numbers or text"),
        (table({"x": np.array(["a"], object)}), "expected rows of numbers or text"),
        (table({"x": np.zeros(1), "y": np.zeros(2)}), "columns of .1, 2. rows"),
        (table({"x": np.zeros(2)}, "event_table"), "columns of .2. rows"),
        (Contents(2**31, 1, 1), "expected numbers of 32 bits"),
        (Contents(1, 1, 1, arrays={"x": np.zeros(1)}), "has arrays; only tables"),
    ],
)
def test_what_a_file_cannot_hold_is_not_written(tmp_path: Path, event: Contents, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write(tmp_path / "a.h5", [event])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("other", [{"x": np.zeros(2, np.float32)}, {"x": np.zeros((2, 2))}, {"y": np.zeros(2)}])
def test_all_events_have_the_columns_of_the_first(tmp_path: Path, other: dict[str, NDArray[Any]]) -> None:
    with pytest.raises(DataError, match="the events before have"):
        write(tmp_path / "a.h5", [table({"x": np.zeros(2)}), table(other)])


def test_no_events_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no event to write"):
        write(tmp_path / "a.h5", [])
    assert not list(tmp_path.iterdir())


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8), seed=st.integers(0, 99)
)
def test_any_numbers_of_rows_come_back(
    tmp_path_factory: pytest.TempPathFactory, counts: list[tuple[int, int]], seed: int
) -> None:
    dice = np.random.default_rng(seed)
    expected = [
        Contents(
            int(dice.integers(-9, 9)),
            2,
            3,
            tables={
                "hit": {"x": dice.normal(size=hits), "y": dice.integers(0, 9, (hits, 2), np.int16)},
                "sp": {"name": np.array(["a", "bb", "ccc"], TEXT)[:spacepoints]},
            },
        )
        for hits, spacepoints in counts
    ]
    path = tmp_path_factory.mktemp("numl") / "a.h5"
    write(path, expected)
    assert_same_events(events(path), expected)
