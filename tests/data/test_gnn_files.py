"""NuGraph's graph files: records of nodes and edges, what holds for the file, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from numpy.typing import NDArray

from tests.reading import ReaderContract, assert_same_events
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.gnn_files import FORMAT, read, write
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

TEXT = np.dtypes.StringDType()
SHARED = {
    "planes": np.array(["u", "v", "y"], TEXT),
    "semantic_classes": np.array(["MIP", "HIP", "shower", "michel", "diffuse"], TEXT),
    "gen": np.array([2]),
    "norm/hit": np.ones((2, 6), np.float32),
}


def graph(num_hits: int = 3, *, edges: bool = True) -> dict[str, dict[str, NDArray[Any]]]:
    """Return the stores of a graph."""
    pairs = np.array([[0, 1], [1, 2]]) if edges else np.zeros((2, 0), int)
    hit: dict[str, NDArray[Any]] = {
        "pos": np.ones((num_hits, 2), np.float32),
        "plane": np.arange(num_hits),
        "y_semantic": np.full(num_hits, -1),
        "good": np.arange(num_hits) > 1,
    }
    return {"hit": hit, "hit_delaunay-planar_hit": {"edge_index": pairs}, "evt": {"num_nodes": np.array(1)}}


def event(ident: int, *, split: str = "train", edges: bool = True, **arrays: NDArray[Any]) -> Contents:
    """Return an event of run 1, subrun 2."""
    places = {"sample": np.array(f"r1_sr2_evt{ident}", TEXT), "split": np.array(split, TEXT)} if split else {}
    size = {"datasize": np.array(100 + ident)} if split == "train" else {}
    return Contents(ident, 1, 2, tables=graph(edges=edges), arrays={**places, **size, **SHARED, **arrays})


class TestContract(ReaderContract):
    """What every format keeps to."""

    def format(self) -> Format:
        return FORMAT

    def events(self) -> list[Contents]:
        unnumbered = Contents(4, tables=graph(), arrays={"sample": np.array("rec-4", TEXT), **SHARED})
        return [event(10), event(2, edges=False), event(3, split="test"), unnumbered]

    def many(self, count: int) -> list[Contents]:
        return [event(ident, split="validation") for ident in range(count)]


def sample(path: Path) -> h5py.File:
    """Write a file as NuGraph does, and leave it open."""
    file = h5py.File(path, "w")
    file["planes"] = ["u", "v", "y"]
    file["semantic_classes"] = np.array([b"nu", b"cosmic"])
    file["gen"] = np.int64(3)
    for number, name in enumerate(("1_2_rec-lab-apa0-7", "r5_sr6_evt8", "graph")):
        fields = [
            ("hit/pos", ">f4", (4, 2)),
            ("hit/id", "<i8", (4,)),
            ("hit_in_evt/edge_index", "<i8"),
            ("evt/y", "<i4"),
        ]
        record = np.zeros((), fields)
        record["hit/pos"][:, 1], record["hit/id"], record["evt/y"] = [1, 2, 3, 4], [7, 8, 9, 10], number
        file[f"dataset/{name}"] = record
    file["samples/train"] = ["graph", "r5_sr6_evt8"]
    file["samples/test"] = ["1_2_rec-lab-apa0-7"]
    file["datasize/train"] = [111, 222]
    return file


def events(path: Path) -> list[Contents]:
    """Return the events of a file."""
    return list(read(Source.of(path)))


def test_a_record_gives_arrays_by_store(tmp_path: Path) -> None:
    sample(tmp_path / "a.gnn.h5").close()
    found = events(tmp_path / "a.gnn.h5")[0]
    assert set(found.tables) == {"hit", "hit_in_evt", "evt"}
    assert found.tables["hit"]["pos"].dtype == np.dtype("=f4")
    assert found.tables["hit"]["pos"].tolist() == [[0, 1], [0, 2], [0, 3], [0, 4]]
    assert found.tables["hit"]["id"].tolist() == [7, 8, 9, 10]
    assert found.tables["hit_in_evt"]["edge_index"].shape == (2, 0)
    assert found.tables["hit_in_evt"]["edge_index"].dtype == np.int64
    assert found.tables["evt"]["y"].shape == ()


def test_the_numbers_of_an_event_are_in_its_name(tmp_path: Path) -> None:
    sample(tmp_path / "a.gnn.h5").close()
    assert [(one.run, one.subrun, one.ident) for one in events(tmp_path / "a.gnn.h5")] == [
        (1, 2, 7),
        (None, None, 1),  # no number in its name: the second of the file
        (5, 6, 8),
    ]


def test_the_numbers_of_an_event_are_rather_those_of_its_metadata(tmp_path: Path) -> None:
    with sample(tmp_path / "a.gnn.h5") as file:
        fields = [("metadata/run", "i4"), ("metadata/subrun", "i4"), ("metadata/event", "i4")]
        file["dataset/0_0_0"] = np.array((50, 60, 70), fields)
    first = events(tmp_path / "a.gnn.h5")[0]
    assert (first.run, first.subrun, first.ident) == (50, 60, 70)


def test_what_holds_for_the_file_is_in_every_event(tmp_path: Path) -> None:
    sample(tmp_path / "a.gnn.h5").close()
    found = {str(one.arrays["sample"]): one.arrays for one in events(tmp_path / "a.gnn.h5")}
    assert [str(arrays["split"]) for arrays in found.values()] == ["test", "train", "train"]
    assert int(found["r5_sr6_evt8"]["datasize"]) == 222
    assert "datasize" not in found["1_2_rec-lab-apa0-7"]
    for arrays in found.values():
        assert arrays["planes"].tolist() == ["u", "v", "y"]
        assert arrays["semantic_classes"].tolist() == ["nu", "cosmic"]
        assert arrays["gen"] == 3


def test_lists_of_the_file_may_be_missing(tmp_path: Path) -> None:
    with sample(tmp_path / "a.gnn.h5") as file:
        for name in ("planes", "semantic_classes", "gen", "samples", "datasize"):
            del file[name]
    assert set(events(tmp_path / "a.gnn.h5")[0].arrays) == {"sample"}


def changed(name: str, made: Any) -> Callable[[h5py.File], None]:
    """Return a change of a file: an object that is replaced."""

    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = made

    return change


def record(*fields: Any) -> NDArray[Any]:
    """Return a record of zeros."""
    return np.zeros((), list(fields))


def with_text(file: h5py.File) -> None:
    """Add a record with text."""
    file.create_dataset("dataset/graph2", (), np.dtype([("hit/name", h5py.string_dtype())]))


def huge(file: h5py.File) -> None:
    """Add a record that declares a gigabyte and stores nothing."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    kind = h5py.h5t.py_create(np.dtype([("hit/pos", "f4", (1 << 28,))]))
    h5py.h5d.create(file["dataset"].id, b"graph2", kind, h5py.h5s.create(h5py.h5s.SCALAR), plan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("dataset/graph", np.zeros(3)), "float64; expected numbers"),
        (changed("dataset/graph", np.zeros(2, [("hit/x", "f4")])), r"'graph' has shape \(2,\)"),
        (changed("dataset/graph", record(("x", "f4"))), "a field has the name 'x'; expected '<store>/<attribute>'"),
        (changed("dataset/graph", record(("a/b/c", "f4"))), "a field has the name 'a/b/c'"),
        (changed("dataset/graph", record(("hit/x", [("y", "f4")]))), "field 'hit/x' holds .* expected numbers"),
        (changed("dataset/graph", record(("hit/x", "S3"))), "field 'hit/x' holds .S3; expected numbers"),
        (changed("dataset/graph", h5py.SoftLink("/dataset/r5_sr6_evt8")), "link to elsewhere"),
        (changed("planes", h5py.ExternalLink("b.h5", "/planes")), "link to elsewhere"),
        (changed("planes", np.array([[b"u"]])), r"planes has shape \(1, 1\)"),
        (changed("samples", np.zeros(3)), "'samples' is no group"),
        (changed("samples/train", np.zeros(2)), "expected one size of each sample's name"),
        (changed("datasize/train", np.zeros(3)), "expected one size of each sample's name"),
        (changed("dataset", np.zeros(3)), "'dataset' is no group"),
        (with_text, "expected numbers"),
        (huge, "declares 1073741824 bytes, but 0 are stored"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, change: Callable[[h5py.File], None], message: str) -> None:
    path = tmp_path / "a.gnn.h5"
    with sample(path) as file:
        change(file)
    with pytest.raises(DataError, match=f"^{path}.*{message}"):
        events(path)


