"""Point networks, and what they learn by."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from wirecell_ml.data.point_sample import Near, PointEvent, as_graph, network_inputs
from wirecell_ml.models import EdgeNet, PointNet, PointTask, constant
from wirecell_ml.models.point_net import nearest

NETWORKS = [PointNet(4, 8, 0.0), EdgeNet(4, 8, 3, 4, 0.0)]


def graph(seed: int, points: int) -> object:
    dice = np.random.default_rng(seed)
    label = np.arange(points, dtype=np.int8) % 3 - 1
    return as_graph(PointEvent("", "", dice.normal(size=(points, 3)), dice.uniform(1, 9, points), label), Near(4, 4))


@pytest.mark.parametrize("network", NETWORKS)
def test_an_event_has_the_same_answer_alone_and_in_a_batch(network: nn.Module) -> None:
    network.eval()
    one, other = graph(1, 30), graph(2, 3)
    together = network(*network_inputs(Batch.from_data_list([one, other])))
    alone = torch.cat([network(*network_inputs(single)) for single in (one, other)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_weight_has_a_gradient(network: nn.Module) -> None:
    network(*network_inputs(graph(3, 20))).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


def test_nearest_points_are_of_the_same_event() -> None:
    points = torch.tensor([[0.0], [1.0], [5.0], [0.0], [1.0]])
    found = nearest(points, torch.tensor([0, 0, 0, 1, 1]), 3)
    assert found.tolist() == [[0, 1, 2], [1, 0, 2], [2, 1, 0], [3, 4, 4], [4, 3, 3]]


def task() -> PointTask:
    return PointTask(PointNet(4, 8, 0.0), 20, partial(torch.optim.SGD, lr=0.1), constant)


def test_points_of_unknown_label_cost_nothing() -> None:
    logit, label = torch.tensor([0.3, -2.0, 50.0]), torch.tensor([1, 0, -1])
    torch.testing.assert_close(task().loss(logit, label), task().loss(logit[:2], label[:2]))
    assert task().loss(logit[2:], label[2:]) == 0


def test_a_neutrino_point_weighs_as_the_task_says() -> None:
    weighted, plain = task(), task()
    weighted.neutrino_weight.fill_(5)
    logit, label = torch.zeros(2), torch.tensor([1, 0])
    torch.testing.assert_close(weighted.loss(logit, label), 3 * plain.loss(logit, label))


def test_answers_are_probabilities() -> None:
    answer: Tensor = task()(graph(4, 10))
    assert answer.shape == (10,)
    assert ((answer > 0) & (answer < 1)).all()
