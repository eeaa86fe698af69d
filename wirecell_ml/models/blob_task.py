"""BlobTask: tell real blobs from ghosts, and correct their charge."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from wirecell_ml.data.blob_data import BlobData, network_inputs
from wirecell_ml.data.blob_features import ACTIVITY_FEATURES, BLOB_FEATURES
from wirecell_ml.models.blob_metrics import scan
from wirecell_ml.models.tasks import Task

SCALES = "features.json"  # in the run directory: mean and deviation of every feature on the training events


class BlobTask(Task):
    """Tell real blobs from ghosts, and correct their charge."""

    metrics = ("train/loss", "val/loss", "val/ap", "val/f1")

    def __init__(
        self,
        model: nn.Module,
        charge_weight: float,
        charge_error: float,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[[Optimizer, int], LRScheduler],
    ) -> None:
        super().__init__(model, optimizer, scheduler)
        self.charge_weight, self.charge_error = charge_weight, charge_error
        self.validation: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def setup(self, stage: str) -> None:
        """Give the network the scale of its features, from the training events, before it is trained."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if stage != "fit" or not isinstance(data, BlobData):
            return
        graphs = data.dataset("train").graphs
        self.model.fit_scale(*(torch.cat([graph[name].x for graph in graphs]) for name in ("blob", "activity")))  # type: ignore[operator]
        if self.trainer.is_global_zero:
            (Path(self.trainer.default_root_dir) / SCALES).write_text(json.dumps(scales(self.model), indent=1) + "\n")

    def forward(self, graph: Any) -> tuple[Tensor, Tensor]:
        """Return the probability that each blob is real, and its charge in electrons, (blob,) each."""
        logit, log_charge = self.answer(graph)
        return logit.sigmoid(), log_charge.expm1().clamp(min=0)

    def answer(self, graph: Any) -> tuple[Tensor, Tensor]:
        """Return the logit of "real" and log(1 + charge), (blob,) each, float32."""
        logit, log_charge = self.model(*network_inputs(graph))
        return logit.float(), log_charge.float()

    def batch_loss(self, batch: Any) -> Tensor:
        """Return cross-entropy plus the error of the logarithm of the charge of real blobs."""
        return self.loss(*self.answer(batch), batch["blob"].real, batch["blob"].charge)

    def loss(self, logit: Tensor, log_charge: Tensor, real: Tensor, charge: Tensor) -> Tensor:
        """Return the loss of some blobs, a scalar."""
        error = F.smooth_l1_loss(log_charge, charge.clamp(min=0).log1p(), reduction="none", beta=self.charge_error)
        return F.binary_cross_entropy_with_logits(logit, real) + self.charge_weight * (error * real).mean()

    def validation_step(self, batch: Any, _: int) -> None:
        """Keep the answer to one event."""
        logit, log_charge = self.answer(batch)
        blobs = batch["blob"]
        loss = self.loss(logit, log_charge, blobs.real, blobs.charge)
        self.validation.append((logit, blobs.real, blobs.charge, loss))

    def on_validation_epoch_end(self) -> None:
        """Log loss, average precision and best F1 of the blobs of all validation events together."""
        logit, real, charge = (torch.cat([one[i] for one in self.validation]).cpu().numpy() for i in range(3))
        found = scan(np.nan_to_num(logit, nan=-np.inf), real > 0, charge)
        self.log("val/loss", torch.stack([one[3] for one in self.validation]).mean())
        self.log("val/ap", found.average_precision)
        self.log("val/f1", float(found.f1.max()))
        self.validation.clear()


def scales(model: nn.Module) -> dict[str, dict[str, list[float]]]:
    """Return mean and deviation of each feature that a network standardizes, by name."""
    held = {}
    for kind, names in (("blob", BLOB_FEATURES), ("activity", ACTIVITY_FEATURES)):
        scale = getattr(model, f"{kind}_scale", None)
        if scale is not None:
            pairs = zip(scale.mean.tolist(), scale.deviation.tolist(), strict=True)
            held[kind] = dict(zip(names, map(list, pairs), strict=True))
    return held
