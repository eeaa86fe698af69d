"""Trees of the Wire-Cell prototype; nested_vectors.root was written by ROOT 6.40, by nested_vectors.C."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reading import ReaderContract, assert_same_events
from wirecell_ml.data import prototype
from wirecell_ml.data.contents import Columns, Contents
from wirecell_ml.data.formats import Format
from wirecell_ml.data.points import PointCloud
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

VECTORS = Path(__file__).with_name("nested_vectors.root")
BAD = {"chid": np.array([4, 9], np.int32), "plane": np.array([0, 0], np.int32)}


def numbers(ident: int, rows: int = 1) -> dict[str, Any]:
    """Return the columns that name an event in each row."""
    named = {"runNo": 3, "subRunNo": 2, "eventNo": ident}
    return {name: np.full(rows, number, np.int32) for name, number in named.items()}


def event(ident: int) -> Contents:
    """Return an event with every kind of column and of tree."""
    lists = ak.values_astype(ak.Array([[ident, 2, 3]]), np.int32)
    nested = ak.values_astype(ak.Array([[[1, 2], [], [ident]]]), np.int32)
    scale = {"dQdx_scale": np.array([0.5]), "dQdx_offset": np.array([-1000.0])}
    rows = 1 + ident % 3
    points = {
        "x": np.arange(rows) + 0.5,
        "y": np.arange(rows) + 1.5,
        "z": np.arange(rows) * -0.25,
        "q": np.arange(rows) * 10.0,
    }
    flashes = {
        "PE": np.full((rows, 32), ident, np.float64),
        "ok": np.arange(rows) % 2 == 0,
        "channels": lists[[0] * rows],
    }
    tables: dict[str, Columns] = {
        "Trun": numbers(ident)
        | scale
        | {"triggerBits": np.array([1 << 11], np.uint32), "file_type": ak.Array(["data"])},
        "TC": {"q": ak.values_astype(lists, np.float64), "wire_index_u": nested, "wire_index_v": nested[:, :0]},
        "T_flash": numbers(ident, rows) | flashes,
        "T_rec_charge": numbers(ident, rows) | points | {"cluster_id": np.arange(rows, dtype=np.int32)},
        "T_match": {name: column[:0] for name, column in numbers(ident).items()},
        "T_bad_ch": BAD,
        "wcpselection/T_eval": {
            "run": np.array([3]),
            "event": np.array([ident]),
            "weight": np.array([0.5], np.float32),
        },
    }
    position = np.stack([points[axis] for axis in "xyz"], axis=1) * 10
    columns = {"cluster_id": tables["T_rec_charge"]["cluster_id"], "charge": (points["q"] + 1000) / 0.5}
    return Contents(ident, 3, 2, tables=tables, points={"T_rec_charge": PointCloud(position, columns)})


class TestPrototype(ReaderContract):
    def format(self) -> Format:
        return prototype.FORMAT

    def events(self) -> list[Contents]:
        return [event(40), event(41), event(2)]

    def many(self, count: int) -> list[Contents]:
        noise = np.random.default_rng(0).normal(size=(count, 1, 500))  # which cannot be packed
        many = []
        for ident in range(count):
            tables = {**event(ident).tables, "T_kine": {"noise": noise[ident]}}
            many.append(dataclasses.replace(event(ident), tables=tables))
        return many


def read_trees(path: Path, trees: dict[str, Columns]) -> list[Contents]:
    """Write trees by plain uproot, and read the file."""
    with uproot.recreate(path) as file:
        for name, table in trees.items():
            file.mktree(name, {column: values.dtype for column, values in table.items()}).extend(dict(table))
    return list(prototype.read(Source.of(path)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "prototype.root"


def test_vectors_of_vectors_that_root_wrote_are_lists_of_lists() -> None:
    first, _, third = prototype.read(Source.of(VECTORS))
    assert (first.ident, first.run, first.subrun, third.ident) == (10, 3, 4, 12)
    assert third.tables["Trun"]["timesliceChannel"].to_list() == [[[], [12], [12, 12]]]
    assert third.tables["TC"]["wire_index_u"].to_list() == [[[], [12], [12, 12]]]
    assert third.tables["TC"]["q"].to_list() == [[0.5, 1.5, 2.5]]
    assert str(third.tables["TC"]["wire_index_u"].type) == "1 * var * var * int32"


def test_vectors_of_vectors_survive_a_copy(path: Path) -> None:
    prototype.write(path, prototype.read(Source.of(VECTORS)))
    assert_same_events(list(prototype.read(Source.of(path))), list(prototype.read(Source.of(VECTORS))))


def test_rows_go_to_the_event_that_they_name(path: Path) -> None:
    flashes = {
        name: np.concatenate([numbers(7, 2)[name], numbers(5, 1)[name], numbers(9, 4)[name]]) for name in numbers(0)
    }
    run = {name: np.concatenate([numbers(5)[name], numbers(6)[name], numbers(7)[name]]) for name in numbers(0)}
    events = read_trees(path, {"Trun": run, "T_flash": flashes | {"time": np.arange(7.0)}})
    assert [found.ident for found in events] == [5, 6, 7]
    assert [found.tables["T_flash"]["time"].tolist() for found in events] == [[2.0], [], [0.0, 1.0]]


def test_rows_that_name_no_event_go_to_the_one_of_their_number(path: Path) -> None:
    run = {"eventNo": np.array([8, 3])}
    events = read_trees(path, {"T_kine": {"energy": np.array([1.5, 2.5])}, "Trun": run})
    assert [found.tables["T_kine"]["energy"].tolist() for found in events] == [[1.5], [2.5]]
    assert (events[0].ident, events[0].run) == (8, None)


def test_rows_that_name_no_event_are_all_of_the_only_one(path: Path) -> None:
    (found,) = read_trees(path, {"Trun": numbers(8), "T_vtx": {"t": np.arange(3.0)}})
    assert found.tables["T_vtx"]["t"].tolist() == [0, 1, 2]


def test_bad_channels_are_those_of_every_event(path: Path) -> None:
    events = read_trees(path, {"Trun": {"eventNo": np.array([8, 3, 5])}, "T_bad_ch": BAD})
    assert [found.tables["T_bad_ch"]["chid"].tolist() for found in events] == [[4, 9]] * 3


def test_rows_of_unknown_events_are_left_out_with_a_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        events = read_trees(path, {"Trun": {"eventNo": np.array([8, 3])}, "T_rec": {"q": np.arange(5.0)}})
    assert [list(found.tables) for found in events] == [["Trun"], ["Trun"]]
    assert "tree 'T_rec' is left out: it cannot be told which of its 5 rows are of which event" in caplog.text


def test_the_same_numbers_in_several_places_cannot_be_told_apart(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scattered = {"eventNo": np.array([8, 3, 8])}
    events = read_trees(path, {"Trun": {"eventNo": np.array([8, 3])}, "T_flash": scattered})
    assert [list(found.tables) for found in events] == [["Trun"], ["Trun"]]
    assert "T_flash" in caplog.text


def test_an_ntuple_without_trun_is_read_by_the_numbers_that_it_has(path: Path) -> None:
    named = {"run": np.array([1, 1, 2]), "subrun": np.array([4, 4, 4]), "event": np.array([1, 2, 1])}
    events = read_trees(path, {"wcpselection/T_BDTvars": {"score": np.arange(3.0)}, "wcpselection/T_eval": named})
    assert [(found.run, found.subrun, found.ident) for found in events] == [(1, 4, 1), (1, 4, 2), (2, 4, 1)]
    assert [found.tables["wcpselection/T_BDTvars"]["score"].tolist() for found in events] == [[0.0], [1.0], [2.0]]


def test_columns_named_as_if_they_were_written_as_two_stay_two(path: Path) -> None:
    with uproot.recreate(path) as file:
        file.mktree("T_x", {"a": "var * int32", "a_sizes": "var * int32"})
        file["T_x"].extend({"a": ak.Array([[1, 2], [3]]), "a_sizes": ak.Array([[2], [2]])})
    (found,) = prototype.read(Source.of(path))
    assert found.tables["T_x"]["a_sizes"].to_list() == [[2], [2]]


def test_points_are_in_mm_and_electrons(path: Path) -> None:
    scale = {"dQdx_scale": np.array([0.1]), "dQdx_offset": np.array([-1000.0])}
    place = {"x": np.array([1.0]), "y": np.array([2.0]), "z": np.array([3.0]), "q": np.array([500.0])}
    (found,) = read_trees(path, {"Trun": numbers(1) | scale, "T_rec_charge": place, "T_rec": place})
    assert found.points["T_rec_charge"].position.tolist() == [[10, 20, 30]]
    assert found.points["T_rec_charge"].columns["charge"].tolist() == [15000]
    assert found.points["T_rec"].columns["charge"].tolist() == [500]
    assert found.tables["T_rec_charge"]["x"].tolist() == [1.0]


def test_points_alone_are_written_as_a_tree(path: Path) -> None:
    cloud = PointCloud(np.array([[10.0, 20.0, 30.0]]), {"charge": np.array([5.0]), "cluster_id": np.array([3])})
    prototype.write(path, [Contents(ident, points={"img": cloud}) for ident in (1, 2)])
    first, second = prototype.read(Source.of(path))
    assert_same_events([Contents(1, points=first.points)], [Contents(1, points={"img": cloud})])
    assert second.tables["img"]["x"].tolist() == [1.0]


def test_what_is_written_others_can_read(path: Path) -> None:
    prototype.write(path, [event(40), event(41)])
    with uproot.open(path) as file:
        assert file["Trun"]["eventNo"].array().to_list() == [40, 41]
        assert file["T_flash"]["PE"].array(library="np").shape == (5, 32)
        assert file["TC"]["wire_index_u"].array().to_list() == [[1, 2, 40], [1, 2, 41]]
        assert file["TC"]["wire_index_u_sizes"].array().to_list() == [[2, 0, 1], [2, 0, 1]]
        assert file["T_bad_ch"].num_entries == 2


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.lists(st.lists(st.integers(-9, 9), max_size=3), max_size=3), min_size=1, max_size=5))
def test_any_lists_of_lists_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[list[list[int]]]) -> None:
    path = tmp_path_factory.mktemp("any") / "p.root"
    typed = ak.values_astype(ak.Array([[[0]], *rows]), np.int16)[1:]
    given_event = Contents(1, tables={"Trun": {"eventNo": np.array([1])}, "TC": {"wires": typed}})
    prototype.write(path, [given_event])
    assert_same_events(list(prototype.read(Source.of(path))), [given_event])


def lone(**columns: Any) -> list[Contents]:
    """Return an event with one table."""
    return [Contents(1, tables={"T_x": columns})]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([event(1), event(1)], "event 1 comes twice"),
        ([], "no event to write"),
        ([Contents(5, tables={"Trun": numbers(6)}, run=3, subrun=2)], "tree 'Trun' has eventNo .6., not 5"),
        (lone(a=np.zeros(2), b=np.zeros(3)), "expected the same of each"),
        (lone(a=ak.Array([[["x"]]])), "column 'a' cannot be written"),
        (lone(a=ak.Array([[None, 1]])), "column 'a' cannot be written"),
        (lone(a=np.zeros(1, complex)), "column 'a' cannot be written"),
        (lone(a=[1, 2]), "column 'a' cannot be written"),
        (lone(**{"a[2]": np.zeros(2)}), "column 'a.2.' cannot be written: a name is"),
        (lone(a=ak.Array([[1]]), na=np.zeros(1)), "column 'na' is how ROOT calls the lengths of 'a'; rename it"),
        (lone(a=ak.Array([[1]]), a_sizes=ak.Array([[1]])), "column 'a_sizes' is how lists of lists are written"),
        ([Contents(1, tables={"a b": {"x": np.zeros(1)}})], "tree 'a b' cannot be written: a name"),
        (
            [Contents(ident, tables={"T_x": {"x": np.zeros(2)}}) for ident in (1, 2)],
            "rows of tree 'T_x' would mix with those of other events; add eventNo to it",
        ),
        (
            [Contents(ident, tables={"T_x": {"x": np.zeros(1, f"f{ident}")}}) for ident in (4, 8)],
            "has columns x: float64, but before it had x: float32",
        ),
        (
            [Contents(ident, tables={"T_bad_ch": {"chid": np.array([ident])}}) for ident in (1, 2)],
            "are of all events, but differ",
        ),
    ],
)
def test_what_no_tree_can_hold_is_refused(path: Path, events: list[Contents], message: str) -> None:
    with pytest.raises(DataError, match=message):
        prototype.write(path, iter(events))
    assert not path.exists()


def test_a_file_without_trees_is_refused(path: Path) -> None:
    with uproot.recreate(path) as file:
        file["h"] = np.histogram([1.0, 2.0])
    with pytest.raises(DataError, match="no tree in it; expected some of Trun, TC"):
        list(prototype.read(Source.of(path)))


def test_the_beam_of_a_trigger_has_its_window() -> None:
    assert prototype.beam_window_us(1 << 11) == (3.1875, 4.96876)
    assert prototype.beam_window_us(1 << 12 | 1) == (4.9295, 16.6483)
    assert prototype.beam_window_us(1 << 9) is None