def test_a_file_is_told_by_its_groups() -> None:
    assert FORMAT.recognises(Peek("hdf5", ("dataset", "planes", "dataset/r1_sr2_evt3")))
    assert FORMAT.recognises(Peek("hdf5", ("dataset", "samples")))
    assert not FORMAT.recognises(Peek("hdf5", ("dataset",)))
    assert not FORMAT.recognises(Peek("archive", ("dataset", "planes")))


def test_a_written_file_has_what_others_look_for(tmp_path: Path) -> None:
    write(tmp_path / "a.gnn.h5", TestContract().events())
    with h5py.File(tmp_path / "a.gnn.h5") as file:
        assert file["planes"].asstr()[()].tolist() == ["u", "v", "y"]
        assert file["samples/train"].asstr()[()].tolist() == ["r1_sr2_evt10", "r1_sr2_evt2"]
        assert file["samples/validation"].shape == (0,)
        assert file["datasize/train"][()].tolist() == [110, 102]
        assert file["dataset/r1_sr2_evt10"].shape == ()
        assert file["dataset/r1_sr2_evt10"].dtype["hit/pos"].shape == (3, 2)
        assert file["dataset/r1_sr2_evt2"].dtype["hit_delaunay-planar_hit/edge_index"].shape == ()


@pytest.mark.parametrize(("run", "name"), [(1, "r1_sr2_evt7"), (None, "evt7")])
def test_a_sample_without_name_has_one_of_its_numbers(tmp_path: Path, run: int | None, name: str) -> None:
    write(tmp_path / "a.gnn.h5", [Contents(7, run, run and 2, tables=graph())])
    (found,) = events(tmp_path / "a.gnn.h5")
    assert str(found.arrays["sample"]) == name
    assert (found.ident, found.run, found.subrun) == (7, run, run and 2)


