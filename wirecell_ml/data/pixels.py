"""Labelled pixels: frames that say of each pixel which particle made it, and files of those particles, in HDF5.

LArSoft's ``Labelling2D`` writes the frames as HDF5FrameTap does, a group per event, and ``TrackIDPIDMap2h5`` writes the
particles: tables ``mcpart`` (all that Geant4 tracked) and ``simchnl`` (those that ionized), a dataset per column.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np

from wirecell_ml.data.container import brief
from wirecell_ml.data.contents import Columns, Contents
from wirecell_ml.data.formats import Format, Peek, check_event
from wirecell_ml.data.hdf5 import frames_in, idents_in, put_frames
from wirecell_ml.data.hdf5_access import created, holds, names, opened, subgroup, values
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

CLASSES = ("Background", "Track", "Shower", "Michel", "DeltaRay", "Blip", "Other")  # by the number in a label frame
TABLES = ("mcpart", "simchnl")
OWN = re.compile(r"[0-9]+/(frame_(label|trackid|energyfrac)_(1st|2nd)|mcpart|simchnl)")


def read(source: Source) -> Iterator[Contents]:
    """Yield the events, idents ascending: frames by tag, and tables where the file has any.

    ``rebinned_reco`` is reconstructed and ``total_numelectrons`` true charge; ``trackid``, ``energyfrac`` and ``label``
    (int8) are of the particles that gave most (``_1st``) and second most (``_2nd``) of it. Times are as written: the
    period may be that of a tick, 500 ns, where a column is four. Tables are in cm, ns and GeV, ``energies`` in MeV; a
    negative track id is that of a shower's particle. Raises DataError for whatever is wrong.
    """
    with opened(source) as file:
        for ident in idents_in(file):
            group, where = subgroup(file, str(ident), str(source)), f"{source}: event {ident}"
            tables = {name: table_in(group, name, where) for name in TABLES if holds(group, name)}
            yield Contents(ident, frames=frames_in(group, where), tables=tables)


def table_in(group: h5py.Group, name: str, where: str) -> Columns:
    """Return the columns of a table, (particle,) or (particle, 4)."""
    table, where = subgroup(group, name, where), f"{where}: {name}"
    columns = {key: values(table, key, where) for key in names(table)}
    lengths = {column.shape[:1] for column in columns.values()}
    if len(lengths) > 1 or () in lengths:
        raise DataError(f"{where} has columns of shapes {lengths}; expected a row of each particle")
    return columns


def write(path: Path, events: Iterable[Contents]) -> None:
    """Write frames and tables, one event at a time; the file appears whole or not at all.

    Raises DataError for an event that comes twice or holds something else, and for names that cannot be written.
    """
    written: set[int] = set()
    with created(path) as file:
        for event in events:
            check_event(event, FORMAT.kinds, written, str(path))
            group, where = file.create_group(str(event.ident)), f"{path}: event {event.ident}"
            put_frames(group, event.frames, where)
            for name, columns in event.tables.items():
                if name not in TABLES:
                    raise DataError(f"{where}: no place for the table {brief(name)!a}; known are {', '.join(TABLES)}")
                put_table(group.create_group(name), columns, f"{where}: {name}")


def put_table(group: h5py.Group, columns: Columns, where: str) -> None:
    """Add the columns of a table to its group."""
    num_rows = {np.shape(column)[:1] for column in columns.values()}
    for key, column in columns.items():
        numeric = isinstance(column, np.ndarray) and column.dtype.kind in "biuf"
        if not numeric or not re.fullmatch(r"[^/\0]+", key) or key == "." or len(num_rows) > 1 or () in num_rows:
            raise DataError(
                f"{where}: column {brief(key)!a} is {brief(column)}; expected numbers, a row of each particle"
            )
        group.create_dataset(key, data=column)


def recognises(peek: Peek) -> bool:
    """Tell a file by what its first event holds besides frames of charge."""
    return peek.container == "hdf5" and any(map(OWN.fullmatch, peek.names))


FORMAT = Format(
    name="labelled pixels",
    title="Labelling2D",
    kinds=("frames", "tables"),
    suffixes=(".h5", ".hdf5"),
    recognises=recognises,
    read=read,
    write=write,
    loses="run and subrun numbers, and summaries of channels",
)
