"""A stranger's task on a stranger's data: tell on which side of a line points lie; no file, no image, no detector."""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.utils.data import Dataset

from wirecell_ml.data import EventData, SplitSettings
from wirecell_ml.data.event_data import Trial
from wirecell_ml.data.sampling import Draw
from wirecell_ml.data.split import Part
from wirecell_ml.models import Task

NUM_POINTS = 16


@dataclass(frozen=True)
class Shot:
    """One event, and all that there is to know of it."""

    ident: int
    category: str

    @property
    def key(self) -> str:
        return f"shot:{self.ident}"

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.key.encode()).hexdigest()


class Points(NamedTuple):
    """Points, and on which side each is."""

    places: Tensor  # (batch, point, 2) float32
    right: Tensor  # (batch, point) float32, 1 where x > y


class ShotDataset(Dataset[Points]):
    """The points of some shots."""

    def __init__(self, shots: list[Shot]) -> None:
        self.shots = shots

    def __len__(self) -> int:
        return len(self.shots)

    def __getitem__(self, draw: Draw | int) -> Points:
        shot = self.shots[draw.item if isinstance(draw, Draw) else draw]
        places = torch.randn(NUM_POINTS, 2, generator=Generator().manual_seed(shot.ident))
        return Points(places, (places[:, 0] > places[:, 1]).float())


class ShotData(EventData[Shot, Shot]):
    """Shots that are made up."""

    def __init__(self, num_events: int, split: SplitSettings, batch_size: int, num_workers: int, seed: int) -> None:
        super().__init__(split, batch_size, num_workers, seed)
        self.num_events = num_events

    def events(self) -> list[Shot]:
        return [Shot(ident, "even" if ident % 2 == 0 else "odd") for ident in range(self.num_events)]

    def prepare_data(self) -> None:
        pass

    def summary(self, event: Shot) -> Shot:
        return event

    def dataset(self, part: Part) -> ShotDataset:
        return ShotDataset(list(self.selected(part)))

    def trial(self) -> Trial:
        return Trial(Points(torch.zeros(1, 1, 2), torch.zeros(1, 1)), "a point of two coordinates")

    def example(self) -> Tensor:
        return self.dataset("validation")[0].places[None]


class SideTask(Task):
    """Tell on which side points are."""

    metrics = ("train/loss", "val/loss", "val/accuracy")

    def forward(self, places: Tensor) -> Tensor:
        """Return the logit of "right", (batch, point)."""
        logits: Tensor = self.model(places)
        return logits[..., 0]

    def batch_loss(self, batch: Points) -> Tensor:
        return F.binary_cross_entropy_with_logits(self(batch.places), batch.right)

    def on_validation_epoch_start(self) -> None:
        self.validation: list[tuple[Tensor, Tensor]] = []

    def validation_step(self, batch: Points, _: int) -> None:
        right = (self(batch.places) > 0) == (batch.right > 0)
        self.validation.append((self.batch_loss(batch), right.float().mean()))

    def on_validation_epoch_end(self) -> None:
        loss, accuracy = torch.tensor(self.validation).mean(dim=0)
        self.log("val/loss", loss)
        self.log("val/accuracy", accuracy)
