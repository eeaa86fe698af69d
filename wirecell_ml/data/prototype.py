"""Trees of the Wire-Cell prototype, and of what writes in its manner (wire-cell-toolkit, root/src/Uboone*.cxx).

Every tree is a table of what its branches hold, and one with columns x, y and z, in cm, is points, too.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from wirecell_ml.data.contents import Columns, Contents
from wirecell_ml.data.formats import Format, check_event
from wirecell_ml.data.points import PointCloud
from wirecell_ml.data.root_events import NUMBERS, OF_ALL_EVENTS, Numbers, batches, plan
from wirecell_ml.data.root_files import opened
from wirecell_ml.data.root_trees import FOLDER, trees
from wirecell_ml.data.root_writing import TreeWriter, new_file
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

AXES = ("x", "y", "z")
TREES = (
    *("Trun", "TC", "TDC", "T_bad_ch", "T_flash", "T_match", "T_rec", "T_rec_charge", "T_rec_charge_blob"),
    *("T_proj", "T_proj_data", "T_tagger", "T_kine", "T_segment", "T_cluster"),
    *("T_BDTvars", "T_KINEvars", "T_eval", "T_PFeval", "T_pot"),
)
MM_PER_CM = 10.0
BEAM_WINDOWS_US = {11: (3.1875, 4.96876), 12: (4.9295, 16.6483)}  # by the trigger bit: BNB, NuMI


def beam_window_us(trigger_bits: int) -> tuple[float, float] | None:
    """Return when MicroBooNE's beam of a trigger comes, first and last µs; None for a trigger without beam (bit 9)."""
    return next((window for bit, window in BEAM_WINDOWS_US.items() if trigger_bits >> bit & 1), None)


def read(source: Source) -> Iterator[Contents]:
    """Yield the events of a file; raises DataError for whatever is wrong."""
    with opened(source) as file:
        held = trees(file, source)
        if not held:
            raise DataError(f"{source}: no tree in it; expected some of {', '.join(TREES)}")
        events, parts = plan(held)
        names = [part.tree.name for part in parts]
        for start, stop in batches(parts, len(events)):
            rows = zip(*(part.read(start, stop) for part in parts), strict=True)
            for number, tables in enumerate(rows, start):
                yield contents_of(events, number, dict(zip(names, tables, strict=True)))


def contents_of(events: Numbers, number: int, tables: Mapping[str, Columns]) -> Contents:
    """Return an event with its points."""
    run, subrun, ident = (
        value if known else None for value, known in zip(events.values[number].tolist(), events.known, strict=True)
    )
    points = {name: points_of(table, *dqdx(name, tables)) for name, table in tables.items() if has_points(table)}
    return Contents(number if ident is None else ident, run, subrun, tables=tables, points=points)


def dqdx(name: str, tables: Mapping[str, Columns]) -> tuple[float, float]:
    """Return the scale and offset that the charges of a table of track points were written with, as Trun says."""
    run = tables.get("Trun", {})
    if name != "T_rec_charge" or not {"dQdx_scale", "dQdx_offset"} <= set(run) or not len(run["dQdx_scale"]):
        return 1.0, 0.0
    scale, offset = float(run["dQdx_scale"][0]), float(run["dQdx_offset"][0])
    return (scale, offset) if scale else (1.0, 0.0)


def has_points(table: Columns) -> bool:
    """Tell whether a table has a place in space in each row."""
    return all(name in table and is_plain(table[name]) for name in AXES)


def is_plain(values: Any) -> bool:
    """Tell whether a column has a number in each row."""
    return isinstance(values, np.ndarray) and values.ndim == 1


def points_of(table: Columns, scale: float, offset: float) -> PointCloud:
    """Return the points of a table, in mm, their charge ``q`` in electrons where scale and offset are known."""
    position = np.stack([table[axis] for axis in AXES], axis=1) * MM_PER_CM
    columns = {name: table[name] for name in table if name not in (*AXES, *chain(*NUMBERS)) and is_plain(table[name])}
    if "q" in columns:
        columns["charge"] = (columns.pop("q") - offset) / scale
    return PointCloud(position, columns)


def write(path: Path, events: Iterable[Contents]) -> None:
    """Write tables as trees, one event after another, and points of which there is no table.

    Raises DataError for what a tree cannot hold, and for rows of several events that could not be told apart.
    """
    seen: set[tuple[int | None, int | None, int]] = set()
    with new_file(path) as file:
        writer, unnumbered = TreeWriter(file), Unnumbered()
        for event in events:
            where = f"{path}: event {event.ident}"
            check_event(event, FORMAT.kinds, set(), str(path))
            if (key := (event.run, event.subrun, event.ident)) in seen:
                raise DataError(f"{where} comes twice; give all its tables at once")
            seen.add(key)
            for name, table in unnumbered.checked(tables_of(event, where), where).items():
                writer.add(name, table, f"{where}: tree '{name}'")
        if not seen:
            raise DataError(f"{path}: no event to write")
        writer.flush()


