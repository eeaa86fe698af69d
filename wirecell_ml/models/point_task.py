"""PointTask: tell points of neutrinos from points of cosmic rays."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wirecell_ml.data.point_data import PointData
from wirecell_ml.data.point_labels import COSMIC, NEUTRINO, UNKNOWN
from wirecell_ml.data.point_sample import network_inputs
from wirecell_ml.models.blob_metrics import scan
from wirecell_ml.models.tasks import Task


class PointTask(Task):
    """Tell points of neutrinos from points of cosmic rays."""

    metrics = ("train/loss", "val/loss", "val/ap", "val/f1")
    neutrino_weight: Tensor

    def __init__(self, model: nn.Module, most_weight: float, optimizer: Any, scheduler: Any) -> None:
        super().__init__(model, optimizer, scheduler)
        self.most_weight = most_weight
        self.register_buffer("neutrino_weight", torch.ones(()))
        self.validation: list[tuple[Tensor, Tensor, Tensor]] = []

    def setup(self, stage: str) -> None:
        """Take the scale of the features and the weight of a neutrino point from the training events."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if stage != "fit" or not isinstance(data, PointData):
            return
        events = list(data.selected("train"))
        features = np.concatenate([event.features() for event in events])
        self.model.scale.fit(torch.from_numpy(features))  # type: ignore[operator, union-attr]
        label = torch.from_numpy(np.concatenate([event.label for event in events]))
        rare = (label == COSMIC).sum() / (label == NEUTRINO).sum().clamp(min=1)
        self.neutrino_weight.copy_(rare.clamp(max=self.most_weight))

    def forward(self, graph: Any) -> Tensor:
        """Return the probability that each point is of a neutrino, (point,)."""
        return self.logits(graph).sigmoid()

    def logits(self, graph: Any) -> Tensor:
        """Return the logit of "neutrino", (point,), float32."""
        logit: Tensor = self.model(*network_inputs(graph))
        return logit.float()

    def batch_loss(self, batch: Any) -> Tensor:
        """Return the weighted cross-entropy of the points whose label is known."""
        return self.loss(self.logits(batch), batch.y)

    def loss(self, logit: Tensor, label: Tensor) -> Tensor:
        """Return the loss of some points, a scalar; 0 where no label is known."""
        known = (label != UNKNOWN).float()
        weight = known * torch.where(label == NEUTRINO, self.neutrino_weight, 1.0)
        each = F.binary_cross_entropy_with_logits(logit, (label == NEUTRINO).float(), reduction="none")
        return (each * weight).sum() / known.sum().clamp(min=1)

    def validation_step(self, batch: Any, _: int) -> None:
        """Keep the answer to one event."""
        logit = self.logits(batch)
        known = batch.y != UNKNOWN
        self.validation.append((logit[known], batch.y[known], self.loss(logit, batch.y)))

    def on_validation_epoch_end(self) -> None:
        """Log loss, average precision and best F1 of the points of all validation events together."""
        logit, label = (torch.cat([one[i] for one in self.validation]).cpu().numpy() for i in range(2))
        found = scan(np.nan_to_num(logit, nan=-np.inf), label == NEUTRINO, np.ones(len(logit)))
        self.log("val/loss", torch.stack([one[2] for one in self.validation]).mean())
        self.log("val/ap", found.average_precision)
        self.log("val/f1", float(found.f1.max()))
        self.validation.clear()
