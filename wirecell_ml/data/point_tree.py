"""Point trees: Wire-Cell's clusters of blobs of points, each node of the tree with small clouds of its own.

In a file of ``clus`` the root is the grouping, its children are clusters, and theirs are blobs, whose cloud ``3d`` has
the points; the root may have ``flash``, ``light`` and ``flashlight``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.contents import Columns
from wirecell_ml.data.points import PointCloud
from wirecell_ml.data.tensor_model import cloud_of, columns_at, named_set
from wirecell_ml.data.tensors import Tensors, array_at, as_int32, paths_of, quoted, reference
from wirecell_ml.errors import DataError


@dataclass(frozen=True)
class PointTree:
    """Nodes in depth-first order, which own rows of common tables: those of node 0 first, and so on."""

    parents: NDArray[np.int32]  # (node,), the parent of each; a root is its own
    tables: Mapping[str, Columns]  # by name, the rows of all nodes
    sizes: Mapping[str, NDArray[np.int32]]  # by name, (node,), how many rows of the table each node owns

    def __post_init__(self) -> None:
        if self.parents.ndim != 1 or np.any(self.parents > np.arange(len(self))) or np.any(self.parents < 0):
            raise DataError("the parents make no tree; expected each before its children, and a root its own")
        if self.tables.keys() != self.sizes.keys():
            raise DataError(f"sizes of {quoted(sorted(self.sizes))}, but tables {quoted(sorted(self.tables))}")
        for name, sizes in self.sizes.items():
            if sizes.shape != self.parents.shape or np.any(sizes < 0):
                raise DataError(f"sizes of {quoted(name)} have shape {sizes.shape}; expected one of each node, from 0")
            rows, total = length(self.tables[name]), int(sizes.sum(dtype=np.int64))
            if rows != total:
                raise DataError(f"the nodes own {total} rows of {quoted(name)}, which has {rows}")

    def __len__(self) -> int:
        return len(self.parents)

    def local(self, node: int, name: str) -> Columns:
        """Return the rows of a table that one node owns, without a copy."""
        end = int(self.ends[name][node])
        return {key: values[end - int(self.sizes[name][node]) : end] for key, values in self.tables[name].items()}

    @cached_property
    def ends(self) -> Mapping[str, NDArray[np.int64]]:
        """By name, (node,), the row behind the last one that each node owns."""
        return {name: np.cumsum(sizes, dtype=np.int64) for name, sizes in self.sizes.items()}

    def owners(self, name: str) -> NDArray[np.int64]:
        """Return the node that owns each row of a table, (row,)."""
        nodes: NDArray[np.int64] = np.arange(len(self))
        return np.repeat(nodes, self.sizes[name])

    def children(self, node: int) -> NDArray[np.int64]:
        """Return the children of a node, in their order."""
        is_child = self.parents == node
        is_child[node] = False
        found: NDArray[np.int64] = np.flatnonzero(is_child)
        return found

    @cached_property
    def depths(self) -> NDArray[np.int64]:
        """The steps from each node to its root, (node,)."""
        above = self.parents.astype(np.int64)
        steps: NDArray[np.int64] = (above != np.arange(len(self))).astype(np.int64)
        while np.any(steps[above]):  # each turn doubles the steps that ``above`` jumps over
            steps, above = steps + steps[above], above[above]
        return steps

    def ancestors(self, depth: int) -> NDArray[np.int64]:
        """Return the ancestor of each node at a depth, (node,), itself at that depth; -1 for those above it.

        ``tree.ancestors(1)[tree.owners("3d")]`` is the cluster of each point.
        """
        above = np.where(self.depths > depth, self.parents, np.arange(len(self)))
        while np.any(above[above] != above):
            above = above[above]
        return np.where(self.depths < depth, -1, above)

    def cloud(self, name: str) -> PointCloud:
        """Return the points of a table of all nodes; raises DataError where it has no x, y and z."""
        return cloud_of(self.tables[name], quoted(name))


def length(columns: Columns) -> int:
    """Return the number of rows of a table."""
    return len(next(iter(columns.values()))) if columns else 0


def point_trees(tensors: Tensors) -> dict[str, PointTree]:
    """Return all point trees (``pctree``) by datapath; raises DataError where one is no tree, or sizes do not fit."""
    return {path: tree_at(tensors, path) for path in paths_of(tensors, "pctree")}


def tree_at(tensors: Tensors, path: str) -> PointTree:
    """Return the point tree at a datapath."""
    clouds, maps = reference(tensors, path, "pointclouds"), reference(tensors, path, "lpcmaps")
    parents = whole(array_at(tensors, path, path, "pctree"), path)
    tables = named_set(tensors, clouds, path) if clouds else {}  # empty paths: no node has any points
    sizes = columns_at(tensors, maps, path) if maps else {}
    try:
        return PointTree(parents, tables, {name: whole(values, maps) for name, values in sizes.items()})
    except DataError as error:
        raise DataError(f"tensor {quoted(path)}: {error}") from error


def whole(values: NDArray[Any], path: str) -> NDArray[np.int32]:
    """Return whole numbers as int32; raises DataError where they are others."""
    if values.dtype.kind not in "iu":
        raise DataError(f"tensor {quoted(path)} holds {values.dtype}; expected int32")
    return as_int32(values, f"tensor {quoted(path)}")
