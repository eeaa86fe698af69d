"""Depo files: what DepoFileSink writes, in both layouts, zip or tar (wire-cell-toolkit, sio/src/DepoFileSink.cxx).

An event is ``depo_data_<ident>.npy`` and ``depo_info_<ident>.npy``; LS4GAN's toyzero adds ``track_info_<ident>.npy``, a
table here. All other members are skipped.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data import container
from wirecell_ml.data.container import SUFFIXES, Member, brief, members, write_members
from wirecell_ml.data.contents import Columns, Contents
from wirecell_ml.data.depos import DepoSet
from wirecell_ml.data.formats import Format, Peek, check_event
from wirecell_ml.data.npy import npy_bytes, read_array
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

MEMBER = re.compile(r"(depo_data|depo_info|track_info)_(-?[0-9]{1,18})\.npy")
DATA, INFO, TRACKS = "depo_data", "depo_info", "track_info"
NUM_DATA, NUM_INFO = 7, 4  # columns: t, q, x, y, z, extents along and across the drift; ident, pdg, generation, child
TYPES = {DATA: np.float32, INFO: np.int32}


class Part(NamedTuple):
    """A member that belongs to an event, not read yet."""

    kind: str
    ident: int
    member: Member


def read(source: Source) -> Iterator[Contents]:
    """Yield the depos of each event, in the order of the file, those that are priors of others included.

    Raises DataError at the first thing that is wrong.
    """
    found = False
    for ident, parts in container.by_event(depo_parts(source), source):
        found = True
        yield event_of(ident, read_arrays(parts), f"{source}: event {ident}")
    if not found:
        names = ", ".join(ascii(member.name) for member in islice(members(source), 5)) or "nothing"
        raise DataError(f"{source}: no depos in it, but {brief(names)}; expected 'depo_data_<ident>.npy'")


def depo_parts(source: Source) -> Iterator[Part]:
    """Yield the members of ``source`` that belong to depos."""
    for member in members(source):
        if match := MEMBER.fullmatch(member.name):
            yield Part(match[1], int(match[2]), member)


def read_arrays(parts: Iterable[Part]) -> dict[str, NDArray[Any]]:
    """Return the arrays of one event by kind."""
    arrays: dict[str, NDArray[Any]] = {}
    for part in parts:
        if part.kind in arrays:
            raise DataError(f"{part.member.where} comes twice; write it once")
        arrays[part.kind] = read_array(part.member, TYPES.get(part.kind), kinds="biufV")
    return arrays


def event_of(ident: int, arrays: Mapping[str, NDArray[Any]], where: str) -> Contents:
    """Return the event that ``arrays`` make, by kind."""
    if missing := {DATA, INFO} - set(arrays):
        raise DataError(f"{where} has no {' and no '.join(sorted(missing))}; depo_data and depo_info go together")
    tables = {TRACKS: tracks_of(arrays[TRACKS], where)} if TRACKS in arrays else {}
    return Contents(ident, depos=depos_of(*by_depo(arrays[DATA], arrays[INFO], where)), tables=tables)


def by_depo(data: NDArray[Any], info: NDArray[Any], where: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the two arrays of an event with a row per depo: files may be of the older layout, a column per depo.

    Raises DataError where they are neither.
    """
    for one, other in ((data, info), (data.T, info.T)):
        if one.ndim == other.ndim == 2 and one.shape[1] == NUM_DATA and other.shape == (len(one), NUM_INFO):
            return one, other
    raise DataError(
        f"{where}: depo_data has shape {data.shape} and depo_info {info.shape}; "
        "expected (depo, 7) and (depo, 4), or else (7, depo) and (4, depo)"
    )


def depos_of(data: NDArray[np.float32], info: NDArray[np.int32]) -> DepoSet:
    """Return the depos of the rows of two arrays."""
    time_ns, charge, *_, extent_long, extent_tran = map(np.ascontiguousarray, data.T)
    position = np.ascontiguousarray(data[:, 2:5])
    return DepoSet(time_ns, charge, position, extent_long, extent_tran, *map(np.ascontiguousarray, info.T))


def tracks_of(array: NDArray[Any], where: str) -> Columns:
    """Return the fields of toyzero's records as columns, (track,) or (track, axis)."""
    columns = {name: np.ascontiguousarray(array[name]) for name in array.dtype.names or ()}
    if array.ndim != 1 or not columns or any(column.dtype.kind not in "biuf" for column in columns.values()):
        raise DataError(f"{where}: track_info is {array.shape} of {brief(array.dtype)}; expected records of numbers")
    return columns


def write(path: Path, events: Iterable[Contents]) -> None:
    """Write events one at a time in today's layout, whole or not at all.

    Raises DataError for an event that comes twice or holds anything but depos and their tracks.
    """
    write_members(path, new_members(path, events))


def new_members(path: Path, events: Iterable[Contents]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each member that ``events`` need."""
    written: set[int] = set()
    for event in events:
        check_event(event, FORMAT.kinds, written, str(path))
        if event.depos is None or not set(event.tables) <= {TRACKS}:
            held = brief(", ".join([*event.kinds(), *event.tables]) or "nothing")
            raise DataError(f"{path}: event {event.ident} holds {held}; expected depos, and {TRACKS} at most")
        for kind, array in event_arrays(event.depos, event.tables):
            yield f"{kind}_{event.ident}.npy", npy_bytes(array)


def event_arrays(depos: DepoSet, tables: Mapping[str, Columns]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield kind and array of each member of an event, typed and ordered in memory as DepoFileSink does."""
    floats = (depos.time_ns, depos.charge, *depos.position.T, depos.extent_long, depos.extent_tran)
    yield DATA, np.array(floats, np.float32).T
    yield INFO, np.array((depos.ident, depos.pdg, depos.generation, depos.child), np.int32).T
    for columns in tables.values():
        yield TRACKS, records_of(columns)


def records_of(columns: Columns) -> NDArray[Any]:
    """Return columns as records, (track,)."""
    held = {name: np.asarray(column) for name, column in columns.items()}
    kinds = [(name, column.dtype, column.shape[1:]) for name, column in held.items()]
    records = np.zeros(len(next(iter(held.values()))), kinds)
    for name, column in held.items():
        records[name] = column
    return records


def recognises(peek: Peek) -> bool:
    """Tell a file by the depos among its first members."""
    found = filter(None, map(MEMBER.fullmatch, peek.names))
    return peek.container == "archive" and any(match[1] in TYPES for match in found)


FORMAT = Format(
    name="depo file",
    title="DepoFileSink",
    kinds=("depos", "tables"),
    suffixes=SUFFIXES,
    recognises=recognises,
    read=read,
    write=write,
    loses="run and subrun numbers",
)
