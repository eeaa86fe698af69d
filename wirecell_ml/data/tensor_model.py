"""The tensor data model: the tables, point clouds and blob graphs that tensors make together.

After wire-cell-toolkit, aux/docs/tensor-data-model.org; frames are in ``tensor_frames``, point trees in ``point_tree``,
and the way back is in ``tensor_writing``.
"""

from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.blobs import COLUMNS, EDGES, BlobGraph
from wirecell_ml.data.contents import Columns
from wirecell_ml.data.points import PointCloud
from wirecell_ml.data.tensors import (
    Tensors,
    array_at,
    bounded,
    listed,
    paths_of,
    quoted,
    reference,
    references,
    referred,
)
from wirecell_ml.errors import DataError

TABLES = ("pcdataset", "tracedata", "light", "flash", "flashlight")  # datatypes; Wire-Cell itself writes the first
AXES = ("x", "y", "z")
LINKS = ("tails", "heads")


def datasets(tensors: Tensors) -> dict[str, Columns]:
    """Return all tables (``pcdataset``) by datapath; raises DataError where columns are missing or of other lengths."""
    return {path: columns_at(tensors, path) for path in paths_of(tensors, *TABLES)}


def columns_at(tensors: Tensors, path: str, by: str = "") -> Columns:
    """Return the table at a datapath, columns in the order of their names there; ``by`` is who refers to it."""
    referred(tensors, path, by or path, *TABLES)
    columns = {
        name: array_at(tensors, where, path, "pcarray") for name, where in references(tensors, path, "arrays").items()
    }
    lengths = {name: array.shape[0] if array.ndim else 0 for name, array in columns.items()}
    if len(set(lengths.values())) > 1 or not all(array.ndim for array in columns.values()):
        raise DataError(f"tensor {quoted(path)} has columns of lengths {quoted(lengths)}; expected one length")
    return columns


def named_sets(tensors: Tensors) -> dict[str, dict[str, Columns]]:
    """Return all sets of named tables (``pcnamedset``) by datapath, each by name."""
    return {path: named_set(tensors, path) for path in paths_of(tensors, "pcnamedset")}


def named_set(tensors: Tensors, path: str, by: str = "") -> dict[str, Columns]:
    """Return the tables of the set at a datapath by name; ``by`` is who refers to it."""
    referred(tensors, path, by or path, "pcnamedset")
    items = references(tensors, path, "items")
    return {name: columns_at(tensors, where, path) for name, where in items.items()}


def tables(tensors: Tensors) -> dict[str, Columns]:
    """Return by datapath the tables that are no points and no part of a frame, a graph of points or a tree.

    Among them are flashes of light (``time``, ``tmin``, ``tmax``, ``value``, ``error``, ``ident``, ``type``), what each
    photo-detector saw (``ident``, ``time``, ``value``, ``error``), and the pairs of rows that link the two.
    """
    inner = {path for graph in paths_of_graphs(tensors) for path in graph_parts(tensors, graph)}
    inner |= {path for tree in paths_of(tensors, "pctree") for path in [reference(tensors, tree, "lpcmaps")]}
    inner |= {path for frame in paths_of(tensors, "frame") for path in listed(tensors, frame, "tracedata")}
    return {
        path: columns_at(tensors, path)
        for path in paths_of(tensors, *TABLES)
        if path not in inner and not has_points(tensors, path)
    }


def point_clouds(tensors: Tensors) -> dict[str, PointCloud]:
    """Return by datapath all tables with x, y and z, and all graphs (``pcgraph``) of such; mm."""
    graphs = paths_of_graphs(tensors)
    nodes = {reference(tensors, path, "nodes") for path in graphs}
    plain = [path for path in paths_of(tensors, *TABLES) if path not in nodes and has_points(tensors, path)]
    linked = ((path, graph_at(tensors, path)) for path in graphs)
    others = ((path, cloud_of(columns_at(tensors, path), f"tensor {quoted(path)}")) for path in plain)
    return bounded(chain(linked, others), lambda cloud: cloud.position.nbytes)


def paths_of_graphs(tensors: Tensors) -> list[str]:
    """Return the datapaths of the graphs whose nodes are points."""
    return [path for path in paths_of(tensors, "pcgraph") if has_points(tensors, graph_parts(tensors, path)[0], path)]


