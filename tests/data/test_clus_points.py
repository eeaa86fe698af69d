"""Files of clus points: what is read of them, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.reading import ReaderContract, assert_same_events
from wirecell_ml.data import container
from wirecell_ml.data.clus_points import FORMAT, blob_centroids, read, write
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.points import PointCloud
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError


def arrays(num_points: int = 5, num_blobs: int = 3, seed: int = 1) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file as Wire-Cell and the labeller write them."""
    dice = np.random.default_rng(seed)
    points = dice.normal(size=(num_points, 6)).astype(np.float32)
    points[:, 4], points[:, 5] = np.arange(num_points) % num_blobs, np.arange(num_points) // 2
    edges = np.array([[0, 1, 3.5], [1, num_points - 1, 0.25]], np.float32)
    blobs = dice.normal(size=(num_blobs, 38)).astype(np.float32)
    blobs[:, 1] = 3
    planes = {f"ctpc_f0p{plane}": dice.normal(size=(4, 7)).astype(np.float32) for plane in range(3)}
    return {"blobs": blobs, "points": points, "ppedges": edges, **planes, "is_nu": np.array([-2, -1, 0, 1, 1])}


def saved(path: Path, **changed: Any) -> Path:
    """Write the arrays of a file by numpy, some of them changed, or left out where None."""
    np.savez(path, **{name: array for name, array in {**arrays(), **changed}.items() if array is not None})
    return path


def event(path: Path) -> Contents:
    """Return the one event of a file."""
    (held,) = read(Source.of(path))
    return held


class TestContract(ReaderContract):
    """What every format keeps to."""

    one_event = True

    def format(self) -> Format:
        return FORMAT

    def events(self) -> list[Contents]:
        held = arrays()
        points, edges = held.pop("points"), held.pop("ppedges")
        columns = {"charge": points[:, 3], "blob": points[:, 4].astype(int), "cluster": points[:, 5].astype(int)}
        cloud = PointCloud(
            points[:, :3], columns | {"is_nu": held.pop("is_nu")}, edges[:, :2].T.astype(int), {"distance": edges[:, 2]}
        )
        return [Contents(0, points={"points": cloud}, arrays=held | {"nu_vtx_found": np.array(True)})]


def test_a_file_of_numpy_gives_points_with_columns_and_edges(tmp_path: Path) -> None:
    held, written = event(saved(tmp_path / "rec-lab-apa0-17.npz")), arrays()
    cloud = held.points["points"]
    assert held.ident == 17
    np.testing.assert_array_equal(cloud.position, written["points"][:, :3])
    np.testing.assert_array_equal(cloud.columns["charge"], written["points"][:, 3])
    assert cloud.columns["blob"].tolist() == [0, 1, 2, 0, 1]
    assert cloud.columns["cluster"].tolist() == [0, 0, 1, 1, 2]
    assert cloud.columns["is_nu"].dtype == np.int64
    assert cloud.edges is not None
    assert cloud.edges.tolist() == [[0, 1], [1, 4]]
    assert cloud.edge_columns["distance"].tolist() == [3.5, 0.25]
    assert sorted(held.arrays) == ["blobs", "ctpc_f0p0", "ctpc_f0p1", "ctpc_f0p2"]


