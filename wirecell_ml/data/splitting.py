"""Splitting: the events of files of any format, told apart by their contents, divided for trainings."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wirecell_ml.data import readers
from wirecell_ml.data.charge_ratios import TrueEvents
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.events import Event, find_events, truth_of
from wirecell_ml.data.particles import read_tracks
from wirecell_ml.data.split import PARTS, Part, Split
from wirecell_ml.errors import DataError

INPUTS_GLOB = "*rec*.h5"  # what input files are called in a folder of pairs, as in configs/data/dnnroi.yaml
UNKNOWN = "all"  # category of an event without generator truth


@dataclass(frozen=True)
class Known:
    """What a split asks of an event."""

    digest: str  # SHA-256 of its contents, the same for a copy of the event under another name
    category: str


def known_events(places: Iterable[Path], each: Callable[[], Any] = lambda: None) -> dict[str, Known]:
    """Return the events of files and folders by key, ``<file>:<ident>``, calling ``each`` after every event.

    An input file with a truth file beside it is read with it, as in a training on waveforms. What comes several times
    under one key, as in a bundle, is one event. Raises DataError for whatever cannot be read.
    """
    paths = [file for place in places for file in files_of(place)]
    twice = next((name for name, count in Counter(path.name for path in paths).items() if count > 1), None)
    if twice:
        raise DataError(f"{twice}: two files have this name, so their events cannot be told apart; rename one")
    digests: dict[str, Any] = {}
    categories: dict[str, str] = {}
    for path in paths:
        for ident, parts in parts_of(path):
            digest = digests.setdefault(f"{path.name}:{ident}", hashlib.sha256())
            for part in parts:
                feed(digest, {kind: getattr(part, kind) for kind in part.kinds()})
            categories[f"{path.name}:{ident}"] = category_of(path, ident)
            each()
    return {key: Known(digest.hexdigest(), categories[key]) for key, digest in digests.items()}


def files_of(place: Path) -> list[Path]:
    """Return the files of a folder that events are in, or the file itself.

    In a folder with pairs these are the inputs, in any other all but those of plain arrays, whose meaning is not known.
    """
    if not place.is_dir():
        return [place]
    files = sorted(path for path in place.iterdir() if path.name.endswith((*readers.SUFFIXES, ".root")))
    if inputs := [path for path in files if path.match(INPUTS_GLOB)]:
        return inputs
    known = [path for path in files if readers.open(path).format.kinds != ("arrays",)]
    if not known:
        raise DataError(f"{place}: no file of data here; known are {', '.join((*readers.SUFFIXES, '.root'))}")
    return known


def parts_of(path: Path) -> Iterator[tuple[int, tuple[Contents, ...]]]:
    """Yield the ident of each event of a file with what is read of it: its contents, and its truth if it has a file."""
    if truth_of(path) == path:
        yield from ((event.ident, (event,)) for event in readers.open(path))
        return
    pairs: dict[int, Event] = {event.ident: event for event in find_events(str(path), INPUTS_GLOB)}
    true = TrueEvents(readers.open(truth_of(path)))
    for event in readers.open(path):
        truth = true.of(pairs[event.ident].truth_ident) if event.ident in pairs else None
        if truth is not None:
            yield event.ident, (event, truth)


def category_of(path: Path, ident: int) -> str:
    """Return the category of an event in the generator truth beside its file, or ``UNKNOWN``.

    That is a JSON file with ``meta`` in the place of one part of the name: ``g4-meta-0.json`` for ``g4-rec-0.h5``.
    """
    names = path.name.partition(".")[0].split("-")
    for i in range(len(names)):
        beside = path.with_name("-".join([*names[:i], "meta", *names[i + 1 :]]) + ".json")
        if beside.is_file():
            return read_tracks(beside, ident)[0]
    return UNKNOWN


def feed(digest: Any, value: Any) -> None:
    """Add everything in ``value`` to a digest: arrays with type and shape, mappings in the order of their names."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).view(np.uint8).data if value.size else b"")
    elif isinstance(value, Mapping):
        for name in sorted(value, key=str):
            digest.update(str(name).encode(errors="backslashreplace"))
            feed(digest, value[name])
    elif is_dataclass(value):
        feed(digest, {one.name: getattr(value, one.name) for one in fields(value)})
    elif hasattr(value, "to_list"):  # awkward arrays
        feed(digest, value.to_list())
    else:
        digest.update(
            repr(value.tolist() if isinstance(value, np.ndarray) else value).encode(errors="backslashreplace")
        )


def counts_of(split: Split, events: Mapping[str, Known]) -> dict[str, dict[Part, int]]:
    """Return the number of events of each category in each part."""
    counts = {known.category: dict.fromkeys(PARTS, 0) for known in events.values()}
    for part in PARTS:
        for key in getattr(split, part):
            counts[events[key].category][part] += 1
    return dict(sorted(counts.items()))