def graph_parts(tensors: Tensors, path: str) -> tuple[str, str]:
    """Return the datapaths of the nodes and of the edges of a graph."""
    return reference(tensors, path, "nodes"), reference(tensors, path, "edges")


def has_points(tensors: Tensors, path: str, by: str = "") -> bool:
    """Tell whether a table has x, y and z."""
    referred(tensors, path, by or path, *TABLES)
    return references(tensors, path, "arrays").keys() >= set(AXES)


def graph_at(tensors: Tensors, path: str) -> PointCloud:
    """Return the points at a datapath with the edges that link them."""
    nodes, edges = (columns_at(tensors, part, path) for part in graph_parts(tensors, path))
    where = f"tensor {quoted(path)}"
    if missing := set(LINKS) - edges.keys():
        raise DataError(f"{where}: its edges have no '{min(missing)}'; expected the rows that each edge links")
    if any(edges[end].dtype.kind not in "iu" or edges[end].ndim != 1 for end in LINKS):
        raise DataError(f"{where}: tails or heads of edges are no whole numbers in a row")
    pairs = np.stack([edges[end].astype(np.int64) for end in LINKS])
    return cloud_of(nodes, where, pairs, {name: held for name, held in edges.items() if name not in LINKS})


def cloud_of(
    columns: Columns, where: str, edges: NDArray[np.int64] | None = None, edge_columns: Columns | None = None
) -> PointCloud:
    """Return the points that a table with x, y and z holds; raises DataError where these are no numbers in a row."""
    if any(columns[axis].ndim != 1 or columns[axis].dtype.kind not in "iuf" for axis in AXES):
        raise DataError(f"{where}: x, y or z is no row of numbers")
    position = np.stack([columns[axis] for axis in AXES], axis=1)
    if position.dtype.kind != "f":
        position = position.astype(np.float64)
    others = {name: held for name, held in columns.items() if name not in AXES}
    try:
        return PointCloud(position, others, edges, edge_columns or {})
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def clusters(tensors: Tensors) -> dict[str, BlobGraph]:
    """Return all blob graphs (``cluster``) by datapath; raises DataError where a part is missing or misshapen."""
    found = ((path, cluster_at(tensors, path)) for path in paths_of(tensors, "cluster"))
    return bounded(found, lambda graph: sum(pairs.nbytes for pairs in graph.edges.values()))


def cluster_at(tensors: Tensors, path: str) -> BlobGraph:
    """Return the blob graph at a datapath."""
    nodes, edges = references(tensors, path, "nodes"), references(tensors, path, "edges")
    if unknown := sorted((nodes.keys() - COLUMNS.keys()) | (edges.keys() - set(EDGES))):
        raise DataError(f"tensor {quoted(path)}: no nodes or edges are called {quoted(unknown[0])}")
    node_arrays = {code: array_at(tensors, part, path, "clnodeset") for code, part in nodes.items()}
    edge_arrays = {codes: array_at(tensors, part, path, "cledgeset") for codes, part in edges.items()}
    try:
        return BlobGraph(
            {code: nodes_of(array) for code, array in node_arrays.items()},
            {codes: pairs_of(array) for codes, array in edge_arrays.items()},
        )
    except DataError as error:
        raise DataError(f"tensor {quoted(path)}: {error}") from error


def nodes_of(array: NDArray[Any]) -> NDArray[np.float64]:
    """Return the array of one kind of nodes, (node, column)."""
    if not np.can_cast(array.dtype, np.float64):
        raise DataError(f"nodes of {array.dtype}; expected float64")
    return array.astype(np.float64, copy=False)


def pairs_of(array: NDArray[Any]) -> NDArray[np.int64]:
    """Return edges as (2, edge) from (edge, 2), which is documented, or (edge, 3), which starts with a counter."""
    if array.ndim != 2 or array.shape[1] not in (2, 3) or not np.can_cast(array.dtype, np.int64):
        raise DataError(f"edges of shape {array.shape} and {array.dtype}; expected (edge, 3) of int32")
    return np.ascontiguousarray(array[:, -2:].T, np.int64)
