"""Frames, blob graphs, points, tables and point trees as tensors, named and typed as Wire-Cell's C++ takes them."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.blobs import BlobGraph
from wirecell_ml.data.contents import Columns
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.point_tree import PointTree
from wirecell_ml.data.points import PointCloud
from wirecell_ml.data.tensor_frames import UNTAGGED
from wirecell_ml.data.tensor_model import AXES, LINKS
from wirecell_ml.data.tensors import Tensor, as_int32, joined, made, quoted
from wirecell_ml.errors import DataError


def from_frames(frames: Mapping[str, Frame], masks: Mapping[str, NDArray[np.int32]], ident: int) -> dict[str, Tensor]:
    """Return the tensors of an event's frames by tag, those of one time and period in one; the first has the masks.

    Raises DataError for masks without a frame, and for a frame that the model cannot hold.
    """
    if masks and not frames:
        raise DataError("masks without a frame; in tensors they are a part of one")
    for tag, frame in frames.items():
        check_frame(tag, frame)
    alike = groupby(sorted(frames, key=lambda tag: common(tag, frames[tag])), lambda tag: common(tag, frames[tag]))
    parts = []
    for n, (_, tags) in enumerate(alike):
        path = f"frames/{ident}/{n}" if n else f"frames/{ident}"
        parts.append(from_alike({tag: frames[tag] for tag in tags}, {} if n else masks, ident, path))
    return joined(parts)


def check_frame(tag: str, frame: Frame) -> None:
    """Raise DataError for a frame that would not be read back as it is."""
    if not tag:
        raise DataError("a frame has an empty tag; traces without tag are '*'")
    if frame.samples.ndim != 2 or not frame.samples.size or not np.isfinite((frame.time_ns, frame.period_ns)).all():
        raise DataError(f"frame {quoted(tag)} has no channels, ticks or time")
    if len(np.unique(frame.channels)) != len(frame.channels):
        raise DataError(f"a channel comes twice in frame {quoted(tag)}; in tensors such traces are added")


def common(tag: str, frame: Frame) -> tuple[bool, float, float]:
    """Return what the frames of one tensor have in common; that without a tag is alone."""
    return tag == UNTAGGED, frame.time_ns, frame.period_ns


def from_alike(
    frames: Mapping[str, Frame], masks: Mapping[str, NDArray[np.int32]], ident: int, path: str
) -> dict[str, Tensor]:
    """Return the tensors of one ``frame``: for each tag a block of traces, and what is told of them."""
    traces, data, start = [], [], 0
    for tag, frame in frames.items():
        kept = np.int16 if frame.samples.dtype.kind == "i" else np.float32  # there are no other traces in C++
        where = f"{path}/traces" if tag == UNTAGGED else f"{path}/traces/{tag}"
        traces.append(made(where, "trace", frame.samples.astype(kept, copy=False), tbin=frame.tbin))
        data.append(trace_data(tag, frame, start, f"{path}/tracedata"))
        start += len(frame.channels)
    first = next(iter(frames.values()))
    top = made(
        path,
        "frame",
        ident=ident,
        time=float(first.time_ns),
        tick=float(first.period_ns),
        tags=[],
        masks={name: ranges_of(rows) for name, rows in masks.items()},
        traces=[next(iter(one)) for one in traces],
        tracedata=[next(iter(one)) for one in data],
    )
    return joined([top, *traces, *data])


def trace_data(tag: str, frame: Frame, start: int, path: str) -> dict[str, Tensor]:
    """Return the tensors that tell channels and summaries of the traces of a tag, which are counted from ``start``."""
    columns: dict[str, NDArray[Any]] = {"chid": as_int32(frame.channels, f"channels of frame {quoted(tag)}")}
    if frame.summary is not None:
        columns["summary"] = frame.summary.astype(np.float64)
    if tag == UNTAGGED:
        return from_columns(columns, f"{path}/_")
    columns["index"] = np.arange(start, start + len(frame.channels), dtype=np.uint64)
    return from_columns(columns, f"{path}/{tag}", tag=tag)


def ranges_of(rows: NDArray[np.int32]) -> dict[str, list[list[int]]]:
    """Return the ranges of one mask by channel, whose number is a text, as JSON wants it."""
    ranges: dict[str, list[list[int]]] = {}
    for channel, begin, end in rows.tolist():
        ranges.setdefault(str(channel), []).append([begin, end])
    return ranges


def from_columns(columns: Columns, path: str, **more: object) -> dict[str, Tensor]:
    """Return the tensors of a table, with ``more`` said of it; raises DataError where columns are no arrays alike."""
    for name, values in columns.items():
        if not isinstance(values, np.ndarray) or not values.ndim:
            raise DataError(
                f"{quoted(path)}: {quoted(name)} is a {type(values).__name__}; tensors hold arrays of numpy"
            )
    if len({len(values) for values in columns.values()}) > 1:
        raise DataError(f"{quoted(path)} has columns of different lengths; expected one")
    paths = {name: f"{path}/arrays/{name}" for name in columns}
    parts = [made(paths[name], "pcarray", values) for name, values in columns.items()]
    return joined([made(path, "pcdataset", None, arrays=paths, **more), *parts])


def from_named_set(tables: Mapping[str, Columns], path: str) -> dict[str, Tensor]:
    """Return the tensors of a set of named tables."""
    items = {name: f"{path}/namedpcs/{name}" for name in tables}
    parts = [from_columns(columns, items[name]) for name, columns in tables.items()]
    return joined([made(path, "pcnamedset", items=items), *parts])


def from_points(cloud: PointCloud, path: str) -> dict[str, Tensor]:
    """Return the tensors of points: a table, or a graph where the cloud has edges."""
    if taken := set(AXES) & cloud.columns.keys() | set(LINKS) & cloud.edge_columns.keys():
        raise DataError(f"{quoted(path)}: a column is called '{min(taken)}', as the model calls its own; rename it")
    nodes = {axis: np.ascontiguousarray(cloud.position[:, n]) for n, axis in enumerate(AXES)} | dict(cloud.columns)
    if cloud.edges is None:
        return from_columns(nodes, path)
    edges = dict(zip(LINKS, as_int32(cloud.edges, f"{quoted(path)}: edges"), strict=True)) | dict(cloud.edge_columns)
    top = made(path, "pcgraph", nodes=f"{path}/nodes", edges=f"{path}/edges")
    return joined([top, from_columns(nodes, f"{path}/nodes"), from_columns(edges, f"{path}/edges")])


def from_cluster(graph: BlobGraph, path: str, ident: int) -> dict[str, Tensor]:
    """Return the tensors of a blob graph; edges are (edge, 3), a counter first."""
    nodes = {code: f"{path}/nodes/{code}" for code in graph.nodes}
    edges = {codes: f"{path}/edges/{codes}" for codes in graph.edges}
    parts = [made(nodes[code], "clnodeset", array.astype(np.float64)) for code, array in graph.nodes.items()]
    for codes, pairs in graph.edges.items():
        rows = np.stack([np.arange(pairs.shape[1]), *pairs], axis=1)
        parts.append(made(edges[codes], "cledgeset", as_int32(rows, f"{quoted(path)}: edges '{codes}'")))
    return joined([made(path, "cluster", ident=ident, nodes=nodes, edges=edges), *parts])


def from_point_tree(tree: PointTree, path: str) -> dict[str, Tensor]:
    """Return the tensors of a point tree."""
    parents = as_int32(tree.parents, f"{quoted(path)}: parents")
    if not tree.tables:
        return made(path, "pctree", parents, pointclouds="", lpcmaps="")
    sizes = {name: as_int32(values, f"{quoted(path)}: sizes") for name, values in tree.sizes.items()}
    clouds, maps = f"{path}/pointclouds", f"{path}/lpcmaps"
    top = made(path, "pctree", parents, pointclouds=clouds, lpcmaps=maps)
    return joined([top, from_named_set(tree.tables, clouds), from_columns(sizes, maps)])
