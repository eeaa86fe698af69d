"""Bee files: against zips of JSON that the standard library wrote."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reading import ReaderContract, difference, same
from wirecell_ml.data import bee
from wirecell_ml.data.bee import FORMAT
from wirecell_ml.data.bee_columns import in_cm, in_mm
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.points import PointCloud
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

POINTS: dict[str, Any] = json.loads("""{
    "runNo": "17", "subRunNo": 3, "eventNo": "40", "geom": "protodune", "type": "cluster",
    "x": [3.284, -1, 0.1], "y": [235.451, 2, 0.2], "z": [162.052, 3, 0.3], "q": [42106.457, 0, 7],
    "cluster_id": [0, 0, 5], "real_cluster_id": [1, 1, 6], "nq": [1, 1, 1]
}""")
FLASHES: dict[str, Any] = json.loads("""{
    "runNo": 17, "subRunNo": 3, "eventNo": 40, "geom": "protodune", "apa": ["0", "1"],
    "op_t": [-1.5, 12.25], "op_peTotal": [100, 20.5], "op_pes": [[1, 2.5], [3, 4]], "op_pes_pred": [[], [1.5]],
    "op_cluster_ids": [[], [4, 5]], "op_nomatching_cluster_ids": [1, 2, 3]
}""")
AREAS = [[[1.5, 2.0], [3.0, 4.0], [5.0, 6.0]], [], [[-7.0, 8.25]]]
LEAF = {"id": 3, "text": "e- 5 MeV", "data": {"start": [1.0, 2.0, 3.0], "end": [4.0, 5.0, 6.5]}, "children": []}
TRAJECTORY = {"traj_x": [1.0, 2.0], "traj_y": [3.0, 4.5], "traj_z": [5.0, 6.0]}
TREES: list[dict[str, Any]] = [
    {"id": 1, "text": "mu- 1 GeV", "data": TRAJECTORY, "children": [LEAF]},
    {"id": 2, "text": "gamma", "children": [], "icon": "jstree-file"},
]


def table(**columns: Any) -> dict[str, Any]:
    """Return a table, lists of lists as awkward arrays."""
    return {
        key: ak.Array(values) if any(isinstance(value, list) for value in values) else np.array(values)
        for key, values in columns.items()
    }


def cloud(**attributes: Any) -> PointCloud:
    columns = {"charge": np.array([10.5, np.nan]), "cluster_id": np.array([3, -4]), "kind": np.array(["a", "b"])}
    return PointCloud(np.array([[10.0, 25.0, -0.5], [np.nan, 2e3, 1e-3]]), columns, attributes=attributes)


class TestBee(ReaderContract):
    def format(self) -> Format:
        return FORMAT

    def events(self) -> list[Contents]:
        nothing = [float("nan")] * 3
        particles = table(
            id=[1, 3, 2],
            parent=[-1, 0, -1],
            text=["mu", "e", "gamma"],
            **{f"start_{axis}": [1.0, 20.0, np.nan] for axis in "xyz"},
            **{f"end_{axis}": nothing for axis in "xyz"},
            **{f"traj_{axis}": [[1.0, 2.0], [], [30.0]] for axis in "xyz"},
        )
        flashes = table(op_t=[1.0, 2.5], op_pes=[[1.0], [2.0, np.nan]], op_cluster_ids=[[1, 2], [3]], apa=["0", "1"])
        areas = table(y=[[1.0, 2.0], [3.0]], z=[[4.0, 5.0], [60.0]])
        return [
            Contents(3, 17, 5, points={"img": cloud(geom="uboone", type="x", about={"a": [1, None]}), "tru": cloud()}),
            Contents(0, points={"img": cloud()}, tables={"op": flashes, "dead": areas, "mc": particles}),
            Contents(-7, 2, tables={"op": flashes, "dead-1": {**areas, "tpc": np.array([4, 4])}}),
        ]

    def many(self, count: int) -> list[Contents]:
        points = {"img": PointCloud(np.random.default_rng(1).uniform(size=(200, 3)))}
        return [Contents(ident, points=points) for ident in range(count)]


def archive(path: Path, members: Mapping[str, Any]) -> Source:
    """Write a zip: text as it is, anything else as JSON."""
    with zipfile.ZipFile(path, "w") as file:
        for name, held in members.items():
            file.writestr(name, held if isinstance(held, str) else json.dumps(held))
    return Source.of(path)


def only(folder: Path, held: Any, name: str = "img") -> Contents:
    (event,) = bee.read(archive(folder / "x.zip", {f"data/2/2-{name}.json": held}))
    return event


def test_points_are_in_mm_with_their_columns(tmp_path: Path) -> None:
    event = only(tmp_path, POINTS)
    assert (event.ident, event.run, event.subrun) == (40, 17, 3)
    held = event.points["img"]
    places = np.array([[32.84, 2354.51, 1620.52], [-10, 20, 30], [1, 2, 3]])
    np.testing.assert_allclose(np.asarray(held.position), places)
    expected = {"charge": [42106.457, 0, 7], "cluster_id": [0, 0, 5], "real_cluster_id": [1, 1, 6], "nq": [1, 1, 1]}
    assert {name: values.tolist() for name, values in held.columns.items()} == expected
    assert [held.columns[name].dtype for name in expected] == [np.float64, *[np.int64] * 3]
    assert held.attributes == {"geom": "protodune", "type": "cluster"}


def test_what_is_written_has_the_centimetres_that_were_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    axes = {
        axis: np.round(rng.uniform(-700, 700, 1000), digits).tolist()
        for axis, digits in zip("xyz", (1, 3, 6), strict=True)
    }
    bee.write(
        tmp_path / "y.zip",
        [only(tmp_path, POINTS | axes | dict.fromkeys(("cluster_id", "real_cluster_id", "q"), [1] * 1000))],
    )
    with zipfile.ZipFile(tmp_path / "y.zip") as file:
        held = json.loads(file.read("data/0/0-img.json"))
    assert {axis: held[axis] for axis in "xyz"} == axes


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, max_value=1e300, min_value=-1e300), min_size=1))
def test_any_length_that_was_read_is_the_same_when_it_is_read_again(lengths_cm: list[float]) -> None:
    lengths_mm = in_mm(np.array(lengths_cm))
    np.testing.assert_array_equal(in_mm(in_cm(lengths_mm)), lengths_mm)


def test_numbers_are_written_as_text_as_wire_cell_does(tmp_path: Path) -> None:
    bee.write(tmp_path / "y.zip", [Contents(41, 17, None, points={"img": cloud(geom="sbnd")})])
    with zipfile.ZipFile(tmp_path / "y.zip") as file:
        held = json.loads(file.read("data/0/0-img.json"))
    numbers = {"runNo": "17", "eventNo": "41", "geom": "sbnd", "q": [10.5, None], "cluster_id": [3, -4]}
    assert held == numbers | {"kind": ["a", "b"], "x": [1.0, None], "y": [2.5, 200.0], "z": [-0.05, 1e-4]}


def test_what_is_not_of_one_point_each_is_an_attribute(tmp_path: Path) -> None:
    extra = {
        "note": [1, 2],
        "mixed": [1, "a", 2],
        "nested": {"a": [None]},
        "long": ["x" * 65] * 3,
        "pairs": [[1], [2], [3]],
    }
    held = only(tmp_path, POINTS | extra).points["img"]
    assert held.attributes == {"geom": "protodune", "type": "cluster", **extra}
    bee.write(tmp_path / "y.zip", [Contents(0, points={"img": held})])
    (event,) = bee.read(Source.of(tmp_path / "y.zip"))
    assert same(event.points["img"], held)


def test_null_is_nan_and_all_null_is_a_column(tmp_path: Path) -> None:
    held = only(tmp_path, POINTS | {"q": [1, None, 3], "chi2": [None] * 3, "flag": [True, False, True]}).points["img"]
    np.testing.assert_array_equal(held.columns["charge"], [1, np.nan, 3])
    assert np.isnan(held.columns["chi2"]).all()
    assert held.columns["flag"].dtype == np.bool_


def test_an_object_without_points_has_columns_of_the_usual_types(tmp_path: Path) -> None:
    held = only(tmp_path, {"x": [], "y": [], "z": [], "q": [], "cluster_id": []}).points["img"]
    assert held.position.shape == (0, 3)
    assert {name: values.dtype for name, values in held.columns.items()} == {
        "charge": np.float64,
        "cluster_id": np.int64,
    }


def test_the_number_of_members_is_the_ident_where_no_event_number_is_or_it_comes_again(tmp_path: Path) -> None:
    bare: dict[str, Any] = {axis: [1.0] for axis in "xyz"}
    numbers: dict[int, Any] = {5: {"eventNo": 9}, 6: {}, 7: {"eventNo": 9}, 8: {"eventNo": "-1"}}
    source = archive(tmp_path / "x.zip", {f"data/{i}/{i}-a.json": bare | held for i, held in numbers.items()})
    assert [event.ident for event in bee.read(source)] == [9, 6, 7, -1]


def test_flashes_are_a_table(tmp_path: Path) -> None:
    event = only(tmp_path, FLASHES, "op")
    assert (event.ident, event.run, event.subrun) == (40, 17, 3)
    expected = table(**{key: FLASHES[key] for key in ("op_t", "op_peTotal", "op_pes", "op_cluster_ids", "apa")})
    expected |= {"op_pes": ak.Array([[1.0, 2.5], [3.0, 4.0]]), "op_pes_pred": ak.Array([[], [1.5]])}
    assert not difference(event.tables["op"], expected)


def test_flashes_are_written_with_the_geometry_of_the_points(tmp_path: Path) -> None:
    event = Contents(1, points={"img": cloud(geom="sbnd")}, tables={"op": table(op_t=[1.5], op_pes=[[1, 2]])})
    bee.write(tmp_path / "y.zip", [event])
    with zipfile.ZipFile(tmp_path / "y.zip") as file:
        held = json.loads(file.read("data/0/0-op.json"))
    assert held == {"eventNo": "1", "geom": "sbnd", "op_t": [1.5], "op_pes": [[1, 2]]}


def test_dead_areas_are_a_table_in_mm_and_come_back(tmp_path: Path) -> None:
    expected = {"y": ak.Array([[15.0, 30.0, 50.0], [], [-70.0]]), "z": ak.Array([[20.0, 40.0, 60.0], [], [82.5]])}
    second: dict[str, Any] = {"version": 2, "tpc": 5, "polygons": AREAS, "eventNo": 6}
    for held, more in ((AREAS, {}), (second, {"tpc": np.array([5, 5, 5])})):
        event = only(tmp_path, held, "dead")
        assert not difference(event.tables["dead"], {**expected, **more})
        bee.write(tmp_path / "y.zip", [event])
        with zipfile.ZipFile(tmp_path / "y.zip") as file:
            back = json.loads(file.read("data/0/0-dead.json"))
        assert back == (held if held is AREAS else second | {"eventNo": "6"})


def test_no_dead_areas_are_a_table_without_rows(tmp_path: Path) -> None:
    assert {name: len(values) for name, values in only(tmp_path, [], "dead").tables["dead"].items()} == {"y": 0, "z": 0}


def test_a_tree_of_particles_is_a_table_and_comes_back(tmp_path: Path) -> None:
    event = only(tmp_path, TREES, "mc")
    held = {name: values.tolist() for name, values in event.tables["mc"].items()}
    assert (held["id"], held["parent"], held["text"]) == ([1, 3, 2], [-1, 0, -1], ["mu- 1 GeV", "e- 5 MeV", "gamma"])
    assert held["traj_y"] == [[30.0, 45.0], [], []]
    np.testing.assert_array_equal(held["end_z"], [np.nan, 65.0, np.nan])
    bee.write(tmp_path / "y.zip", [event])
    assert same(next(bee.read(Source.of(tmp_path / "y.zip"))).tables, event.tables)


def test_particles_may_be_many_generations(tmp_path: Path) -> None:
    tree: list[Any] = []
    for ident in range(100):
        tree = [{"id": ident, "text": "e", "children": tree}]
    held = only(tmp_path, tree, "mc").tables["mc"]
    assert held["parent"].tolist() == list(range(-1, 99))


@pytest.mark.parametrize(("name", "ident", "called"), [("4-tru-a.json", 4, "tru-a"), ("depo.json", 0, "depo")])
def test_a_file_may_be_one_object(tmp_path: Path, name: str, ident: int, called: str) -> None:
    held = {key: value for key, value in POINTS.items() if key != "eventNo"}
    (tmp_path / name).write_text(json.dumps(held))
    (event,) = bee.read(Source.of(tmp_path / name))
    assert (event.ident, list(event.points)) == (ident, [called])


def test_it_is_told_from_others() -> None:
    assert FORMAT.recognises(Peek("archive", ("readme", "data/0/0-img.json")))
    assert FORMAT.recognises(Peek("json", ("cluster_id",)))
    assert FORMAT.recognises(Peek("json", ("x", "y", "z")))
    assert FORMAT.recognises(Peek("json", ("[].id", "[].text", "[].data")))
    assert not FORMAT.recognises(Peek("json", ("x", "y", "edges")))
    assert not FORMAT.recognises(Peek("archive", ("data/0/1-img.json", "data/0/0-.json", "0-img.json")))


WRONG: dict[str, Any] = {
    "not JSON": "{",
    "runNo is '1.5'; expected a whole number": POINTS | {"runNo": "1.5"},
    "eventNo is None; expected a whole number": POINTS | {"eventNo": None},
    "subRunNo is True; expected a whole number": POINTS | {"subRunNo": True},
    "eventNo is 1000000000000000000; expected": POINTS | {"eventNo": 10**18},
    "x: expected a list of numbers": POINTS | {"x": [1, 2, "3"]},
    "y: expected a list of numbers": POINTS | {"y": {"0": 1}},
    "3, 2, 3 values of x, y, z; expected as many": POINTS | {"y": [1, 2]},
    "q is not a number for each of 3 points": POINTS | {"q": [1, 2]},
    "cluster_id is not a number for each of 3 points": POINTS | {"cluster_id": [1, 2, [3]]},
    "nq: a number that does not fit int64": POINTS | {"nq": [1, 2, 2**63]},
    "not points (x, y, z), flashes (op_t), dead areas": {"a": 1},
    "member 'data/2/2-img.json': has 5; not points": 5,
    "op_t: expected a list of numbers": FLASHES | {"op_t": ["1"]},
    "op_pes is not a number or a list of numbers for each of 2 flashes": FLASHES | {"op_pes": [[1], ["2"]]},
    "op_peTotal is not a number": FLASHES | {"op_peTotal": [1]},
    "has not a list 'polygons'": {"polygons": 3},
    "a dead area that is no list of corners": [[[1, 2]], 3],
    "a corner of a dead area that is not [y, z]": [[[1, 2, 3]]],
    "img.json' is no number everywhere": [[[1, "2"]]],
    "tpc: expected a list of whole numbers": {"polygons": [[[1, 2]]], "tpc": "3"},
    "list where a list of objects is due": [LEAF, 3],
    "children: dict where a list of objects is due": [{**LEAF, "children": {"a": 1}}],
    "data: list where a list of objects is due": [{**LEAF, "data": 7}],
    "not every one is an object with 'id'": [{"text": "e"}],
    "id: expected a list of whole numbers": [{**LEAF, "id": "a"}],
    "'text' is no printable text": [{**LEAF, "text": "x" * 100}],
    "'start' is not [x, y, z] everywhere": [{**LEAF, "data": {"start": [1, 2]}}],
    "traj_x: expected a list of numbers": [{**LEAF, "data": {"traj_x": 5}}],
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_is_said(tmp_path: Path, said: str) -> None:
    with pytest.raises(DataError) as caught:
        only(tmp_path, WRONG[said])
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/x.zip: member 'data/2/2-img.json'")


def test_events_apart_and_nothing_at_all_are_refused(tmp_path: Path) -> None:
    held = {f"data/{i}/{i}-{name}.json": POINTS for i, name in ((0, "a"), (1, "a"), (0, "b"))}
    for members, said in ((held, "event 0 comes twice"), ({"data/0/1-a.json": POINTS}, "nothing of Bee in it")):
        with pytest.raises(DataError, match=said):
            list(bee.read(archive(tmp_path / "x.zip", members)))


FLAT = np.zeros((2, 3))
UNWRITABLE: dict[str, Contents] = {
    "has nothing that Bee shows": Contents(0, tables={"hits": {"a": np.arange(3)}}),
    "'a/b': this name cannot be written": Contents(0, points={"a/b": cloud()}),
    "'': this name cannot be written": Contents(0, points={"": cloud()}),
    "points and a table are both called 'a'": Contents(0, points={"a": cloud()}, tables={"a": table(op_t=[1])}),
    "two columns or attributes would have one name": Contents(0, points={"a": cloud(runNo=5)}),
    "two columns or attributes would have one name, or": Contents(0, points={"a": PointCloud(FLAT, {"x": FLAT[:, 0]})}),
    "x: an infinite number": Contents(0, points={"a": PointCloud(FLAT + np.inf)}),
    "wide: float64 of shape (2, 3); expected a number": Contents(0, points={"a": PointCloud(FLAT, {"wide": FLAT})}),
    "cannot be written as JSON": Contents(0, points={"a": cloud(thing=object())}),
    "dead areas of TPC [1, 2]": Contents(0, tables={"a": table(y=[[1], [2]], z=[[1], [2]], tpc=[1, 2])}),
    "y and z are not lists of as many corners": Contents(0, tables={"a": table(y=[[1], [2]], z=[[1], [2, 3]])}),
    "y and z are not lists": Contents(0, tables={"a": table(y=[1, 2], z=[1, 2])}),
    "particle 0 has parent 0; expected": Contents(0, tables={"a": table(id=[1], parent=[0], text=["e"])}),
    "particle 0 has parent 0.5": Contents(0, tables={"a": table(id=[1], parent=[0.5], text=["e"])}),
}


@pytest.mark.parametrize("said", UNWRITABLE)
def test_what_bee_cannot_hold_is_refused(tmp_path: Path, said: str) -> None:
    with pytest.raises(DataError) as caught:
        bee.write(tmp_path / "x.zip", [UNWRITABLE[said]])
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/x.zip: event 0")
    assert not list(tmp_path.iterdir())


def test_tables_that_bee_does_not_show_are_left_out(tmp_path: Path) -> None:
    bee.write(tmp_path / "x.zip", [Contents(0, points={"img": cloud()}, tables={"hits": {"a": np.arange(3)}})])
    (event,) = bee.read(Source.of(tmp_path / "x.zip"))
    assert not event.tables
