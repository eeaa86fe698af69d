"""NuML event files: tables of hits, particles and space points in HDF5, as HDF5Maker and the MicroBooNE Open Samples.

A table is a group with a dataset (row, n) per column. ``event_id`` gives run, subrun and event of each row, and
``event_id.seq_cnt`` the same in short: the row of ``event_table`` that an event has, and how many rows it has here, one
after another; ``event_id.seq`` is the former for each row. Rows are in the order of the events in ``event_table``.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data import container
from wirecell_ml.data.container import brief
from wirecell_ml.data.contents import Columns, Contents
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.hdf5_access import created, dataset, groups, names, opened, subgroup
from wirecell_ml.data.hdf5_text import TEXT, Text, can_be_written, is_text
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

EVENTS = "event_table"  # one row per event
ID, SEQUENCE, COUNT = "event_id", "event_id.seq", "event_id.seq_cnt"
BLOCK = 1 << 16  # rows read at a time of what numbers the rows
MOST_TABLE = 1 << 50  # bytes in a column, of which only the rows of an event are read
BATCH = 64  # events written at a time
Key = tuple[int, ...]  # of an event: its row in ``event_table``, or run, subrun and event

Layout = dict[str, dict[str, tuple[np.dtype[Any], tuple[int, ...]]]]  # of a row, by table and column


class Span(NamedTuple):
    """The rows of a table that belong to one event."""

    key: Key
    first: int
    end: int  # excluded


def read(source: Source) -> Iterator[Contents]:
    """Yield the events of ``event_table`` with their rows of every table; a table without any is there with no rows.

    Columns have the names of the file, whichever vocabulary it uses (``local_plane`` or ``plane``), and are (row,) or
    (row, n). Lengths are in cm, energies in GeV or MeV, as the writer has them. Raises DataError where rows belong to
    no event, are out of order, or are damaged.
    """
    with opened(source) as file, source.opened() as stream:
        where = str(source)
        tables = [table_of(name, group, stream, f"{where}: {name}") for name, group in groups(file) if is_table(group)]
        for row, key in enumerate(event_keys(subgroup(file, EVENTS, where), f"{where}: {EVENTS}")):
            held = {table.name: table.take(row, key) for table in tables}
            run, subrun, ident = key
            yield Contents(ident, run, subrun, tables={name: columns for name, columns in held.items() if columns})
        for table in tables:
            table.finish()


def is_table(group: h5py.Group) -> bool:
    """Tell whether the rows of a group are numbered by event."""
    return not {ID, SEQUENCE, COUNT}.isdisjoint(group)


def event_keys(group: h5py.Group, where: str) -> Iterator[Key]:
    """Yield run, subrun and event of each row of ``event_table``."""
    for _, block in blocks(group, ID, 3, where):
        yield from map(tuple, block.tolist())


def blocks(group: h5py.Group, name: str, width: int, where: str) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield a dataset of whole numbers in blocks (row, width), each with the number of its first row."""
    held = dataset(group, name, where, kinds="iu", most=MOST_TABLE)
    if held.shape != (len(held), width) and held.shape != (len(held),) * (width == 1):
        raise DataError(f"{where}: {name} has shape {held.shape}; expected (row, {width})")
    for first in range(0, len(held), BLOCK):
        yield first, held[first : first + BLOCK].reshape(-1, width)


@dataclass(frozen=True)
class Column:
    """A column of a table; nothing of it is read yet."""

    held: h5py.Dataset
    kind: np.dtype[Any]  # of the values, in this machine's byte order
    shape: tuple[int, ...]  # of a row; () if it has one number
    text: Text | None = None  # if it is of that

    def rows(self, first: int, end: int) -> NDArray[Any]:
        """Return the rows from ``first`` to ``end`` (excluded)."""
        if first == end:
            return np.zeros((0, *self.shape), self.kind)
        read = self.text.rows(first, end) if self.text else self.held[first:end]
        return read.reshape(end - first, *self.shape).astype(self.kind, copy=False)


def column_of(group: h5py.Group, name: str, stream: IO[bytes], where: str) -> Column:
    """Return a column, which is checked."""
    held = dataset(group, name, where, kinds="biufSO", most=MOST_TABLE)
    text = Text(held, stream, f"{where}: {name}") if is_text(held) else None
    if held.ndim == 0 or (held.dtype.kind == "O" and not text):
        raise DataError(f"{where}: {name} has shape {held.shape} of {held.dtype}; expected rows of numbers or text")
    kind = TEXT if text else held.dtype.newbyteorder("=")
    return Column(held, kind, () if held.shape[1:] == (1,) else held.shape[1:], text)


