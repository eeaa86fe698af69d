"""Losses against numbers worked out another way."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from wirecell_ml.errors import ConfigError
from wirecell_ml.models.losses import RoiLoss, dice_loss, focal_loss

SURE = 50.0  # a logit whose probability is 1 in float32


def roi_loss(**settings: float) -> RoiLoss:
    return RoiLoss(**({"bce": 0.0, "dice": 0.0, "focal": 0.0, "positive_weight": 1.0, "focal_gamma": 2.0} | settings))


@pytest.fixture
def logits() -> Tensor:
    return 3 * torch.randn(2, 1, 8, 9, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def targets() -> Tensor:
    return (torch.rand(2, 1, 8, 9, generator=torch.Generator().manual_seed(2)) < 0.2).float()


@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_bce_is_the_mean_of_minus_log_of_the_probability_of_the_truth(
    logits: Tensor, targets: Tensor, weight: float
) -> None:
    chance = logits.double().sigmoid()
    expected = -(weight * targets * chance.log() + (1 - targets) * (1 - chance).log()).mean()
    torch.testing.assert_close(roi_loss(bce=1, positive_weight=weight)(logits, targets), expected.float())


def test_dice_loss_of_the_truth_itself_is_zero(targets: Tensor) -> None:
    assert dice_loss(SURE * (2 * targets - 1), targets).item() == pytest.approx(0, abs=1e-6)


def test_dice_loss_of_the_opposite_is_one_but_for_the_one_added_pixel(targets: Tensor) -> None:
    opposite = dice_loss(SURE * (1 - 2 * targets), targets).item()
    assert opposite == pytest.approx(1 - 1 / (targets.numel() + 1))


def test_dice_loss_of_nothing_in_an_empty_image_is_zero(targets: Tensor) -> None:
    assert dice_loss(torch.full_like(targets, -SURE), torch.zeros_like(targets)).item() == pytest.approx(0, abs=1e-6)


def test_focal_loss_with_gamma_zero_is_cross_entropy(logits: Tensor, targets: Tensor) -> None:
    entropy = F.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(focal_loss(logits, targets, gamma=0), entropy)


def test_focal_loss_of_even_odds_is_a_quarter_of_log_two_at_gamma_two() -> None:
    even = focal_loss(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2), gamma=2)
    assert even.item() == pytest.approx((1 - 0.5) ** 2 * math.log(2))


def test_weights_add_the_losses_up(logits: Tensor, targets: Tensor) -> None:
    alone = [roi_loss(**{name: 1.0})(logits, targets) for name in ("bce", "dice", "focal")]
    together = roi_loss(bce=0.5, dice=2, focal=3)(logits, targets)
    torch.testing.assert_close(together, 0.5 * alone[0] + 2 * alone[1] + 3 * alone[2])


@pytest.mark.parametrize("weights", [{}, {"bce": -1.0}, {"bce": 1.0, "dice": -0.5}])
def test_weights_that_are_all_zero_or_below_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="at least one above 0, none below"):
        roi_loss(**weights)
