"""The data of a training on points: from blobs with generator truth, or from clus files, to batches of points."""

from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data

from wirecell_ml.data import clus_points
from wirecell_ml.data.blob_data import BlobData
from wirecell_ml.data.blob_files import expand, find_jobs
from wirecell_ml.data.event_data import EventData, SplitSettings, Trial
from wirecell_ml.data.point_labels import COSMIC, NEUTRINO, UNKNOWN, Drift, particles_beside, read_segments
from wirecell_ml.data.point_sample import FEATURES, Near, Overlay, PointEvent, as_graph
from wirecell_ml.data.sampling import Draw
from wirecell_ml.data.source import Source
from wirecell_ml.data.split import Part
from wirecell_ml.errors import DataError


class PointDataset(Dataset[Data]):
    """Events as points with their nearest neighbours, all in memory."""

    def __init__(self, events: list[PointEvent], near: Near, overlay: Overlay) -> None:
        self.events, self.near, self.overlay = events, near, overlay
        self.sources = [event for event in events if event.has_neutrinos]

    def __len__(self) -> int:
        return len(self.events)

    def __getitem__(self, draw: Draw | int) -> Data:
        """Return one event; one that is drawn to train is mirrored in x, and has other neutrinos, as its seed says."""
        if not isinstance(draw, Draw) or draw.seed is None:
            return as_graph(self.events[draw.item if isinstance(draw, Draw) else draw], self.near)
        dice = np.random.default_rng(draw.seed)
        event, shift = self.events[draw.item], self.overlay.shift_mm
        if self.sources and dice.random() < self.overlay.share:
            source = self.sources[dice.integers(len(self.sources))]
            event = event.overlaid(source, dice.uniform(-shift, shift, 3), dice.choice([-1, 1], 3))
        graph = as_graph(event, self.near)
        graph.x[:, 0] *= dice.choice([-1, 1])  # distances, and so the neighbours, stay
        return graph


class PointData(EventData[PointEvent, PointEvent]):
    """Points that are neutrino or cosmic; a subclass says where they come from."""

    collate = staticmethod(Batch.from_data_list)

    def __init__(
        self,
        near: Near,
        overlay: Overlay,
        split: SplitSettings,
        batch_size: int,
        num_workers: int,
        seed: int,
    ) -> None:
        super().__init__(split, batch_size, num_workers, seed)
        self.near, self.overlay = near, overlay

    @abstractmethod
    def read(self) -> Iterator[PointEvent]:
        """Yield the events of the files; raises DataError for whatever is wrong with them."""

    @cached_property
    def held(self) -> list[PointEvent]:
        """All events that have points, read once."""
        return [event for event in self.read() if len(event.position)]

    def events(self) -> list[PointEvent]:
        """Return the events of the files."""
        if not self.held:
            raise DataError("data.files: no event has points")
        return self.held

    def prepare_data(self) -> None:
        """Read what is not cached yet."""
        self.events()

    def summary(self, event: PointEvent) -> PointEvent:
        """Return what is known of an event: itself."""
        return event

    def check(self) -> None:
        """Raise DataError where no point is neutrino or none is cosmic."""
        labels = np.concatenate([event.label for event in self.summaries])
        for label, name in ((NEUTRINO, "neutrino"), (COSMIC, "cosmic")):
            if not (labels == label).any():
                raise DataError(f"data.files: none of {len(labels)} points is {name}; nothing can be learned of them")

    def describe(self) -> str:
        """Return how many events there are for what, and their points."""
        labels = np.concatenate([event.label for event in self.summaries])
        counts = f"{len(labels):,} points, {(labels == NEUTRINO).sum():,} neutrino, {(labels == COSMIC).sum():,} cosmic"
        return f"{super().describe()}; {counts}"

    def dataset(self, part: Part) -> PointDataset:
        """Return the points of one part."""
        return PointDataset(list(self.selected(part)), self.near, self.overlay)

    def trial(self) -> Trial:
        """Return two points."""
        nothing = PointEvent("", "", np.zeros((2, 3)), np.zeros(2), np.array([NEUTRINO, COSMIC], np.int8))
        batch = Batch.from_data_list([as_graph(nothing, self.near)])
        return Trial(batch, f"an event of 2 points with {len(FEATURES)} features")

    def example(self) -> Any:
        """Return the largest validation event."""
        largest = max(self.selected("validation"), key=lambda event: len(event.position))
        return as_graph(largest, self.near)


class BlobPoints(PointData):
    """Centres of blobs with their solved charge, labelled by the generator truth of a simulation."""

    def __init__(
        self,
        files: str | list[str],
        truth: str,
        solved: str,
        chain: str | None,
        particles: str,
        solved_above: float,
        time0_us: float,
        drift_velocity_mm_per_us: float,
        anode_x_mm: float,
        near_mm: float,
        shower_mm: float,
        near: Near,
        overlay: Overlay,
        split: SplitSettings,
        batch_size: int,
        num_workers: int,
        cache: str,
        seed: int,
    ) -> None:
        super().__init__(near, overlay, split, batch_size, num_workers, seed)
        self.blobs = BlobData(files, truth, solved, chain, particles, 0, split, batch_size, num_workers, cache, seed)
        self.particles, self.solved_above = particles, solved_above
        self.drift = Drift(time0_us, drift_velocity_mm_per_us, anode_x_mm)
        self.near_mm, self.shower_mm = near_mm, shower_mm

    def read(self) -> Iterator[PointEvent]:
        """Yield the events of the blob files."""
        self.blobs.prepare_data()
        for job in find_jobs(self.blobs.files, self.blobs.names):
            truth = particles_beside(job.path, self.particles)
            for stored in self.blobs.stored(job):
                blobs = stored.load().truth
                taken = (blobs.solved > self.solved_above) & np.isfinite(blobs.position).all(axis=1)
                place = blobs.position[taken].astype(np.float64)
                place[:, 0] = self.drift.x_mm(place[:, 0])
                segments = read_segments(truth, stored.ident, self.drift, self.shower_mm)
                charge = blobs.solved[taken].astype(np.float64)
                yield PointEvent(stored.key, stored.category, place, charge, segments.labels(place, self.near_mm))


class ClusPoints(PointData):
    """Points of clus files with the labels that are in them."""

    def __init__(
        self,
        files: str | list[str],
        near: Near,
        overlay: Overlay,
        split: SplitSettings,
        batch_size: int,
        num_workers: int,
        seed: int,
    ) -> None:
        super().__init__(near, overlay, split, batch_size, num_workers, seed)
        self.files = [files] if isinstance(files, str) else files

    def read(self) -> Iterator[PointEvent]:
        """Yield the events of the clus files; raises DataError for one without labels."""
        for path in sorted({path for place in self.files for path in expand(Path(place).expanduser())}):
            for event in clus_points.read(Source.of(path)):
                cloud = event.points["points"]
                if "is_nu" not in cloud.columns:
                    raise DataError(f"{path}: no is_nu, which says what is neutrino and what is cosmic")
                place, charge = cloud.position.astype(np.float64), cloud.columns["charge"].astype(np.float64)
                if not (np.isfinite(place).all() and np.isfinite(charge).all()):
                    raise DataError(f"{path}: a point whose place or charge is not finite")
                label = np.where(cloud.columns["is_nu"] < 0, UNKNOWN, cloud.columns["is_nu"]).astype(np.int8)
                yield PointEvent(path.name, "all", place, charge, label)
