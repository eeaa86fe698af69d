"""Cluster archives of arrays: against archives that numpy and the standard library wrote."""

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray

from tests.reading import ReaderContract, assert_same_events
from wirecell_ml.data import cluster_numpy
from wirecell_ml.data.blobs import COLUMNS, EDGES, BlobGraph
from wirecell_ml.data.cluster_numpy import FORMAT
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

COUNTS = {"a": 4, "b": 3, "m": 2, "s": 2, "w": 5}
PAIRS = [[0, 1, 1], [1, 0, 1]]


def nodes_of(code: str) -> NDArray[np.float64]:
    """Return nodes of one kind with idents of their own, and numbers that are not whole where they may be."""
    names = COLUMNS[code]
    array = np.arange(COUNTS[code] * len(names), dtype=np.float64).reshape(COUNTS[code], -1)
    for name in set(names) & {"val", "start", "tailx", "heady", "y0", "z11"}:
        array[:, names.index(name)] += 0.1
    return array


def graph() -> BlobGraph:
    """Return a graph with nodes and edges of every kind, and a blob of unknown charge."""
    held = BlobGraph({code: nodes_of(code) for code in COUNTS}, {codes: np.array(PAIRS) for codes in EDGES})
    held.nodes["b"][1, 2] = np.nan
    return held


class TestClusterNumpy(ReaderContract):
    def format(self) -> Format:
        return FORMAT

    def events(self) -> list[Contents]:
        some = BlobGraph({"s": nodes_of("s")}, {})
        return [
            Contents(3, blobs={"cluster": graph()}),
            Contents(-12, blobs={"live_1": graph(), "dead": some}),
            Contents(4, blobs={"cluster": BlobGraph({}, {})}),
        ]


