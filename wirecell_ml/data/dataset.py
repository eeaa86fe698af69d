"""Datasets of plane images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset

from wirecell_ml.data.augment import Augmentation, random_window
from wirecell_ml.data.cache import load
from wirecell_ml.data.sampling import Draw


class Batch(NamedTuple):
    """What a network is trained on."""

    images: Tensor  # (batch, tag, channel, slice) float32, scaled
    targets: Tensor  # (batch, 1, channel, slice) float32, 1 where there is true charge


@dataclass(frozen=True)
class Item:
    """One plane of one cached event."""

    key: str  # of the event
    plane: str
    place: Path  # folder of the cached event
    category: str


@dataclass(frozen=True)
class Target:
    """How images are scaled and truth becomes a mask."""

    scale: Tensor  # (tag, 1, 1): inputs are divided by it
    threshold: float  # electrons per tick, mean over the slice; more is signal


class PlaneDataset(Dataset[Batch]):
    """Scaled images and targets of some items, read from the cache when asked for."""

    def __init__(
        self,
        items: Sequence[Item],
        target: Target,
        crop: tuple[int, int] | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.items = items
        self.target = target
        self.crop = crop
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, draw: Draw | int) -> Batch:
        """Return one image (tag, channel, slice) and its target (1, channel, slice)."""
        item, seed = draw if isinstance(draw, Draw) else Draw(draw, None)
        one = self.items[item]
        inputs, truth = (torch.from_numpy(load(one.place, one.plane, name)) for name in ("inputs", "truth"))
        if seed is None:
            return self.scaled(copied(inputs), self.mask(truth))
        dice = Generator().manual_seed(seed)
        rows, columns = random_window((truth.shape[0], truth.shape[1]), self.crop, dice)
        image, mask = copied(inputs[:, rows, columns]), self.mask(truth[rows, columns])
        if self.augmentation:
            image, mask = self.augmentation(image, mask, dice)
        return self.scaled(image, mask)

    def mask(self, truth: Tensor) -> Tensor:
        """Return 1 where there is true charge, else 0."""
        return torch.gt(truth.float(), self.target.threshold, out=torch.empty(truth.shape))

    def scaled(self, image: Tensor, mask: Tensor) -> Batch:
        """Return ``image``, now as the network sees it, and the mask."""
        return Batch(image.div_(self.target.scale), mask[None])


def copied(image: Tensor) -> Tensor:
    """Return a float32 copy, which may be changed."""
    return image.to(torch.float32, copy=True)


def collate(items: Sequence[Batch]) -> Batch:
    """Stack images, the smaller ones zero-padded at the end: planes may differ in their number of channels."""
    if len(items) == 1:
        return Batch(items[0].images[None], items[0].targets[None])
    channels, slices = (max(one.images.shape[axis] for one in items) for axis in (1, 2))
    images, targets = (
        torch.stack([padded(tensors[i], channels, slices) for tensors in items]) for i in range(len(Batch._fields))
    )
    return Batch(images, targets)


def padded(image: Tensor, channels: int, slices: int) -> Tensor:
    """Return ``image`` with zeros added up to (channels, slices)."""
    return torch.nn.functional.pad(image, (0, slices - image.shape[-1], 0, channels - image.shape[-2]))
