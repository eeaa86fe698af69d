"""Losses of ROI finding."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wirecell_ml.errors import ConfigError


class RoiLoss(nn.Module):
    """A weighted sum of binary cross-entropy, Dice and focal loss; a weight of 0 leaves one out."""

    def __init__(self, bce: float, dice: float, focal: float, positive_weight: float, focal_gamma: float) -> None:
        super().__init__()
        if not bce + dice + focal > 0 or min(bce, dice, focal) < 0:
            raise ConfigError(
                f"task.loss: weights bce={bce}, dice={dice}, focal={focal}; give at least one above 0, none below"
            )
        if 0 < focal_gamma < 1 or focal_gamma < 0:
            raise ConfigError(
                f"task.loss.focal_gamma={focal_gamma}: give 0, or 1 and more; between them it has no gradient"
            )
        self.bce, self.dice, self.focal = bce, dice, focal
        self.positive_weight = positive_weight
        self.focal_gamma = focal_gamma

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, a scalar, of ``logits`` against ``targets`` of 0 and 1 in the same shape."""
        loss = logits.new_zeros(())
        if self.bce:
            weight = torch.tensor(self.positive_weight, device=logits.device)
            loss = loss + self.bce * F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight)
        if self.dice:
            loss = loss + self.dice * dice_loss(logits, targets)
        if self.focal:
            loss = loss + self.focal * focal_loss(logits, targets, self.focal_gamma)
        return loss


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return one minus the soft Dice coefficient of the whole batch (Milletari et al., arXiv:1606.04797)."""
    probabilities = logits.sigmoid()
    overlap = (probabilities * targets).sum()
    return 1 - (2 * overlap + 1) / (probabilities.sum() + targets.sum() + 1)


def focal_loss(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """Return the cross-entropy weighted by (1 − p)^gamma, p the probability of the truth (arXiv:1708.02002)."""
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return ((1 - torch.exp(-entropy)) ** gamma * entropy).mean()
