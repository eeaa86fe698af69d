"""Cluster graphs in JSON and in arrays: one graph in both forms by hand, and any."""

import copy
import json
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reading import difference, same
from wirecell_ml.data import readers
from wirecell_ml.data.blobs import BlobGraph
from wirecell_ml.data.cluster_json import text_of
from wirecell_ml.data.graph_json import graph_in
from wirecell_ml.errors import DataError
from wirecell_ml.paths import shipped


def wire(ident: int, chid: int, seg: int) -> dict[str, Any]:
    return {"chid": chid, "head": [1.5, 2.5, 3.5], "ident": ident, "index": 9, "seg": seg, "tail": [4, 5, 6], "wpid": 2}


def blob(ident: int, sliceid: int, val: float | None, corners: list[list[float]]) -> dict[str, Any]:
    bounds = [{"beg": 10 * plane, "end": 10 * plane + 3} for plane in range(3)]
    about = {"faceid": 8, "sliceid": sliceid, "span": 2000.0, "start": 500.0}
    return {"bounds": bounds, "corners": corners, "ident": ident, "unc": 0.0, "val": val, **about}


def slice_(ident: int, *signals: tuple[int, float, float]) -> dict[str, Any]:
    signal = [{"ident": chid, "unc": unc, "val": val} for chid, val, unc in signals]
    return {"frameid": 2, "ident": ident, "signal": signal, "span": 2000.0, "start": 500.0}


# Channel 100 has two wires, channel 200 has one, and channel 300 is active but no node
NODES: list[tuple[str, dict[str, Any]]] = [
    ("c", {"ident": 100, "index": 7, "wpid": 1}),
    ("w", wire(1000, 100, 0)),
    ("w", wire(1001, 100, 1)),
    ("c", {"ident": 200, "index": 3, "wpid": 2}),
    ("w", wire(2000, 200, 0)),
    ("s", slice_(40, (200, 5.0, 1.0), (100, 10.0, 2.5))),
    ("s", slice_(41, (100, 20.0, 3.0), (300, 1.5, 0.5))),
    ("b", blob(60, 40, None, [[500.0, 1.25, 2.5], [500.0, -3.5, 4.0], [500.0, 5.0, 6.0]])),
    ("b", blob(61, 41, 123.5, [])),
    ("m", {"ident": 80, "unc": 2.0, "val": 10.0, "wpid": 1}),
    ("m", {"ident": 81, "unc": 2.0, "val": 20.0, "wpid": 2}),
]
EDGES = [
    (0, 1),
    (0, 2),
    (3, 4),
    (5, 7),
    (6, 8),
    (8, 7),
    (7, 1),
    (7, 4),
    (2, 8),
    (7, 9),
    (8, 10),
    (0, 9),
    (0, 10),
    (3, 10),
]


def document() -> dict[str, Any]:
    """Return the graph as JSON holds it."""
    return {
        "edges": [{"head": head, "tail": tail} for tail, head in EDGES],
        "nodes": [
            {"data": data, "ident": desc, "type": code} for desc, (code, data) in enumerate(copy.deepcopy(NODES))
        ],
    }


def expected() -> BlobGraph:
    """Return the graph as arrays hold it."""
    about = [8, 40, 500, 2000, 0, 3, 10, 13, 20, 23]
    corners = [3, 1.25, 2.5, -3.5, 4, 5, 6, *[0] * 18]
    ends = [2, 4, 5, 6, 1.5, 2.5, 3.5]
    nodes = {
        "a": [[3, 200, 5, 1, 3, 2], [0, 100, 10, 2.5, 7, 1], [0, 100, 20, 3, 7, 1], [-1, 300, 1.5, 0.5, -1, 0]],
        "b": [[7, 60, np.nan, 0, *about, *corners], [8, 61, 123.5, 0, 8, 41, *about[2:], *[0] * 25]],
        "m": [[9, 80, 10, 2, 1], [10, 81, 20, 2, 2]],
        "s": [[5, 40, 15, 3.5, 2, 500, 2000], [6, 41, 21.5, 3.5, 2, 500, 2000]],
        "w": [[1, 1000, 9, 0, 100, *ends], [2, 1001, 9, 1, 100, *ends], [4, 2000, 9, 0, 200, *ends]],
    }
    edges = {
        "am": [(1, 0), (2, 1)],  # channel 200 is not active in the slice of measure 81
        "as": [(0, 0), (1, 0), (2, 1), (3, 1)],
        "aw": [(0, 2), (1, 0), (1, 1), (2, 0), (2, 1)],
        "bb": [(1, 0)],
        "bm": [(0, 0), (1, 1)],
        "bs": [(0, 0), (1, 1)],
        "bw": [(0, 0), (0, 2), (1, 1)],
    }
    return BlobGraph(
        {code: np.array(rows, np.float64) for code, rows in nodes.items()},
        {codes: np.array(pairs, np.int64).T for codes, pairs in edges.items()},
    )


def test_json_becomes_the_arrays_that_wire_cell_makes_of_a_graph() -> None:
    assert not difference(graph_in(document(), "here"), expected())


