"""Tensors: arrays with metadata, the parts that Wire-Cell's tensor data model builds everything else from."""

import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data import container
from wirecell_ml.data.container import brief
from wirecell_ml.errors import DataError


@dataclass(frozen=True)
class Tensor:
    """An array, if there is one, and what is said of it; ``metadata`` names its ``datatype`` and ``datapath``."""

    metadata: Mapping[str, Any]  # as JSON holds it
    array: NDArray[Any] | None = None

    @property
    def datatype(self) -> object:
        """What the tensor is in the data model; None where its metadata do not say."""
        return self.metadata.get("datatype")


Tensors = Mapping[str, Tensor]  # by datapath
Part = TypeVar("Part")


def made(path: str, datatype: str, array: NDArray[Any] | None = None, **more: object) -> dict[str, Tensor]:
    """Return one new tensor by its datapath."""
    return {path: Tensor({"datapath": path, "datatype": datatype, **more}, array)}


def joined(parts: Iterable[Tensors]) -> dict[str, Tensor]:
    """Return the tensors of all ``parts``; raises DataError where two have one datapath."""
    whole: dict[str, Tensor] = {}
    for part in parts:
        if both := whole.keys() & part.keys():
            raise DataError(f"two tensors would have the datapath {quoted(min(both))}; give them other names")
        whole |= part
    return whole


def paths_of(tensors: Tensors, *datatypes: str) -> list[str]:
    """Return the datapaths of all tensors of some datatypes, in their order."""
    return [path for path, tensor in tensors.items() if tensor.datatype in datatypes]


def referred(tensors: Tensors, path: str, by: str, *datatypes: str) -> Tensor:
    """Return the tensor that the one at ``by`` refers to; raises DataError where it is missing or something else.

    As every datatype refers to others than its own, no chain of references has a cycle.
    """
    tensor = tensors.get(path)
    if tensor is None:
        raise DataError(f"tensor {quoted(by)} refers to {quoted(path)}, which is missing; write both to one set")
    if tensor.datatype not in datatypes:
        told = f"of datatype {quoted(tensor.datatype)}; expected {' or '.join(datatypes)}"
        raise DataError(f"tensor {quoted(by)} refers to {quoted(path)}, which is {told}")
    return tensor


def array_at(tensors: Tensors, path: str, by: str, datatype: str) -> NDArray[Any]:
    """Return the array of the tensor that the one at ``by`` refers to; raises DataError where there is none."""
    array = referred(tensors, path, by, datatype).array
    if array is None:
        raise DataError(f"tensor {quoted(path)} has no array; a '{datatype}' is one")
    return array


def reference(tensors: Tensors, path: str, key: str) -> str:
    """Return the datapath that the metadata of the tensor at ``path`` give as ``key``."""
    value = tensors[path].metadata.get(key)
    if not isinstance(value, str):
        raise DataError(f"tensor {quoted(path)}: '{key}' is {quoted(value)}; expected a datapath")
    return value


def references(tensors: Tensors, path: str, key: str) -> Mapping[str, str]:
    """Return the datapaths that the metadata of the tensor at ``path`` give as ``key``, by name."""
    value = tensors[path].metadata.get(key)
    if not isinstance(value, Mapping) or not all(isinstance(one, str) for one in value.values()):
        raise DataError(f"tensor {quoted(path)}: '{key}' is {quoted(value)}; expected datapaths by name")
    if len(set(value.values())) < len(value):
        raise DataError(f"tensor {quoted(path)}: a datapath comes twice in '{key}'; refer to each tensor once")
    return value


def listed(tensors: Tensors, path: str, key: str) -> list[str]:
    """Return the datapaths that the metadata of the tensor at ``path`` list as ``key``; none if they have no such."""
    value = tensors[path].metadata.get(key) or []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise DataError(f"tensor {quoted(path)}: '{key}' is {quoted(value)}; expected a list of datapaths")
    if len(set(value)) < len(value):
        raise DataError(f"tensor {quoted(path)}: a datapath comes twice in '{key}'; refer to each tensor once")
    return value


def bounded(parts: Iterable[tuple[str, Part]], size: Callable[[Part], int]) -> dict[str, Part]:
    """Return what is made of tensors by name; raises DataError where it has more bytes than a file may hold.

    Many small tensors may refer to one that is large, and each may ask for a copy of it.
    """
    held, room = {}, container.MOST_BYTES
    for path, part in parts:
        held[path] = part
        room -= size(part)
        if room < 0:
            raise DataError(f"tensor {quoted(path)}: with it, there is more than the tensors of an event may make")
    return held


def quoted(thing: object) -> str:
    """Return what a stranger wrote, however long and deep, on one line that is not too long."""
    text = repr(thing) if isinstance(thing, str) else reprlib.repr(thing)
    return brief(text.encode("ascii", "backslashreplace").decode())


def as_int32(values: NDArray[Any], where: str) -> NDArray[np.int32]:
    """Return whole numbers as what Wire-Cell takes them for without asking; raises DataError for larger ones."""
    held = values.astype(np.int32) if values.dtype.kind in "iu" else np.zeros(0, np.int32)
    if not np.array_equal(held, values):
        raise DataError(f"{where}: a number does not fit in 32 bits")
    return held
