"""Cluster graphs in JSON: what ClusterFileSink writes in format "json", a graph in an archive or in a file of its own.

The ident of a file of its own is that in its name, ``<prefix>_<ident>_graph.json``, and 0 where it has another name.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from wirecell_ml.data import cluster_numpy, container
from wirecell_ml.data.blobs import COLUMNS, CORNERS, BlobGraph, each_once, slice_of
from wirecell_ml.data.cluster_numpy import GRAPH, NAME, graphs_in, member_name
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.graph_json import EDGES, KEYS, MEASURES, MOST_CORNERS, graph_in
from wirecell_ml.data.json_source import is_json_file, read_json
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

TELLING = ("edges.[].tail", "nodes.[].type")  # keys of which the beginning of a file shows one, unless it is empty
SHARED = [COLUMNS["a"].index(name) for name in ("desc", "index", "wpid")]  # columns that activities of a channel share

Data = list[dict[str, Any]]


def read(source: Source) -> Iterator[Contents]:
    """Yield the events of an archive, as ``cluster_numpy.read`` does, or the one of a JSON file.

    Raises DataError at the first thing that is wrong.
    """
    if not is_json_file(source):
        yield from cluster_numpy.read(source)
        return
    match = NAME.fullmatch(source.name)
    prefix, ident = (match[1], int(match[2])) if match else ("cluster", 0)
    yield Contents(ident, blobs={prefix: graph_in(read_json(source), str(source))})


def write(path: Path, events: Iterable[Contents]) -> None:
    """Write the graphs of events one event at a time, as JSON in an archive.

    Raises DataError for a graph that JSON cannot hold: nodes must have descriptors of their own, the activities of a
    channel its desc, index and wpid, each one slice, and no number may be infinite.
    """
    container.write_members(path, new_members(path, events))


def new_members(path: Path, events: Iterable[Contents]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each member that ``events`` need."""
    for ident, prefix, graph in graphs_in(path, events):
        name = member_name(prefix, ident, GRAPH, path)
        try:
            text = text_of(graph)
        except DataError as error:
            raise DataError(f"{path}: {name} cannot be written: {error}") from error
        yield name, text


def text_of(graph: BlobGraph) -> bytes:
    """Return a graph in JSON, its keys in the order of Wire-Cell's; NaN becomes null."""
    graph.check_counts(graph.nodes)
    if any(np.isinf(array).any() for array in graph.nodes.values()):
        raise DataError("an infinite number")
    channels, of_activity = channels_of(graph)
    descs = {"c": channels[:, 0], **{code: graph.column(code, "desc") for code in "wsbm"}}
    numbers = np.concatenate(list(descs.values()))
    if len(np.unique(numbers)) < len(numbers):
        raise DataError("two nodes have one descriptor (desc)")
    data = {
        "c": rows_of(ident=whole(channels[:, 1]), index=whole(channels[:, 2]), wpid=whole(channels[:, 3])),
        "w": wires_of(graph),
        "s": slices_of(graph),
        "b": blobs_of(graph),
        "m": columns_of(graph, "m"),
    }
    nodes = (
        {"data": held, "ident": desc, "type": code}
        for code in data
        for held, desc in zip(data[code], whole(descs[code]), strict=True)
    )
    return orjson.dumps({"edges": edges_of(graph, descs, of_activity), "nodes": list(nodes)})


def channels_of(graph: BlobGraph) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return desc, ident, index and wpid of the channels, (channel, 4), and of each activity the row of its channel.

    Channels are in the order of desc; activities without one, whose desc is negative, have row -1.
    """
    idents = graph.column("a", "ident")
    held = graph.nodes.get("a", np.zeros((0, len(COLUMNS["a"]))))[:, SHARED]
    known, firsts, rows = np.unique(idents, return_index=True, return_inverse=True)
    if (held[firsts][rows] != held).any():
        raise DataError("activities of one channel differ in desc, index or wpid")
    order, absent = np.argsort(held[firsts, 0], kind="stable"), np.count_nonzero(held[firsts, 0] < 0)
    numbers = np.maximum(np.argsort(order) - absent, -1)
    return np.insert(held[firsts], 1, known, axis=1)[order[absent:]], numbers[rows]


def whole(values: NDArray[np.float64]) -> list[int]:
    """Return values as integers."""
    held: list[int] = values.astype(np.int64).tolist()
    return held


def rows_of(**columns: list[Any]) -> Data:
    """Return an object for each row of some columns."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def columns_of(graph: BlobGraph, code: str, without: tuple[str, ...] = (), **more: list[Any]) -> Data:
    """Return what JSON says of each node: all columns but its descriptor and those ``without``, and ``more``."""
    names = sorted(set(COLUMNS[code]) - {"desc", *without})
    columns = {
        KEYS.get(name, name): held.tolist() if name in MEASURES else whole(held)
        for name, held in zip(names, (graph.column(code, name) for name in names), strict=True)
    } | more
    return rows_of(**{key: columns[key] for key in sorted(columns)})