@dataclass
class Table:
    """A table whose rows are taken event by event, in their order."""

    name: str
    where: str
    columns: dict[str, Column]
    num_rows: int
    row_bytes: int
    spans: Iterator[Span]
    span: Span | None = None  # the next to be taken
    end: int = 0  # of the rows that were taken

    def take(self, row: int, key: Key) -> Columns:
        """Return the rows of the event that has ``row`` in ``event_table``, and ``key`` for run, subrun and event."""
        self.span = self.span or next(self.spans, None)
        if self.span and self.span.key < (row,) and len(self.span.key) == 1:
            raise DataError(f"{self.where}: rows of event {self.span.key[0]} are out of the order of {EVENTS}")
        first = self.end
        if self.span and self.span.key in ((row,), key):
            _, first, self.end = self.span
            self.span = None
        if self.end > self.num_rows:
            raise DataError(f"{self.where} has {self.num_rows} rows, but event {key} should have {first} to {self.end}")
        if (size := (self.end - first) * self.row_bytes) > container.MOST_BYTES:
            raise DataError(f"{self.where}: event {key} has {size} bytes; at most {container.MOST_BYTES} are read")
        return {name: column.rows(first, self.end) for name, column in self.columns.items()}

    def finish(self) -> None:
        """Raise DataError where rows are left that were not taken."""
        self.span = self.span or next(self.spans, None)
        if self.span:
            event = ", ".join(map(str, self.span.key))
            raise DataError(f"{self.where}: rows of event {event} are out of the order of {EVENTS}")
        if self.end != self.num_rows:
            raise DataError(f"{self.where} has {self.num_rows} rows, but {self.end} that belong to an event")


def table_of(name: str, group: h5py.Group, stream: IO[bytes], where: str) -> Table:
    """Return a table, which is checked; nothing of it is read yet."""
    held = {key: column_of(group, key, stream, where) for key in names(group) if key != COUNT}
    lengths = sorted({len(column.held) for column in held.values()})
    if len(lengths) > 1:
        raise DataError(f"{where} has columns of {lengths[0]} and of {lengths[-1]} rows; expected one length")
    columns = {key: column for key, column in held.items() if key not in (ID, SEQUENCE)}
    num_rows = lengths[0] if lengths else 0
    row_bytes = sum(column.held.dtype.itemsize * math.prod(column.shape) for column in columns.values())
    spans = (Span((row,), row, row + 1) for row in range(num_rows)) if name == EVENTS else spans_of(group, where)
    return Table(name, where, columns, num_rows, row_bytes, spans)


def spans_of(group: h5py.Group, where: str) -> Iterator[Span]:
    """Yield the rows of each event that has any, in the order of the file."""
    if COUNT in set(group):
        return counted(group, where)
    return runs(group, SEQUENCE, 1, where) if SEQUENCE in set(group) else runs(group, ID, 3, where)


def counted(group: h5py.Group, where: str) -> Iterator[Span]:
    """Yield the rows of each event from its number of rows."""
    end = 0
    for _, block in blocks(group, COUNT, 2, where):
        for row, count in block.tolist():
            if count < 0:
                raise DataError(f"{where}: {COUNT} gives the event in row {row} of {EVENTS} {count} rows")
            first, end = end, end + count
            yield Span((row,), first, end)


def runs(group: h5py.Group, name: str, width: int, where: str) -> Iterator[Span]:
    """Yield the runs of equal rows of a dataset."""
    key: Key | None = None
    first = end = 0
    for start, block in blocks(group, name, width, where):
        changes = np.flatnonzero(np.any(block[1:] != block[:-1], axis=1)) + 1
        for row in (0, *changes.tolist()):
            if key != (here := tuple(block[row].tolist())):
                if key is not None:
                    yield Span(key, first, start + row)
                key, first = here, start + row
        end = start + len(block)
    if key is not None:
        yield Span(key, first, end)


