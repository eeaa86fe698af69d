"""Wire geometry: where the wires of a detector are and which channel reads each, as wire-cell-data keeps it in JSON."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.json_fields import each, inside, integer_column, integers, numbers
from wirecell_ml.data.json_source import read_json
from wirecell_ml.data.points import PointCloud
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

LISTS = {"Anode": "anodes", "Face": "faces", "Plane": "planes", "Wire": "wires", "Point": "points"}
LEVELS = ("Anode", "Face", "Plane", "Wire")  # each lists the rows of those of the next that it holds


def read(source: Source) -> Iterator[Contents]:
    """Yield one event with the point cloud "wires": the two ends of each wire, linked by an edge from tail to head.

    Columns are those of the wire, the same at both ends: plane, face, apa (-1 is none), channel, ident and segment.
    Raises DataError for what is no wire geometry.
    """
    store = inside(read_json(source), "Store", dict, str(source))
    objects = {
        kind: each(inside(store, key, list, str(source)), kind, f"{source}: {key}") for kind, key in LISTS.items()
    }
    columns = holders(source, objects)
    columns |= {
        key: integer_column(objects["Wire"], key, f"{source}: wires") for key in ("channel", "ident", "segment")
    }
    yield Contents(0, points={"wires": cloud(source, objects, columns)})


def holders(source: Source, objects: dict[str, list[Any]]) -> dict[str, NDArray[np.int64]]:
    """Return the idents of the plane, face and anode (APA) that each wire is in, (wire,)."""
    found: dict[str, NDArray[np.int64]] = {}  # by kind, for the objects of the level that is at hand
    for holder, held in zip(LEVELS, LEVELS[1:], strict=False):
        where = f"{source}: {LISTS[holder]}"
        lists = [integers(one, f"{where}: {LISTS[held]}") for one in each(objects[holder], LISTS[held], where)]
        rows = checked(np.concatenate([*lists, np.zeros(0, np.int64)]), objects[held], f"{where}: {LISTS[held]}")
        found[holder] = integer_column(objects[holder], "ident", where)
        of_row = np.repeat(np.arange(len(lists)), list(map(len, lists)))
        for kind, idents in found.items():
            found[kind] = np.full(len(objects[held]), -1)
            found[kind][rows] = idents[of_row]
    return {"plane": found["Plane"], "face": found["Face"], "apa": found["Anode"]}


def cloud(source: Source, objects: dict[str, list[Any]], columns: dict[str, NDArray[np.int64]]) -> PointCloud:
    """Return the ends of the wires, tail and head of each in turn."""
    where = f"{source}: points"
    places = np.stack([numbers(each(objects["Point"], axis, where), f"{where}: {axis}") for axis in "xyz"], axis=1)
    ends = [integer_column(objects["Wire"], end, f"{source}: wires") for end in ("tail", "head")]
    rows = checked(np.stack(ends, axis=1).ravel(), objects["Point"], f"{source}: wires: tail or head")
    return PointCloud(
        places[rows],
        {name: np.repeat(values, 2) for name, values in columns.items()},
        np.arange(len(rows)).reshape(-1, 2).T,
    )


def checked(rows: NDArray[np.int64], held: list[Any], where: str) -> NDArray[np.int64]:
    """Return rows that are all within a list."""
    if rows.size and not (rows.min() >= 0 and rows.max() < len(held)):
        raise DataError(f"{where}: leads to rows {rows.min()}..{rows.max()}, of {len(held)}")
    return rows


def recognises(peek: Peek) -> bool:
    """Tell whether a JSON object is a store of wires."""
    return peek.container == "json" and peek.names[:1] == ("Store",)


FORMAT = Format(
    name="wire geometry",
    title="wire-cell-data",
    kinds=("points",),
    suffixes=(".json", ".json.bz2"),
    recognises=recognises,
    read=read,
    write=None,
)