def wires_of(graph: BlobGraph) -> Data:
    """Return what JSON says of each wire."""
    ends = {end: tuple(f"{end}{axis}" for axis in "xyz") for end in ("tail", "head")}
    points = {
        end: np.stack([graph.column("w", name) for name in names], axis=1).tolist() for end, names in ends.items()
    }
    return columns_of(graph, "w", ends["tail"] + ends["head"], **points)


def slices_of(graph: BlobGraph) -> Data:
    """Return what JSON says of each slice: with its signals, which are its activities."""
    activities = graph.nodes.get("a", np.zeros((0, len(COLUMNS["a"]))))
    slices = slice_of(graph, "a", absent=-1)
    if graph.pairs("as").shape[1] != len(activities) or (slices < 0).any():
        raise DataError("an activity that is not in one slice")
    order = np.argsort(slices, kind="stable")
    idents, values, uncertainties = (activities[order, COLUMNS["a"].index(name)] for name in ("ident", "val", "unc"))
    signals = rows_of(ident=whole(idents), unc=uncertainties.tolist(), val=values.tolist())
    ends = np.cumsum(np.bincount(slices, minlength=len(graph.column("s", "desc")))).tolist()
    held = [signals[first:end] for first, end in zip([0, *ends], ends, strict=False)]
    return columns_of(graph, "s", ("val", "unc"), signal=held)


def blobs_of(graph: BlobGraph) -> Data:
    """Return what JSON says of each blob; x of a corner is the start of the slice."""
    counts = whole(graph.column("b", "ncorners"))
    if not all(0 <= count <= MOST_CORNERS for count in counts):
        raise DataError(f"a blob with a number of corners other than 0 to {MOST_CORNERS}")
    starts = graph.column("b", "start")
    places = np.stack([starts, starts, starts], axis=1)[:, None].repeat(MOST_CORNERS, axis=1)
    for i, name in enumerate(CORNERS):
        places[:, i // 2, 1 + i % 2] = graph.column("b", name)
    corners = [row[:count] for row, count in zip(places.tolist(), counts, strict=True)]
    ends = [[whole(graph.column("b", f"{end}{plane}")) for end in ("min", "max")] for plane in (1, 2, 3)]
    planes = [rows_of(beg=beg, end=end) for beg, end in ends]
    bounds = list(map(list, zip(*planes, strict=True)))
    names = (*CORNERS, "ncorners", *(f"{end}{plane}" for end in ("min", "max") for plane in (1, 2, 3)))
    return columns_of(graph, "b", names, bounds=bounds, corners=corners)


def edges_of(graph: BlobGraph, descs: dict[str, NDArray[np.float64]], channels: NDArray[np.int64]) -> Data:
    """Return the edges, by descriptors; ``channels`` are the rows of those that activities belong to."""
    made: Data = []
    for codes, order in EDGES.items():
        tail, head = order[0], order[1]
        pairs = graph.pairs(codes.replace("c", "a"))
        if "c" in codes:
            pairs = pairs[:, channels[pairs[0]] >= 0]
            pairs = each_once(channels[pairs[0]], pairs[1], len(descs[codes[1]]))
        rows = dict(zip(codes, pairs, strict=True)) if tail != head else {}
        ends = pairs if tail == head else (rows[tail], rows[head])
        made += rows_of(head=whole(descs[head][ends[1]]), tail=whole(descs[tail][ends[0]]))
    return made


def recognises(peek: Peek) -> bool:
    """Tell whether a file holds cluster graphs in JSON."""
    if peek.container == "archive":
        return any((match := NAME.fullmatch(name)) and match[3] == GRAPH for name in peek.names)
    return peek.container == "json" and (
        any(key in peek.names for key in TELLING) or {"edges", "nodes"} <= set(peek.names)
    )


FORMAT = Format(
    name="cluster json",
    title="ClusterFileSink, format json",
    kinds=("blobs",),
    suffixes=tuple(suffix for suffix in container.SUFFIXES if suffix != ".npz"),
    recognises=recognises,
    read=read,
    write=write,
    loses="run and subrun numbers, arrays without a row, and what is made anew from the rest of a graph: the charge of "
    "slices (sums of signals), the order of activities (slice by slice), and which activities of a channel lead to a "
    "wire (all) or a measure (those in its slice)",
)
