"""Splits: which events train, which choose the best epoch, which are only ever measured; always whole events."""

import json
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from wirecell_ml.errors import ConfigError, DataError
from wirecell_ml.seeds import derive_seed

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """The keys of the events of each part."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def save(self, path: Path, digests: Mapping[str, str]) -> None:
        """Write the split to a JSON file, with the digest of the contents of each event; the file appears whole."""
        unfinished = path.with_name(f".{path.name}-{os.getpid()}")
        unfinished.write_text(json.dumps(asdict(self) | {"digests": dict(digests)}, indent=1) + "\n")
        unfinished.replace(path)


def load_split(path: Path) -> Split:
    """Return the split that ``path`` holds; raises DataError where it holds none."""
    try:
        held = json.loads(path.read_text())
        return Split(**{part: tuple(held[part]) for part in PARTS})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: not a split file, which is JSON with lists 'train', 'validation', 'test' ({error})"
        ) from error


def load_digests(path: Path) -> dict[str, str]:
    """Return the digest of each event of a split file, by its key; none where the file holds none."""
    digests: dict[str, str] = json.loads(path.read_text()).get("digests", {})
    return digests


def split_events(categories: Mapping[str, str], validation: float, test: float, seed: int) -> Split:
    """Return a split of the events, keys of ``categories``, that treats every category alike.

    ``validation`` and ``test`` are numbers of events, or fractions if below 1. The same keys and seed give the same
    split on every machine, in whatever order the files were found.
    """
    keys = interleave(categories, seed)
    num_test, num_validation = (count(size, len(keys)) for size in (test, validation))
    if min(num_test, num_validation) < 1:
        raise ConfigError(
            f"data.split: {num_validation} validation and {num_test} test events; give at least one of each"
        )
    if num_test + num_validation >= len(keys):
        raise ConfigError(
            f"data.split: {num_validation} validation and {num_test} test events leave none of {len(keys)} to train on"
        )
    end = num_test + num_validation
    return Split(tuple(keys[end:]), tuple(keys[num_test:end]), tuple(keys[:num_test]))


def interleave(categories: Mapping[str, str], seed: int) -> list[str]:
    """Return the keys shuffled, then one of each category in turn."""
    shuffled = sorted(categories, key=lambda key: derive_seed(seed, "split", key))
    by_category = defaultdict(list)
    for key in shuffled:
        by_category[categories[key]].append(key)
    ranks = zip_longest(*(by_category[name] for name in sorted(by_category)))
    return [key for rank in ranks for key in rank if key is not None]


def count(size: float, total: int) -> int:
    """Return a number of events from a number or a fraction."""
    return max(1, round(size * total)) if 0 < size < 1 else int(size)


def check_split(split: Split, digests: Mapping[str, str]) -> None:
    """Raise DataError if an event, or a copy of it under another name, is in two parts or nowhere to be found.

    ``digests`` gives the digest of the contents of every event that was found, by its key.
    """
    seen: dict[str, tuple[str, str]] = {}
    for part in PARTS:
        for key in getattr(split, part):
            if key not in digests:
                raise DataError(
                    f"the split names event {key}, which is not among the {len(digests)} events of data.files"
                )
            other = seen.setdefault(digests[key], (part, key))
            if other[0] != part:
                same = "it" if other[1] == key else f"the same event as {other[1]}, which"
                raise DataError(f"the split leaks: {key} is in '{part}', and {same} is in '{other[0]}'. Remove one")


def check_unseen(split: Split, digests: Mapping[str, str], trained: Split, known: Mapping[str, str]) -> None:
    """Raise DataError where an event is not what the run had under its name, or is to be tested on but was trained on.

    ``trained`` and ``known`` are the split of the run and the digests of its events.
    """
    for key in known.keys() & {key for part in PARTS for key in getattr(split, part)}:
        if split == trained and digests[key] != known[key]:
            raise DataError(f"event {key} is not the event that the run had under this name. Give the run's own files")
    used = {known[key] for key in (*trained.train, *trained.validation) if key in known}
    leaked = next((key for key in split.test if digests[key] in used), None)
    if leaked:
        raise DataError(
            f"the split leaks: event {leaked} is to be measured, but the run was trained on it. Leave it out"
        )