def tables_of(event: Contents, where: str) -> dict[str, Columns]:
    """Return the tables of an event, with a Trun that has its numbers, and with those that other points make."""
    lone = {name: points for name, points in event.points.items() if name not in event.tables}
    made = {name: numbered(table_of(points), event) for name, points in lone.items()}
    tables = {"Trun": {}, **made, **event.tables}
    tables["Trun"] = numbered(tables["Trun"], event)
    for name, table in tables.items():
        for column, number in numbers_of(event):
            if names_events(table) and column in table and np.any(np.asarray(table[column]) != number):
                raise DataError(f"{where}: tree '{name}' has {column} {table[column]}, not {number}")
    return tables


def numbers_of(event: Contents) -> Iterator[tuple[str, int | None]]:
    """Yield every name of a number of an event, and the number."""
    for names, number in zip(NUMBERS, (event.run, event.subrun, event.ident), strict=True):
        for name in names:
            yield name, number


def names_events(table: Columns) -> bool:
    """Tell whether the rows of a table name their event."""
    return any(name in table for name in NUMBERS[2])


def numbered(table: Columns, event: Contents) -> Columns:
    """Return a table with those numbers of its event that it lacks, of one row if it has none."""
    rows = len(next(iter(table.values()), ("the row of a new table",)))
    lacking = {
        names[0]: np.full(rows, number, np.int32 if abs(number) < 1 << 31 else np.int64)
        for names, number in zip(NUMBERS, (event.run, event.subrun, event.ident), strict=True)
        if number is not None and not set(names) & set(table)
    }
    return {**lacking, **table}


def table_of(points: PointCloud) -> Columns:
    """Return points as a table, in cm."""
    position = dict(zip(AXES, (points.position / MM_PER_CM).T, strict=True))
    return position | {"q" if name == "charge" else name: values for name, values in points.columns.items()}


class Unnumbered:
    """Trees that name no events, and what they must keep to for their rows to be told apart again."""

    def __init__(self) -> None:
        self.shared: dict[str, Columns] | None = None  # those of the whole file
        self.rows: dict[str, int] = {}  # in the first event, of those that are not

    def checked(self, tables: dict[str, Columns], where: str) -> dict[str, Columns]:
        """Return those tables of the next event that are to be written; raises DataError where rows would mix."""
        unnamed = {name: table for name, table in tables.items() if not names_events(table)}
        shared = {name: table for name, table in unnamed.items() if name.rpartition("/")[2] in OF_ALL_EVENTS}
        rows = {name: len(next(iter(table.values()), ())) for name, table in unnamed.items() if name not in shared}
        if self.shared is None:
            self.shared, self.rows = shared, rows
            return tables
        if not same_tables(shared, self.shared):
            raise DataError(f"{where}: {' and '.join(OF_ALL_EVENTS)} are of all events, but differ from those before")
        for name in {**self.rows, **rows}:
            if not self.rows.get(name, 0) == rows.get(name, 0) <= 1:
                raise DataError(
                    f"{where}: rows of tree '{name}' would mix with those of other events; add eventNo to it"
                )
        return {name: table for name, table in tables.items() if name not in shared}


def same_tables(some: Mapping[str, Columns], others: Mapping[str, Columns]) -> bool:
    """Tell whether tables hold the same."""
    return some.keys() == others.keys() and all(
        table.keys() == others[name].keys() and all(ak.array_equal(table[key], others[name][key]) for key in table)
        for name, table in some.items()
    )


FORMAT = Format(
    name="prototype",
    title="the Wire-Cell prototype, UbooneMagnifyTrackingVisitor and UbooneTaggerOutputVisitor",
    kinds=("tables", "points"),
    suffixes=(".root",),
    recognises=lambda peek: peek.container == "root" and any(is_known(name) for name in peek.names),
    read=read,
    write=write,
    loses="vector branches become arrays with a count, and lists of lists two columns that only this reader joins; "
    "points also come back as a table, without edges; an event without Trun gets one",
)


def is_known(name: str) -> bool:
    """Tell whether a key, with its cycle or without, is of a tree or folder that this format is known by."""
    return name.partition(";")[0].partition("/")[0] in (*TREES, FOLDER)