def test_real_graphs_in_json_are_their_arrays_to_the_last_bit_and_row() -> None:
    for event in islice(readers.open(shipped("data") / "blobs" / "clusters-apa0-0.tar.xz"), 3):
        (graph,) = event.blobs.values()
        assert not difference(graph_in(json.loads(text_of(graph)), "here"), graph)


def test_the_order_of_keys_nodes_and_edges_and_the_numbers_of_nodes_do_not_matter() -> None:
    held = document()
    for node in held["nodes"]:
        node["ident"] = 1000 - 7 * node["ident"]
    for edge in held["edges"]:
        edge["head"], edge["tail"] = (1000 - 7 * edge[end] for end in ("tail", "head"))
    held = {"nodes": [dict(reversed(node.items())) for node in held["nodes"]], "edges": held["edges"][::-1]}
    graph = graph_in(held, "here")
    for code, array in expected().nodes.items():
        np.testing.assert_array_equal(graph.nodes[code][:, 1:], array[:, 1:])
    for codes, pairs in expected().edges.items():
        if codes != "bb":  # which has a direction
            assert set(map(tuple, graph.pairs(codes).T.tolist())) == set(map(tuple, pairs.T.tolist()))


def test_json_is_written_as_wire_cell_does_but_for_the_order() -> None:
    held, wanted = json.loads(text_of(expected())), document()
    wanted["edges"].remove({"head": 10, "tail": 3})  # which arrays do not have
    assert sorted(held["nodes"], key=lambda node: node["ident"]) == wanted["nodes"]
    for edge in wanted["edges"]:
        if edge == {"head": 8, "tail": 2}:
            edge["head"], edge["tail"] = 2, 8
    assert sorted(held["edges"], key=str) == sorted(wanted["edges"], key=str)
    assert list(held) == ["edges", "nodes"]
    assert all(list(node["data"]) == sorted(node["data"]) for node in held["nodes"])


def put(*path: Any) -> Callable[[Any], None]:
    """Return what puts the last of ``path`` where the others lead."""

    def change(held: Any) -> None:
        *keys, last, value = path
        for key in keys:
            held = held[key]
        held[last] = value

    return change


def without(*path: Any) -> Callable[[Any], None]:
    """Return what deletes the value that ``path`` leads to."""

    def change(held: Any) -> None:
        *keys, last = path
        for key in keys:
            held = held[key]
        del held[last]

    return change


