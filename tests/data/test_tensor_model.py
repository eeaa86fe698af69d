"""The tensor data model, of tensors as Wire-Cell writes them and of those that we make."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.reading import same
from wirecell_ml.data import container
from wirecell_ml.data.blobs import COLUMNS, EDGES, BlobGraph
from wirecell_ml.data.points import PointCloud
from wirecell_ml.data.tensor_model import clusters, datasets, named_sets, point_clouds, tables
from wirecell_ml.data.tensor_writing import from_cluster, from_columns, from_named_set, from_points
from wirecell_ml.data.tensors import Tensor, Tensors, joined, made
from wirecell_ml.errors import DataError

X = np.array([1.0, 2.0, 3.0])


def table(path: str, **columns: np.ndarray[Any, Any]) -> dict[str, Tensor]:
    """Return a ``pcdataset`` and its ``pcarray`` tensors."""
    top = {"datatype": "pcdataset", "datapath": path, "arrays": {name: f"{path}/arrays/{name}" for name in columns}}
    arrays = {
        f"{path}/arrays/{name}": Tensor({"datatype": "pcarray", "datapath": f"{path}/arrays/{name}"}, values)
        for name, values in columns.items()
    }
    return {path: Tensor(top), **arrays}


def graph(**edges: np.ndarray[Any, Any]) -> dict[str, Tensor]:
    """Return a ``pcgraph`` of three points."""
    top = Tensor({"datatype": "pcgraph", "datapath": "g", "nodes": "g/nodes", "edges": "g/edges"})
    return {"g": top, **table("g/nodes", x=X, y=X, z=X, q=X), **table("g/edges", **edges)}


def cluster(edges: np.ndarray[Any, Any]) -> dict[str, Tensor]:
    """Return a ``cluster`` of two blobs and two slices."""
    top = {"datatype": "cluster", "datapath": "c", "ident": 0, "nodes": {"b": "c/nodes/b", "s": "c/nodes/s"}}
    return {
        "c": Tensor({**top, "edges": {"bs": "c/edges/bs"}}),
        "c/nodes/b": Tensor({"datatype": "clnodeset"}, np.zeros((2, len(COLUMNS["b"])))),
        "c/nodes/s": Tensor({"datatype": "clnodeset"}, np.zeros((2, len(COLUMNS["s"])))),
        "c/edges/bs": Tensor({"datatype": "cledgeset"}, edges),
    }


def without(tensors: Tensors, path: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in tensors.items() if key != path}


def changed(tensors: Tensors, path: str, **change: object) -> dict[str, Tensor]:
    """Return tensors of which one says something else; ``array`` is its array."""
    array = change.pop("array", tensors[path].array)
    return {**tensors, path: Tensor({**tensors[path].metadata, **change}, array)}  # type: ignore[arg-type]


def test_a_table_is_columns_by_name() -> None:
    held = datasets(table("t", time=X, type=np.array([1, 2, 3], np.int32)))
    assert list(held["t"]) == ["time", "type"]
    assert held["t"]["type"].dtype == np.int32


def test_a_table_with_x_y_z_is_points_and_another_is_not() -> None:
    held = table("p", x=X, y=2 * X, z=3 * X, charge=X) | table("flash", time=X)
    (cloud,) = point_clouds(held).values()
    np.testing.assert_array_equal(cloud.position, np.stack([X, 2 * X, 3 * X], axis=1))
    assert list(cloud.columns) == ["charge"]
    assert list(tables(held)) == ["flash"]


def test_points_of_whole_numbers_become_float() -> None:
    whole = np.arange(3)
    assert point_clouds(table("p", x=whole, y=whole, z=whole))["p"].position.dtype == np.float64
    assert point_clouds(table("p", **dict.fromkeys("xyz", X.astype("f4"))))["p"].position.dtype == np.float32


def test_a_graph_links_its_points_and_its_parts_are_not_listed_again() -> None:
    held = graph(tails=np.array([0, 2], np.int32), heads=np.array([1, 1], np.int32), distance=X[:2])
    clouds = point_clouds(held)
    assert list(clouds) == ["g"]
    np.testing.assert_array_equal(clouds["g"].edges, [[0, 2], [1, 1]])
    assert list(clouds["g"].edge_columns) == ["distance"]
    assert not tables(held)


def test_a_graph_of_what_are_no_points_is_two_tables() -> None:
    top = Tensor({"datatype": "pcgraph", "nodes": "n", "edges": "e"})
    held = {"g": top, **table("n", q=X), **table("e", tails=np.array([0]), heads=np.array([1]))}
    assert not point_clouds(held)
    assert list(tables(held)) == ["n", "e"]


def test_a_named_set_is_tables_by_name() -> None:
    top = Tensor({"datatype": "pcnamedset", "items": {"flash": "s/flash", "light": "s/light"}})
    held = named_sets({"s": top, **table("s/flash", time=X), **table("s/light", value=X)})
    assert list(held["s"]) == ["flash", "light"]
    np.testing.assert_array_equal(held["s"]["light"]["value"], X)


@pytest.mark.parametrize("edges", [[[7, 0, 1], [8, 1, 1]], [[0, 1], [1, 1]]])
def test_edges_of_a_cluster_are_rows_with_a_counter_before_them_or_not(edges: list[list[int]]) -> None:
    held = clusters(cluster(np.array(edges, np.int32)))["c"]
    np.testing.assert_array_equal(held.pairs("bs"), [[0, 1], [1, 1]])
    assert len(held) == 2


GRAPH = graph(tails=np.array([0]), heads=np.array([1]))
CLUSTER = cluster(np.zeros((1, 3), np.int32))


@pytest.mark.parametrize(
    ("tensors", "fault"),
    [
        (without(table("t", x=X), "t/arrays/x"), "tensor 't' refers to 't/arrays/x', which is missing"),
        (changed(table("t", x=X), "t", arrays=3), "tensor 't': 'arrays' is 3; expected datapaths by name"),
        (changed(table("t", x=X), "t", arrays={"x": 3}), "expected datapaths by name"),
        (changed(table("t", x=X), "t", arrays={"x": "t/arrays/x", "y": "t/arrays/x"}), "comes twice in 'arrays'"),
        (changed(table("t", x=X), "t", arrays={"x": "t"}), "refers to 't', which is of datatype 'pcdataset'"),
        (changed(table("t", x=X), "t/arrays/x", array=None), "tensor 't/arrays/x' has no array"),
        (table("t", x=X, y=X[1:]), "tensor 't' has columns of lengths"),
        (table("t", x=np.array(1.0)), "tensor 't' has columns of lengths"),
        (table("t", x=X, y=X, z=X > 1), "tensor 't': x, y or z is no row of numbers"),
        (table("t", x=X, y=X, z=np.ones((3, 2))), "tensor 't': x, y or z is no row of numbers"),
        (changed(GRAPH, "g", nodes=None), "tensor 'g': 'nodes' is None; expected a datapath"),
        (changed(GRAPH, "g", nodes="g"), "tensor 'g' refers to 'g', which is of datatype 'pcgraph'"),
        (changed(GRAPH, "g", edges="nowhere"), "tensor 'g' refers to 'nowhere', which is missing"),
        (graph(tails=np.array([0])), "tensor 'g': its edges have no 'heads'"),
        (graph(tails=np.array([0]), heads=np.array([3])), "tensor 'g': an edge to point 3, of 3"),
        (graph(tails=np.array([0]), heads=np.array([2**64 - 1], np.uint64)), "tensor 'g': an edge to point"),
        (graph(tails=np.array([0]), heads=np.array([1.0])), "tails or heads of edges are no whole numbers"),
        (graph(tails=np.array([[0]]), heads=np.array([[1]])), "tails or heads of edges are no whole numbers"),
        (changed(CLUSTER, "c", nodes={"c": "c/nodes/b"}), "no nodes or edges are called 'c'"),
        (changed(CLUSTER, "c", edges={"sb": "c/edges/bs"}), "no nodes or edges are called 'sb'"),
        (changed(CLUSTER, "c", edges={"bs": "c/nodes/b"}), "expected cledgeset"),
        (changed(CLUSTER, "c/nodes/b", array=np.zeros((2, 3))), r"tensor 'c': nodes 'b' have shape \(2, 3\)"),
        (changed(CLUSTER, "c/nodes/b", array=np.zeros((2, 39), np.longdouble)), "nodes of float128; expected float64"),
        (changed(CLUSTER, "c/edges/bs", array=np.zeros((1, 4), int)), r"edges of shape \(1, 4\)"),
        (changed(CLUSTER, "c/edges/bs", array=np.zeros((1, 3))), "and float64; expected"),
        (changed(CLUSTER, "c/edges/bs", array=np.full((1, 3), 2)), "tensor 'c': edges 'bs' lead to 'b' 2, of 2"),
    ],
)
def test_tensors_that_do_not_fit_together_are_refused(tensors: Tensors, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        (datasets(tensors), point_clouds(tensors), tables(tensors), named_sets(tensors), clusters(tensors))


def test_many_graphs_of_the_same_tensors_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {**GRAPH, **{f"g{n}": GRAPH["g"] for n in range(3)}}
    blobs = {**CLUSTER, **{f"c{n}": CLUSTER["c"] for n in range(9)}}
    assert len(point_clouds(points)) == 4
    assert len(clusters(blobs)) == 10
    monkeypatch.setattr(container, "MOST_BYTES", 150)
    with pytest.raises(DataError, match="tensor 'g1': with it, there is more than the tensors of an event may make"):
        point_clouds(points)
    with pytest.raises(DataError, match="tensor 'c8': with it, there is more"):
        clusters(blobs)


def test_a_set_that_refers_to_itself_is_refused() -> None:
    with pytest.raises(DataError, match="tensor 's' refers to 's', which is of datatype 'pcnamedset'"):
        named_sets({"s": Tensor({"datatype": "pcnamedset", "items": {"a": "s"}})})


def test_a_strange_name_is_told_on_one_short_line() -> None:
    with pytest.raises(DataError) as caught:
        named_sets({"s": Tensor({"datatype": "pcnamedset", "items": {"a": "\n\x1b" + "x" * 10_000}})})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_deep_metadata_are_told_shortly() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(DataError, match=r"tensor 'g': 'nodes' is \[\[\[.*expected a datapath"):
        point_clouds({"g": Tensor({"datatype": "pcgraph", "nodes": deep})})


def test_two_tensors_with_one_datapath_are_refused() -> None:
    with pytest.raises(DataError, match="two tensors would have the datapath 'a'"):
        joined([made("a", "x"), made("b", "x"), made("a", "y")])


def test_points_are_written_with_the_types_that_cpp_takes_for_granted() -> None:
    cloud = PointCloud(np.zeros((3, 3), np.float32), {}, np.array([[0, 2], [1, 1]]))
    held = from_points(cloud, "g")
    assert held["g"].metadata == {"datapath": "g", "datatype": "pcgraph", "nodes": "g/nodes", "edges": "g/edges"}
    tails = held["g/edges/arrays/tails"].array
    assert tails is not None
    assert tails.dtype == np.int32


def test_a_column_called_like_one_of_the_model_is_not_written() -> None:
    with pytest.raises(DataError, match="'p': a column is called 'x'"):
        from_points(PointCloud(np.zeros((3, 3)), {"x": X}), "p")


def test_edges_beyond_32_bits_are_not_written() -> None:
    held = BlobGraph({}, {"bs": np.zeros((2, 0), np.int64)})
    object.__setattr__(held, "edges", {"bs": np.array([[2**40], [0]])})
    with pytest.raises(DataError, match="edges 'bs': a number does not fit in 32 bits"):
        from_cluster(held, "c", 0)


NUMBERS = st.sampled_from([np.float32, np.float64, np.int16, np.int32, np.uint64, np.bool_])
NAMES = st.text(min_size=1).filter(lambda name: name not in ("x", "y", "z", "tails", "heads"))


@st.composite
def columns(draw: st.DrawFn, rows: int) -> dict[str, np.ndarray[Any, Any]]:
    """Draw a table of so many rows."""
    shapes = st.sampled_from([(rows,), (rows, 2)])
    return draw(st.dictionaries(NAMES, hnp.arrays(NUMBERS, shapes), max_size=3))


@st.composite
def clouds(draw: st.DrawFn) -> PointCloud:
    """Draw points, linked or not."""
    rows, num_edges = draw(st.integers(1, 4)), draw(st.integers(0, 3))
    position = draw(hnp.arrays(st.sampled_from([np.float32, np.float64]), (rows, 3)))
    if draw(st.booleans()):
        return PointCloud(position, draw(columns(rows)))
    edges = draw(hnp.arrays(np.int64, (2, num_edges), elements=st.integers(0, rows - 1)))
    return PointCloud(position, draw(columns(rows)), edges, draw(columns(num_edges)))


@st.composite
def graphs(draw: st.DrawFn) -> BlobGraph:
    """Draw a blob graph with two nodes of each kind that it has."""
    codes = draw(st.sets(st.sampled_from(sorted(COLUMNS))))
    nodes = {code: draw(hnp.arrays(np.float64, (2, len(COLUMNS[code])))) for code in codes}
    pairs = hnp.arrays(np.int64, st.tuples(st.just(2), st.integers(0, 3)), elements=st.integers(0, 1))
    return BlobGraph(nodes, {codes_: draw(pairs) for codes_ in EDGES if set(codes_) <= codes})


@settings(max_examples=40, deadline=None)
@given(clouds())
def test_points_become_tensors_and_come_back(cloud: PointCloud) -> None:
    assert same(point_clouds(from_points(cloud, "p/0")), {"p/0": cloud})


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_blob_graphs_become_tensors_and_come_back(held: BlobGraph) -> None:
    assert same(clusters(from_cluster(held, "c/0", 0)), {"c/0": held})


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), columns(3), max_size=3))
def test_named_tables_become_tensors_and_come_back(named: dict[str, dict[str, np.ndarray[Any, Any]]]) -> None:
    assert same(named_sets(from_named_set(named, "s/0")), {"s/0": named})


@settings(max_examples=40, deadline=None)
@given(columns(3))
def test_tables_become_tensors_and_come_back(held: dict[str, np.ndarray[Any, Any]]) -> None:
    assert same(tables(from_columns(held, "t/0")), {"t/0": held})
