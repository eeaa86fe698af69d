"""Tasks: a network with its loss, its metrics and its optimizer."""

from collections.abc import Callable
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from wirecell_ml.data.dataset import Batch


class RoiTask(LightningModule):
    """Find the pixels of a plane image that hold charge."""

    metrics = ("train/loss", "val/loss", "val/dice", "val/efficiency", "val/purity")

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        threshold: float,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[[Optimizer, int], LRScheduler],
    ) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = loss
        self.threshold = threshold
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.validation: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:  # (batch, tag, channel, slice)
        """Return the probability of "signal here", (batch, 1, channel, slice)."""
        return self.logits(images).sigmoid()

    def logits(self, images: Tensor) -> Tensor:
        """Return the logit of "signal here", (batch, 1, channel, slice), float32."""
        logits: Tensor = self.model(images.contiguous(memory_format=torch.channels_last))
        return logits.float()

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the loss of one batch."""
        loss: Tensor = self.loss(self.logits(batch.images), batch.targets)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """Count the pixels of one image that are true, found and both, and add its loss."""
        logits = self.logits(batch.images)
        found, true = logits.sigmoid() > self.threshold, batch.targets > 0
        counts = [(found & true).sum(), found.sum(), true.sum(), self.loss(logits, batch.targets)]
        self.validation.append(torch.stack([count.double() for count in counts]))

    def on_validation_epoch_end(self) -> None:
        """Log loss, Dice, efficiency and purity of all validation pixels together."""
        both, found, true, loss = torch.stack(self.validation).sum(dim=0)
        self.log("val/loss", loss / len(self.validation))
        self.log("val/dice", 2 * both / (found + true).clamp(min=1))
        self.log("val/efficiency", both / true.clamp(min=1))
        self.log("val/purity", both / found.clamp(min=1))
        self.validation.clear()

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule, which changes with every step."""
        optimizer = self.make_optimizer(params=self.parameters())
        scheduler = self.make_scheduler(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