def npy(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def archive(path: Path, members: Mapping[str, object]) -> Source:
    """Write a zip: arrays as .npy, bytes as they are, anything else as JSON."""
    with zipfile.ZipFile(path, "w") as file:
        for name, held in members.items():
            if isinstance(held, np.ndarray):
                file.writestr(name, npy(held))
            else:
                file.writestr(name, held if isinstance(held, bytes) else json.dumps(held))
    return Source.of(path)


def only(source: Source) -> Contents:
    (event,) = cluster_numpy.read(source)
    return event


def triples(*pairs: tuple[int, int]) -> NDArray[np.int32]:
    return np.array([(7 * count, *pair) for count, pair in enumerate(pairs)], np.int32).reshape(-1, 3)


def test_arrays_are_what_numpy_wrote_and_edges_are_rows(tmp_path: Path) -> None:
    members: dict[str, object] = {f"a_b_17_{code}nodes.npy": nodes_of(code) for code in COUNTS}
    members |= {"a_b_17_bsedges.npy": triples((0, 1), (2, 0)), "a_b_17_bbedges.npy": triples((2, 1))}
    event = only(archive(tmp_path / "x.npz", members))
    assert event.ident == 17
    held = event.blobs["a_b"]
    for code in COUNTS:
        np.testing.assert_array_equal(held.nodes[code], nodes_of(code))
        assert held.nodes[code].dtype == np.float64
    np.testing.assert_array_equal(held.pairs("bs"), [[0, 2], [1, 0]])
    np.testing.assert_array_equal(held.pairs("bb"), [[2], [1]])
    assert held.pairs("bs").dtype == np.int64
    assert set(held.edges) == {"bs", "bb"}


def test_corners_keep_their_fractions_and_unknown_charge_is_nan(tmp_path: Path) -> None:
    blobs = nodes_of("b")
    blobs[0, 2] = np.nan
    held = only(archive(tmp_path / "x.npz", {"cluster_0_bnodes.npy": blobs})).blobs["cluster"]
    assert held.column("b", "y0")[0] == blobs[0, 15]
    assert held.column("b", "y0")[0] % 1
    assert np.isnan(held.charge).tolist() == [True, False, False]


def test_arrays_by_column_and_of_other_byte_order_are_the_same(tmp_path: Path) -> None:
    members: dict[str, object] = {
        "cluster_0_bnodes.npy": np.asfortranarray(nodes_of("b").astype(">f8")),
        "cluster_0_bbedges.npy": np.asfortranarray(triples((2, 1), (0, 1)).astype(">i4")),
    }
    held = only(archive(tmp_path / "x.npz", members)).blobs["cluster"]
    np.testing.assert_array_equal(held.nodes["b"], nodes_of("b"))
    np.testing.assert_array_equal(held.pairs("bb"), [[2, 0], [1, 1]])


def test_an_empty_graph_is_json_among_arrays(tmp_path: Path) -> None:
    empty: dict[str, list[int]] = {"nodes": [], "edges": []}
    members = {"cluster_0_graph.json": empty, "cluster_1_snodes.npy": nodes_of("s"), "cluster_2_graph.json": empty}
    events = list(cluster_numpy.read(archive(tmp_path / "x.npz", members)))
    assert [event.ident for event in events] == [0, 1, 2]
    assert [len(event.blobs["cluster"].nodes) for event in events] == [0, 1, 0]
    assert list(FORMAT.read(Source.of(tmp_path / "x.npz")))[2].blobs["cluster"].edges == {}


def test_an_empty_graph_is_written_as_wire_cell_does(tmp_path: Path) -> None:
    cluster_numpy.write(tmp_path / "x.npz", [Contents(5, blobs={"cluster": BlobGraph({}, {})})])
    with zipfile.ZipFile(tmp_path / "x.npz") as file:
        assert file.namelist() == ["cluster_5_graph.json"]
        assert json.loads(file.read("cluster_5_graph.json")) == {"edges": [], "nodes": []}


def test_members_are_written_as_wire_cell_does(tmp_path: Path) -> None:
    cluster_numpy.write(tmp_path / "x.tar", [Contents(5, blobs={"cluster": graph()})])
    with tarfile.open(tmp_path / "x.tar") as file:
        names = file.getnames()
        held = {name: np.load(io.BytesIO(file.extractfile(name).read())) for name in names}  # type: ignore[union-attr]
    kinds = [f"{code}nodes" for code in "wsbma"] + [
        f"{codes}edges" for codes in ("bs", "bw", "as", "bb", "bm", "aw", "am")
    ]
    assert names == [f"cluster_5_{kind}.npy" for kind in kinds]
    assert {str(array.dtype) for name, array in held.items() if "nodes" in name} == {"float64"}
    edges = [array for name, array in held.items() if "edges" in name]
    assert all(array.dtype == np.dtype("<i4") and array.shape == (3, 3) for array in edges)
    np.testing.assert_array_equal(np.concatenate(edges)[:, 0], np.arange(21))


def test_arrays_without_a_row_are_left_out(tmp_path: Path) -> None:
    empty = {"w": np.zeros((0, 12)), "s": nodes_of("s")}
    cluster_numpy.write(tmp_path / "x.npz", [Contents(0, blobs={"c": BlobGraph(empty, {"bb": np.zeros((2, 0), int)})})])
    with zipfile.ZipFile(tmp_path / "x.npz") as file:
        assert file.namelist() == ["c_0_snodes.npy"]


def test_other_members_are_skipped(tmp_path: Path) -> None:
    members = {
        "README": b"hello",
        "cluster_1_snodes.npy": nodes_of("s"),
        "cluster_x_bnodes.npy": b"",
        "c_1_graph.dot": b"",
    }
    assert list(only(archive(tmp_path / "x.npz", members)).blobs) == ["cluster"]


def test_it_is_told_from_others() -> None:
    assert FORMAT.recognises(Peek("archive", ("cluster_0_graph.json", "cluster_1_wnodes.npy")))
    assert not FORMAT.recognises(Peek("archive", ("cluster_0_graph.json",)))
    assert not FORMAT.recognises(Peek("archive", ("frame_bnodes_0.npy", "bnodes.npy")))


WRONG: Mapping[str, Mapping[str, object]] = {
    "has shape (2, 2); expected (edge, 3)": {"c_0_bbedges.npy": np.zeros((2, 2), np.int32)},
    "has shape (3,); expected (edge, 3)": {"c_0_bbedges.npy": np.zeros(3, np.int32)},
    "holds float64; expected int64": {"c_0_bbedges.npy": np.zeros((2, 3))},
    "holds complex128; expected float64": {"c_0_bnodes.npy": np.zeros((2, 39), complex)},
    "nodes 'b' have shape (2, 38); expected (node, 39)": {"c_0_bnodes.npy": np.zeros((2, 38))},
    "nodes 'w' have shape (12,); expected (node, 12)": {"c_0_wnodes.npy": np.zeros(12)},
    "edges 'bb' lead to 'b' 3, of 3": {"c_0_bnodes.npy": nodes_of("b"), "c_0_bbedges.npy": triples((0, 3))},
    "edges 'bs' lead to 'b' 0, of 0": {"c_0_bsedges.npy": triples((0, 0))},
    "edges 'bb' lead to": {"c_0_bnodes.npy": nodes_of("b"), "c_0_bbedges.npy": triples((-1, 0))},
    "no whole number": {"c_0_bnodes.npy": np.full((1, 39), 0.5)},
    "member 'c_0_xnodes.npy' is no part of a graph": {"c_0_xnodes.npy": np.zeros((1, 5))},
    "member 'c_0_mwedges.npy' is no part of a graph": {"c_0_mwedges.npy": triples((0, 0))},
    "event 0 comes twice": {
        f"c_{ident}_{code}nodes.npy": nodes_of(code) for ident, code in ((0, "b"), (1, "b"), (0, "s"))
    },
    "beside other forms": {"c_0_bnodes.npy": nodes_of("b"), "c_0_graph.json": {"nodes": [], "edges": []}},
    "comes twice or beside": {"c_0_graph.json": {"nodes": [], "edges": []}, "c_0_bnodes.npy": nodes_of("b")},
    "no cluster graph in it": {"frame_x_0.npy": np.zeros((1, 1))},
    "not JSON": {"c_0_graph.json": b"["},
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_is_said(tmp_path: Path, said: str) -> None:
    source = archive(tmp_path / "x.npz", WRONG[said])
    with pytest.raises(DataError) as caught:
        list(cluster_numpy.read(source))
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(source))


def test_a_graph_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        for _ in range(2):
            info = tarfile.TarInfo("c_0_snodes.npy")
            info.size = len(npy(nodes_of("s")))
            file.addfile(info, io.BytesIO(npy(nodes_of("s"))))
    with pytest.raises(DataError, match=r"'c_0_snodes\.npy' comes twice"):
        list(cluster_numpy.read(Source.of(tmp_path / "x.tar")))


def test_whole_events_come_before_what_is_wrong(tmp_path: Path) -> None:
    events = cluster_numpy.read(archive(tmp_path / "x.npz", {"c_0_snodes.npy": nodes_of("s"), "c_1_snodes.npy": b"?"}))
    assert next(events).ident == 0
    with pytest.raises(DataError, match=r"member 'c_1_snodes\.npy' is damaged"):
        next(events)


@pytest.mark.parametrize("prefix", ["", "é", "a\n"])
def test_a_prefix_that_would_not_be_read_is_refused(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(DataError, match="would not be read back; use printable ASCII"):
        cluster_numpy.write(tmp_path / "x.npz", [Contents(0, blobs={prefix: graph()})])
    assert not list(tmp_path.iterdir())


def test_an_event_without_blobs_or_that_comes_twice_is_refused(tmp_path: Path) -> None:
    event = Contents(1, blobs={"c": graph()})
    for events, said in (([Contents(1)], "event 1 has no graph of blobs"), ([event, event], "event 1 comes twice")):
        with pytest.raises(DataError, match=said):
            cluster_numpy.write(tmp_path / "x.npz", events)


@st.composite
def graphs(draw: st.DrawFn) -> BlobGraph:
    """Draw a graph of any numbers, each array with a row at least."""
    whole, real = st.integers(-(2**53), 2**53).map(float), st.floats(width=64)
    nodes = {}
    for code, names in COLUMNS.items():
        if rows := draw(st.integers(0, 3)):
            nodes[code] = draw(st_numpy.arrays(np.float64, (rows, len(names)), elements=whole if code == "b" else real))
    edges = {}
    for codes in EDGES:
        sizes = [len(nodes.get(code, ())) for code in codes]
        if all(sizes) and (count := draw(st.integers(0, 3))):
            edges[codes] = np.array(
                [draw(st_numpy.arrays(np.int64, count, elements=st.integers(0, n - 1))) for n in sizes]
            )
    return BlobGraph(nodes, edges)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1), graphs(), min_size=1))
def test_any_graphs_come_back(tmp_path_factory: pytest.TempPathFactory, held: dict[str, BlobGraph]) -> None:
    path = tmp_path_factory.mktemp("any") / "x.npz"
    events = [Contents(0, blobs=held)]
    cluster_numpy.write(path, events)
    assert_same_events(list(cluster_numpy.read(Source.of(path))), events)
