"""ROOT files, written whole or not at all, their trees a batch of rows at a time."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from awkward.types import ListType, NumpyType, RegularType

from wirecell_ml.data.container import brief
from wirecell_ml.data.contents import Columns
from wirecell_ml.data.root_trees import BATCH_BYTES, FIRST_BYTES, FOLDER, GROWTH, NAME, SIZES
from wirecell_ml.errors import DataError

NUMBERS = {np.dtype(code) for code in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")}


@contextmanager
def new_file(path: Path) -> Iterator[Any]:
    """Open a ROOT file for writing, as uproot's folder of objects; it appears once all is written."""
    unfinished = path.with_name(path.name + ".partial")
    try:
        with unfinished.open("w+b") as stream, uproot.recreate(stream) as folder:
            yield folder
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


class TreeWriter:
    """Trees of one new file, whose rows are gathered until they make a basket worth writing."""

    def __init__(self, folder: Any) -> None:
        self.folder = folder
        self.trees: dict[str, Any] = {}  # uproot's, by name
        self.types: dict[str, dict[str, Any]] = {}  # of the columns of each tree
        self.gathered: dict[str, list[dict[str, Any]]] = {}
        self.size = 0  # bytes gathered
        self.most = FIRST_BYTES  # small first, so that the first event can be read without many others

    def add(self, name: str, columns: Columns, where: str) -> None:
        """Add rows to a tree; raises DataError for columns that it cannot hold or that the rows before had not."""
        if not NAME.fullmatch(name.removeprefix(f"{FOLDER}/")):
            raise DataError(f"{where} cannot be written: a name of a tree is letters, digits and _")
        parts = flat(columns, where)
        types = {column: type_of(part) for column, part in parts.items()}
        if name not in self.trees:
            self.trees[name], self.types[name] = self.folder.mktree(name, types), types
        if types != self.types[name]:
            raise DataError(f"{where} has columns {described(types)}, but before it had {described(self.types[name])}")
        self.gathered.setdefault(name, []).append(parts)
        self.size += sum(part.nbytes for part in parts.values())
        if self.size > self.most:
            self.flush()

    def flush(self) -> None:
        """Write the rows gathered."""
        for name, gathered in self.gathered.items():
            self.trees[name].extend({column: together([rows[column] for rows in gathered]) for column in gathered[0]})
        self.gathered, self.size = {}, 0
        self.most = min(self.most * GROWTH, BATCH_BYTES)


def flat(columns: Columns, where: str) -> dict[str, Any]:
    """Return columns as uproot can write them: numpy arrays of numbers, awkward arrays of text or lists of numbers."""
    parts: dict[str, Any] = {}
    for name, values in columns.items():
        if not NAME.fullmatch(name):
            raise DataError(f"{where}: column {name!a} cannot be written: a name is letters, digits and _")
        parts |= flat_column(name, values, f"{where}: column '{name}'")
    if taken := {name for name in columns if name.removesuffix(SIZES) in set(columns) - {name}}:
        raise DataError(f"{where}: column '{min(taken)}' is how lists of lists are written; rename it")
    counts = {f"n{name}" for name, part in parts.items() if isinstance(part, ak.Array)}
    if twice := counts & set(parts):
        raise DataError(
            f"{where}: column '{min(twice)}' is how ROOT calls the lengths of '{min(twice)[1:]}'; rename it"
        )
    lengths = {name: len(part) for name, part in parts.items()}
    if not parts or len(set(lengths.values())) > 1:
        raise DataError(f"{where} has columns of {lengths} rows; expected the same of each")
    return parts


def flat_column(name: str, values: Any, where: str) -> dict[str, Any]:
    """Return one column as the one or two that it is written as."""
    if isinstance(values, ak.Array):
        match lists_in(values):
            case "text", 0:
                return {name: ak.to_packed(values)}
            case "numbers", 0:
                values = ak.to_numpy(values)
            case "numbers", 1:
                return {name: ak.to_packed(values)}
            case "numbers", 2:
                sizes = ak.values_astype(ak.num(values, axis=2), np.int32)
                return {name: ak.to_packed(ak.flatten(values, axis=2)), name + SIZES: ak.to_packed(sizes)}
    if not isinstance(values, np.ndarray) or values.dtype.newbyteorder("=") not in NUMBERS or 0 in values.shape[1:]:
        raise DataError(
            f"{where} cannot be written; ROOT takes numbers, text, lists of numbers and lists of such lists"
        )
    return {name: np.asarray(values, values.dtype.newbyteorder("="))}


def lists_in(values: ak.Array) -> tuple[str, int]:
    """Return what an array holds, numbers, text or what is neither, and in how many lists within one another."""
    content, depth = values.type.content, 0
    while isinstance(content, ListType) and not content.parameters:
        content, depth = content.content, depth + 1
    if isinstance(content, ListType):
        return "text", depth
    while isinstance(content, RegularType) and not depth:
        content = content.content
    known = isinstance(content, NumpyType) and not content.parameters and np.dtype(content.primitive) in NUMBERS
    return ("numbers" if known else "neither"), depth


def type_of(part: Any) -> Any:
    """Return the type of a column as uproot takes it."""
    if isinstance(part, np.ndarray):
        return np.dtype((part.dtype, part.shape[1:]))
    return str(part.type.content)


def together(parts: list[Any]) -> Any:
    """Return arrays one after another."""
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else ak.concatenate(parts)


def described(types: Mapping[str, Any]) -> str:
    """Return the columns of a tree as an error shows them."""
    return brief(", ".join(f"{name}: {kind}" for name, kind in types.items()))
