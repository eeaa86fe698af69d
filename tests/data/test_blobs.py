"""Blob graphs: their columns, and the pairs of nodes that a network works on."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from wirecell_ml.data import readers
from wirecell_ml.data.blobs import COLUMNS, EDGES, BlobGraph, neighbours, plane_of, wire_slices
from wirecell_ml.errors import DataError
from wirecell_ml.paths import shipped

CODES = sorted(COLUMNS)


def graph(counts: dict[str, int], **edges: list[tuple[int, int]]) -> BlobGraph:
    """Return a graph of so many nodes of each kind, with some edges."""
    nodes = {code: np.zeros((counts.get(code, 0), len(names))) for code, names in COLUMNS.items()}
    return BlobGraph(nodes, {codes: np.array(pairs, np.int64).reshape(-1, 2).T for codes, pairs in edges.items()})


def test_a_blob_meets_the_activities_of_its_wires_in_its_slice_only() -> None:
    # Channel 0 has wires 0 and 1, channel 1 has wire 2; activities 0, 1 are in slice 0, activity 2 of channel 0 in 1
    held = graph(
        {"b": 3, "a": 3, "w": 3, "s": 2},
        bs=[(0, 0), (1, 1), (2, 1)],
        bw=[(0, 0), (0, 1), (0, 2), (1, 1), (2, 2)],
        **{"as": [(0, 0), (1, 0), (2, 1)]},
        aw=[(0, 0), (0, 1), (1, 2), (2, 0), (2, 1)],
    )
    np.testing.assert_array_equal(wire_slices(held), [[0, 0, 1], [0, 1, 2]])


def test_what_is_in_no_slice_meets_nothing() -> None:
    held = graph({"b": 1, "a": 1, "w": 1, "s": 1}, bw=[(0, 0)], aw=[(0, 0)])
    assert wire_slices(held).shape == (2, 0)


def test_a_graph_without_wires_or_without_nodes_has_no_pairs() -> None:
    for held in (graph({"b": 2, "s": 1}, bs=[(0, 0)]), BlobGraph({}, {})):
        assert wire_slices(held).shape == (2, 0)
        assert neighbours(held).shape == (2, 0)
        assert wire_slices(held).dtype == neighbours(held).dtype == np.int64


def pairs(rows: int, columns: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(0, rows - 1), st.integers(0, columns - 1)), max_size=12, unique=True)


@settings(max_examples=40, deadline=None)
@given(pairs(4, 3), pairs(5, 3), st.lists(st.integers(0, 2), min_size=9, max_size=9))
def test_pairs_are_those_of_the_plain_loop(
    bw: list[tuple[int, int]], aw: list[tuple[int, int]], slices: list[int]
) -> None:
    bs, of_activity = list(enumerate(slices[:4])), list(enumerate(slices[4:]))
    one_each = {(slices[4:][a], w): a for a, w in reversed(aw)}  # the first, where two activities are of one wire
    held = graph({"b": 4, "a": 5, "w": 3, "s": 3}, bw=bw, aw=aw, bs=bs, **{"as": of_activity})
    expected = {(b, one_each[slices[b], w]) for b, w in bw if (slices[b], w) in one_each}
    assert list(map(tuple, wire_slices(held).T.tolist())) == sorted(expected)


def test_in_real_events_every_wire_of_a_blob_meets_the_activity_of_its_channel() -> None:
    for event in islice(readers.open(shipped("data") / "blobs" / "clusters-apa0-0.tar.xz"), 3):
        (held,) = event.blobs.values()
        in_slice = dict(zip(*held.pairs("as"), strict=True))
        slices, channels = held.column("s", "ident"), held.column("a", "ident")
        active = {(slices[in_slice[row]], channel): row for row, channel in enumerate(channels)}
        of_blob, of_wire = held.column("b", "sliceid"), held.column("w", "channel")
        expected = {(blob, active[of_blob[blob], of_wire[wire]]) for blob, wire in held.pairs("bw").T.tolist()}
        assert list(map(tuple, wire_slices(held).T.tolist())) == sorted(expected)


def test_neighbours_are_told_both_ways_and_once() -> None:
    held = graph({"b": 4}, bb=[(2, 0), (0, 2), (1, 3), (2, 0)])
    np.testing.assert_array_equal(neighbours(held), [[0, 1, 2, 3], [2, 3, 0, 1]])


def test_planes_are_told_from_the_flag_of_the_layer() -> None:
    flags = np.array([1.0, 2.0, 4.0, 0.0, 7.0, 1 + 8, 4 + (3 << 4), np.nan])
    np.testing.assert_array_equal(plane_of(flags), [0, 1, 2, -1, -1, 0, 2, -1])


@pytest.mark.parametrize("wrong", [0.5, np.nan, np.inf, 1e17])
def test_idents_are_whole_numbers(wrong: float) -> None:
    held = graph({"b": 2})
    held.nodes["b"][1, 1] = wrong
    with pytest.raises(DataError, match="ident that is no whole number"):
        _ = held.ident
    with pytest.raises(DataError, match="nodes 'b' have an ident, or another name or count, that is no whole number"):
        held.check_counts("b")


def test_charges_may_be_anything() -> None:
    held = graph(dict.fromkeys(CODES, 1))
    for code in "abms":
        held.nodes[code][0, 2:4] = [np.nan, 0.5]
    held.check_counts(CODES)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(EDGES), st_numpy.arrays(np.int64, (2, 3), elements=st.integers(-2, 3)))
def test_edges_lead_to_nodes_that_there_are(codes: str, held: np.ndarray) -> None:
    nodes = {code: np.zeros((2, len(names))) for code, names in COLUMNS.items()}
    if ((held >= 0) & (held < 2)).all():
        assert BlobGraph(nodes, {codes: held}).pairs(codes) is held
        return
    with pytest.raises(DataError, match=f"edges '{codes}' lead to"):
        BlobGraph(nodes, {codes: held})


def test_arrays_have_the_columns_of_their_kind() -> None:
    with pytest.raises(DataError, match=r"nodes 'm' have shape \(3, 4\); expected \(node, 5\)"):
        BlobGraph({"m": np.zeros((3, 4))}, {})
    with pytest.raises(DataError, match=r"edges 'bb' have shape \(3, 2\); expected \(2, edge\)"):
        BlobGraph({}, {"bb": np.zeros((3, 2), np.int64)})
