"""Tensor files: what TensorFileSink writes (wire-cell-toolkit, sio/src/TensorFileSink.cxx), zip or tar.

An event is a run of members with one ident: ``<prefix>tensorset_<ident>_metadata.json``, and for each tensor, counted
from 0, ``<prefix>tensor_<ident>_<index>_metadata.json`` and, if it has an array, ``..._array.npy``.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data import container
from wirecell_ml.data.container import Member, brief
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format
from wirecell_ml.data.npy import npy_bytes, read_array
from wirecell_ml.data.source import Source
from wirecell_ml.data.tensor_frames import frames, masks
from wirecell_ml.data.tensor_model import clusters, point_clouds, tables
from wirecell_ml.data.tensor_writing import from_cluster, from_columns, from_frames, from_points
from wirecell_ml.data.tensors import Tensor, Tensors, joined, quoted
from wirecell_ml.errors import DataError

WHOLE_SET = ""  # the datapath, which no tensor can have, of what is said of the whole set, if anything is
SET = r".*tensorset_(?P<set>-?[0-9]{1,18})_metadata\.json"
TENSOR = r".*tensor_(?P<ident>-?[0-9]{1,18})_(?P<index>[0-9]{1,9})_(?P<kind>metadata\.json|array\.npy)"
MEMBER = re.compile(f"{SET}|{TENSOR}", re.DOTALL)
NUMBERS = "biufc"  # numpy's kinds of arrays: truth values, whole, real and complex numbers
MOST_METADATA = 1 << 24  # bytes of JSON in an event: the 15360 traces of six APAs, each its own tensor, take 5 MB

Value = TypeVar("Value")
Given = TypeVar("Given")


def read(source: Source) -> Iterator[Contents]:
    """Yield the events of a tensor file one at a time, tensors by datapath, or by number where they have none.

    What the tensors mean together, frames, masks, blob graphs, points and tables, is made when it is first looked into,
    and raises DataError then where the tensors do not fit together. What is said of the whole set is a tensor without
    array at the empty datapath. Raises DataError at the first thing in the file that is wrong.
    """
    found = False
    for ident, parts in container.by_event(tensor_parts(source), source):
        found = True
        yield event_of(ident, read_set(parts, f"{source}: event {ident}"), f"{source}: event {ident}")
    if not found:
        raise DataError(f"{source}: no tensors in it; expected '<prefix>tensor_<ident>_<index>_metadata.json'")


class Part(NamedTuple):
    """A member that is a part of a tensor, or what is said of the whole set."""

    ident: int
    number: int  # of the tensor; -1: the set
    is_array: bool
    member: Member


def tensor_parts(source: Source) -> Iterator[Part]:
    """Yield the members of an archive that belong to tensors."""
    for member in container.members(source):
        match = MEMBER.fullmatch(member.name)
        if match and match["set"]:
            yield Part(int(match["set"]), -1, False, member)
        elif match:
            yield Part(int(match["ident"]), int(match["index"]), match["kind"] == "array.npy", member)


def read_set(parts: Iterable[Part], where: str) -> dict[str, Tensor]:
    """Return the tensors of one event by datapath, in the order of their numbers."""
    metadata: dict[int, dict[str, Any]] = {}
    arrays: dict[int, NDArray[Any]] = {}
    room = {True: container.MOST_BYTES, False: MOST_METADATA}
    for part in parts:
        if part.number in (arrays if part.is_array else metadata):
            raise DataError(f"{part.member.where} comes twice; write it once")
        room[part.is_array] -= part.member.size
        if room[part.is_array] < 0:
            raise DataError(f"{part.member.where}: with it, the event has more bytes than are read at once")
        if part.is_array:
            arrays[part.number] = read_array(part.member, kinds=NUMBERS)
        else:
            metadata[part.number] = metadata_in(part.member)
    said = metadata.pop(-1, {})
    tensors = {WHOLE_SET: Tensor(said)} if said else {}
    for number in sorted(metadata.keys() | arrays.keys()):
        tensor = Tensor(metadata.get(number, {}), arrays.get(number))
        path = tensor.metadata.get("datapath", str(number))
        if not isinstance(tensor.metadata.get("datatype", ""), str):
            raise DataError(f"{where}: tensor {number} has the datatype {quoted(tensor.datatype)}; expected a name")
        if not isinstance(path, str) or not path or path in tensors:
            raise DataError(f"{where}: tensor {number} has the datapath {quoted(path)}; expected a name of its own")
        tensors[path] = tensor
    return tensors


def metadata_in(member: Member) -> dict[str, Any]:
    """Return the JSON object in a member, empty for null; raises DataError where it is none."""
    text = member.content(MOST_METADATA)
    try:
        held = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{member.where} is no JSON; write it again ({brief(error)})") from error
    if not isinstance(held, dict | None):
        raise DataError(f"{member.where} holds a {type(held).__name__}; expected a JSON object or null")
    return held or {}


def event_of(ident: int, tensors: Tensors, where: str) -> Contents:
    """Return the tensors of an event with what they mean together, which is made when it is first looked into."""
    return Contents(
        ident,
        frames=Later(partial(told, frames, tensors, where)),
        masks=Later(partial(told, masks, tensors, where)),
        blobs=Later(partial(told, clusters, tensors, where)),
        points=Later(partial(told, point_clouds, tensors, where)),
        tables=Later(partial(told, tables, tensors, where)),
        tensors=tensors,
    )


def told(make: Callable[[Given], Value], given: Given, where: str) -> Value:
    """Return what ``make`` makes of what is given; its errors say where that comes from."""
    try:
        return make(given)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


class Later(Mapping[str, Value]):
    """A mapping that is made when it is first looked into."""

    def __init__(self, make: Callable[[], Mapping[str, Value]]) -> None:
        self.make = make

    @cached_property
    def made(self) -> Mapping[str, Value]:
        """The mapping itself."""
        return self.make()

    def __getitem__(self, name: str) -> Value:
        return self.made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.made)

    def __len__(self) -> int:
        return len(self.made)


def write(path: Path, events: Iterable[Contents]) -> None:
    """Write the tensors of events one event at a time, or where one has none, those that its other contents make.

    Where an event has tensors, its frames, masks, blobs, points and tables are what these mean, and are not looked at.
    Raises DataError for what no tensor can hold, and for a datapath that is not that of the tensor's own metadata.
    """
    container.write_members(path, new_members(path, events))


def new_members(path: Path, events: Iterable[Contents]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each member that ``events`` need."""
    written: set[int] = set()
    for event in events:
        where = f"{path}: event {event.ident}"
        if event.ident in written or abs(event.ident) >= 10**18:
            raise DataError(f"{where} comes twice, or its number is too long; give each event once")
        written.add(event.ident)
        if event.depos is not None or event.arrays:
            raise DataError(f"{where} has depos or bare arrays; a tensor file holds {', '.join(FORMAT.kinds)}")
        yield from set_members(event.ident, told(tensors_of, event, where), where)


