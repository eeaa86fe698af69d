"""The data of a training on blobs: from cluster files to batches of graphs."""

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch, HeteroData

from wirecell_ml.data.blob_features import ACTIVITY_FEATURES, BLOB_FEATURES
from wirecell_ml.data.blob_files import Job, Names, companions, find_jobs, read_job
from wirecell_ml.data.blob_sample import BlobEvent, Stored
from wirecell_ml.data.event_data import EventData, SplitSettings, Trial
from wirecell_ml.data.sampling import Draw
from wirecell_ml.data.split import Part
from wirecell_ml.errors import DataError

FORMAT = 1  # raise it when what is stored changes: old folders are then left alone


class BlobDataset(Dataset[HeteroData]):
    """Events as graphs of blobs and activities, all in memory."""

    def __init__(self, events: list[BlobEvent], ghost_below: float) -> None:
        self.graphs = [as_graph(event, ghost_below) for event in events]

    def __len__(self) -> int:
        return len(self.graphs)

    def __getitem__(self, draw: Draw | int) -> HeteroData:
        """Return the graph of one event."""
        return self.graphs[draw.item if isinstance(draw, Draw) else draw]


class BlobData(EventData[Stored, Stored]):
    """Graphs of blobs with their true charge, from cluster files of ``BlobDepoFill`` and of the imaging."""

    collate = staticmethod(Batch.from_data_list)

    def __init__(
        self,
        files: str | list[str],
        truth: str,
        solved: str,
        chain: str | None,
        particles: str | None,
        ghost_below: float,
        split: SplitSettings,
        batch_size: int,
        num_workers: int,
        cache: str,
        seed: int,
    ) -> None:
        super().__init__(split, batch_size, num_workers, seed)
        self.files, self.names, self.ghost_below = files, Names(truth, solved, chain, particles), ghost_below
        self.folder = Path(cache).expanduser() / "blobs"

    def events(self) -> list[Stored]:
        """Return the events of the files; those of a job that is not prepared yet are read for it."""
        jobs = find_jobs(self.files, self.names)
        missing = [job for job in jobs if not (self.place(job) / "events.json").is_file()]
        for job in track(missing, "reading blobs", disable=not missing):
            self.store(job)
        held = [event for job in jobs for event in self.stored(job)]
        if not held:
            raise DataError(f"{jobs[0].path}: no event with blobs")
        return held

    def prepare_data(self) -> None:
        """Read what is not cached yet."""
        self.events()

    def place(self, job: Job) -> Path:
        """Return the folder of a job; it changes when a file changes."""
        stats = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in companions(job, self.names)]
        features = (BLOB_FEATURES, ACTIVITY_FEATURES)
        key = json.dumps([FORMAT, features, astuple(self.names), stats])
        return self.folder / hashlib.sha256(key.encode()).hexdigest()[:16]

    def store(self, job: Job) -> None:
        """Read the events of a job and write what networks take of them; the folder appears whole or not at all."""
        place = self.place(job)
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        try:
            index = [write_event(unfinished, job, event) for event in read_job(job, self.names)]
            (unfinished / "events.json").write_text(json.dumps(index))
            unfinished.chmod(0o755)  # a shared cache is for everyone to read
            os.rename(unfinished, place)  # noqa: PTH104  (Path.rename would replace an empty folder only, as this does)
        except OSError:
            if not (place / "events.json").is_file():  # else another process was faster
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def stored(self, job: Job) -> list[Stored]:
        """Return the events of a prepared job."""
        place = self.place(job)
        rows = json.loads((place / "events.json").read_text())
        return [Stored(**row | {"path": place / row["path"]}) for row in rows]

    def summary(self, event: Stored) -> Stored:
        """Return what is known of a prepared event: itself."""
        return event

    def check(self) -> None:
        """Raise DataError for an event whose true charge is not known, or without any."""
        for event in self.summaries:
            if event.num_known < event.num_blobs:
                raise DataError(
                    f"event {event.key}: {event.num_blobs - event.num_known} of {event.num_blobs} blobs have no true "
                    "charge (NaN): depos of no width spoil BlobDepoFill. Give its depos a width, or leave the event out"
                )
            if event.true_charge <= 0:
                raise DataError(f"event {event.key}: no blob has true charge. Is {self.names.truth} the true file?")

    def describe(self) -> str:
        """Return how many events there are for what, and their blobs."""
        return f"{super().describe()}; {sum(event.num_blobs for event in self.summaries):,} blobs"

    def loaded(self, part: Part) -> list[tuple[Stored, BlobEvent]]:
        """Return the events of one part with their arrays."""
        return [(stored, stored.load()) for stored in self.selected(part)]

    def dataset(self, part: Part) -> BlobDataset:
        """Return the graphs of one part."""
        return BlobDataset([event for _, event in self.loaded(part)], self.ghost_below)

    def trial(self) -> Trial:
        """Return two blobs that share an activity."""
        graph = HeteroData()
        graph["blob"].x = torch.zeros(2, len(BLOB_FEATURES))
        graph["blob"].real, graph["blob"].charge = torch.zeros(2), torch.zeros(2)
        graph["activity"].x, graph["activity"].plane = torch.zeros(1, len(ACTIVITY_FEATURES)), torch.zeros(1).long()
        graph["blob", "covers", "activity"].edge_index = torch.tensor([[0, 1], [0, 0]])
        graph["blob", "touches", "blob"].edge_index = torch.tensor([[0, 1], [1, 0]])
        text = f"a graph of 2 blobs with {len(BLOB_FEATURES)} and an activity with {len(ACTIVITY_FEATURES)} features"
        return Trial(Batch.from_data_list([graph]), text)

    def example(self) -> Any:
        """Return the largest validation event."""
        return max(self.dataset("validation").graphs, key=lambda graph: graph["blob"].num_nodes)


def write_event(folder: Path, job: Job, event: BlobEvent) -> dict[str, Any]:
    """Write the arrays of one event to a folder, and return its row of the index."""
    arrays, path = event.arrays(), f"{event.ident}.npz"
    np.savez(folder / path, allow_pickle=False, **arrays)
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]).data)
    known = np.isfinite(event.truth.charge)
    row = Stored(
        key=f"{job.path.name}:{event.ident}",
        path=Path(path),
        ident=event.ident,
        category=event.category,
        digest=digest.hexdigest(),
        num_blobs=len(known),
        num_known=int(known.sum()),
        true_charge=float(event.truth.charge[known].sum(dtype=np.float64)),
    )
    return asdict(row) | {"path": path}


def as_graph(event: BlobEvent, ghost_below: float) -> HeteroData:
    """Return what a network sees of one event, as torch-geometric batches it; real blobs have ``real`` 1."""
    sample, graph = event.sample, HeteroData()
    charge = torch.from_numpy(event.truth.charge)
    graph["blob"].x = torch.from_numpy(sample.blobs)
    graph["blob"].charge, graph["blob"].real = charge, (charge >= ghost_below).float()
    graph["activity"].x = torch.from_numpy(sample.activities)
    graph["activity"].plane = torch.from_numpy(sample.planes).long()
    graph["blob", "covers", "activity"].edge_index = torch.from_numpy(sample.pairs).long()
    graph["blob", "touches", "blob"].edge_index = torch.from_numpy(sample.neighbours).long()
    return graph


def network_inputs(graph: HeteroData) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return what a blob network takes, by position: blobs, activities, planes, pairs, neighbours."""
    return (
        graph["blob"].x,
        graph["activity"].x,
        graph["activity"].plane,
        graph["blob", "covers", "activity"].edge_index,
        graph["blob", "touches", "blob"].edge_index,
    )
