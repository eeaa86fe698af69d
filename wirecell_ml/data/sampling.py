"""The sampler of a training: every draw has its own random numbers, and an epoch can go on in its middle."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Generator
from torch.utils.data import Sampler

from wirecell_ml.seeds import derive_seed


class Draw(NamedTuple):
    """Which item to take, and the seed of its random numbers (None: as it is)."""

    item: int
    seed: int | None


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
