"""NuGraph's graph files (``.gnn.h5``): one graph of hits per event, ready to be learned from.

A graph is one record, ``dataset/<sample>``, with a field ``<store>/<attribute>`` of fixed shape for each array: stores
of nodes (``hit``, ``sp``, ``evt``) and of edges, whose three names are joined by ``_`` (``hit_delaunay_hit``).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.container import brief
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.hdf5_access import created, dataset, names, opened, subgroup, values
from wirecell_ml.data.hdf5_text import TEXT, Text, can_be_written, is_text
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

GRAPHS, SPLITS, SIZES, NORM = "dataset", "samples", "datasize", "norm"  # groups
OF_FILE = ("planes", "semantic_classes", "event_classes", "gen")  # datasets
EDGES = "edge_index"
OF_SAMPLE = ("sample", "split", "datasize")  # arrays that say where a graph is in the file
KINDS = "biuf"
PART = r"[^/\0]+"  # of a name


def read(source: Source) -> Iterator[Contents]:
    """Yield the graphs of a file in its order: ``tables[store][attribute]``, a number or an array.

    Nodes ``hit`` have ``pos``, ``x``, ``plane``, ``id``, ``y_semantic`` (-1: background), ``y_instance``; edges have
    ``edge_index`` (2, edge). In ``arrays``: the ``sample``'s name, its ``split`` (train, validation or test) and
    ``datasize`` (bytes), where it has such, and what holds for all of the file: ``planes``, ``semantic_classes``,
    ``event_classes``, ``gen`` and ``norm/<store>``. Raises DataError for records of anything but numbers.
    """
    with opened(source) as file, source.opened() as stream:
        where = str(source)
        shared, places = of_file(file, stream, where), places_of(file, stream, where)
        graphs = subgroup(file, GRAPHS, where)
        for number, name in enumerate(names(graphs)):
            stores = stores_of(dataset(graphs, name, where, kinds="V"), f"{where}: {brief(name)!r}")
            ident, run, subrun = numbers_of(name, stores, number)
            arrays = {"sample": np.array(name, TEXT), **shared}
            split, size = places.get(name, (None, None))
            arrays |= {"split": np.array(split, TEXT)} if split else {}
            arrays |= {"datasize": np.array(size)} if size is not None else {}
            yield Contents(ident, run, subrun, tables=stores, arrays=arrays)


def of_file(file: h5py.File, stream: IO[bytes], where: str) -> dict[str, NDArray[Any]]:
    """Return what holds for all graphs of a file: names of planes and classes, generation, and norms."""
    held = {name: list_of(file, name, stream, where) for name in OF_FILE if name in set(file)}
    norms = parts_of(file, NORM, where)
    return held | {f"{NORM}/{name}": values(file[NORM], name, where) for name in norms}


def parts_of(file: h5py.File, group: str, where: str) -> list[str]:
    """Return the names in a group, none if there is no such group."""
    return list(names(subgroup(file, group, where))) if group in set(file) else []


def list_of(group: h5py.Group, name: str, stream: IO[bytes], where: str) -> NDArray[Any]:
    """Return a dataset of names or numbers."""
    held = dataset(group, name, where, kinds=f"{KINDS}SO")
    if held.dtype.kind in KINDS:
        return values(group, name, where)
    if held.ndim == 1 and is_text(held):
        return Text(held, stream, f"{where}: {name}").rows()
    if held.ndim == 1 and held.dtype.kind == "S":
        return np.char.decode(held[()], "utf-8").astype(TEXT)
    raise DataError(f"{where}: {name} has shape {held.shape} of {held.dtype}; expected a list of names or numbers")


def places_of(file: h5py.File, stream: IO[bytes], where: str) -> dict[str, tuple[str, Any]]:
    """Return the split of each sample that has one, and its size where that is known, by the sample's name."""
    places: dict[str, tuple[str, Any]] = {}
    sizes = parts_of(file, SIZES, where)
    for split in parts_of(file, SPLITS, where):
        samples = list_of(file[SPLITS], split, stream, where)
        counts = values(file[SIZES], split, where) if split in sizes else np.full(len(samples), None)
        if samples.dtype != TEXT or counts.shape != samples.shape:
            raise DataError(
                f"{where}: {SIZES}/{split} has shape {counts.shape}; expected one size of each sample's name"
            )
        places |= {name: (split, count) for name, count in zip(samples.tolist(), counts, strict=True)}
    return places


