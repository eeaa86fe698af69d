"""The data of a training on points."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

from wirecell_ml.data.event_data import SplitSettings
from wirecell_ml.data.point_data import BlobPoints, ClusPoints, PointDataset
from wirecell_ml.data.point_sample import Near, Overlay, PointEvent, as_graph, network_inputs
from wirecell_ml.data.sampling import Draw
from wirecell_ml.errors import DataError
from wirecell_ml.paths import shipped

NEVER = Overlay(0, 0)
SPLIT = SplitSettings(validation=1, test=1, seed=1)


def event(label: list[int], start: float = 0) -> PointEvent:
    place = np.arange(3.0 * len(label)).reshape(-1, 3) + start
    return PointEvent(str(start), "all", place, np.full(len(label), 1000.0), np.array(label, np.int8))


def write_clus(path: Path, seed: int, labels: bool = True) -> None:
    dice = np.random.default_rng(seed)
    arrays = {
        "points": np.c_[dice.normal(size=(20, 4)), np.zeros(20)].astype(np.float32),
        "blobs": np.zeros((1, 38), np.float32),
    }
    if labels:
        arrays["is_nu"] = np.arange(20, dtype=np.int64) % 4 - 2
    np.savez(path, allow_pickle=False, **arrays)


def clus(files: str, split: SplitSettings = SPLIT) -> ClusPoints:
    return ClusPoints(files, Near(3, 3), NEVER, split, 2, 0, 1)


def test_edges_come_from_the_nearest_points_in_order() -> None:
    place = np.array([[0, 0, 0], [1, 0, 0], [3, 0, 0], [7, 0, 0]], np.float64)
    graph = as_graph(PointEvent("", "", place, np.ones(4), np.zeros(4, np.int8)), Near(2, 2))
    assert network_inputs(graph)[1].tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]


def test_neighbours_are_spread_from_the_nearest_to_the_reach() -> None:
    assert Near(8, 128).ranks().tolist() == [1, 2, 4, 8, 16, 32, 64, 128]
    assert Near(4, 4).ranks().tolist() == [1, 2, 3, 4]


def test_a_lone_point_is_its_own_neighbour() -> None:
    assert network_inputs(as_graph(event([1]), Near(2, 9)))[1].tolist() == [[0, 0]]


def test_neighbours_of_a_batch_are_rows_of_the_batch() -> None:
    batch = Batch.from_data_list([as_graph(event([1, 0]), Near(1, 1)), as_graph(event([0, 0, 1]), Near(1, 1))])
    _, neighbours, events = network_inputs(batch)
    assert events.tolist() == [0, 0, 1, 1, 1]
    assert torch.equal(events[neighbours[:, 0]], events)


def test_features_do_not_depend_on_the_time_of_the_event() -> None:
    one = event([1, 0, 0])
    later = PointEvent("", "", one.position + np.array([500, 0, 0]), one.charge, one.label)
    np.testing.assert_allclose(one.features(), later.features(), atol=1e-6)


def test_an_overlaid_event_has_the_neutrinos_of_the_other_instead_of_its_own() -> None:
    mixed = event([1, 0, -1]).overlaid(event([0, 1], start=100), (1, 2, 3), (1, -1, 1))
    assert mixed.label.tolist() == [0, -1, 1]
    assert mixed.position[-1].tolist() == [104, 106, 108]


def test_draws_of_one_seed_are_one_event_and_measured_events_are_as_they_are() -> None:
    dataset = PointDataset([event([1, 0, 0]), event([0, 0], 50)], Near(2, 4), Overlay(1, 10))
    first, again, plain = dataset[Draw(1, 5)], dataset[Draw(1, 5)], dataset[1]
    assert torch.equal(first.x, again.x)
    assert (first.y.tolist(), plain.y.tolist()) == ([0, 0, 1], [0, 0])


def test_points_of_the_shipped_blobs_are_labelled(tmp_path: Path) -> None:
    files = str(shipped("data") / "blobs")
    names = ("clusters-tru5-*.npz", "clusters-img-*.npz", None, "meta-*.json")
    data = BlobPoints(
        files, *names, 4000, -250, -1.6, -3590, 50, 500, Near(8, 32), NEVER, SPLIT, 1, 0, str(tmp_path), 1
    )
    data.prepare_data()
    data.setup()
    for one in data.summaries:
        assert one.has_neutrinos == (one.category == "vertex")
        assert one.charge.min() > 4000
    assert "neutrino" in data.describe()


def test_clus_files_train_with_the_labels_that_they_hold(tmp_path: Path) -> None:
    for number in range(3):
        write_clus(tmp_path / f"rec-lab-apa0-{number}.npz", number)
    data = clus(str(tmp_path))
    data.prepare_data()
    data.setup()
    (batch,) = data.train_dataloader()
    assert set(batch.y.tolist()) == {-1, 0, 1}
    assert data.example().num_nodes == 20


def test_a_clus_file_without_labels_is_refused(tmp_path: Path) -> None:
    write_clus(tmp_path / "rec-apa0-1.npz", 1, labels=False)
    with pytest.raises(DataError, match="no is_nu"):
        clus(str(tmp_path)).prepare_data()


def test_data_without_neutrinos_are_refused() -> None:
    data = clus("nothing")
    data.summaries = {one: one for one in (event([0, 0]), event([-1]))}
    with pytest.raises(DataError, match="none of 3 points is neutrino"):
        data.check()