WRONG: dict[str, Callable[[Any], None]] = {
    "has not a list 'nodes'": without("nodes"),
    "has not a list 'edges'": put("edges", {}),
    "nodes: list where a list of objects is due": put("nodes", 3, 7),
    "nodes: not every one is an object with 'data'": without("nodes", 3, "data"),
    "a node of unknown type": put("nodes", 3, "type", "x"),
    "a node of unknown type ": put("nodes", 3, "type", ["c"]),
    "nodes: ident: expected a list of whole numbers": put("nodes", 3, "ident", "3"),
    "a node has ident -3; expected a descriptor": put("nodes", 3, "ident", -3),
    "no whole number up to 9007199254740992": put("nodes", 7, "data", "ident", 2**60),
    "two nodes have one ident": put("nodes", 3, "ident", 4),
    "an edge to node 11, which there is not": put("edges", 2, "head", 11),
    "an edge to node -1, which there is not": put("edges", 2, "head", -1),
    "edges: tail: expected a list of whole numbers": put("edges", 2, "tail", 1.0),
    "an edge between nodes that have none": put("edges", 2, "head", 5),
    "'b' nodes: not every one is an object with 'val'": without("nodes", 7, "data", "val"),
    "'b' nodes: not every one is an object with 'bounds'": put("nodes", 7, "data", None),
    "'b' nodes: val is no number everywhere": put("nodes", 7, "data", "val", "1.5"),
    "'b' nodes: faceid: expected a list of whole numbers": put("nodes", 7, "data", "faceid", None),
    "'b' nodes: corners is not a list everywhere": put("nodes", 7, "data", "corners", {}),
    "'b' nodes: corners: not [x, y, z] everywhere": put("nodes", 7, "data", "corners", 1, [1.0, 2.0]),
    "'b' nodes: corners is no number everywhere": put("nodes", 7, "data", "corners", 1, [1.0, 2.0, "3"]),
    "a blob with 13 corners; at most 12 are read": put("nodes", 7, "data", "corners", [[0.0, 1.0, 2.0]] * 13),
    "bounds of 2 planes; expected 3": without("nodes", 7, "data", "bounds", 0),
    "bounds: not every one is an object with 'beg'": put("nodes", 7, "data", "bounds", 1, [0, 1]),
    "'w' nodes: tail: not [x, y, z] everywhere": put("nodes", 1, "data", "tail", {"x": 1}),
    "'s' nodes: signal is not a list everywhere": put("nodes", 5, "data", "signal", {"100": {"val": 1, "unc": 2}}),
    "'s' nodes: signal: not every one is an object with 'ident'": put("nodes", 5, "data", "signal", 0, 5),
    "'s' nodes: signal: unc is no number everywhere": put("nodes", 5, "data", "signal", 0, "unc", []),
    "'c' nodes: two nodes are one channel": put("nodes", 3, "data", "ident", 100),
    "a number that does not fit int64": put("nodes", 3, "data", "index", 2**63),
    "expected a list of whole numbers": put("nodes", 3, "data", "index", 1e30),
    "a blob is in two slices": put("edges", 0, {"tail": 6, "head": 7}),
    "a measure has blobs in two slices": put("edges", 0, {"tail": 8, "head": 9}),
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_is_said(said: str) -> None:
    held = document()
    WRONG[said](held)
    with pytest.raises(DataError) as caught:
        graph_in(held, "here")
    assert said.strip() in str(caught.value)
    assert str(caught.value).startswith("here: ")


def test_a_channel_with_very_many_wires_is_refused_before_they_multiply() -> None:
    held = document()
    held["nodes"] += [{"data": wire(n, 100, 0), "ident": 100 + n, "type": "w"} for n in range(100)]
    held["edges"] += [{"tail": 0, "head": 100 + n} for n in range(100)]
    with pytest.raises(DataError, match="here: a channel of 102 wires; at most 64 are read"):
        graph_in(held, "here")


def test_numbers_of_nodes_may_be_huge() -> None:
    held = document()
    held["nodes"][10]["ident"] = 2**53
    for edge in held["edges"]:
        edge["head"] = 2**53 if edge["head"] == 10 else edge["head"]
    graph = graph_in(held, "here")
    assert graph.column("m", "desc").tolist() == [9, 2**53]
    assert same(graph.edges, expected().edges)


def test_activities_out_of_order_come_back_slice_by_slice() -> None:
    order = np.array([2, 0, 3, 1])
    held, rank = expected(), np.argsort(order)
    nodes = {**held.nodes, "a": held.nodes["a"][order]}
    edges = {
        codes: np.stack([rank[pairs[0]], pairs[1]]) if codes[0] == "a" else pairs for codes, pairs in held.edges.items()
    }
    back = graph_in(json.loads(text_of(BlobGraph(nodes, edges))), "here")
    assert same(back.nodes, held.nodes)
    assert same(back.edges, held.edges)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a graph whose measures are in one slice and whose blobs are, too."""
    sizes = {code: draw(st.integers(0, 4)) for code in "cwsbm"}
    whole, real = st.integers(-(2**53), 2**53), st.floats(allow_infinity=False, allow_nan=False, width=32)
    number = st.one_of(real, st.none())
    point = st.lists(real, min_size=3, max_size=3)
    data: dict[str, Callable[[int], dict[str, Any]]] = {
        "c": lambda row: {"ident": row, "index": draw(whole), "wpid": draw(whole)},
        "w": lambda _: {
            **{key: draw(whole) for key in ("chid", "ident", "index", "seg", "wpid")},
            "head": draw(point),
            "tail": draw(point),
        },
        "s": lambda _: {
            "ident": draw(whole),
            "frameid": draw(whole),
            "start": draw(number),
            "span": draw(number),
            "signal": [
                {"ident": chid, "val": draw(number), "unc": draw(number)}
                for chid in draw(st.lists(st.integers(0, 5), unique=True))
            ],
        },
        "b": lambda _: blob(
            draw(whole),
            draw(whole),
            draw(number),
            [[500.0, *corner[1:]] for corner in draw(st.lists(point, max_size=12))],
        ),
        "m": lambda _: {"ident": draw(whole), "val": draw(number), "unc": draw(number), "wpid": draw(whole)},
    }
    nodes = [(code, data[code](row)) for code, count in sizes.items() for row in range(count)]
    descs = draw(st.permutations(range(len(nodes)))) if draw(st.booleans()) else list(range(len(nodes)))
    of = {code: [desc for desc, (kind, _) in zip(descs, nodes, strict=True) if kind == code] for code in sizes}
    edges = [(draw(st.sampled_from(of["s"])), desc) for desc in of["b"] if of["s"]]
    in_slice = {head: tail for tail, head in edges}
    for tails, heads in ("cw", "bw", "bb", "cm"):
        if of[tails] and of[heads]:
            edges += draw(
                st.lists(st.tuples(st.sampled_from(of[tails]), st.sampled_from(of[heads])), max_size=6, unique=True)
            )
    for measure in of["m"]:
        if of["b"]:
            first = draw(st.sampled_from(of["b"]))
            edges += [(desc, measure) for desc in of["b"] if desc == first or in_slice.get(desc) == in_slice.get(first)]
    return {
        "nodes": [{"data": held, "ident": desc, "type": code} for desc, (code, held) in zip(descs, nodes, strict=True)],
        "edges": [{"tail": tail, "head": head} for tail, head in edges],
    }


@settings(max_examples=40, deadline=None)
@given(documents())
def test_a_graph_that_was_read_comes_back_as_it_was(held: dict[str, Any]) -> None:
    graph = graph_in(held, "here")
    graph.check_counts(graph.nodes)
    assert not difference(graph_in(json.loads(text_of(graph)), "here"), graph)
