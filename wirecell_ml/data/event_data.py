"""Data of events, whatever they hold: prepared, checked, split, and given in batches to the training of any task."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from wirecell_ml.data.sampling import Draw, EpochSampler
from wirecell_ml.data.split import (
    PARTS,
    Part,
    Split,
    check_split,
    check_unseen,
    load_digests,
    load_split,
    split_events,
)


class Keyed(Protocol):
    """What is asked of an event; it can be the key of a dictionary, too."""

    @property
    def key(self) -> str:
        """The identity of the event, the same on every machine."""
        ...


class Summarized(Protocol):
    """What is asked of the summary of a prepared event."""

    @property
    def digest(self) -> str:
        """SHA-256 of its contents, the same for a copy of the event under another name."""
        ...

    @property
    def category(self) -> str:
        """The kind of event; the split treats every kind alike."""
        ...


E = TypeVar("E", bound=Keyed)
S = TypeVar("S", bound=Summarized)


@dataclass(frozen=True)
class SplitSettings:
    """How the events are divided: by rule, or as a file says."""

    validation: float  # number of events, or a fraction if below 1
    test: float
    seed: int
    file: str | None = None  # split.json of another run; null: by rule


class Trial(NamedTuple):
    """A tiny batch made of nothing, on which a network and its loss are tried before any event is read."""

    batch: Any  # as the loaders give it
    text: str  # what it is, with an article


class EventData(LightningDataModule, ABC, Generic[E, S]):
    """Events, of which some train, some choose the best epoch, and some are only ever measured.

    A subclass says what its events are and what becomes of them: ``events``, ``prepare_data``, ``summary``,
    ``dataset``, ``trial`` and ``example``; and ``check``, ``collate``, ``repeats`` and ``describe`` where what is here
    does not do.
    """

    repeats = 1  # how often an epoch draws each item of the training dataset

    def __init__(self, split: SplitSettings, batch_size: int, num_workers: int, seed: int) -> None:
        super().__init__()
        self.split_settings: SplitSettings | None = split
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.summaries: dict[E, S] = {}
        self.split = Split((), (), ())  # until ``setup``
        self.trained: tuple[Split, dict[str, str]] | None = None  # of the run that is served: its split, its digests
        self.batches_done = 0  # of the epoch that a checkpoint was taken in

    @abstractmethod
    def events(self) -> Sequence[E]:
        """Return the events of the files, without reading what they hold; raises DataError where there are none."""

    @abstractmethod
    def prepare_data(self) -> None:
        """Read every event that is not prepared yet; raises DataError for whatever is wrong with a file."""

    @abstractmethod
    def summary(self, event: E) -> S:
        """Return what is known of a prepared event without reading it again."""

    @abstractmethod
    def dataset(self, part: Part) -> Dataset[Any]:
        """Return the items of one part of the split: by ``Draw`` and augmented to train, by number to measure."""

    @abstractmethod
    def trial(self) -> Trial:
        """Return the smallest batch that a network for these data must take; no file is read for it."""

    @abstractmethod
    def example(self) -> Any:
        """Return what ``task(example)`` takes: one whole item of the validation events, to time the network with."""

    def check(self) -> None:
        """Raise DataError for what is wrong with ``summaries`` as a whole; here nothing is."""

    @staticmethod  # a worker that is spawned gets no copy of the data module
    def collate(items: list[Any]) -> Any:
        """Return a batch of items; here torch stacks them."""
        return default_collate(items)

    def describe(self) -> str:
        """Return, for people, how many events there are for what."""
        parts = ", ".join(f"{len(getattr(self.split, part))} {part}" for part in PARTS)
        return f"{len(self.summaries)} events: {parts}"

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002  (Lightning passes it)
        """Check the data, and the split of their events; raises DataError for whatever is wrong with them."""
        if self.summaries:
            return
        self.summaries = {event: self.summary(event) for event in self.events()}
        self.check()
        self.split = self.make_split()
        check_split(self.split, self.digests())
        if self.trained is not None:
            check_unseen(self.split, self.digests(), *self.trained)

    def make_split(self) -> Split:
        """Return the split that the settings ask for."""
        wanted = self.split_settings
        categories = {event.key: summary.category for event, summary in self.summaries.items()}
        if wanted is None:
            return Split((), (), tuple(categories))
        if wanted.file:
            return load_split(Path(wanted.file))
        return split_events(categories, wanted.validation, wanted.test, wanted.seed)

    def use_split(self, path: Path) -> None:
        """Take the split from the file that a run wrote, and no other events than it was made of."""
        assert self.split_settings
        self.split_settings = replace(self.split_settings, file=str(path))
        self.trained = load_split(path), load_digests(path)

    def test_on_all(self, path: Path) -> None:
        """Make every event a test event; ``path`` is the split of the run, whose training events are none."""
        self.split_settings = None
        self.trained = load_split(path), load_digests(path)

    def digests(self) -> dict[str, str]:
        """Return the digest of the contents of each event, by its key."""
        return {event.key: summary.digest for event, summary in self.summaries.items()}

    def digest(self) -> str:
        """Return the SHA-256 of the contents of all events."""
        held = sorted(self.digests().items())
        return hashlib.sha256(json.dumps(held).encode()).hexdigest()

    def selected(self, part: Part) -> dict[E, S]:
        """Return the events of one part of the split."""
        keys = set(getattr(self.split, part))
        return {event: summary for event, summary in self.summaries.items() if event.key in keys}

    def identity(self, part: Part) -> dict[str, Any]:
        """Return which data these are and which of their events are of one part, for the provenance of metrics."""
        keys = sorted(event.key for event in self.selected(part))
        return {"data_digest": self.digest(), "split": part, "events": keys}

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the training batches of one epoch, less those that a resumed epoch has had."""
        dataset = self.dataset("train")
        ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = EpochSampler(len(dataset), self.repeats, self.seed, *ranks)  # type: ignore[arg-type]  # a Dataset of torch promises no length
        sampler.skip, self.batches_done = self.batches_done * self.batch_size, 0
        return self.loader(dataset, self.batch_size, sampler)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the validation items, whole and one by one; every process of a distributed training sees all."""
        return self.loader(self.dataset("validation"), 1, None)

    def loader(self, dataset: Dataset[Any], batch_size: int, sampler: Sampler[Draw] | None) -> DataLoader[Any]:
        """Return a loader whose workers each open the prepared events for themselves."""
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            collate_fn=self.collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return how many batches of the current epoch were trained on, for a checkpoint."""
        assert self.trainer
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        return {"batches_done": 0 if progress.is_last_batch else progress.current.ready}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the epoch where a checkpoint was taken."""
        self.batches_done = state_dict["batches_done"]
