"""Trees of ROOT files as tables of numbers, of text, of lists and of lists of lists, read a range of rows at a time.

uproot writes lists, but no lists of lists: such a column is written as two, ``<name>``, all its numbers, and
``<name>_sizes``, the length of each inner list, which the reader puts together again.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray
from uproot.containers import AsString, AsVector
from uproot.interpretation.jagged import AsJagged
from uproot.interpretation.numerical import AsDtype
from uproot.interpretation.objects import AsObjects
from uproot.interpretation.strings import AsStrings

from wirecell_ml.data.contents import Columns
from wirecell_ml.data.root_files import MOST_BYTES, allow_bytes, latest, read_object
from wirecell_ml.errors import DataError

FOLDER = "wcpselection"  # of MicroBooNE's analysis files
SIZES = "_sizes"
FIRST_BYTES = 64 << 10  # unpacked, of the rows that are read or written at a time, at first
BATCH_BYTES = 32 << 20  # and at most
GROWTH = 4
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


@dataclass(frozen=True)
class Tree:
    """A tree whose rows are not read yet."""

    name: str
    where: str
    rows: int
    branches: Mapping[str, Any]  # uproot's, by name
    row_bytes: float  # unpacked, on average

    def read(self, first: int, end: int, names: tuple[str, ...] | None = None) -> dict[str, Any]:
        """Return the columns, or those of ``names``, of a range of rows, as arrays of numpy or else of awkward.

        Raises DataError for what is damaged or too large.
        """
        wanted = {name: branch for name, branch in self.branches.items() if names is None or name in names}
        if (end - first) * sum(map(entry_bytes, wanted.values())) > MOST_BYTES:
            raise DataError(f"{self.where}: {end - first} rows have more than {MOST_BYTES} bytes, too many at a time")
        if wanted:
            allow_bytes(next(iter(wanted.values())))
        return joined({name: self.read_column(branch, first, end) for name, branch in wanted.items()})

    def basket_ends(self) -> NDArray[np.int64]:
        """Return the rows at which the baskets of the column end that has the largest."""
        bounds: list[int] = min((branch.entry_offsets for branch in self.branches.values()), key=len)
        return np.array(bounds[1:] or [self.rows])

    def read_column(self, branch: Any, first: int, end: int) -> Any:
        """Return rows of one column."""
        library = "np" if isinstance(branch.interpretation, AsDtype) else "ak"
        values = branch.array(entry_start=first, entry_stop=end, library=library)
        if len(values) != end - first:
            raise DataError(
                f"{self.where}: '{branch.name}' has {len(values)} of {end - first} rows; copy the file again"
            )
        if isinstance(values, ak.Array) and not ak.is_valid(values):  # awkward would follow its offsets anywhere
            raise DataError(f"{self.where}: lists of '{branch.name}' lie outside of their values; copy the file again")
        return values


class Rows(Mapping[str, Any]):
    """The columns of some rows of a batch, cut out only where they are asked for."""

    def __init__(self, columns: Columns, first: int, end: int) -> None:
        self.columns, self.first, self.end = columns, first, end

    def __getitem__(self, name: str) -> Any:
        return self.columns[name][self.first : self.end]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)


def trees(file: Any, where: object) -> dict[str, Tree]:
    """Return the trees of a file and of its folder ``wcpselection``, by name; those without columns are left out."""
    found = {}
    for prefix, folder in (("", file), *((f"{name}/", read_object(key)) for name, key in folders(file).items())):
        for name, key in latest(folder, "TTree").items():
            tree = tree_of(key, prefix + name, f"{where}: tree '{prefix}{name}'")
            if tree.branches:
                found[tree.name] = tree
    return found


def folders(file: Any) -> dict[str, Any]:
    """Return the keys of those folders in a file that trees are looked for in."""
    return {name: key for name, key in latest(file, "TDirectory", "TDirectoryFile").items() if name == FOLDER}


def tree_of(key: Any, name: str, where: str) -> Tree:
    """Return the tree that a key leads to, with those of its branches that hold what a column can."""
    tree = read_object(key)
    rows = int(tree.num_entries)
    branches = {branch.name: branch for branch in tree.branches if NAME.fullmatch(branch.name) and is_column(branch)}
    counts = {f"n{name}" for name, branch in branches.items() if is_counted_by(branch, f"n{name}")}
    branches = {name: checked(branch, rows, where) for name, branch in branches.items() if name not in counts}
    declared = max(float(tree.uncompressed_bytes), rows * sum(map(entry_bytes, branches.values())), 1.0)
    return Tree(name, where, rows, branches, declared / max(rows, 1))


def is_counted_by(branch: Any, name: str) -> bool:
    """Tell whether a branch of this name holds the lengths of the lists in ``branch``."""
    return branch.count_branch is not None and branch.count_branch.name == name


def is_column(branch: Any) -> bool:
    """Tell whether a branch holds numbers, or lists, or lists of lists of numbers or text; no object of any class."""
    try:
        found = branch.interpretation
    except uproot.KeyInFileError:  # of a class that uproot does not know
        return False
    if isinstance(found, AsStrings):
        return True
    if isinstance(found, AsJagged):
        found = found.content
    elif isinstance(found, AsObjects):
        found = found.model
        while isinstance(found, AsVector):
            found = found.values
        return isinstance(found, AsString) or (isinstance(found, np.dtype) and found.kind in "biuf")
    return isinstance(found, AsDtype) and found.to_dtype.base.kind in "biuf"


def entry_bytes(branch: Any) -> int:
    """Return how many bytes a row of a branch needs at least, once it is read."""
    found = branch.interpretation
    return int(found.to_dtype.itemsize) if isinstance(found, AsDtype) else 8


def checked(branch: Any, rows: int, where: str) -> Any:
    """Return a branch whose baskets are one after another and each in its own place; uproot would wait for ever."""
    allow_bytes(branch)
    bounds = branch.entry_offsets
    if bounds[0] != 0 or bounds[-1] != rows or any(end < first for first, end in pairwise(bounds)):
        raise DataError(f"{where}: the baskets of '{branch.name}' do not make {rows} rows; copy the file again")
    places = branch.member("fBasketSeek")[: branch.num_baskets]
    places = places[places != 0]
    if len(np.unique(places)) != len(places):
        raise DataError(f"{where}: two baskets of '{branch.name}' are in one place; copy the file again")
    return branch


def joined(columns: dict[str, Any]) -> dict[str, Any]:
    """Return columns of which those that were written as two are one again."""
    for name in [name for name in columns if f"{name}{SIZES}" in columns]:
        values, sizes = columns[name], columns[f"{name}{SIZES}"]
        if not all(isinstance(part, ak.Array) and part.ndim == 2 for part in (values, sizes)):
            continue
        lengths = ak.to_numpy(ak.flatten(sizes))
        if lengths.dtype.kind != "i" or np.any(lengths < 0) or ak.any(ak.sum(sizes, axis=1) != ak.num(values)):
            continue
        inner = ak.unflatten(ak.flatten(values), lengths)
        columns[name] = ak.unflatten(inner, ak.num(sizes))
        del columns[f"{name}{SIZES}"]
    return columns