def stored(**stores: dict[str, Any]) -> list[Contents]:
    """Return one event with other stores."""
    return [Contents(1, tables=stores)]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ([event(1), event(1)], "'r1_sr2_evt1' comes twice or tells of another event"),
        ([event(1, sample=np.array("r1_sr2_evt5", TEXT))], "comes twice or tells of another event"),
        ([event(1, sample=np.array("a/r1_sr2_evt1", TEXT))], "'a/r1_sr2_evt1'"),
        ([event(1), event(2, gen=np.array([3]))], "event 2 has other .*gen.* than the events before"),
        ([event(1), Contents(2, tables=graph())], "event 2 has other"),
        ([event(1, note=np.zeros(3))], "array 'note' of float64; known are planes"),
        ([event(1, planes=np.array(["u"]))], "array 'planes' of <U1"),
        ([event(1, planes=np.array(["u\0"], TEXT))], "array 'planes' of StringDType"),
        ([event(1), event(2, split="", datasize=np.array(3))], "of split ''"),
        ([event(1, split="a/b")], "of split 'a/b'"),
        (
            [event(1), event(2, split="validation", datasize=np.array(3)), event(3, split="validation")],
            "1 of 2 samples",
        ),
        (stored(hit={"x": np.zeros((0, 3))}), r"hit/x has shape \(0, 3\); only edge_index can be empty"),
        (stored(hit_in_evt={"edge_index": np.zeros((0, 2))}), r"edge_index has shape \(0, 2\)"),
        (stored(hit_in_evt={"edge_index": np.array(3)}), r"edge_index has shape \(\)"),
        (stored(hit={"x": np.array(["a"])}), "expected an array of numbers"),
        (stored(hit={"a/b": np.zeros(3)}), "a field has the name 'hit/a/b'"),
        (stored(hit={}), "expected tables, none of them empty"),
        (stored(), "has nothing"),
        (stored(hit={f"x{row}": np.zeros((2, 2)) for row in range(3000)}), "cannot be written as one record"),
    ],
)
def test_what_a_file_cannot_hold_is_not_written(tmp_path: Path, written: list[Contents], message: str) -> None:
    with pytest.raises(DataError, match=message):
        write(tmp_path / "a.gnn.h5", written)
    assert not list(tmp_path.iterdir())


@settings(max_examples=40, deadline=None)
@given(shapes=st.lists(array_shapes(max_dims=4, max_side=4), max_size=5), seed=st.integers(0, 99))
def test_any_shapes_come_back(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[int, ...]], seed: int
) -> None:
    dice = np.random.default_rng(seed)
    kinds = ["f4", "f8", "i1", "i8", "u2", "?"]
    store = {f"x{row}": dice.integers(0, 2, shape).astype(dice.choice(kinds)) for row, shape in enumerate(shapes)}
    expected = [
        Contents(
            ident,
            tables={"evt": {"y": np.array(ident)}, **({"hit": store} if store else {})},
            arrays={"sample": np.array(f"e{ident}", TEXT)},
        )
        for ident in (5, 3, 11)
    ]
    path = tmp_path_factory.mktemp("graphs") / "a.gnn.h5"
    write(path, expected)
    assert_same_events(events(path), expected)