def write(path: Path, events: Iterable[Contents]) -> None:
    """Write events as they come, some at a time; the file appears whole or not at all.

    Raises DataError where an event has anything but tables, other tables or columns than the first event, columns of
    several lengths or of other things than numbers and text (``S`` or ``StringDType``), or not one row of
    ``event_table``.
    """
    coming, row = iter(events), 0
    layout: Layout | None = None
    with created(path) as file:
        while batch := list(islice(coming, BATCH)):
            layout = layout or layout_of(batch[0], f"{path}: event {batch[0].ident}")
            for event in batch:
                if (own := layout_of(event, f"{path}: event {event.ident}")) != layout:
                    raise DataError(
                        f"{path}: event {event.ident} has {brief(own)}; the events before have {brief(layout)}"
                    )
            for name in layout:
                append(file.require_group(name), name, batch, row)
            row += len(batch)
        if layout is None:
            raise DataError(f"{path}: no event to write")


def layout_of(event: Contents, where: str) -> Layout:
    """Return type and shape of a row of every column, by table, of an event that can be written."""
    if not all(-(2**31) <= number < 2**31 for number in key_of(event)):
        raise DataError(f"{where}: run, subrun and event are {key_of(event)}; expected numbers of 32 bits")
    if set(event.kinds()) - {"tables"}:
        raise DataError(f"{where} has {', '.join(event.kinds())}; only tables can be written")
    layout: Layout = {EVENTS: {}}
    for table, columns in event.tables.items():
        if not columns or not all(map(is_name, (table, *columns))):
            raise DataError(f"{where}: {brief(table)!a} has {brief(', '.join(columns))!a}; expected names without '/'")
        for name, values in columns.items():
            if not is_column(values):
                raise DataError(f"{where}: {table}: {name} is {brief(values)}; expected rows of numbers or text")
        lengths = {len(values) for values in columns.values()}
        if len(lengths) > 1 or (table == EVENTS and lengths != {1}):
            raise DataError(f"{where}: {table} has columns of {lengths} rows; expected one length, 1 in {EVENTS}")
        layout[table] = {name: (values.dtype, values.shape[1:]) for name, values in columns.items()}
    return layout


def is_column(values: Any) -> bool:
    """Tell whether ``values`` can be written: rows of one number or text, or of several."""
    if not isinstance(values, np.ndarray) or values.ndim == 0 or 0 in (values.dtype.itemsize, *values.shape[1:]):
        return False
    return can_be_written(values) if values.dtype.kind == "T" else values.dtype.kind in "biufS"


def is_name(name: str) -> bool:
    """Tell whether a table or column can have this name."""
    return bool(re.fullmatch(r"[^/\0]+", name)) and name not in (".", ID, SEQUENCE, COUNT)


def key_of(event: Contents) -> Key:
    """Return run, subrun and event as they are written."""
    return (event.run or 0, event.subrun or 0, event.ident)


def append(group: h5py.Group, table: str, batch: list[Contents], row: int) -> None:
    """Add a batch of events, of which the first has ``row`` in ``event_table``, to a table."""
    parts = [event.tables.get(table, {}) for event in batch]
    rows = [next(iter(columns.values()), (None,)) for columns in parts]  # an event without columns there has its row
    counts = np.array(list(map(len, rows)))
    sequence = np.arange(row, row + len(batch))
    extend(group, ID, np.repeat(np.array([key_of(event) for event in batch], np.int32), counts, axis=0))
    extend(group, COUNT, np.stack([sequence, counts], axis=1)[counts > 0])
    for name in parts[0]:
        extend(group, name, np.concatenate([columns[name] for columns in parts]))


def extend(group: h5py.Group, name: str, values: NDArray[Any]) -> None:
    """Add rows to a column, which begins with them if it is new."""
    rows = values.reshape(len(values), 1) if values.ndim == 1 else values
    if name not in group:
        kind = h5py.string_dtype() if rows.dtype == TEXT else rows.dtype
        group.create_dataset(name, (0, *rows.shape[1:]), kind, maxshape=(None, *rows.shape[1:]), chunks=True)
    column = group[name]
    column.resize(len(column) + len(rows), axis=0)
    column[len(column) - len(rows) :] = rows.astype(object) if rows.dtype == TEXT else rows


def recognises(peek: Peek) -> bool:
    """Tell a file by its ``event_table``."""
    return peek.container == "hdf5" and EVENTS in peek.names


FORMAT = Format(
    name="numl",
    title="NuML",
    kinds=("tables",),
    suffixes=(".h5", ".hdf5"),
    recognises=recognises,
    read=read,
    write=write,
    loses="that run or subrun is not known, which is written as 0, and that a column of shape (row, 1) is not (row,)",
)
