"""Formats: what can be read and written, each told by what is in a file.

A module per format gives ``FORMAT``, and reads ``Contents`` from a ``Source`` one event at a time.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wirecell_ml.data.contents import Contents
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

Container = str  # "archive" (zip or tar), "hdf5", "root" or "json"


@dataclass(frozen=True)
class Peek:
    """The little of a file that tells its format."""

    container: Container
    names: tuple[str, ...]  # first members of an archive, top-level keys of HDF5, ROOT or JSON, and a few below these


@dataclass(frozen=True)
class Format:
    """One format of files."""

    name: str  # one or two words, as ``convert format=`` takes it
    title: str  # what writes it
    kinds: tuple[str, ...]  # fields of ``Contents`` that it holds
    suffixes: tuple[str, ...]  # that it is written under, the usual one first
    recognises: Callable[[Peek], bool]
    read: Callable[[Source], Iterator[Contents]]
    write: Callable[[Path, Iterable[Contents]], None] | None  # None: can be read only
    loses: str = ""  # what is not kept on writing, as a clause


def check_event(event: Contents, kinds: Collection[str], written: set[int], where: str) -> None:
    """Add an event that is about to be written to those ``written``, by ident, in a file that holds ``kinds`` only.

    Raises DataError where it was written before, and where it holds something else.
    """
    held = list(event.kinds())
    if event.ident in written:
        raise DataError(f"{where}: event {event.ident} comes twice; give all that it holds at once")
    if set(held) - set(kinds):
        raise DataError(f"{where}: event {event.ident} holds {', '.join(held)}; expected {', '.join(kinds)}")
    written.add(event.ident)
