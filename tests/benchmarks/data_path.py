"""What an event costs, read plainly from HDF5 or through our cache: ``python -m tests.benchmarks.data_path``."""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tests.benchmarks.measure import composed, machine, median_seconds
from wirecell_ml.build import build
from wirecell_ml.data import RoiData
from wirecell_ml.data.cache import PlaneCache
from wirecell_ml.data.dataset import Batch, PlaneDataset
from wirecell_ml.data.events import Event
from wirecell_ml.data.planes import average, columns_to_ticks

REPEATS = 7


def main() -> None:
    """Measure every way, and print what an event costs in each."""
    torch.set_num_threads(1)  # as the plain loop has
    caption = machine()
    with TemporaryDirectory() as folder:
        data: RoiData = build(composed(f"data.cache={folder}/warm").data)
        data.prepare_data()
        data.setup()
        events = list(data.selected("train"))
        whole = data.loader(PlaneDataset(data.items("train"), data.target), 1, None)
        windows = data.train_dataloader()
        check_same((batch for event in events for batch in plain(event, data)), whole)
        colds = iter(PlaneCache(Path(folder) / f"cold-{i}", data.layout) for i in range(REPEATS))
        few = events[:4]  # what is written waits for the disk if it is much
        ways = {
            "plain h5py loop": (lambda: [plain(event, data) for event in events], len(events)),
            "cache, cold: read, check, write": (lambda: next(colds).fill(few, progress=False), len(few)),
            "cache, warm: whole planes": (lambda: exhaust(whole), len(events)),
            "cache, warm: windows, augmented": (lambda: exhaust(windows), len(events)),
        }
        seconds = {way: median_seconds(call, REPEATS) / number for way, (call, number) in ways.items()}
    title = f"One event: planes U and V, 3 tags and truth; {len(windows) // len(events)} windows in training"
    table = Table("way", "ms per event", "faster than plain", title=title, caption=caption)
    for way, value in seconds.items():
        table.add_row(way, f"{1000 * value:.2f}", f"{seconds['plain h5py loop'] / value:.1f}×")
    Console().print(table)


def plain(event: Event, data: RoiData) -> list[Batch]:
    """Return the batches of an event as a plain loop makes them, from the files each time."""
    layout = data.layout
    scale = data.target.scale.numpy().astype(np.float32)
    with h5py.File(event.inputs) as rec, h5py.File(event.truth) as tru:
        inputs = [waveforms(rec[str(event.ident)], tag, data) for tag in layout.tags]
        truth = waveforms(tru[str(event.truth_ident)], layout.truth_tag, data)
    batches = []
    for first, end in layout.planes.values():
        image = np.stack([rows[first:end] for rows in inputs]) / scale
        mask = (truth[first:end] > data.target.threshold).astype(np.float32)
        batches.append(Batch(torch.from_numpy(image)[None], torch.from_numpy(mask)[None, None]))
    return batches


def waveforms(group: h5py.Group, tag: str, data: RoiData) -> NDArray[np.float32]:
    """Return the waveforms of one tag as (channel, slice); files of WCT up to 0.28 hold (column, channel)."""
    ticks = columns_to_ticks(group[f"tickinfo_{tag}"][1], data.layout.tick_ns)
    rows = group[f"frame_{tag}"][()].T.astype(np.float32)
    return average(rows, data.layout.tick_per_slice // ticks)


def check_same(plain_batches: Iterable[Batch], ours: Iterable[Batch]) -> None:
    """Make sure that both ways give the same tensors, bit for bit."""
    for one, other in zip(plain_batches, ours, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.targets, other.targets)


def exhaust(batches: Iterable[Batch]) -> None:
    """Read all batches and do nothing with them."""
    for _ in batches:
        pass


if __name__ == "__main__":
    main()
