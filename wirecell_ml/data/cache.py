"""The cache: every plane image read, cropped and averaged once, then mapped into memory in every later epoch and run.

One folder per event holds ``<plane>-{inputs,truth,traditional}.npy`` and ``event.json``. Values are stored exactly: as
float16 where that loses nothing, else as float32. A folder appears whole or not at all, so a killed run leaves no half.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from wirecell_ml.data.events import Event
from wirecell_ml.data.particles import read_tracks
from wirecell_ml.data.planes import Layout, PlaneImage, read_planes
from wirecell_ml.errors import DataError

FORMAT = 1  # raise it when what is stored changes: old folders are then left alone


@dataclass(frozen=True)
class Summary:
    """What is known of a cached event without opening its arrays."""

    digest: str  # SHA-256 of all its arrays: the same for a copy of the event under another name
    category: str  # of the generator truth, or "all"
    time_ns: float  # of the first slice
    shapes: dict[str, list[int]]  # (tag, channel, slice) of each plane
    nonzero: dict[str, int]  # pixels that are not zero, by tag, all planes together
    hides_truth: dict[str, bool]  # by tag: is every true pixel also a non-zero pixel of the tag?


class PlaneCache:
    """Plane images of one layout, kept in ``folder``."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.layout = layout
        key = json.dumps([FORMAT, asdict(layout)], sort_keys=True)
        self.folder = folder.expanduser() / hashlib.sha256(key.encode()).hexdigest()[:16]

    def fill(self, events: Sequence[Event], progress: bool = True) -> None:
        """Read the events that are not cached yet; raises DataError for whatever is wrong with a file."""
        missing = [event for event in events if not (self.place(event) / "event.json").is_file()]
        for event in track(missing, "reading events", disable=not (progress and missing)):
            self.store(event, read_planes(event, self.layout))

    def place(self, event: Event) -> Path:
        """Return the folder of ``event``; it changes when a file changes."""
        stats = [
            (str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns)
            for p in (event.inputs, event.truth, event.particles)
            if p
        ]
        key = hashlib.sha256(json.dumps([stats, event.truth_ident]).encode()).hexdigest()[:16]
        return self.folder / f"{event.inputs.stem}-{key}" / str(event.ident)

    def store(self, event: Event, planes: dict[str, PlaneImage]) -> None:
        """Check and write the images of one event."""
        place = self.place(event)
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{event.ident}-", dir=place.parent))
        try:
            arrays = named_arrays(planes)
            check_finite(arrays, event, self.layout)
            for name, array in arrays.items():
                np.save(unfinished / f"{name}.npy", exact(array))
            summary = summarize(event, planes, self.layout, arrays)
            (unfinished / "event.json").write_text(json.dumps(asdict(summary)))
            unfinished.chmod(0o755)  # a shared cache is for everyone to read
            publish(unfinished, place)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def summary(self, event: Event) -> Summary:
        """Return the summary of a cached event."""
        return Summary(**json.loads((self.place(event) / "event.json").read_text()))


@lru_cache(maxsize=200)  # to open an array takes as long as to read it; each keeps a file open, macOS allows 256
def load(place: Path, plane: str, name: str) -> NDArray[Any]:
    """Return one array of an event, ``inputs``, ``truth`` or ``traditional``; it stays mapped, so never change it."""
    # "c", copy on write: the file is as safe as with "r", and torch.from_numpy takes the array without a warning
    array: NDArray[Any] = np.load(place / f"{plane}-{name}.npy", mmap_mode="c", allow_pickle=False)
    return array


def publish(unfinished: Path, place: Path) -> None:
    """Move a finished folder to its place, unless another process was faster."""
    try:
        os.rename(unfinished, place)  # noqa: PTH104  (Path.rename would replace an empty folder only, as this does)
    except OSError:
        if not (place / "event.json").is_file():
            raise


def named_arrays(planes: dict[str, PlaneImage]) -> dict[str, NDArray[np.float32]]:
    """Return every array of an event under the name of its file."""
    names = ("inputs", "truth", "traditional")
    return {f"{plane}-{name}": getattr(image, name) for plane, image in planes.items() for name in names}


def exact(array: NDArray[np.float32]) -> NDArray[Any]:
    """Return ``array`` as float16 if that holds every value exactly, else as it is."""
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), array) else array


def check_finite(arrays: dict[str, NDArray[np.float32]], event: Event, layout: Layout) -> None:
    """Raise DataError where an array holds NaN or infinity."""
    for name, array in arrays.items():
        bad = np.argwhere(~np.isfinite(array))
        if not len(bad):
            continue
        plane, kind = name.split("-")
        tag = layout.tags[bad[0][0]] if kind == "inputs" else getattr(layout, f"{kind}_tag")
        path = event.truth if kind == "truth" else event.inputs
        raise DataError(
            f"{path}: event {event.ident}: '{tag}' has {len(bad)} values that are NaN or infinite in plane {plane}, "
            f"the first at channel {layout.planes[plane][0] + bad[0][-2]}, slice {bad[0][-1]}. "
            "Write the event again or leave it out"
        )


def summarize(
    event: Event, planes: dict[str, PlaneImage], layout: Layout, arrays: dict[str, NDArray[np.float32]]
) -> Summary:
    """Return the summary of an event."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]).data)
    by_tag = {tag: [image.inputs[i] for image in planes.values()] for i, tag in enumerate(layout.tags)}
    if layout.traditional_tag:
        by_tag[layout.traditional_tag] = [image.traditional for image in planes.values()]
    truth = [image.truth for image in planes.values()]
    return Summary(
        digest=digest.hexdigest(),
        category=read_tracks(event.particles, event.truth_ident)[0] if event.particles else "all",
        time_ns=next(iter(planes.values())).time_ns,
        shapes={plane: list(image.inputs.shape) for plane, image in planes.items()},
        nonzero={tag: num_nonzero(images) for tag, images in (by_tag | {layout.truth_tag: truth}).items()},
        hides_truth={
            tag: all(bool(np.all(image[true > 0] != 0)) for image, true in zip(images, truth, strict=True))
            for tag, images in by_tag.items()
        },
    )


def num_nonzero(images: Sequence[NDArray[np.float32]]) -> int:
    """Return how many pixels of some images are not zero."""
    return sum(int(np.count_nonzero(image)) for image in images)
