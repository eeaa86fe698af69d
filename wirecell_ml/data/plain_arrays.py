"""Plain arrays: archives of .npy members that follow no other format, such as truth and dumps that scripts save."""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from wirecell_ml.data import container
from wirecell_ml.data.container import Member, brief, members, write_members
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.npy import npy_bytes, read_array
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

NUMBERED = re.compile(r"(.+)_(-?[0-9]{1,18})", re.DOTALL)
KINDS = "biufcSU"  # of dtypes: numbers and fixed-width text


class Part(NamedTuple):
    """A member that is an array of an event."""

    name: str
    ident: int
    member: Member


def read(source: Source) -> Iterator[Contents]:
    """Yield the arrays of each event: those of members ``<name>_<ident>.npy``, or else all, under ident 0.

    Members of one ident must follow one another to be an event. Raises DataError where an array is damaged, holds
    objects, or comes twice.
    """
    numbered, found = is_numbered(source), False
    for ident, parts in container.by_event(array_parts(source, numbered), source):
        found = True
        yield Contents(ident, arrays=read_arrays(parts))
    if not found:
        held = ", ".join(ascii(member.name) for member in islice(members(source), 5)) or "nothing"
        raise DataError(f"{source}: no array in it, but {brief(held)}; expected '<name>_<ident>.npy'")


def is_numbered(source: Source) -> bool:
    """Tell whether the arrays are numbered by event: all of a zip, which has a directory, or the first of a tar."""
    names = (member.name.removesuffix(".npy") for member in members(source) if member.name.endswith(".npy"))
    with source.opened() as file:
        whole = container.kind_of(file, source) == ".zip"
    matches = [NUMBERED.fullmatch(name) for name in (names if whole else islice(names, 1))]
    runs = [ident for ident, _ in groupby(int(match[2]) for match in matches if match)]
    return all(matches) and len(set(runs)) == len(runs)


def array_parts(source: Source, numbered: bool) -> Iterator[Part]:
    """Yield the members that are arrays."""
    for member in members(source):
        if not member.name.endswith(".npy"):
            continue
        name, ident = member.name.removesuffix(".npy"), 0
        if numbered:
            if not (match := NUMBERED.fullmatch(name)):
                raise DataError(f"{member.where} has no event number, as those before it have; expected <name>_<ident>")
            name, ident = match[1], int(match[2])
        if not (name and name.isprintable()):
            raise DataError(f"{member.where}: the name of an array must be printable")
        yield Part(name, ident, member)


def read_arrays(parts: Iterable[Part]) -> dict[str, NDArray[Any]]:
    """Return the arrays of one event by name."""
    arrays: dict[str, NDArray[Any]] = {}
    for part in parts:
        if part.name in arrays:
            raise DataError(f"{part.member.where} comes twice; write it once")
        arrays[part.name] = read_array(part.member, kinds=KINDS)
    return arrays


def write(path: Path, events: Iterable[Contents]) -> None:
    """Write the arrays of events as ``<name>_<ident>.npy``, whole or not at all.

    Raises DataError for an array of objects, for a name that is not printable, and for an ident that comes twice.
    """
    write_members(path, new_members(path, events))


def new_members(path: Path, events: Iterable[Contents]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each member that ``events`` need."""
    written: set[int] = set()
    for event in events:
        where = f"{path}: event {event.ident}"
        if event.ident in written:
            raise DataError(f"{where} comes twice; give all its arrays at once")
        written.add(event.ident)
        for name, array in event.arrays.items():
            if not (name and name.isprintable()):
                raise DataError(f"{where}: array {name!a} cannot be written; use a printable name")
            if array.dtype.kind not in KINDS or array.dtype.hasobject:
                raise DataError(f"{where}: array '{name}' holds {array.dtype}; expected numbers or text")
            yield f"{name}_{event.ident}.npy", npy_bytes(array)


def recognises(peek: Peek) -> bool:
    """Tell whether an archive holds arrays at all; this is asked after every other format."""
    return peek.container == "archive" and any(name.endswith(".npy") for name in peek.names)


FORMAT = Format(
    name="plain arrays",
    title="numpy.savez",
    kinds=("arrays",),
    suffixes=container.SUFFIXES,
    recognises=recognises,
    read=read,
    write=write,
    loses="events that hold no array",
)
