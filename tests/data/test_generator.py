"""Generator truth: particles by event."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wirecell_ml.data
from wirecell_ml.data.generator import read
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError
from wirecell_ml.paths import shipped

TRACK = {"kind": "mu-stop", "tid": 1, "p0": [1.0, 2, 3], "p1": [4.0, 5, 6], "t0": -5.0, "length": 5.2, "thxz_u": 30.0}
SHOWER = {"kind": "shower-e", "tid": 2, "p0": [7.0, 8, 9], "E": 70.5, "q": 2e6}
BLIPS = {"kind": "blips", "tid": 3, "n_ar39": 12}
EVENT = {"category": "vertex", "ndepo": 3, "qtot": 9.5, "particles": [TRACK, BLIPS, SHOWER]}


def written(folder: Path, held: Any) -> Path:
    path = folder / "meta.json"
    path.write_text(json.dumps(held))
    return path


def test_the_shipped_truth_is_read_event_by_event() -> None:
    opened = wirecell_ml.data.open(next(shipped("data").glob("*meta*.json")))
    assert opened.format.name == "generator truth"
    for event in opened:
        table, cloud = event.tables["particles"], event.points["particles"]
        tracks = np.isfinite(table["end_x_mm"])
        assert cloud.edges is not None
        lengths = np.linalg.norm(cloud.position[cloud.edges[0]] - cloud.position[cloud.edges[1]], axis=1)
        assert cloud.edges.shape == (2, tracks.sum())
        assert np.all(lengths <= table["length_mm"][tracks] * 1.001)  # of the path, which scattering bends
        assert np.all(lengths > table["length_mm"][tracks] * 0.8)


def test_what_is_not_said_of_a_particle_is_no_number(tmp_path: Path) -> None:
    (event,) = wirecell_ml.data.open(written(tmp_path, {"12": EVENT}))
    table = event.tables["particles"]
    assert event.ident == 12
    assert table["kind"].tolist() == ["mu-stop", "blips", "shower-e"]
    np.testing.assert_array_equal(table["energy_mev"], [np.nan, np.nan, 70.5])
    np.testing.assert_array_equal(table["start_y_mm"], [2, np.nan, 8])
    np.testing.assert_array_equal(table["ar39_decays"], [np.nan, 12, np.nan])
    assert {len(column) for column in table.values()} == {3}
    assert {name: column.tolist() for name, column in event.tables["event"].items()} == {
        "category": ["vertex"],
        "depos": [3],
        "charge": [9.5],
    }


def test_a_track_is_an_edge_and_a_shower_a_point(tmp_path: Path) -> None:
    (event,) = read(Source.of(written(tmp_path, {"0": EVENT})))
    cloud = event.points["particles"]
    assert cloud.position.tolist() == [[1, 2, 3], [7, 8, 9], [4, 5, 6]]
    assert cloud.columns["particle"].tolist() == [0, 2, 0]
    assert cloud.edges is not None
    assert cloud.edges.tolist() == [[0], [2]]


def test_an_event_may_have_no_particles(tmp_path: Path) -> None:
    (event,) = read(Source.of(written(tmp_path, {"0": {"particles": []}})))
    assert len(event.points["particles"]) == 0
    assert event.tables["event"]["category"].tolist() == [""]


@pytest.mark.parametrize(
    ("held", "fault"),
    [
        ([EVENT], "a JSON list; expected one object, ident -> event"),
        ({"first": EVENT}, "event 'first' has no number for its ident"),
        ({"9" * 30: EVENT}, "event '9+' has no number for its ident"),
        ({"0": []}, "event '0': has not a list 'particles'"),
        ({"0": {"particles": [1]}}, "event '0': particles: list where a list of objects is due"),
        ({"0": EVENT | {"category": 3}}, "event '0': 'category' is no printable text"),
        ({"0": EVENT | {"particles": [TRACK | {"kind": "x" * 65}]}}, "'kind' is no printable text of up to 64"),
        ({"0": EVENT | {"particles": [TRACK | {"p0": [1, 2]}]}}, r"particles: 'p0' is not \[x, y, z\] everywhere"),
        ({"0": EVENT | {"particles": [TRACK | {"p0": [1, 2, "3"]}]}}, "particles: 'p0' is no number everywhere"),
        ({"0": EVENT | {"particles": [TRACK | {"t0": True}]}}, "particles: 't0' is no number everywhere"),
    ],
)
def test_what_is_no_generator_truth_is_refused(tmp_path: Path, held: Any, fault: str) -> None:
    with pytest.raises(DataError, match=f"meta.json: {fault}" if fault.startswith(("a JSON", "event")) else fault):
        list(read(Source.of(written(tmp_path, held))))


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["0", "x"]),
        st.dictionaries(
            st.sampled_from(["category", "qtot", "particles"]),
            st.none()
            | st.floats()
            | st.text()
            | st.lists(st.dictionaries(st.sampled_from(list(TRACK)), st.integers())),
        ),
    )
)
def test_nothing_that_a_file_says_is_another_error(tmp_path_factory: pytest.TempPathFactory, held: Any) -> None:
    path = written(tmp_path_factory.mktemp("truth"), held)
    try:
        list(read(Source.of(path)))
    except DataError as error:
        assert str(error).startswith(str(path))  # noqa: PT017  (some of them are right)
