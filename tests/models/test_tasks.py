"""The ROI task: it learns, and what it logs is what is measured; and the schedules of its learning rate."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LRScheduler

from wirecell_ml.data.dataset import Batch
from wirecell_ml.models import RoiLoss, RoiNet, RoiTask, constant, cosine, one_cycle
from wirecell_ml.models.metrics import Counts, count

THRESHOLD = 0.3
STEPS, WARMUP, RATE = 50, 0.2, 0.1


def roi_task(model: nn.Module) -> RoiTask:
    loss = RoiLoss(bce=1, dice=0, focal=0, positive_weight=2, focal_gamma=2)
    return RoiTask(model, loss, THRESHOLD, partial(AdamW, lr=1e-3), constant)


def random_batch(seed: int, tags: int) -> Batch:
    dice = torch.Generator().manual_seed(seed)
    truth = (torch.rand(1, 1, 24, 32, generator=dice) < 0.1).float()
    return Batch(truth + torch.randn(1, tags, 24, 32, generator=dice), truth)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Return where the tasks of a test log to; Lightning's own log wants a trainer."""
    values: dict[str, float] = {}

    def log(_: RoiTask, name: str, value: Tensor, **__: bool) -> None:
        values[name] = float(value.detach())

    monkeypatch.setattr(RoiTask, "log", log)
    return values


def test_training_on_one_batch_lowers_its_loss(logged: dict[str, float]) -> None:
    torch.manual_seed(1)
    task, batch = roi_task(RoiNet(3, (8, 16), "batch")), random_batch(1, tags=3)
    optimizer = task.make_optimizer(params=task.parameters())
    losses = []
    for number in range(5):
        optimizer.zero_grad()
        torch.autograd.backward(task.training_step(batch, number))
        optimizer.step()
        losses.append(logged["train/loss"])
    assert losses == sorted(losses, reverse=True)


def test_the_answer_is_the_probability_of_the_logit() -> None:
    logits = random_batch(1, tags=1).images
    assert torch.equal(roi_task(nn.Identity())(logits), logits.sigmoid())


def test_validation_metrics_are_those_of_all_images_counted_together(logged: dict[str, float]) -> None:
    task = roi_task(nn.Identity())  # the image is the logit
    batches = [random_batch(seed, tags=1) for seed in (1, 2)]
    for number, batch in enumerate(batches):
        task.validation_step(batch, number)
    task.on_validation_epoch_end()
    masks = [(np.asarray(task(image)[0, 0] > THRESHOLD), np.asarray(target[0, 0] > 0)) for image, target in batches]
    ratios = sum((count(found, true) for found, true in masks), Counts()).ratios()
    names = {"val/dice": "pixel_dice", "val/efficiency": "pixel_efficiency", "val/purity": "pixel_purity"}
    assert {name: logged[name] for name in names} == pytest.approx({name: ratios[names[name]] for name in names})


def test_validation_loss_is_the_mean_over_images(logged: dict[str, float]) -> None:
    task = roi_task(nn.Identity())
    batches = [random_batch(seed, tags=1) for seed in (1, 2)]
    for number, batch in enumerate(batches):
        task.validation_step(batch, number)
    task.on_validation_epoch_end()
    each = [float(task.loss(batch.images, batch.targets)) for batch in batches]
    assert logged["val/loss"] == pytest.approx(np.mean(each))


def test_an_epoch_of_validation_forgets_the_one_before(logged: dict[str, float]) -> None:
    task, dice = roi_task(nn.Identity()), []
    for seed in (1, 2, 1):
        task.validation_step(random_batch(seed, tags=1), 0)
        task.on_validation_epoch_end()
        dice.append(logged["val/dice"])
    assert dice[0] == dice[2] != dice[1]


def rates(schedule: Callable[..., LRScheduler]) -> list[float]:
    """Return the learning rate of every step of a training."""
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=RATE)
    scheduler = schedule(optimizer, STEPS)
    each = []
    for _ in range(STEPS):
        each.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return each


def test_one_cycle_rises_to_the_learning_rate_at_the_end_of_the_warm_up_and_falls_to_nothing() -> None:
    each = rates(partial(one_cycle, warmup=WARMUP))
    peak = round(WARMUP * STEPS) - 1  # the last step of the warm-up
    assert max(each) == each[peak] == pytest.approx(RATE)
    assert each == sorted(each[:peak]) + sorted(each[peak:], reverse=True)
    assert each[-1] < 1e-3 * RATE


def test_cosine_falls_from_the_learning_rate_to_nearly_nothing() -> None:
    each = rates(cosine)
    assert each[0] == RATE
    assert each == sorted(each, reverse=True)
    assert each[STEPS // 2] == pytest.approx(RATE / 2)
    assert each[-1] < 1e-2 * RATE


def test_constant_stays() -> None:
    assert set(rates(constant)) == {RATE}
