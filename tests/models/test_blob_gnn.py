"""Blob networks: what they must not depend on, and what they are in plain torch."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from tests.blob_graphs import small_graph
from wirecell_ml.data.blob_data import as_graph, network_inputs
from wirecell_ml.data.blob_features import ACTIVITY_FEATURES, BLOB_FEATURES, make_sample
from wirecell_ml.data.blob_files import make_truth
from wirecell_ml.data.blob_sample import BlobEvent
from wirecell_ml.models import BlobGNN, BlobMLP

NUM_BLOB, NUM_ACTIVITY = len(BLOB_FEATURES), len(ACTIVITY_FEATURES)


@pytest.fixture
def graph() -> Any:
    held = small_graph()
    event = BlobEvent(0, "all", make_sample(held, held.charge), make_truth(held, held.charge, None))
    return as_graph(event, ghost_below=50.0)


@pytest.fixture(params=["gnn", "mlp"])
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(1)
    made: nn.Module = BlobGNN(NUM_BLOB, NUM_ACTIVITY, 8, 2) if request.param == "gnn" else BlobMLP(NUM_BLOB, 8, 2)
    return made.eval()


def test_ghosts_are_blobs_with_less_than_the_threshold(graph: Any) -> None:
    assert graph["blob"].real.tolist() == [1, 1, 0]


def test_the_order_of_blobs_changes_no_answer(network: nn.Module, graph: Any) -> None:
    blobs, activities, planes, pairs, neighbours = network_inputs(graph)
    order = torch.tensor([2, 0, 1])
    place = torch.argsort(order)
    moved = (blobs[order], activities, planes, torch.stack([place[pairs[0]], pairs[1]]), place[neighbours])
    for one, other in zip(network(*network_inputs(graph)), network(*moved), strict=True):
        torch.testing.assert_close(one[order], other)


def test_events_of_a_batch_do_not_see_each_other(network: nn.Module, graph: Any) -> None:
    alone, batched = network(*network_inputs(graph)), network(*network_inputs(Batch.from_data_list([graph, graph])))
    for one, other in zip(alone, batched, strict=True):
        torch.testing.assert_close(torch.cat([one, one]), other)


def test_the_graph_network_sees_neighbours_and_shared_wires_and_the_other_does_not(graph: Any) -> None:
    inputs = network_inputs(graph)
    changed = (inputs[0].clone(), *inputs[1:])
    changed[0][1, 0] += 1.0  # of blob 1, which touches blob 0
    torch.manual_seed(1)
    gnn, mlp = BlobGNN(NUM_BLOB, NUM_ACTIVITY, 8, 2).eval(), BlobMLP(NUM_BLOB, 8, 2).eval()
    assert not torch.equal(gnn(*inputs)[0][0], gnn(*changed)[0][0])
    assert torch.equal(mlp(*inputs)[0][0], mlp(*changed)[0][0])


def test_features_are_scaled_by_what_the_training_events_showed(network: Any, graph: Any) -> None:
    blobs, activities = graph["blob"].x, graph["activity"].x
    network.fit_scale(blobs, activities)
    scaled = network.blob_scale(blobs)
    torch.testing.assert_close(scaled.mean(dim=0), torch.zeros(NUM_BLOB), atol=1e-5, rtol=0)
    varied = blobs.std(dim=0) > 1e-3
    torch.testing.assert_close(scaled.std(dim=0)[varied], torch.ones(int(varied.sum())))


def plain_mean(values: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    counts = torch.zeros(num_rows, 1).index_add_(0, rows, torch.ones(len(rows), 1))
    return torch.zeros(num_rows, values.shape[1]).index_add_(0, rows, values) / counts.clamp(min=1)


def plain_answer(net: BlobGNN, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Return what the network answers, by nothing but torch's own operators."""
    x, a, planes, (blob, activity), (tail, head) = inputs
    blobs = net.blob((x - net.blob_scale.mean) / net.blob_scale.deviation)
    scaled = (a - net.activity_scale.mean) / net.activity_scale.deviation
    activities = net.activity(torch.cat([scaled, torch.eye(3)[planes]], dim=1))
    for exchange in net.rounds:
        told = plain_mean(blobs[blob], activity, len(activities))
        activities = exchange.activity_norm(activities + exchange.activity(torch.cat([activities, told], dim=1)))  # type: ignore[operator]
        views = []
        for plane in range(3):
            of_plane = planes[activity] == plane
            views.append(plain_mean(activities[activity[of_plane]], blob[of_plane], len(blobs)))
        beside = plain_mean(blobs[tail], head, len(blobs))
        blobs = exchange.blob_norm(blobs + exchange.blob(torch.cat([blobs, *views, beside], dim=1)))  # type: ignore[operator]
    answer = net.head(blobs)
    return answer[:, 0], x[:, -1] + answer[:, 1]


def test_the_torch_geometric_network_is_the_one_in_plain_torch(graph: Any) -> None:
    torch.manual_seed(2)
    net = BlobGNN(NUM_BLOB, NUM_ACTIVITY, 16, 3).eval()
    for one, other in zip(net(*network_inputs(graph)), plain_answer(net, network_inputs(graph)), strict=True):
        torch.testing.assert_close(one, other)
