"""Blob features: what a network is told of a graph that fits on a page."""

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from tests.blob_graphs import small_graph
from wirecell_ml.data.blob_features import ACTIVITY_FEATURES, BLOB_FEATURES, make_sample
from wirecell_ml.paths import shipped

SOLVED = np.array([95.0, 200.0, -1.0])


def column(name: str) -> np.ndarray:
    return make_sample(small_graph(), SOLVED).blobs[:, BLOB_FEATURES.index(name)]


def test_every_blob_meets_the_activities_of_its_wires_in_its_own_slice() -> None:
    sample = make_sample(small_graph(), SOLVED)
    assert sorted(zip(*sample.pairs.tolist(), strict=True)) == [
        *((0, activity) for activity in (0, 1, 2)),
        *((1, activity) for activity in (5, 6, 7)),
        *((2, activity) for activity in (0, 3, 4)),
    ]


def test_neighbours_are_told_of_each_other() -> None:
    assert make_sample(small_graph(), SOLVED).neighbours.tolist() == [[0, 1], [1, 0]]


def test_charges_and_channels_are_counted_by_plane() -> None:
    np.testing.assert_allclose(np.expm1(column("charge U")), [100, 200, 100], rtol=1e-5)
    np.testing.assert_allclose(np.expm1(column("charge V")), [110, 190, 5], rtol=1e-5)
    np.testing.assert_allclose(np.expm1(column("channels W")), [1, 1, 1], rtol=1e-5)


def test_a_blob_that_was_dropped_is_guessed_from_its_least_plane() -> None:
    np.testing.assert_allclose(np.expm1(column("guess of the charge")), [95, 200, 5], rtol=1e-5)
    np.testing.assert_array_equal(column("solved"), [1, 1, 0])


def test_an_activity_knows_how_many_blobs_share_it() -> None:
    shared = make_sample(small_graph(), SOLVED).activities[:, ACTIVITY_FEATURES.index("blobs")]
    np.testing.assert_allclose(np.expm1(shared), [2, 1, 1, 1, 1, 1, 1, 1], rtol=1e-5)


def test_activities_that_no_blob_is_made_of_are_left_out() -> None:
    graph = small_graph()
    lonely = {**graph.edges, "bw": graph.edges["bw"][:, :3]}
    sample = make_sample(type(graph)(graph.nodes, lonely), SOLVED)
    assert len(sample.activities) == len(sample.planes) == 3
    assert sample.pairs[1].max() == 2


@pytest.mark.parametrize("model", ["blobgnn", "blobmlp"])
def test_the_configs_of_networks_expect_as_many_features_as_there_are(model: str) -> None:
    with initialize_config_dir(str(shipped("configs").absolute()), version_base="1.3"):
        cfg = compose("train", ["data=blobs", f"model={model}", "task=blobs"])
    assert cfg.model.blob_features == len(BLOB_FEATURES)
    assert cfg.model.get("activity_features", len(ACTIVITY_FEATURES)) == len(ACTIVITY_FEATURES)
