"""Cluster graphs in JSON, read: what Wire-Cell writes of nodes and edges, as the arrays of a blob graph.

JSON has a node for each channel, and a list of its signals for each slice; arrays have a node for each activity, which
is a channel in a slice. So activities and their edges follow from signals, channels, wires, measures and slices.
"""

from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.blobs import COLUMNS, MOST_WHOLE, BlobGraph, each_once, slice_of
from wirecell_ml.data.json_fields import each, inside, integer_column, known_numbers, objects_in
from wirecell_ml.errors import DataError

CODES = ("c", "b", "m", "s", "w")  # of nodes in JSON, ordered as in arrays, where a stands for c
PLACES = {code: place for place, code in enumerate(CODES)}
EDGES = {"cm": "cm", "cw": "cw", "bb": "bb", "bm": "bm", "bs": "sb", "bw": "bw"}  # of nodes: as in arrays -> in JSON
KEYS = {"segment": "seg", "channel": "chid"}  # of columns that JSON calls otherwise
MEASURES = ("val", "unc", "start", "span")  # columns that are no whole numbers
MOST_CORNERS = 12
MOST_WIRES = 64  # of a channel: where wires are wrapped, it has 3
NO_CHANNEL = (-1, -1, 0)  # desc, index and wpid of an activity whose channel is no node of the graph

Whole = NDArray[np.int64]


class Side(NamedTuple):
    """The nodes of one kind."""

    descs: Whole  # (node,), the numbers by which edges know them
    data: list[Any]  # what is said of each
    where: str

    def whole(self, key: str) -> Whole:
        """Return a whole number of each node, (node,)."""
        return integer_column(self.data, key, self.where)

    def numbers(self, key: str) -> NDArray[np.float64]:
        """Return a number of each node, (node,); NaN for null."""
        return known_numbers(each(self.data, key, self.where), f"{self.where}: {key}")

    def lists(self, key: str) -> tuple[list[Any], Whole]:
        """Return what the lists under ``key`` hold, one after another, and the length of each list, (node,)."""
        held = each(self.data, key, self.where)
        if not set(map(type, held)) <= {list}:
            raise DataError(f"{self.where}: {key} is not a list everywhere")
        return list(chain.from_iterable(held)), np.array(list(map(len, held)), np.int64)


def graph_in(held: Any, where: str) -> BlobGraph:
    """Return the graph that parsed JSON holds; arrays without a row are left out.

    Activities come slice by slice in the order of signals, and the charge of a slice is the sum of its signals, all as
    Wire-Cell makes arrays of a graph. Raises DataError where something is missing, misshapen or contradicts itself.
    """
    kinds, descs, data = nodes_in(held, where)
    sides = {
        code: Side(
            descs[rows := np.flatnonzero(kinds == kind)], [data[row] for row in rows], f"{where}: '{code}' nodes"
        )
        for kind, code in enumerate(CODES)
    }
    edges = edges_in(held, kinds, descs, where)
    graph = BlobGraph({code: MAKERS[code](side) for code, side in sides.items() if code != "c"}, {"bs": edges["bs"]})
    slices = slice_of(graph, "b", absent=-1)
    if (slices[edges["bs"][0]] != edges["bs"][1]).any():
        raise DataError(f"{where}: a blob is in two slices; expected one")
    activities, channels, of_slice = activities_in(sides["s"], sides["c"])
    nodes = {"a": activities, **graph.nodes, "s": with_sums(graph.nodes["s"], activities, of_slice)}
    made = {
        "am": activity_measures(edges, slices, of_slice, channels, sides),
        "as": np.stack([np.arange(len(activities)), of_slice]),
        "aw": activity_wires(edges["cw"], channels, len(sides["c"].descs), len(nodes["w"]), where),
        **{codes: edges[codes] for codes in ("bb", "bm", "bs", "bw")},
    }
    graph = BlobGraph(
        {code: array for code, array in nodes.items() if len(array)},
        {codes: pairs for codes, pairs in made.items() if pairs.size},
    )
    try:
        graph.check_counts(graph.nodes)
    except DataError as error:
        raise DataError(f"{where}: {error} up to {MOST_WHOLE}") from error
    return graph