def stores_of(record: h5py.Dataset, where: str) -> dict[str, dict[str, NDArray[Any]]]:
    """Return the arrays of a graph by store and attribute; the number that stands for no edges becomes (2, 0)."""
    if record.shape != ():
        raise DataError(f"{where} has shape {record.shape}; expected one record")
    held = record[()]
    stores: dict[str, dict[str, NDArray[Any]]] = {}
    for name, field in held.dtype.fields.items():
        store, attribute = store_and_attribute(name, where)
        kind = field[0].base
        if kind.kind not in KINDS:
            raise DataError(f"{where}: field {brief(name)!a} holds {brief(kind)}; expected numbers")
        array = np.array(held[name], kind.newbyteorder("="))
        no_edges = attribute == EDGES and array.ndim == 0  # HDF5 has no record with an empty array
        stores.setdefault(store, {})[attribute] = np.zeros((2, 0), array.dtype) if no_edges else array
    return stores


def store_and_attribute(name: str, where: str) -> tuple[str, str]:
    """Return the two parts of the name of a field."""
    match = re.fullmatch(f"({PART})/({PART})", name)
    if not match:
        raise DataError(f"{where}: a field has the name {brief(name)!a}; expected '<store>/<attribute>'")
    return match[1], match[2]


def numbers_of(name: str, stores: Mapping[str, Mapping[str, Any]], number: int) -> tuple[int, int | None, int | None]:
    """Return event, run and subrun: of the store ``metadata``, else of the sample's name, else ``number`` and None."""
    told = stores.get("metadata", {})
    if all(key in told and told[key].size == 1 and told[key].dtype.kind in "iu" for key in ("run", "subrun", "event")):
        return int(told["event"].item()), int(told["run"].item()), int(told["subrun"].item())
    digits = [int(one) for one in re.findall(r"[0-9]{1,18}", name)]
    if len(digits) > 2:  # r1_sr2_evt3, 1_2_3 or 1_2_rec-lab-apa0-3
        return digits[-1], digits[0], digits[1]
    return digits[-1] if digits else number, None, None


def write(path: Path, events: Iterable[Contents]) -> None:
    """Write graphs as they come; the file appears whole or not at all.

    A graph without the name of a ``sample`` has one made of its numbers. Raises DataError where an event has anything
    but ``tables`` of numbers and the ``arrays`` that ``read`` gives, where those of the whole file differ between
    events, where a sample's name comes twice, and where an array is empty and is no ``edge_index``.
    """
    shared: dict[str, NDArray[Any]] | None = None
    places: dict[str, list[tuple[str, Any]]] = {split: [] for split in ("train", "validation", "test")}
    with created(path) as file:
        graphs = file.create_group(GRAPHS, track_order=True)
        for number, event in enumerate(events):
            name, where = name_of(event), f"{path}: event {event.ident}"
            own = {key: array for key, array in event.arrays.items() if key not in OF_SAMPLE}
            if shared is not None and not equal(own, shared):
                raise DataError(
                    f"{where} has other {brief(', '.join(own))} than the events before; a file has one of each"
                )
            told = numbers_of(name, event.tables, number)
            if not re.fullmatch(PART, name) or name in graphs or told != (event.ident, event.run, event.subrun):
                raise DataError(f"{where}: its sample's name {brief(name)!a} comes twice or tells of another event")
            try:
                graphs.create_dataset(name, data=record_of(event, where))
            except (TypeError, ValueError, RuntimeError) as error:  # HDF5 describes no record in more than 64 KiB
                raise DataError(f"{where} cannot be written as one record ({brief(error)})") from error
            if "split" in event.arrays or "datasize" in event.arrays:
                split = str(event.arrays.get("split", ""))
                places.setdefault(split, []).append((name, event.arrays.get("datasize")))
            shared = own
        write_lists(file, shared or {}, places, str(path))