def test_clusters_labels_and_edges_may_be_missing(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", points=arrays()["points"][:, :5], ppedges=None, is_nu=None)
    cloud = event(path).points["points"]
    assert set(cloud.columns) == {"charge", "blob"}
    assert cloud.edges is None


@pytest.mark.parametrize(
    ("name", "ident"),
    [("rec-apa1-3.npz", 3), ("rec.npz", 0), ("rec-7-labelled.npz", 7), ("9.npz", 9), ("run5.tar.gz", 5)],
)
def test_the_event_has_the_last_number_of_the_name(tmp_path: Path, name: str, ident: int) -> None:
    content = saved(tmp_path / "a.npz").read_bytes()
    (tmp_path / name).write_bytes(content)
    assert event(tmp_path / name).ident == ident


def with_value(name: str, row: int, column: int, value: float) -> dict[str, NDArray[Any]]:
    """Return an array of a file with one value changed."""
    array = arrays()[name]
    array[row, column] = value
    return {name: array}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (with_value("points", 1, 4, 0.5), "blobs of points are not whole numbers"),
        (with_value("points", 1, 4, 3), "blobs of points run from 0 to 3; expected 0 to 2"),
        (with_value("points", 1, 4, np.nan), "blobs of points are not whole numbers"),
        (with_value("points", 1, 5, np.inf), "clusters of points are not whole numbers"),
        (with_value("ppedges", 0, 0, -1), "ends of ppedges run from -1 to 4; expected 0 to 4"),
        (with_value("ppedges", 0, 1, 1e30), "ends of ppedges are not whole numbers"),
        ({"points": None}, "expected at least points and blobs"),
        ({"blobs": None}, "expected at least points and blobs"),
        ({"blobs": np.zeros((3, 39), np.float32)}, r"blobs has shape \(3, 39\) of float32; expected \(row, 38\)"),
        ({"points": np.zeros((5, 5), int)}, "points has shape .* of int64"),
        ({"ctpc_f0p1": np.zeros(7, np.float32)}, r"ctpc_f0p1 has shape \(7,\)"),
        ({"is_nu": np.zeros(4, int)}, r"is_nu has shape \(4,\); expected \(5,\)"),
        ({"note": np.array(["text"])}, "member 'note.npy' holds <U4; expected numbers"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    path = saved(tmp_path / "a.npz", **changed)
    with pytest.raises(DataError, match=f"^{path}.*{message}"):
        event(path)


def test_arrays_that_are_too_large_together_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.npz")
    monkeypatch.setattr(container, "MOST_BYTES", 1000)
    with pytest.raises(DataError, match="more than 1000 bytes of arrays"):
        event(path)


def test_a_file_without_points_is_another_format() -> None:
    assert FORMAT.recognises(Peek("archive", ("blobs.npy", "points.npy")))
    assert FORMAT.recognises(Peek("archive", ("ctpc_f0p0.npy", "ctpc_f0p1.npy")))
    assert not FORMAT.recognises(Peek("archive", ("points.npy",)))
    assert not FORMAT.recognises(Peek("hdf5", ("blobs.npy", "points.npy")))


def test_centroids_are_means_of_the_corners_that_count() -> None:
    blobs = np.zeros((3, 38), np.float32)
    blobs[0, :11] = [100, 3, 0, 0, 0, 3, 0, 0, 0, 6, 9]
    blobs[1, 1:5] = [1, 1, 2, 3]
    centroids = blob_centroids(blobs)
    np.testing.assert_array_equal(centroids, [[1, 2, 3], [1, 2, 3], [np.nan] * 3])
    assert centroids.dtype == np.float64
    blobs[0, 1] = 13
    with pytest.raises(DataError, match="expected 0 to 12"):
        blob_centroids(blobs)


def one() -> Contents:
    """Return an event that can be written."""
    return TestContract().events()[0]


def cloud_with(**columns: Any) -> Contents:
    """Return an event whose points have other columns."""
    cloud = one().points["points"]
    return Contents(0, points={"points": PointCloud(cloud.position, {**cloud.columns, **columns})}, arrays=one().arrays)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([], "holds one event, not 0"),
        ([one(), one()], "holds one event, not 2"),
        ([Contents(1, arrays=one().arrays)], "expected points of the name 'points'"),
        ([Contents(1, points=one().points)], "one of them 'blobs'"),
        ([Contents(1, points=one().points, arrays={**one().arrays, "is_nu": np.zeros(5)})], "'is_nu' of float64"),
        ([Contents(1, points=one().points, arrays={**one().arrays, "../x": np.zeros(5)})], "cannot be written"),
        ([Contents(1, points=one().points, arrays={**one().arrays, "x": np.array(["a"])})], "'x' of <U1"),
        ([Contents(1, points=one().points, arrays={"blobs": np.zeros((3, 2), np.float32)})], "expected .row, 38."),
        ([cloud_with(energy=np.zeros(5))], "energy; expected charge, blob, cluster, is_nu"),
        ([cloud_with(blob=np.array([0, 0, 0, 0, 2**24 + 1]))], "int64 does not fit in float32"),
        ([cloud_with(charge=np.zeros(5))], "float64 does not fit in float32"),
    ],
)
def test_what_a_file_cannot_hold_is_not_written(tmp_path: Path, events: list[Contents], message: str) -> None:
    with pytest.raises(DataError, match=message):
        write(tmp_path / "a.npz", events)
    assert not list(tmp_path.iterdir())


@settings(max_examples=40, deadline=None)
@given(num_points=st.integers(0, 30), clusters=st.booleans(), edges=st.booleans(), seed=st.integers(0, 99))
def test_any_event_comes_back(
    tmp_path_factory: pytest.TempPathFactory, num_points: int, clusters: bool, edges: bool, seed: int
) -> None:
    dice = np.random.default_rng(seed)
    charge = dice.normal(size=num_points).astype(np.float32)
    columns: dict[str, NDArray[Any]] = {"charge": charge, "blob": dice.integers(0, 4, num_points)}
    if clusters:
        columns["cluster"] = dice.integers(-1, 9, num_points)
    ends = dice.integers(0, num_points, (2, 6 * bool(num_points))) if num_points else np.zeros((2, 0), int)
    cloud = PointCloud(
        dice.normal(size=(num_points, 3)).astype(np.float32),
        columns,
        ends if edges else None,
        {"distance": np.full(ends.shape[1], np.nan, np.float32)} if edges else {},
    )
    events = [Contents(12, points={"points": cloud}, arrays={"blobs": np.zeros((4, 38), np.float32)})]
    path = tmp_path_factory.mktemp("points") / "rec-12.npz"
    write(path, events)
    assert_same_events(list(read(Source.of(path))), events)
