"""Facts can be found of whatever a file may hold, and shown as a table and as JSON."""

import json
from io import StringIO
from typing import Any

import awkward as ak
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from hypothesis.strategies import DrawFn, SearchStrategy
from rich.console import Console

from wirecell_ml.data.blobs import COLUMNS, BlobGraph
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.depos import DepoSet
from wirecell_ml.data.facts import facts_of, type_of
from wirecell_ml.data.formats import Format
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.inspection import Inspection, as_json
from wirecell_ml.data.inspection_tables import event_tables, verdict
from wirecell_ml.data.points import PointCloud
from wirecell_ml.data.tensors import Tensor

FORM = Format("toy file", "Toy", (), (), lambda _: True, lambda _: iter(()), None)
COUNT = st.integers(0, 3)
NAME = st.text(max_size=4)
ANY_ARRAY = arrays.arrays(
    arrays.integer_dtypes() | arrays.floating_dtypes() | arrays.boolean_dtypes() | arrays.unicode_string_dtypes(),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)


def several(values: SearchStrategy[Any], names: SearchStrategy[str] = NAME) -> SearchStrategy[dict[str, Any]]:
    return st.dictionaries(names, values, max_size=2)


@st.composite
def frames(draw: DrawFn) -> Frame:
    shape = draw(COUNT), draw(COUNT)
    samples = draw(arrays.arrays(st.sampled_from([np.float32, np.int16, np.int8]), shape))
    times = draw(st.floats(-1e300, 1e300)), draw(st.floats(1e-9, 1e300)), draw(st.integers(-(2**60), 2**60))
    return Frame(samples, draw(arrays.arrays(np.int32, shape[0])), *times)


@st.composite
def depos(draw: DrawFn) -> DepoSet:
    number = draw(COUNT)
    shapes: list[tuple[int, ...]] = [(number,), (number,), (number, 3), (number,), (number,)]
    floats = [draw(arrays.arrays(np.float32, shape)) for shape in shapes]
    return DepoSet(*floats, *(draw(arrays.arrays(np.int32, number)) for _ in range(4)))


@st.composite
def blobs(draw: DrawFn) -> BlobGraph:
    nodes = {code: draw(arrays.arrays(np.float64, (draw(COUNT), len(names)))) for code, names in COLUMNS.items()}
    nodes["b"][:, COLUMNS["b"].index("ident")] = np.arange(len(nodes["b"]))
    linked = min(len(nodes["b"]), len(nodes["s"]))
    return BlobGraph(nodes, {"bs": np.stack([np.arange(linked)] * 2)})


@st.composite
def points(draw: DrawFn) -> PointCloud:
    number = draw(COUNT)
    column = arrays.arrays(st.sampled_from([np.float32, np.int64, np.bool_]), number)
    columns = draw(several(column, st.sampled_from(["charge", "label"])))
    return PointCloud(draw(arrays.arrays(np.float64, (number, 3))), columns)


EVENTS = st.lists(
    st.builds(
        Contents,
        st.integers(-(2**62), 2**62),
        frames=several(frames(), NAME | st.sampled_from(["gauss0", "ductor0", "*"])),
        masks=several(arrays.arrays(np.int32, st.tuples(COUNT, st.just(3)))),
        depos=st.none() | depos(),
        blobs=several(blobs()),
        points=several(points()),
        tensors=several(st.builds(Tensor, several(NAME), st.none() | ANY_ARRAY), st.text("/ab", max_size=4)),
        tables=several(st.just({"x": ak.Array([[1.0], []])}) | several(arrays.arrays(arrays.floating_dtypes(), 2))),
        arrays=several(ANY_ARRAY),
    ),
    max_size=2,
)


@settings(max_examples=40, deadline=None)
@given(EVENTS)
def test_whatever_an_event_holds_has_facts_that_can_be_shown(events: list[Contents]) -> None:
    console, seen = Console(file=StringIO(), markup=False), Inspection(events, events)
    for event in seen:
        for table in event_tables(event, console.width):
            console.print(table)
    console.print(verdict(seen))
    assert len(json.loads(as_json("toy", FORM, Inspection(events)))["events"]) == len(events)


def test_the_type_of_a_column_is_told_without_its_length() -> None:
    assert type_of(np.zeros(3)) == "float64"
    assert type_of(np.zeros((3, 2), np.int32)) == "int32 (2,)"
    assert type_of(ak.Array([[1.0], []])) == "var * float64"


def test_labels_are_counted_and_other_columns_have_a_range() -> None:
    columns = {"is_nu": np.array([1, 1, 0]), "blob": np.arange(3) / 2, "many": np.zeros(3)}
    facts = facts_of(Contents(0, points={"p": PointCloud(np.zeros((3, 3)), columns)})).points["p"]
    assert facts.columns == {"is_nu": {"0": 1, "1": 2}, "blob": (0, 1), "many": (0, 0)}
