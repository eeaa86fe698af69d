"""Bee files: what the event display Bee shows, points by algorithm above all (wire-cell-toolkit, util/src/Bee.cxx).

An event is a run of members ``data/<number>/<number>-<algorithm>.json`` of a zip; a file may also be one such object.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from wirecell_ml.data import container, json_source
from wirecell_ml.data.bee_columns import as_list, columns_in, in_cm, in_mm, list_of
from wirecell_ml.data.bee_tables import table_in, table_object
from wirecell_ml.data.container import brief
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek, check_event
from wirecell_ml.data.json_fields import known_numbers
from wirecell_ml.data.points import PointCloud
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

MEMBER = re.compile(r"data/([0-9]{1,18})/\1-([ -.0-~]+)\.json")  # names are printable ASCII without /
BARE = re.compile(r"([0-9]{1,18})-(.+)\.json")
NUMBERS = RUN, SUBRUN, EVENT = ("runNo", "subRunNo", "eventNo")
OF_POINTS = {"q", "cluster_id", "real_cluster_id"}  # if they are there
AXES = ("x", "y", "z")
TELLING = {"geom", "cluster_id", "real_cluster_id", "op_t", "polygons", *NUMBERS}  # keys that no other JSON has


class Part(NamedTuple):
    """A member that is an object to show, not read yet."""

    number: int
    name: str
    member: container.Member


def read(source: Source) -> Iterator[Contents]:
    """Yield the events of a file one at a time, points and tables by algorithm.

    The ident is ``eventNo``, as are ``runNo`` and ``subRunNo`` those of the first object that has it; it is the number
    in the names of members where no object has it, or an event before has the same. Points are in mm and have ``q`` as
    ``charge``, other lists of their length as columns, and the rest (geom, type) as attributes. Dead areas become a
    table with the corners ``y``, ``z`` of each, in mm, and ``tpc`` if known; flashes one of all lists as long as
    ``op_t``; a particle tree one with the row of the ``parent`` (-1: none), start, end and trajectory in mm.
    Raises DataError at the first thing that is wrong.
    """
    if json_source.is_json_file(source):
        yield bare_event(source)
        return
    numbers: set[int] = set()
    seen: set[int] = set()
    for number, parts in groupby(bee_parts(source), key=lambda part: part.number):
        where = f"{source}: event {number}"
        if number in numbers:
            raise DataError(f"{where} comes twice; the members of one event must follow one another")
        numbers.add(number)
        event = event_of(number, objects_of(parts, json_source.most_bytes(source)))
        if event.ident in seen:
            event = replace(event, ident=number)
        if event.ident in seen:
            raise DataError(f"{where}: an event before has this number as {EVENT}; number events differently")
        seen.add(event.ident)
        yield event
    if not seen:
        raise DataError(f"{source}: nothing of Bee in it; expected 'data/<number>/<number>-<algorithm>.json'")


def bare_event(source: Source) -> Contents:
    """Return the event in a JSON file, whose name tells the number and the algorithm if it is that of a member."""
    match = BARE.fullmatch(source.name)
    number, name = (int(match[1]), match[2]) if match else (0, source.name.partition(".")[0])
    return event_of(number, {name: (json_source.read_json(source), str(source))})


def bee_parts(source: Source) -> Iterator[Part]:
    """Yield the members of an archive that are to be shown."""
    for member in container.members(source):
        if match := MEMBER.fullmatch(member.name):
            yield Part(int(match[1]), match[2], member)


def objects_of(parts: Iterable[Part], room: int) -> dict[str, tuple[Any, str]]:
    """Return the objects of one event by name, each with the place where it is; they take ``room`` bytes at most."""
    objects: dict[str, tuple[Any, str]] = {}
    for part in parts:
        if part.name in objects:
            raise DataError(f"{part.member.where} comes twice; write it once")
        text = part.member.content(room)
        room -= len(text)
        objects[part.name] = json_source.parsed(text, part.member.where), part.member.where
    return objects


def event_of(number: int, objects: Mapping[str, tuple[Any, str]]) -> Contents:
    """Return the event that objects make, which come by name, each with the place where it is."""
    numbers: dict[str, int] = {}
    points: dict[str, PointCloud] = {}
    tables: dict[str, Mapping[str, Any]] = {}
    for name, (held, place) in objects.items():
        if isinstance(held, dict):
            for key in NUMBERS:
                if key in held:
                    numbers.setdefault(key, number_in(held[key], f"{place}: {key}"))
        if isinstance(held, dict) and set(AXES) <= held.keys():
            points[name] = points_in(held, place)
        else:
            tables[name] = table_in(held, place)
    return Contents(numbers.get(EVENT, number), numbers.get(RUN), numbers.get(SUBRUN), points=points, tables=tables)


def number_in(value: Any, where: str) -> int:
    """Return a whole number, which may be written as text."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
        return int(value)
    if type(value) is not int or abs(value) >= 10**18:
        raise DataError(f"{where} is {brief(ascii(value))}; expected a whole number")
    return value


