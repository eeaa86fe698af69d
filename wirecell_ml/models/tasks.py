"""Tasks: a network with its loss, its metrics and its optimizer."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from lightning import LightningModule
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from wirecell_ml.data.dataset import Batch
from wirecell_ml.errors import ConfigError, suggest


class Task(LightningModule, ABC):
    """A network that learns from the batches of some data; ``task(example)`` is its answer.

    A subclass says what the loss of a batch is, and in the hooks of validation it logs its ``metrics``.
    """

    metrics: tuple[str, ...] = ("train/loss", "val/loss")  # all that it logs: the losses, then what matters most first

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[[Optimizer, int], LRScheduler],
    ) -> None:
        super().__init__()
        self.model = model
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler

    @classmethod
    def check_config(cls, cfg: DictConfig) -> None:
        """Raise ConfigError for settings of a training that do not go together for this task; here all do."""

    @abstractmethod
    def batch_loss(self, batch: Any) -> Tensor:
        """Return the loss of one batch, a scalar."""

    def training_step(self, batch: Any, _: int) -> Tensor:
        """Return the loss of one batch, and log it."""
        loss = self.batch_loss(batch)
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule, which changes with every step."""
        optimizer = self.make_optimizer(params=self.parameters())
        scheduler = self.make_scheduler(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class RoiTask(Task):
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
        channels_last: nn.Module = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(channels_last, optimizer, scheduler)
        self.loss = loss
        self.threshold = threshold
        self.validation: list[Tensor] = []

    @classmethod
    def check_config(cls, cfg: DictConfig) -> None:
        """Raise ConfigError if the charge that is to be summed is of no input."""
        charge_tag = cfg.evaluation.charge_tag
        if charge_tag not in (None, *cfg.data.tags):
            raise ConfigError(
                f"evaluation.charge_tag: '{charge_tag}' is not among data.tags.{suggest(charge_tag, cfg.data.tags)}"
            )

    def forward(self, images: Tensor) -> Tensor:  # (batch, tag, channel, slice)
        """Return the probability of "signal here", (batch, 1, channel, slice)."""
        return self.logits(images).sigmoid()

    def logits(self, images: Tensor) -> Tensor:
        """Return the logit of "signal here", (batch, 1, channel, slice), float32."""
        logits: Tensor = self.model(images.contiguous(memory_format=torch.channels_last))
        return logits.float()

    def batch_loss(self, batch: Batch) -> Tensor:
        """Return the loss of one batch."""
        loss: Tensor = self.loss(self.logits(batch.images), batch.targets)
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