def nodes_in(held: Any, where: str) -> tuple[NDArray[np.int8], Whole, list[Any]]:
    """Return of each node the place of its type in ``CODES``, its descriptor, and what is said of it."""
    nodes = objects_in(inside(held, "nodes", list, where), f"{where}: nodes")
    try:
        kinds = np.array(list(map(PLACES.__getitem__, each(nodes, "type", f"{where}: nodes"))), np.int8)
    except (KeyError, TypeError):
        raise DataError(f"{where}: a node of unknown type; known are {', '.join(CODES)}") from None
    descs = integer_column(nodes, "ident", f"{where}: nodes")
    if descs.min(initial=0) < 0:
        raise DataError(f"{where}: a node has ident {int(descs.min())}; expected a descriptor, from 0 on")
    return kinds, descs, each(nodes, "data", f"{where}: nodes")


def edges_in(held: Any, kinds: NDArray[np.int8], descs: Whole, where: str) -> dict[str, Whole]:
    """Return the edges by the codes of the nodes they join, (2, edge): rows among the nodes of each kind."""
    edges = objects_in(inside(held, "edges", list, where), f"{where}: edges")
    counted = np.array_equal(descs, np.arange(len(descs)))  # as Wire-Cell does
    if not counted and len(np.unique(descs)) < len(descs):
        raise DataError(f"{where}: two nodes have one ident; expected descriptors, which differ")
    ends = np.stack([integer_column(edges, key, f"{where}: edges") for key in ("tail", "head")])
    nodes, known = (ends, (ends >= 0) & (ends < len(descs))) if counted else places_in(descs, ends)
    if not known.all():
        raise DataError(f"{where}: an edge to node {int(ends[~known][0])}, which there is not")
    (tails, heads), rows, made = kinds[nodes], rows_by_kind(kinds)[nodes], {}
    swapped = tails > heads
    kind = np.where(swapped, heads * len(CODES) + tails, tails * len(CODES) + heads)
    for codes in EDGES:
        held = np.flatnonzero(kind == PLACES[codes[0]] * len(CODES) + PLACES[codes[1]])
        made[codes] = np.where(swapped[held], rows[::-1, held], rows[:, held])
    if sum(pairs.shape[1] for pairs in made.values()) != len(edges):
        raise DataError(f"{where}: an edge between nodes that have none; known are {', '.join(EDGES.values())}")
    return made


def rows_by_kind(kinds: NDArray[np.int8]) -> Whole:
    """Return the row of each node among those of its kind, (node,)."""
    rows = np.zeros(len(kinds), np.int64)
    for kind in range(len(CODES)):
        rows[kinds == kind] = np.arange(np.count_nonzero(kinds == kind))
    return rows


def columns_of(code: str, side: Side, **columns: Any) -> NDArray[np.float64]:
    """Return the array of one kind of nodes: descriptors, the ``columns`` that are given, and others by their keys."""
    array = np.zeros((len(side.descs), len(COLUMNS[code])))
    for place, name in enumerate(COLUMNS[code]):
        if name == "desc":
            array[:, place] = side.descs
        elif name in columns:
            array[:, place] = columns[name]
        elif name in MEASURES:
            array[:, place] = side.numbers(name)
        else:
            array[:, place] = side.whole(KEYS.get(name, name))
    return array


def blobs_in(side: Side) -> NDArray[np.float64]:
    """Return the array of blobs; of each corner y and z are kept, as x is the start of the slice."""
    bounds, num_bounds = side.lists("bounds")
    if (num_bounds != 3).any():
        raise DataError(f"{side.where}: bounds of {int(num_bounds[num_bounds != 3][0])} planes; expected 3")
    ends = [integer_column(bounds, key, f"{side.where}: bounds").reshape(-1, 3) for key in ("beg", "end")]
    limits = {
        f"{name}{plane + 1}": end[:, plane]
        for name, end in zip(("min", "max"), ends, strict=True)
        for plane in range(3)
    }
    places, num_corners = side.lists("corners")
    if (num_corners > MOST_CORNERS).any():
        raise DataError(f"{side.where}: a blob with {int(num_corners.max())} corners; at most {MOST_CORNERS} are read")
    corners = np.zeros((len(side.descs), MOST_CORNERS, 2))
    corners[np.arange(MOST_CORNERS) < num_corners[:, None]] = vectors_in(places, f"{side.where}: corners")[:, 1:]
    flat = {f"{axis}{i}": corners[:, i, j] for i in range(MOST_CORNERS) for j, axis in enumerate("yz")}
    return columns_of("b", side, ncorners=num_corners, **limits, **flat)


def vectors_in(places: list[Any], where: str) -> NDArray[np.float64]:
    """Return points, (point, 3), from a list of three numbers each."""
    if not set(map(type, places)) <= {list} or not set(map(len, places)) <= {3}:
        raise DataError(f"{where}: not [x, y, z] everywhere")
    return known_numbers(list(chain.from_iterable(places)), where).reshape(-1, 3)


