"""Events of ROOT trees: which rows of which tree belong to which event.

Rows with run, subrun and event numbers belong to the event that they name. Those without belong to the one event of the
file, or to its n-th event where the tree has a row for each.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from uproot.interpretation.numerical import AsDtype

from wirecell_ml.data.root_trees import BATCH_BYTES, FIRST_BYTES, GROWTH, Rows, Tree

log = logging.getLogger(__name__)

NUMBERS = (("runNo", "run"), ("subRunNo", "subrun"), ("eventNo", "event"))  # what an event's numbers are called
OF_ALL_EVENTS = ("T_bad_ch", "T_pot")  # where they name no events
MOST_UNNAMED = 1 << 20  # events without numbers: there is only the file's word for how many


@dataclass(frozen=True)
class Numbers:
    """Run, subrun and event number of some rows or events."""

    values: NDArray[np.int64]  # (row, 3); 0 where there is no such number
    known: tuple[bool, bool, bool]

    def __len__(self) -> int:
        return len(self.values)

    def runs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first and past-the-last row of each run of rows with the same numbers."""
        changes = np.flatnonzero(np.any(self.values[1:] != self.values[:-1], axis=1)) + 1
        bounds = np.unique(np.concatenate([[0], changes, [len(self)]])).astype(np.int64)
        return bounds[:-1], bounds[1:]


@dataclass(frozen=True)
class Part:
    """A tree, and which of its rows belong to each event."""

    tree: Tree
    first: NDArray[np.int64]  # (event,)
    end: NDArray[np.int64]  # (event,), past the last

    def read(self, start: int, stop: int) -> Iterator[Rows]:
        """Yield the rows of each of some events, which are read at once."""
        first, end = self.first[start:stop], self.end[start:stop]
        low, high = (int(first.min()), int(end.max())) if np.any(end > first) else (0, 0)
        columns = self.tree.read(low, high)
        return (
            Rows(columns, max(a - low, 0), max(b - low, 0)) for a, b in zip(first.tolist(), end.tolist(), strict=True)
        )

    def reached(self) -> NDArray[np.int64]:
        """Return how many rows are needed for the events up to each, (event,)."""
        return np.maximum.accumulate(self.end)


def plan(trees: Mapping[str, Tree]) -> tuple[Numbers, list[Part]]:
    """Return the numbers of the events of a file, and of each tree its part in them.

    A tree whose rows cannot be told to belong to events is left out, with a warning.
    """
    named = {name: numbers_in(tree) for name, tree in trees.items()}
    events = events_in(trees, named)
    parts = []
    for name, tree in trees.items():
        spans = rows_of_events(tree, named[name], events)
        if spans:
            parts.append(Part(tree, *spans))
        else:
            log.warning(
                "%s is left out: it cannot be told which of its %d rows are of which event", tree.where, tree.rows
            )
    return events, parts


def numbers_in(tree: Tree) -> Numbers | None:
    """Return the numbers in each row of a tree; None where it names no events."""
    names = [next((name for name in known if holds_integers(tree, name)), None) for known in NUMBERS]
    if names[2] is None:
        return None
    columns = tree.read(0, tree.rows, tuple(name for name in names if name))
    values = [columns[name].astype(np.int64) if name else np.zeros(tree.rows, np.int64) for name in names]
    return Numbers(np.stack(values, axis=1), (bool(names[0]), bool(names[1]), True))


def holds_integers(tree: Tree, name: str) -> bool:
    """Tell whether a tree has a column of this name with an integer in each row."""
    found = tree.branches[name].interpretation if name in tree.branches else None
    return isinstance(found, AsDtype) and found.to_dtype.kind in "iu" and not found.to_dtype.shape


def events_in(trees: Mapping[str, Tree], named: Mapping[str, Numbers | None]) -> Numbers:
    """Return the numbers of the events of a file: as Trun has them, or else the tree that names most."""
    numbers = [found for found in named.values() if found]
    run_tree = named.get("Trun")
    main = (
        run_tree if run_tree and len(run_tree) else max(numbers, key=lambda found: len(found.runs()[0]), default=None)
    )
    if main and len(main):
        return Numbers(main.values[main.runs()[0]], main.known)
    main_tree = trees.get("Trun") or trees.get("TC")
    count = main_tree.rows if main_tree else int(any(tree.rows for tree in trees.values()))
    if count > MOST_UNNAMED:
        raise ValueError(f"{count} events without numbers; at most {MOST_UNNAMED} are read")
    counted = np.stack([np.zeros(count), np.zeros(count), np.arange(count)], axis=1).astype(np.int64)
    return Numbers(counted, (False, False, False))


def rows_of_events(
    tree: Tree, named: Numbers | None, events: Numbers
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return the first and past-the-last row in ``tree`` of each event; None where that cannot be told."""
    count = len(events)
    if named and events.known[2]:
        return named_rows(named, events)
    if count == 1 or tree.rows == 0 or tree.name.rpartition("/")[2] in OF_ALL_EVENTS:
        return np.zeros(count, np.int64), np.full(count, tree.rows)
    if tree.rows == count:
        return np.arange(count), np.arange(count) + 1
    return None


def named_rows(named: Numbers, events: Numbers) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return the rows that name each event; None where those of one event do not follow one another."""
    first, end = named.runs()
    shared = [column for column in range(3) if named.known[column] and events.known[column]]
    held, wanted = named.values[first][:, shared], events.values[:, shared]
    if np.array_equal(held, wanted):
        return first, end
    _, labels = np.unique(np.concatenate([held, wanted]), axis=0, return_inverse=True)
    labels = labels.ravel()
    places = np.full(len(labels), -1)
    places[labels[: len(held)]] = np.arange(len(held))
    if len(held) > np.count_nonzero(places >= 0):
        return None
    found = places[labels[len(held) :]]
    if not len(held):
        return np.zeros_like(found), np.zeros_like(found)
    return np.where(found < 0, 0, first[found]), np.where(found < 0, 0, end[found])


def batches(parts: Sequence[Part], count: int) -> Iterator[tuple[int, int]]:
    """Yield first and past-the-last event of what is read at once: little at first, whole baskets where they fit."""
    if not count:
        return
    size = np.sum([part.tree.row_bytes * part.reached() for part in parts], axis=0)  # up to each event
    heaviest = max(parts, key=lambda part: part.tree.rows * part.tree.row_bytes)
    ends = np.searchsorted(heaviest.reached(), heaviest.tree.basket_ends(), side="right")
    start, wanted = 0, FIRST_BYTES
    while start < count:
        done = size[start - 1] if start else 0.0
        stop = max(start + 1, int(np.searchsorted(size, done + wanted)))
        whole = int(ends[min(int(np.searchsorted(ends, stop)), len(ends) - 1)])
        if whole > stop and size[whole - 1] - done <= BATCH_BYTES:
            stop = whole
        yield start, min(stop, count)
        start, wanted = min(stop, count), min(wanted * GROWTH, BATCH_BYTES)
