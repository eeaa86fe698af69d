"""Field responses: the current that a drifting electron induces on a wire, along paths at many places beside it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.json_fields import column, each, inside, integer_column, numbers
from wirecell_ml.data.json_source import read_json
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

NAMES = ("U", "V", "W")  # of the planes 0, 1, 2
DRIFT = {  # columns of the table "drift" -> key, and unit of the file (mm, ns) in that of the column
    "period_ns": ("period", 1),
    "start_ns": ("tstart", 1),
    "origin_mm": ("origin", 1),  # along the drift, where paths start
    "speed_mm_per_us": ("speed", 1000),
}
PLANE = {"location_mm": "location", "pitch_mm": "pitch"}
PATH = {"pitch_mm": "pitchpos", "along_wire_mm": "wirepos"}


def read(source: Source) -> Iterator[Contents]:
    """Yield one event: for each plane the array "current <plane>" (path, sample), in electrons per ns of one electron.

    The tables "drift", "planes" and "paths <plane>" say what holds for all, for each plane, and where each path is.
    Raises DataError for what is no field response.
    """
    held = inside(read_json(source), "FieldResponse", dict, str(source))
    planes = each(inside(held, "planes", list, str(source)), "PlaneResponse", f"{source}: planes")
    idents = integer_column(planes, "planeid", f"{source}: planes")
    if len(set(idents.tolist())) < len(idents):
        raise DataError(f"{source}: planes {idents.tolist()}; each must come once")
    arrays: dict[str, NDArray[Any]] = {}
    tables: dict[str, dict[str, NDArray[Any]]] = {
        "drift": {title: unit * column([held], key, str(source)) for title, (key, unit) in DRIFT.items()},
        "planes": {"plane": idents} | {title: column(planes, key, f"{source}: planes") for title, key in PLANE.items()},
    }
    for ident, plane in zip(idents.tolist(), planes, strict=True):
        title = NAMES[ident] if 0 <= ident < len(NAMES) else str(ident)
        where = f"{source}: plane {title}"
        paths = each(inside(plane, "paths", list, where), "PathResponse", f"{where}: paths")
        arrays[f"current {title}"] = currents(paths, f"{where}: paths")
        tables[f"paths {title}"] = {name: column(paths, key, f"{where}: paths") for name, key in PATH.items()}
    yield Contents(0, tables=tables, arrays=arrays)


def currents(paths: list[Any], where: str) -> NDArray[np.float64]:
    """Return the current along each path, (path, sample)."""
    rows = [inside(inside(one, "current", dict, where), "array", dict, where) for one in paths]
    samples = [numbers(one, f"{where}: elements") for one in each(rows, "elements", where)]
    lengths = set(map(len, samples))
    if len(lengths) != 1:
        raise DataError(f"{where}: {len(samples)} with {sorted(lengths)[:5]} samples; expected the same number of each")
    return np.stack(samples)


def recognises(peek: Peek) -> bool:
    """Tell whether a JSON object is a field response."""
    return peek.container == "json" and peek.names[:1] == ("FieldResponse",)


FORMAT = Format(
    name="field response",
    title="wire-cell-data",
    kinds=("tables", "arrays"),
    suffixes=(".json", ".json.bz2"),
    recognises=recognises,
    read=read,
    write=None,
)
