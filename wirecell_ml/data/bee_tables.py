"""What Bee shows besides points, as tables: dead areas, flashes of light, and trees of particles."""

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import awkward as ak
import numpy as np

from wirecell_ml.data.bee_columns import Columns, as_list, columns_in, in_cm, in_mm, list_of, ragged_in, rows_of
from wirecell_ml.data.container import brief
from wirecell_ml.data.json_fields import each, inside, integers, known_numbers, name, objects_in, vectors
from wirecell_ml.errors import DataError

OF_FLASHES = ("op_peTotal", "op_pes", "op_pes_pred", "op_cluster_ids", "op_flash_group", "op_t1")  # if they are there
ENDS = {end: tuple(f"{end}_{axis}" for axis in "xyz") for end in ("start", "end")}
TRAJECTORY = ("traj_x", "traj_y", "traj_z")


def table_in(held: Any, where: str) -> Columns:
    """Return the table that parsed JSON is; raises DataError where it is nothing that Bee shows."""
    if isinstance(held, dict) and "op_t" in held:
        return flashes_in(held, where)
    if isinstance(held, dict) and "polygons" in held:
        return areas_in(inside(held, "polygons", list, where), held.get("tpc"), where)
    if isinstance(held, list):
        return particles_in(held, where) if held and isinstance(held[0], dict) else areas_in(held, None, where)
    known = "points (x, y, z), flashes (op_t), dead areas (polygons) or particles"
    raise DataError(
        f"{where}: has {brief(', '.join(map(ascii, held)) if isinstance(held, dict) else held)}; not {known}"
    )


def flashes_in(held: Mapping[str, Any], where: str) -> Columns:
    """Return a table of flashes: all lists of an object that are as long as its times ``op_t``."""
    length = len(list_of(held["op_t"], f"{where}: op_t"))
    columns = columns_in(held, length, where) | ragged_in(held, length, where)
    if missing := [key for key in OF_FLASHES if key in held and key not in columns]:
        raise DataError(f"{where}: {missing[0]} is not a number or a list of numbers for each of {length} flashes")
    return columns


def areas_in(polygons: list[Any], tpc: Any, where: str) -> Columns:
    """Return a table of dead areas: the corners of each, y and z in mm."""
    if not set(map(type, polygons)) <= {list}:
        raise DataError(f"{where}: a dead area that is no list of corners")
    corners = list(chain.from_iterable(polygons))
    if not set(map(type, corners)) <= {list} or not set(map(len, corners)) <= {2}:
        raise DataError(f"{where}: a corner of a dead area that is not [y, z]")
    y, z = in_mm(known_numbers(list(chain.from_iterable(corners)), where).reshape(-1, 2)).T
    table: Columns = {"y": rows_of(y, polygons), "z": rows_of(z, polygons)}
    return table if tpc is None else table | {"tpc": integers([tpc] * len(polygons), f"{where}: tpc")}


def particles_in(held: list[Any], where: str) -> Columns:
    """Return a table of particles, each after its parent, from trees of them."""
    nodes: list[dict[str, Any]] = []
    parents: list[int] = []
    waiting = [(node, -1) for node in reversed(objects_in(held, where))]
    while waiting:
        node, parent = waiting.pop()
        children = objects_in(node.get("children") or [], f"{where}: children")
        waiting += [(child, len(nodes)) for child in reversed(children)]
        nodes.append(node)
        parents.append(parent)
    data = objects_in([node.get("data") or {} for node in nodes], f"{where}: data")
    table: Columns = {
        "id": integers(each(nodes, "id", where), f"{where}: id"),
        "parent": np.array(parents, np.int64),
        "text": np.array([name(node, "text", where) for node in nodes]),
    }
    for end, columns in ENDS.items():
        table |= zip(columns, in_mm(vectors(data, end, where)).T, strict=True)
    for key in TRAJECTORY if any(key in row for row in data for key in TRAJECTORY) else ():
        lists = [list_of(row.get(key, []), f"{where}: {key}") for row in data]
        table[key] = rows_of(in_mm(known_numbers(list(chain.from_iterable(lists)), where)), lists)
    return table


def table_object(table: Mapping[str, Any], where: str) -> Any:
    """Return what JSON holds of a table; None where Bee shows no such thing."""
    for keys, make in MAKERS.items():
        if set(keys) <= table.keys():
            return make(table, where)
    return None


def flashes_object(table: Mapping[str, Any], where: str) -> Any:
    """Return an object with a list for each column of flashes."""
    return {key: as_list(values, f"{where}: {key}") for key, values in table.items()}


def areas_object(table: Mapping[str, Any], where: str) -> Any:
    """Return dead areas as lists of corners, in an object with their TPC where that is known."""
    y, z = (as_list(length_in_cm(table[key]), f"{where}: {key}") for key in ("y", "z"))
    try:
        polygons = [[list(corner) for corner in zip(*area, strict=True)] for area in zip(y, z, strict=True)]
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: y and z are not lists of as many corners for each dead area") from error
    if not len(table.get("tpc", ())):
        return polygons
    tpcs = set(as_list(table["tpc"], f"{where}: tpc"))
    if len(tpcs) > 1:
        raise DataError(f"{where}: dead areas of TPC {brief(sorted(tpcs))}; give each TPC a table")
    return {"version": 2, "tpc": tpcs.pop(), "polygons": polygons}


def length_in_cm(lengths: Any) -> Any:
    """Return lengths of mm in cm, in rows or not."""
    if not isinstance(lengths, ak.Array):
        return in_cm(np.asarray(lengths))
    counts = ak.to_numpy(ak.num(lengths)) if lengths.ndim > 1 else None
    flat = in_cm(ak.to_numpy(ak.flatten(lengths, axis=None)))
    return flat if counts is None else ak.unflatten(flat, counts)


def particles_object(table: Mapping[str, Any], where: str) -> Any:
    """Return particles as trees."""
    columns = {key: as_list(table[key], f"{where}: {key}") for key in ("id", "parent", "text")}
    nodes: list[dict[str, Any]] = []
    roots: list[dict[str, Any]] = []
    data = particle_data(table, len(columns["id"]), where)
    for row, parent in enumerate(columns["parent"]):
        if not (isinstance(parent, int) and -1 <= parent < row):
            raise DataError(f"{where}: particle {row} has parent {parent!r}; expected a row before it, or -1")
        nodes.append({"id": columns["id"][row], "text": columns["text"][row], "data": data[row], "children": []})
        (roots if parent < 0 else nodes[parent]["children"]).append(nodes[row])
    return roots


def particle_data(table: Mapping[str, Any], length: int, where: str) -> list[dict[str, Any]]:
    """Return what is said of each particle: its ends and its trajectory, where they are known, in cm."""
    rows: list[dict[str, Any]] = [{} for _ in range(length)]
    for end, names in ENDS.items():
        if set(names) <= table.keys():
            places = np.stack([in_cm(np.asarray(table[key], np.float64)) for key in names], axis=1)
            for row, place in zip(rows, places, strict=True):
                if not np.isnan(place).all():
                    row[end] = as_list(place, f"{where}: {end}")
    for key in TRAJECTORY:
        if key in table:
            for row, lengths in zip(rows, as_list(length_in_cm(table[key]), f"{where}: {key}"), strict=True):
                row[key] = lengths
    return rows


MAKERS: dict[tuple[str, ...], Callable[[Mapping[str, Any], str], Any]] = {  # by the columns that tell a table
    ("op_t",): flashes_object,
    ("id", "parent", "text"): particles_object,
    ("y", "z"): areas_object,
}