def tensors_of(event: Contents) -> Tensors:
    """Return the tensors of an event, or those that its frames, blob graphs, points and tables make."""
    if event.tensors:
        return event.tensors
    graphs = [from_cluster(graph, path, event.ident) for path, graph in event.blobs.items()]
    clouds = [from_points(cloud, path) for path, cloud in event.points.items()]
    columns = [from_columns(held, path) for path, held in event.tables.items()]
    return joined([from_frames(event.frames, event.masks, event.ident), *graphs, *clouds, *columns])


def set_members(ident: int, tensors: Tensors, where: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the members of one event."""
    whole = tensors.get(WHOLE_SET, Tensor({}))
    yield f"tensorset_{ident}_metadata.json", json_bytes(whole.metadata, where)
    for index, path in enumerate(path for path in tensors if path != WHOLE_SET):
        label, tensor = f"{where}: tensor {quoted(path)}", tensors[path]
        metadata = tensor.metadata if path == str(index) else {"datapath": path, **tensor.metadata}
        if metadata.get("datapath", path) != path:
            raise DataError(f"{label} has the datapath {quoted(metadata['datapath'])} in its metadata; make them one")
        yield f"tensor_{ident}_{index}_metadata.json", json_bytes(metadata, label)
        if tensor.array is not None:
            yield f"tensor_{ident}_{index}_array.npy", array_bytes(tensor.array, label)


def json_bytes(metadata: Mapping[str, Any], where: str) -> bytes:
    """Return metadata as JSON."""
    try:
        return json.dumps(dict(metadata)).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{where}: its metadata are no JSON ({brief(error)})") from error


def array_bytes(array: NDArray[Any], where: str) -> bytes:
    """Return the .npy content of an array, rows first and little endian, the only order that Wire-Cell reads."""
    if array.dtype.kind not in NUMBERS:
        raise DataError(f"{where}: an array of {brief(array.dtype)}; expected numbers")
    return npy_bytes(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape))


FORMAT = Format(
    name="tensor file",
    title="TensorFileSink",
    kinds=("tensors", "frames", "masks", "blobs", "points", "tables"),
    suffixes=container.SUFFIXES,
    recognises=lambda peek: peek.container == "archive" and any(map(MEMBER.fullmatch, peek.names)),
    read=read,
    write=write,
    loses="run and subrun numbers, the order of mask ranges, and the prefix of member names; "
    "a table with x, y and z becomes points, and samples of 8 bits have 16",
)
