"""Cluster archives of arrays: what ClusterFileSink writes in format "numpy" (wire-cell-toolkit, ClusterArrays.org).

An event is a run of members with one ident: ``<prefix>_<ident>_<code>nodes.npy`` and ``..._<codes>edges.npy``, or
``<prefix>_<ident>_graph.json``, which an empty graph is written as. All other members are skipped.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data import container, json_source
from wirecell_ml.data.blobs import BlobGraph
from wirecell_ml.data.container import Member
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, check_event
from wirecell_ml.data.graph_json import graph_in
from wirecell_ml.data.npy import npy_bytes, read_array
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

GRAPH = "graph.json"
NODES = {f"{code}nodes.npy": code for code in ("w", "s", "b", "m", "a")}  # in the order of writing, as for edges
PAIRS = {f"{codes}edges.npy": codes for codes in ("bs", "bw", "as", "bb", "bm", "aw", "am")}
KINDS = (*NODES, *PAIRS, GRAPH)
NAME = re.compile(r"([ -~]+)_(-?[0-9]{1,18})_([a-z]nodes\.npy|[a-z]{2}edges\.npy|graph\.json)")  # a prefix may have _
EMPTY = b'{"edges":[],"nodes":[]}'


class Part(NamedTuple):
    """A member that is a graph or one array of it, not read yet."""

    prefix: str
    ident: int
    kind: str
    member: Member


def read(source: Source) -> Iterator[Contents]:
    """Yield the events of a cluster archive one at a time, graphs by prefix, with the arrays that the archive has.

    Raises DataError at the first thing that is wrong: a tar yields its whole events before, and a cut zip yields none.
    """
    found = False
    for ident, parts in container.by_event(graph_parts(source), source):
        found = True
        yield Contents(ident, blobs=graphs_of(parts, source, ident))
    if not found:
        raise DataError(f"{source}: no cluster graph in it; expected '<prefix>_<ident>_bnodes.npy' or '..._graph.json'")


def graph_parts(source: Source) -> Iterator[Part]:
    """Yield the members of an archive that belong to graphs."""
    for member in container.members(source):
        if match := NAME.fullmatch(member.name):
            prefix, ident, kind = match.groups()
            if kind not in KINDS:
                raise DataError(f"{member.where} is no part of a graph; known are {', '.join(KINDS)}")
            yield Part(prefix, int(ident), kind, member)


def graphs_of(parts: Iterable[Part], source: Source, ident: int) -> dict[str, BlobGraph]:
    """Return the graphs of one event by prefix."""
    graphs: dict[str, BlobGraph] = {}
    arrays: dict[str, dict[str, NDArray[Any]]] = {}
    room = container.MOST_BYTES
    for part in parts:
        held = arrays.setdefault(part.prefix, {})
        room -= part.member.size
        if part.kind in held or part.prefix in graphs or (part.kind == GRAPH and held):
            raise DataError(f"{part.member.where} comes twice or beside other forms of its graph; write it once")
        if room < 0:
            raise DataError(f"{part.member.where}: with it, the event has more bytes than are read at once")
        if part.kind == GRAPH:
            text = part.member.content(json_source.most_bytes(source))
            graphs[part.prefix] = graph_in(json_source.parsed(text, part.member.where), part.member.where)
        else:
            held[part.kind] = nodes_in(part.member) if part.kind in NODES else pairs_in(part.member)
    where = f"{source}: event {ident}"
    return graphs | {prefix: graph_of(held, f"{where}, '{prefix}'") for prefix, held in arrays.items() if held}


def nodes_in(member: Member) -> NDArray[np.float64]:
    """Return the array of one kind of nodes, (node, column)."""
    return np.ascontiguousarray(read_array(member, np.float64))


def pairs_in(member: Member) -> NDArray[np.int64]:
    """Return the edges of one kind, (2, edge), without the counter that stands before them."""
    triples = read_array(member, np.int64, kept=(np.dtype(np.int32),))
    if triples.ndim != 2 or triples.shape[1] != 3:
        raise DataError(f"{member.where} has shape {triples.shape}; expected (edge, 3): a counter, tail row, head row")
    return np.ascontiguousarray(triples[:, 1:].T, np.int64)


def graph_of(arrays: dict[str, NDArray[Any]], where: str) -> BlobGraph:
    """Return the graph that arrays make, by kind."""
    nodes = {code: arrays[kind] for kind, code in NODES.items() if kind in arrays}
    edges = {codes: arrays[kind] for kind, codes in PAIRS.items() if kind in arrays}
    try:
        graph = BlobGraph(nodes, edges)
        graph.check_counts("b")
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    return graph


def write(path: Path, events: Iterable[Contents]) -> None:
    """Write the graphs of events one event at a time, members named and ordered as ClusterFileSink does.

    Edges are counted through all arrays of a graph. Raises DataError for a prefix that is no printable ASCII.
    """
    container.write_members(path, new_members(path, events))


def new_members(path: Path, events: Iterable[Contents]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each member that ``events`` need."""
    for ident, prefix, graph in graphs_in(path, events):
        for kind, content in contents_of(graph):
            yield member_name(prefix, ident, kind, path), content


def graphs_in(path: Path, events: Iterable[Contents]) -> Iterator[tuple[int, str, BlobGraph]]:
    """Yield ident, prefix and graph of all that is to be written; raises DataError where an event cannot be."""
    written: set[int] = set()
    for event in events:
        check_event(event, FORMAT.kinds, written, str(path))
        if not event.blobs:
            raise DataError(f"{path}: event {event.ident} has no graph of blobs, so that it could not be read back")
        for prefix, graph in event.blobs.items():
            yield event.ident, prefix, graph


def contents_of(graph: BlobGraph) -> Iterator[tuple[str, bytes]]:
    """Yield kind and content of each member of a graph."""
    held = {kind: graph.nodes[code] for kind, code in NODES.items() if len(graph.nodes.get(code, ()))}
    if not held:
        yield GRAPH, EMPTY
    for kind, array in held.items():
        yield kind, npy_bytes(np.ascontiguousarray(array, "<f8"))
    count = 0
    for kind, codes in PAIRS.items():
        pairs = graph.pairs(codes)
        if pairs.size:
            counter = np.arange(count, count + pairs.shape[1])
            count += pairs.shape[1]
            yield kind, npy_bytes(np.column_stack([counter, *pairs]).astype("<i4"))


def member_name(prefix: str, ident: int, kind: str, path: Path) -> str:
    """Return the name of a member; raises DataError where it would be read otherwise."""
    name = f"{prefix}_{ident}_{kind}"
    match = NAME.fullmatch(name)
    if not match or match.groups() != (prefix, str(ident), kind):
        raise DataError(f"{path}: event {ident}: {name!a} would not be read back; use printable ASCII as prefix")
    return name


FORMAT = Format(
    name="cluster numpy",
    title="ClusterFileSink, format numpy",
    kinds=("blobs",),
    suffixes=container.SUFFIXES,
    recognises=lambda peek: (
        peek.container == "archive"
        and any((match := NAME.fullmatch(name)) and match[3] != GRAPH for name in peek.names)
    ),
    read=read,
    write=write,
    loses="run and subrun numbers, the order among edges of different kinds, and arrays without a row",
)
