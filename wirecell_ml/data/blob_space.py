"""Blobs in space: their corners and centres, and a cluster graph as points to look at."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.blobs import COLUMNS, CORNERS, BlobGraph
from wirecell_ml.data.points import PointCloud

FIRST_CORNER = COLUMNS["b"].index(CORNERS[0])
MM_PER_NS = 1e-3  # at 1 mm/us


def corners(graph: BlobGraph) -> NDArray[np.float64]:
    """Return the corners of the blobs, (blob, 12, 2): y and z in mm, NaN beyond the last."""
    nodes = graph.nodes.get("b", np.zeros((0, len(COLUMNS["b"]))))
    places = nodes[:, FIRST_CORNER:].reshape(len(nodes), len(CORNERS) // 2, 2)
    held = np.arange(places.shape[1]) < graph.column("b", "ncorners")[:, None]
    return np.where(held[..., None], places, np.nan)


def centres(graph: BlobGraph) -> NDArray[np.float64]:
    """Return the mean of the corners of each blob, (blob, 2): y and z in mm, NaN where a blob has no corner."""
    places = corners(graph)
    counts = np.isfinite(places).sum(axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.nansum(places, axis=1) / counts)


def middle_ns(graph: BlobGraph) -> NDArray[np.float64]:
    """Return the middle of the time slice of each blob, (blob,)."""
    with np.errstate(over="ignore", invalid="ignore"):  # a file may say anything
        return np.asarray(graph.column("b", "start") + graph.column("b", "span") / 2)


def as_points(graph: BlobGraph, drift_speed: float) -> PointCloud:
    """Return the centres of the blobs that have corners, x being the time of the slice times ``drift_speed`` in mm/us.

    So x is a distance of drift, counted from the place whose charge arrives at time 0, not a place in the detector.
    """
    across, x_mm = centres(graph), middle_ns(graph) * MM_PER_NS * drift_speed
    held = np.isfinite(across).all(axis=1) & np.isfinite(x_mm)
    columns: dict[str, NDArray[Any]] = {"charge": graph.charge[held], "cluster_id": clusters(graph)[held]}
    return PointCloud(np.column_stack([x_mm, across])[held], columns)


def clusters(graph: BlobGraph) -> NDArray[np.int64]:
    """Return for each blob the number of its cluster, which are the blobs that blob-blob edges join."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    tails, heads = graph.pairs("bb")
    links = coo_array((np.ones(len(tails), np.int8), (tails, heads)), shape=(len(graph), len(graph)))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)
