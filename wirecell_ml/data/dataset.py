"""Datasets of plane images, and the sampler that gives every draw its own random numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset, Sampler

from wirecell_ml.data.augment import Augmentation, random_window
from wirecell_ml.data.cache import load
from wirecell_ml.seeds import derive_seed


class Batch(NamedTuple):
    """What a network is trained on."""

    images: Tensor  # (batch, tag, channel, slice) float32, scaled
    targets: Tensor  # (batch, 1, channel, slice) float32, 1 where there is true charge


class Draw(NamedTuple):
    """Which item to take, and the seed of its random numbers (None: as it is)."""

    item: int
    seed: int | None


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


def collate(batch: Sequence[Batch]) -> Batch:
    """Stack images, the smaller ones zero-padded at the end: planes may differ in their number of channels."""
    if len(batch) == 1:
        return Batch(batch[0].images[None], batch[0].targets[None])
    channels, slices = (max(one.images.shape[axis] for one in batch) for axis in (1, 2))
    images, targets = (
        torch.stack([padded(tensors[i], channels, slices) for tensors in batch]) for i in range(len(Batch._fields))
    )
    return Batch(images, targets)


def padded(image: Tensor, channels: int, slices: int) -> Tensor:
    """Return ``image`` with zeros added up to (channels, slices)."""
    return torch.nn.functional.pad(image, (0, slices - image.shape[-1], 0, channels - image.shape[-2]))


class EpochSampler(Sampler[Draw]):
    """Every item ``repeats`` times in a random order that depends on the seed and the epoch alone.

    Each process of a distributed training takes its share. ``skip`` draws are left out once, to go on in mid-epoch.
    """

    def __init__(self, num_items: int, repeats: int, seed: int, rank: int = 0, num_ranks: int = 1) -> None:
        self.num_items, self.repeats, self.seed = num_items, repeats, seed
        self.rank, self.num_ranks = rank, num_ranks
        self.epoch = 0
        self.skip = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of ``epoch``; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_items * self.repeats // self.num_ranks

    def __iter__(self) -> Iterator[Draw]:
        dice = Generator().manual_seed(derive_seed(self.seed, "order", self.epoch))
        order = torch.randperm(self.num_items * self.repeats, generator=dice).tolist()
        mine = order[self.rank :: self.num_ranks][: len(self)]
        skip, self.skip = self.skip, 0
        for number in mine[skip:]:
            yield Draw(number % self.num_items, derive_seed(self.seed, "augment", self.epoch, number))
