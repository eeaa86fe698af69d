"""Generator truth: the particles that a simulation set off, as one JSON object of ident -> event."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.container import brief
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.json_fields import column, inside, name, number, objects_in, vectors
from wirecell_ml.data.json_source import read_json
from wirecell_ml.data.points import PointCloud
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

IDENT = re.compile(r"-?[0-9]{1,18}")
EVENT_KEY = re.compile(r"-?[0-9]{1,18}\.(category|particles)")
EVENT = {"depos": "ndepo", "charge": "qtot"}  # columns of an event's one row -> keys; charge in electrons
VECTORS = {"start": ("p0", "_mm"), "end": ("p1", "_mm"), "direction": ("dir", "")}  # three columns each, _x, _y, _z
NUMBERS = {  # columns of a particle -> keys
    "track_id": "tid",
    "time_ns": "t0",
    "length_mm": "length",
    "energy_mev": "E",
    "charge": "q",  # electrons
    "depos": "ndepo",
    "delta_rays": "ndelta",
    "ar39_decays": "n_ar39",  # of the one entry that stands for all small depositions
    "other_blips": "n_hi",
    **{f"theta_xz_{plane}_deg": f"thxz_{plane}" for plane in "uvw"},
    **{f"theta_y_{plane}_deg": f"thy_{plane}" for plane in "uvw"},
}


def read(source: Source) -> Iterator[Contents]:
    """Yield the particles of each event: a table, NaN where nothing is said, and a cloud of their ends.

    In the cloud an edge links start and end of a track; a shower is its start only. Raises DataError for what is no
    generator truth.
    """
    events = read_json(source)
    if not isinstance(events, dict):
        raise DataError(f"{source}: a JSON {type(events).__name__}; expected one object, ident -> event")
    for key, event in events.items():
        where = f"{source}: event {brief(key)!a}"
        if not IDENT.fullmatch(key):
            raise DataError(f"{where} has no number for its ident")
        yield contents_of(int(key), event, where)


def contents_of(ident: int, event: Any, where: str) -> Contents:
    """Return what is said of one event."""
    particles = objects_in(inside(event, "particles", list, where), f"{where}: particles")
    whole: dict[str, NDArray[Any]] = {"category": np.array([name(event, "category", where)])}
    whole |= {title: np.array([number(event, key, where)]) for title, key in EVENT.items()}
    table = particle_table(particles, where)
    return Contents(ident, points={"particles": ends(table)}, tables={"event": whole, "particles": table})


def particle_table(particles: list[dict[str, Any]], where: str) -> dict[str, NDArray[Any]]:
    """Return the columns of the particles, one row each."""
    table: dict[str, NDArray[Any]] = {"kind": np.array([name(one, "kind", where) for one in particles], np.str_)}
    for prefix, (key, unit) in VECTORS.items():
        values = vectors(particles, key, f"{where}: particles")
        table |= {f"{prefix}_{axis}{unit}": values[:, i] for i, axis in enumerate("xyz")}
    return table | {title: column(particles, key, f"{where}: particles") for title, key in NUMBERS.items()}


def ends(table: Mapping[str, NDArray[Any]]) -> PointCloud:
    """Return the starts of the particles, then the ends of those that have one, linked to their starts."""
    start, end = (np.stack([table[f"{name}_{axis}_mm"] for axis in "xyz"], axis=1) for name in ("start", "end"))
    begun = np.flatnonzero(np.isfinite(start).all(axis=1))
    ended = np.flatnonzero(np.isfinite(start).all(axis=1) & np.isfinite(end).all(axis=1))
    rows = np.concatenate([begun, ended])
    edges = np.stack([np.searchsorted(begun, ended), len(begun) + np.arange(len(ended))])
    columns = {"particle": rows, "time_ns": table["time_ns"][rows]}  # particle: the row in the table
    return PointCloud(np.concatenate([start[begun], end[ended]]), columns, edges)


def recognises(peek: Peek) -> bool:
    """Tell whether the first event of a JSON object has a category or particles."""
    return peek.container == "json" and any(EVENT_KEY.fullmatch(name) for name in peek.names)


FORMAT = Format(
    name="generator truth",
    title="depo generator",
    kinds=("points", "tables"),
    suffixes=(".json",),
    recognises=recognises,
    read=read,
    write=None,
)
