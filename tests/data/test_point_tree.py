"""Point trees, of tensors as Wire-Cell writes them and of those that we make."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.reading import same
from wirecell_ml.data.point_tree import PointTree, point_trees
from wirecell_ml.data.tensor_model import tables
from wirecell_ml.data.tensor_writing import from_point_tree
from wirecell_ml.data.tensors import Tensor, Tensors, made
from wirecell_ml.errors import DataError

PARENTS = np.array([0, 0, 1, 1, 0, 4], np.int32)  # a grouping of two clusters, of two blobs and of one
POINTS = np.arange(5.0)  # of blobs 2, 3 and 5: two, none and three
SIZES = np.array([0, 0, 2, 0, 0, 3], np.int32)


def tensors() -> dict[str, Tensor]:
    """Return the tree of a grouping with flashes, clusters and blobs, as ``clus`` writes it."""
    path, sets = "trees/0/live", "trees/0/live/pointclouds/namedpcs"
    clouds = {"3d": dict.fromkeys("xyz", POINTS), "flash": {"time": np.array([7.0]), "value": np.array([8.0])}}
    sizes = {"3d": SIZES, "flash": np.array([1, 0, 0, 0, 0, 0], np.int32)}
    held = made(path, "pctree", PARENTS, pointclouds=f"{path}/pointclouds", lpcmaps=f"{path}/lpcmaps")
    held |= made(f"{path}/pointclouds", "pcnamedset", items={name: f"{sets}/{name}" for name in clouds})
    for where, columns in {
        f"{path}/lpcmaps": sizes,
        **{f"{sets}/{name}": held for name, held in clouds.items()},
    }.items():
        held |= made(where, "pcdataset", None, arrays={name: f"{where}/arrays/{name}" for name in columns})
        for name, values in columns.items():
            held |= made(f"{where}/arrays/{name}", "pcarray", values)
    return held


def tree() -> PointTree:
    (only,) = point_trees(tensors()).values()
    return only


def test_each_node_owns_its_points() -> None:
    assert len(tree()) == 6
    np.testing.assert_array_equal(tree().local(2, "3d")["x"], [0, 1])
    np.testing.assert_array_equal(tree().local(3, "3d")["x"], [])
    np.testing.assert_array_equal(tree().local(5, "3d")["z"], [2, 3, 4])
    np.testing.assert_array_equal(tree().local(0, "flash")["time"], [7])


def test_a_local_cloud_is_a_part_of_the_whole() -> None:
    held = tree()
    assert np.shares_memory(held.local(5, "3d")["x"], held.tables["3d"]["x"])


def test_nodes_know_their_children_depths_and_ancestors() -> None:
    assert tree().children(0).tolist() == [1, 4]
    assert tree().children(1).tolist() == [2, 3]
    assert tree().children(5).tolist() == []
    assert tree().depths.tolist() == [0, 1, 2, 2, 1, 2]
    assert tree().ancestors(0).tolist() == [0] * 6
    assert tree().ancestors(1).tolist() == [-1, 1, 1, 1, 4, 4]
    assert tree().ancestors(2).tolist() == [-1, -1, 2, 3, -1, 5]


def test_points_know_their_blobs_and_clusters() -> None:
    owners = tree().owners("3d")
    assert owners.tolist() == [2, 2, 5, 5, 5]
    assert tree().ancestors(1)[owners].tolist() == [1, 1, 4, 4, 4]


def test_a_long_branch_is_measured_fast() -> None:
    parents = np.maximum(np.arange(200_000, dtype=np.int32) - 1, 0)
    branch = PointTree(parents, {}, {})
    assert branch.depths[-1] == len(branch) - 1
    assert branch.ancestors(7)[-1] == 7


def test_there_may_be_several_roots() -> None:
    forest = PointTree(np.array([0, 0, 2, 2], np.int32), {}, {})
    assert forest.ancestors(0).tolist() == [0, 0, 2, 2]
    assert forest.depths.tolist() == [0, 1, 0, 1]


def test_points_of_all_nodes_are_one_cloud() -> None:
    np.testing.assert_array_equal(tree().cloud("3d").position[:, 0], POINTS)
    with pytest.raises(KeyError):
        tree().cloud("flash")


def test_flashes_are_among_the_tables_and_sizes_are_not() -> None:
    assert list(tables(tensors())) == ["trees/0/live/pointclouds/namedpcs/flash"]


def test_a_tree_without_points_has_empty_datapaths() -> None:
    (held,) = point_trees(made("t", "pctree", PARENTS, pointclouds="", lpcmaps="")).values()
    assert not held.tables
    assert not tables(made("t", "pctree", PARENTS, pointclouds="", lpcmaps=""))


def changed(path: str, array: object = None, **metadata: object) -> Tensors:
    """Return the tensors of the tree, of which one is another; ``path`` is below that of the tree."""
    held = tensors()
    old = held[f"trees/0/live{path}"]
    new = Tensor({**old.metadata, **metadata}, old.array if array is None else np.asarray(array))
    return {**held, f"trees/0/live{path}": new}


@pytest.mark.parametrize(
    ("held", "fault"),
    [
        (changed("", [0, 2, 1, 0, 0, 0]), "tensor 'trees/0/live': the parents make no tree"),
        (changed("", [0, 0, 0, 0, 0, -1]), "the parents make no tree"),
        (changed("", [[0, 0, 0]]), "the parents make no tree"),
        (changed("", [0.0, 0.0, 1.0]), "tensor 'trees/0/live' holds float64; expected int32"),
        (changed("", [0, 0, 2**40]), "tensor 'trees/0/live': a number does not fit in 32 bits"),
        (changed("", [0, 0]), r"sizes of '3d' have shape \(6,\); expected one of each node"),
        (changed("", pointclouds=3), "tensor 'trees/0/live': 'pointclouds' is 3; expected a datapath"),
        (changed("", pointclouds="trees/0/live"), "which is of datatype 'pctree'; expected pcnamedset"),
        (changed("", pointclouds=""), r"sizes of \['3d', 'flash'\], but tables \[\]"),
        (changed("", lpcmaps=""), r"sizes of \[\], but tables \['3d', 'flash'\]"),
        (changed("", lpcmaps="nowhere"), "tensor 'trees/0/live' refers to 'nowhere', which is missing"),
        (changed("/lpcmaps/arrays/3d", [0, 0, 2, 0, 0, 4]), "the nodes own 6 rows of '3d', which has 5"),
        (changed("/lpcmaps/arrays/3d", [0, 0, 6, 0, 0, -1]), "expected one of each node, from 0"),
        (changed("/lpcmaps/arrays/3d", [0.0, 0.0, 2.0, 0.0, 0.0, 3.0]), "lpcmaps' holds float64; expected int32"),
    ],
)
def test_what_is_no_tree_is_refused(held: Tensors, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        point_trees(held)


@st.composite
def trees(draw: st.DrawFn) -> PointTree:
    """Draw a tree or a forest, and tables that its nodes own."""
    nodes = draw(st.integers(1, 6))
    parents = [draw(st.integers(0, node)) for node in range(nodes)]
    held: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    sizes = {}
    for name in draw(st.sets(st.text(), max_size=2)):
        sizes[name] = draw(hnp.arrays(np.int32, nodes, elements=st.integers(0, 3)))
        rows = int(sizes[name].sum())
        held[name] = draw(st.dictionaries(st.text(), hnp.arrays(np.float64, rows), min_size=1, max_size=2))
    return PointTree(np.array(parents, np.int32), held, sizes)


@settings(max_examples=40, deadline=None)
@given(trees())
def test_trees_become_tensors_and_come_back(held: PointTree) -> None:
    assert same(point_trees(from_point_tree(held, "t/0")), {"t/0": held})
    for name in held.tables:
        parts = [held.local(node, name) for node in range(len(held))]
        whole = {key: np.concatenate([part[key] for part in parts]) for key in held.tables[name]}
        assert same(whole, dict(held.tables[name]))