def wires_in(side: Side) -> NDArray[np.float64]:
    """Return the array of wires."""
    ends = {key: vectors_in(each(side.data, key, side.where), f"{side.where}: {key}") for key in ("tail", "head")}
    return columns_of(
        "w", side, **{f"{key}{axis}": end[:, i] for key, end in ends.items() for i, axis in enumerate("xyz")}
    )


MAKERS = {
    "b": blobs_in,
    "m": lambda side: columns_of("m", side),
    "s": lambda side: columns_of("s", side, val=0, unc=0),
    "w": wires_in,
}


def activities_in(slices: Side, channels: Side) -> tuple[NDArray[np.float64], Whole, Whole]:
    """Return the array of activities and of each the row of its channel, -1 where that is no node, and of its slice."""
    signals, counts = slices.lists("signal")
    where = f"{slices.where}: signal"
    idents = integer_column(signals, "ident", where)
    known = channels.whole("ident")
    if len(np.unique(known)) < len(known):
        raise DataError(f"{channels.where}: two nodes are one channel; expected one")
    found, held = places_in(known, idents)
    rows = np.where(held, found, -1)
    of_channel = np.column_stack([channels.descs, channels.whole("index"), channels.whole("wpid")])
    values = [known_numbers(each(signals, key, where), f"{where}: {key}") for key in ("val", "unc")]
    desc, index, wpid = np.vstack([of_channel, NO_CHANNEL])[rows].T
    return np.column_stack([desc, idents, *values, index, wpid]), rows, np.repeat(np.arange(len(counts)), counts)


def with_sums(slices: NDArray[np.float64], activities: NDArray[np.float64], of_slice: Whole) -> NDArray[np.float64]:
    """Return the array of slices with the sums of value and uncertainty of their activities."""
    slices = slices.copy()
    for name in ("val", "unc"):
        weights = activities[:, COLUMNS["a"].index(name)]
        slices[:, COLUMNS["s"].index(name)] = np.bincount(of_slice, weights, len(slices))
    return slices


def activity_measures(
    edges: dict[str, Whole], of_blob: Whole, of_activity: Whole, channels: Whole, sides: dict[str, Side]
) -> Whole:
    """Return the edges from the activity of a channel to its measures in the same slice, (2, edge).

    ``of_blob`` and ``of_activity`` tell the slice; a measure is in the slice of its blobs. They are ordered by slice,
    first blob of the measure, measure and channel, as Wire-Cell makes them when it writes arrays.
    """
    (blobs, measures), (of_channel, measured), descs = edges["bm"], edges["cm"], sides["c"].descs
    slices, firsts = (np.full(len(sides["m"].descs), default) for default in (-1, len(of_blob)))
    slices[measures] = of_blob[blobs]
    if (slices[measures] != of_blob[blobs]).any():
        raise DataError(f"{sides['m'].where}: a measure has blobs in two slices; expected one")
    np.minimum.at(firsts, measures, blobs)
    order = np.lexsort((descs[of_channel], measured, firsts[measured], slices[measured]))
    measured, of_channel = measured[order], of_channel[order]
    held = np.where(channels < 0, -1, of_activity * len(descs) + channels)
    wanted = np.where(slices[measured] < 0, -2, slices[measured] * len(descs) + of_channel)
    found, hit = places_in(held, wanted)
    return np.stack([found[hit], measured[hit]])


def places_in(held: Whole, wanted: Whole) -> tuple[Whole, NDArray[np.bool_]]:
    """Return the place among those ``held`` of each that is ``wanted``, and whether it is there at all."""
    if not len(held):
        return np.zeros(wanted.shape, np.int64), np.zeros(wanted.shape, np.bool_)
    order = np.argsort(held, kind="stable")
    found = order[np.minimum(np.searchsorted(held, wanted, sorter=order), len(held) - 1)]
    return found, held[found] == wanted


def activity_wires(pairs: Whole, channels: Whole, num_channels: int, num_wires: int, where: str) -> Whole:
    """Return the edges from each activity to all wires of its channel, (2, edge)."""
    owners, wires = each_once(pairs[0], pairs[1], num_wires)
    counts = np.bincount(owners, minlength=num_channels)
    if (counts > MOST_WIRES).any():
        raise DataError(f"{where}: a channel of {int(counts.max())} wires; at most {MOST_WIRES} are read")
    held = np.flatnonzero(channels >= 0)
    lengths = counts[channels[held]]
    firsts = (np.cumsum(counts) - counts)[channels[held]]
    steps = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.stack([np.repeat(held, lengths), wires[np.repeat(firsts, lengths) + steps]])