def points_in(held: Mapping[str, Any], where: str) -> PointCloud:
    """Return the points of an object."""
    axes = [known_numbers(list_of(held[axis], f"{where}: {axis}"), f"{where}: {axis}") for axis in AXES]
    if len({len(axis) for axis in axes}) > 1:
        raise DataError(f"{where}: {', '.join(str(len(axis)) for axis in axes)} values of x, y, z; expected as many")
    rest = {key: value for key, value in held.items() if key not in (*AXES, *NUMBERS)}
    columns = columns_in(rest, len(axes[0]), where)
    attributes = {key: value for key, value in rest.items() if key not in columns}
    if wrong := OF_POINTS & attributes.keys():
        raise DataError(f"{where}: {min(wrong)} is not a number for each of {len(axes[0])} points")
    named = {"charge" if key == "q" else key: values for key, values in columns.items()}
    return PointCloud(in_mm(np.stack(axes, axis=1)), named, attributes=attributes)


def write(path: Path, events: Iterable[Contents]) -> None:
    """Write events one at a time, numbered from 0 in the names of members, with their idents as ``eventNo``.

    Raises DataError for what JSON cannot hold: columns that are not one number or text for each point, infinite
    numbers, attributes that are no JSON; and for a name that is no printable ASCII without "/".
    """
    container.write_members(path, new_members(path, events))


def new_members(path: Path, events: Iterable[Contents]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each member that ``events`` need."""
    written: set[int] = set()
    for number, event in enumerate(events):
        check_event(event, FORMAT.kinds, written, str(path))
        objects = dict(objects_in(event, f"{path}: event {event.ident}"))
        if not objects:
            raise DataError(
                f"{path}: event {event.ident} has nothing that Bee shows, so that it could not be read back"
            )
        for name, held in objects.items():
            where = f"{path}: event {event.ident}, {brief(ascii(name))}"
            member = f"data/{number}/{number}-{name}.json"
            if not (match := MEMBER.fullmatch(member)) or match[2] != name:
                raise DataError(f"{where}: this name cannot be written; use printable ASCII without /")
            try:
                yield member, orjson.dumps(held)
            except TypeError as error:
                raise DataError(f"{where}: cannot be written as JSON ({brief(error)})") from error


def objects_in(event: Contents, where: str) -> Iterator[tuple[str, Any]]:
    """Yield name and object of what is shown of an event."""
    known = {RUN: event.run, SUBRUN: event.subrun, EVENT: event.ident}
    numbers = {key: str(value) for key, value in known.items() if value is not None}  # text, as Wire-Cell writes them
    if twice := event.points.keys() & event.tables.keys():
        raise DataError(f"{where}: points and a table are both called {brief(ascii(min(twice)))}; rename one")
    for name, cloud in event.points.items():
        yield name, numbers | points_object(cloud, f"{where}, {brief(ascii(name))}")
    geom = next((cloud.attributes["geom"] for cloud in event.points.values() if "geom" in cloud.attributes), None)
    about = numbers if geom is None else {**numbers, "geom": geom}
    for name, table in event.tables.items():
        held = table_object(table, f"{where}, {brief(ascii(name))}")
        if held is not None:
            yield name, about | held if isinstance(held, dict) else held


def points_object(cloud: PointCloud, where: str) -> dict[str, Any]:
    """Return what JSON holds of points, but the numbers of the event."""
    columns = {"q" if name == "charge" else name: values for name, values in cloud.columns.items()}
    keys = [*NUMBERS, *AXES, *columns, *cloud.attributes]
    if len(set(keys)) < len(keys) or len(columns) < len(cloud.columns):
        raise DataError(f"{where}: two columns or attributes would have one name, or one that Bee uses itself")
    axes = {
        axis: as_list(values, f"{where}: {axis}") for axis, values in zip(AXES, in_cm(cloud.position).T, strict=True)
    }
    return {**cloud.attributes, **axes, **{name: as_list(held, f"{where}: {name}") for name, held in columns.items()}}


def recognises(peek: Peek) -> bool:
    """Tell whether a file is an archive of Bee or an object for it."""
    if peek.container == "archive":
        return any(map(MEMBER.fullmatch, peek.names))
    names = set(peek.names)
    return peek.container == "json" and (bool(TELLING & names) or set(AXES) <= names or {"[].id", "[].text"} <= names)


FORMAT = Format(
    name="bee",
    title="Bee",
    kinds=("points", "tables"),
    suffixes=(".zip",),
    recognises=recognises,
    read=read,
    write=write,
    loses="edges of points, widths of numbers, the last bit of some positions, tables other than dead areas, flashes "
    "and particles, and the ident of an event that has only dead areas or particles",
)
