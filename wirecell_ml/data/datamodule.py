"""The data of a ROI training: from files to batches, the same on every machine."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wirecell_ml.data.augment import Augmentation
from wirecell_ml.data.cache import PlaneCache, Summary
from wirecell_ml.data.checks import check_data
from wirecell_ml.data.dataset import Batch, Item, PlaneDataset, Target, collate
from wirecell_ml.data.event_data import EventData, SplitSettings, Trial
from wirecell_ml.data.events import Event, PairBy, find_events
from wirecell_ml.data.hdf5 import Orientation
from wirecell_ml.data.planes import Layout
from wirecell_ml.data.split import Part
from wirecell_ml.errors import ConfigError, suggest

TRIAL_SIDE = 16  # channels and slices


class RoiData(EventData[Event, Summary]):
    """Plane images and their targets, from HDF5FrameTap files."""

    collate = staticmethod(collate)

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
        super().__init__(split, batch_size, num_workers, seed)
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
        self.crop = (crop[0], crop[1]) if crop else None
        self.repeats, self.augmentation = crops_per_plane, augmentation
        self.plane_cache = PlaneCache(Path(cache), self.layout)

    def events(self) -> list[Event]:
        """Return the events of the files."""
        return find_events(self.files, self.inputs_glob, self.pair_by)

    def prepare_data(self) -> None:
        """Read what is not cached yet."""
        self.plane_cache.fill(self.events())

    def summary(self, event: Event) -> Summary:
        """Return the summary of a cached event."""
        return self.plane_cache.summary(event)

    def check(self) -> None:
        """Raise DataError for a tag that is zero throughout a file; warn where the truth is masked."""
        check_data(self.summaries)

    def describe(self) -> str:
        """Return how many events there are for what, and their planes."""
        return f"{super().describe()}; planes {', '.join(self.layout.planes)}"

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

    def trial(self) -> Trial:
        """Return an empty image of all tags, with its target."""
        tags = len(self.layout.tags)
        batch = Batch(torch.zeros(1, tags, TRIAL_SIDE, TRIAL_SIDE), torch.zeros(1, 1, TRIAL_SIDE, TRIAL_SIDE))
        return Trial(batch, f"an image of {tags} tags, {TRIAL_SIDE} channels and {TRIAL_SIDE} slices")

    def example(self) -> Tensor:
        """Return a whole validation image, (1, tag, channel, slice)."""
        return self.dataset("validation")[0].images[None]


def channel_range(detector: dict[str, Any], plane: str) -> tuple[int, int]:
    """Return the first and past-the-last channel ident of ``plane`` in the APA of ``detector``."""
    if plane not in detector["planes"]:
        raise ConfigError(
            f"data.planes: {detector['name']} has no plane '{plane}'.{suggest(plane, detector['planes'])}"
        )
    first, end = detector["planes"][plane]
    offset = detector["apa"] * detector["channels_per_apa"]
    return offset + first, offset + end
