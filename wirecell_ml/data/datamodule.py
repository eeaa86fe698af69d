"""The data of a ROI training: from files to batches, the same on every machine."""

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler

from wirecell_ml.data.augment import Augmentation
from wirecell_ml.data.cache import PlaneCache, Summary
from wirecell_ml.data.checks import check_data
from wirecell_ml.data.dataset import Batch, Draw, EpochSampler, Item, PlaneDataset, Target, collate
from wirecell_ml.data.events import Event, PairBy, find_events
from wirecell_ml.data.hdf5 import Orientation
from wirecell_ml.data.planes import Layout
from wirecell_ml.data.split import Part, Split, check_split, check_unseen, load_digests, load_split, split_events
from wirecell_ml.errors import ConfigError, suggest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitSettings:
    """How the events are divided: by rule, or as a file says."""

    validation: float  # number of events, or a fraction if below 1
    test: float
    seed: int
    file: str | None = None  # split.json of another run; null: by rule


class RoiData(LightningDataModule):
    """Plane images and their targets, from HDF5FrameTap files."""

    def __init__(
        self,
        files: str | list[str],
        detector: dict[str, Any],
        planes: list[str],
        tags: list[str],
        truth_tag: str,
        traditional_tag: str | None,
        scale: list[float],
        truth_threshold: float,
        tick_per_slice: int,
        tick_range: tuple[int, int] | None,
        ticks_per_column: int | None,
        orientation: Orientation,
        inputs_glob: str,
        pair_by: PairBy,
        split: SplitSettings,
        crop: tuple[int, int] | None,
        crops_per_plane: int,
        augmentation: Augmentation,
        batch_size: int,
        num_workers: int,
        cache: str,
        seed: int,
    ) -> None:
        super().__init__()
        if len(scale) != len(tags):
            raise ConfigError(f"data.scale has {len(scale)} values for {len(tags)} tags; give one for each tag")
        self.files, self.inputs_glob, self.pair_by = files, inputs_glob, pair_by
        self.layout = Layout(
            tags=tuple(tags),
            truth_tag=truth_tag,
            traditional_tag=traditional_tag,
            planes={plane: channel_range(detector, plane) for plane in planes},
            tick_ns=detector["tick_ns"],
            tick_per_slice=tick_per_slice,
            tick_range=(tick_range[0], tick_range[1]) if tick_range else None,  # YAML gives a list
            ticks_per_column=ticks_per_column,
            orientation=orientation,
        )
        self.target = Target(torch.tensor(scale, dtype=torch.float32)[:, None, None], truth_threshold)
        self.seed = seed
        self.split_settings: SplitSettings | None = split
        self.crop = (crop[0], crop[1]) if crop else None
        self.crops_per_plane, self.augmentation = crops_per_plane, augmentation
        self.batch_size, self.num_workers = batch_size, num_workers
        self.plane_cache = PlaneCache(Path(cache), self.layout)
        self.summaries: dict[Event, Summary] = {}
        self.trained: tuple[Split, dict[str, str]] | None = (
            None  # split of the run that the data serve, and its digests
        )
        self.batches_done = 0  # of the epoch that a checkpoint was taken in

    def prepare_data(self) -> None:
        """Read what is not cached yet."""
        self.plane_cache.fill(self.events())

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002  (Lightning passes it)
        """Check the data, and the split of its events; raises DataError for whatever is wrong with them."""
        if self.summaries:
            return
        self.summaries = {event: self.plane_cache.summary(event) for event in self.events()}
        check_data(self.summaries)
        self.split = self.make_split()
        check_split(self.split, self.digests())
        if self.trained is not None:
            check_unseen(self.split, self.digests(), *self.trained)

    def events(self) -> list[Event]:
        """Return the events of the files."""
        return find_events(self.files, self.inputs_glob, self.pair_by)

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

    def selected(self, part: Part) -> dict[Event, Summary]:
        """Return the events of one part of the split."""
        keys = set(getattr(self.split, part))
        return {event: summary for event, summary in self.summaries.items() if event.key in keys}

    def items(self, part: Part) -> list[Item]:
        """Return one item for each plane of each event of one part."""
        return [
            Item(event.key, plane, self.plane_cache.place(event), summary.category)
            for event, summary in self.selected(part).items()
            for plane in self.layout.planes
        ]

    def dataset(self, part: Part) -> PlaneDataset:
        """Return the images of one part, cropped and augmented where they train."""
        if part == "train":
            return PlaneDataset(self.items(part), self.target, self.crop, self.augmentation)
        return PlaneDataset(self.items(part), self.target)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the training batches of one epoch, less those that a resumed epoch has had."""
        dataset = self.dataset("train")
        ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = EpochSampler(len(dataset), self.crops_per_plane, self.seed, *ranks)
        sampler.skip, self.batches_done = self.batches_done * self.batch_size, 0
        return self.loader(dataset, self.batch_size, sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the validation images, whole and one by one; every process of a distributed training sees all."""
        return self.loader(self.dataset("validation"), 1, None)

    def loader(self, dataset: Dataset[Batch], batch_size: int, sampler: Sampler[Draw] | None) -> DataLoader[Batch]:
        """Return a loader whose workers each open the cache for themselves."""
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            collate_fn=collate,
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


def channel_range(detector: dict[str, Any], plane: str) -> tuple[int, int]:
    """Return the first and past-the-last channel ident of ``plane`` in the APA of ``detector``."""
    if plane not in detector["planes"]:
        raise ConfigError(
            f"data.planes: {detector['name']} has no plane '{plane}'.{suggest(plane, detector['planes'])}"
        )
    first, end = detector["planes"][plane]
    offset = detector["apa"] * detector["channels_per_apa"]
    return offset + first, offset + end