def name_of(event: Contents) -> str:
    """Return the name of an event's sample, made of its numbers where it has none."""
    if "sample" in event.arrays:
        return str(event.arrays["sample"])
    return f"evt{event.ident}" if event.run is None else f"r{event.run}_sr{event.subrun}_evt{event.ident}"


def equal(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> bool:
    """Tell whether two sets of arrays are the same."""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def record_of(event: Contents, where: str) -> NDArray[Any]:
    """Return the record, of shape (), that holds a graph."""
    if set(event.kinds()) - set(FORMAT.kinds) or not event.tables or not all(event.tables.values()):
        raise DataError(f"{where} has {', '.join(event.kinds()) or 'nothing'}; expected tables, none of them empty")
    held = {f"{store}/{name}": array for store, arrays in event.tables.items() for name, array in arrays.items()}
    fields: list[tuple[Any, ...]] = []
    for key, array in held.items():
        _, attribute = store_and_attribute(key, where)
        if not isinstance(array, np.ndarray) or array.dtype.kind not in KINDS:
            raise DataError(f"{where}: {key} is {brief(array)}; expected an array of numbers")
        no_edges = attribute == EDGES and array.shape == (2, 0)
        if (not array.size and not no_edges) or (attribute == EDGES and array.ndim == 0):
            raise DataError(f"{where}: {key} has shape {array.shape}; only {EDGES} can be empty, (2, 0)")
        fields.append((key, array.dtype, array.shape) if array.size else (key, array.dtype))
    record = np.zeros((), fields)
    for key, array in held.items():
        record[key] = array if array.size else 0
    return record


def write_lists(
    file: h5py.File, shared: Mapping[str, NDArray[Any]], places: Mapping[str, list[tuple[str, Any]]], where: str
) -> None:
    """Write what holds for the whole file, and the samples of each split."""
    for key, array in shared.items():
        text = can_be_written(array) if array.dtype.kind == "T" else False
        if not re.fullmatch(rf"{'|'.join(OF_FILE)}|{NORM}/{PART}", key) or not (text or array.dtype.kind in KINDS):
            raise DataError(
                f"{where}: array {brief(key)!a} of {array.dtype}; known are {', '.join(OF_FILE)}, {NORM}/..."
            )
        file.create_dataset(
            key, data=array.astype(object) if text else array, dtype=h5py.string_dtype() if text else None
        )
    for split, held in places.items():
        sizes = [size for _, size in held if size is not None]
        if len(sizes) not in (0, len(held)) or not re.fullmatch(PART, split):
            raise DataError(
                f"{where}: {len(sizes)} of {len(held)} samples of split {split!r} have a datasize; expected all"
            )
        file.create_dataset(f"{SPLITS}/{split}", data=[name for name, _ in held], dtype=h5py.string_dtype())
        if sizes:
            file.create_dataset(f"{SIZES}/{split}", data=np.stack(sizes))


def recognises(peek: Peek) -> bool:
    """Tell a file by its groups and lists."""
    return peek.container == "hdf5" and GRAPHS in peek.names and not {*OF_FILE, SPLITS}.isdisjoint(peek.names)


FORMAT = Format(
    name="nugraph",
    title="NuGraph",
    kinds=("tables", "arrays"),
    suffixes=(".gnn.h5", ".h5"),
    recognises=recognises,
    read=read,
    write=write,
    loses="the order of the samples in a split",
)
