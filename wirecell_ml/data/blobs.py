"""Blobs: pieces of charge found in three views at once, with the graph of what they were found from.

Node arrays and their columns are those of wire-cell-toolkit's cluster arrays (aux/src/ClusterArrays.cxx).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.errors import DataError

CORNERS = tuple(f"{axis}{i}" for i in range(12) for axis in "yz")
MEASURED = ("val", "unc", "start", "span", *CORNERS, *(f"{end}{axis}" for end in ("tail", "head") for axis in "xyz"))
MOST_WHOLE = 1 << 53  # up to here a double counts
COLUMNS: Mapping[str, tuple[str, ...]] = {  # of each node array by its code; charges in electrons, times in ns, mm
    "a": ("desc", "ident", "val", "unc", "index", "wpid"),  # activity: a channel in a slice; ident is the channel
    "b": (
        *("desc", "ident", "val", "unc", "faceid", "sliceid", "start", "span"),
        *("min1", "max1", "min2", "max2", "min3", "max3"),  # wires in plane, [min, max), of U, V and W
        *("ncorners", *CORNERS),  # (y, z) pairs, zero beyond the last
    ),
    "m": ("desc", "ident", "val", "unc", "wpid"),  # measure: neighbouring channels of one plane in a slice
    "s": ("desc", "ident", "val", "unc", "frameid", "start", "span"),  # slice
    "w": (
        *("desc", "ident", "index", "segment", "channel", "wpid"),
        *("tailx", "taily", "tailz", "headx", "heady", "headz"),
    ),
}
WHOLE: Mapping[str, list[int]] = {  # of each node array, the columns that count or name something
    code: [names.index(name) for name in names if name not in MEASURED] for code, names in COLUMNS.items()
}
EDGES = ("am", "as", "aw", "bb", "bm", "bs", "bw")  # the two codes of each edge array, alphabetical
PLANES = {1: 0, 2: 1, 4: 2}  # layer flag of a packed wire-plane id -> U, V, W


@dataclass(frozen=True)
class BlobGraph:
    """The cluster graph of one event: blobs (b), activities (a), measures (m), slices (s) and wires (w)."""

    nodes: Mapping[str, NDArray[np.float64]]  # by code, (node, column), columns as in ``COLUMNS``
    edges: Mapping[str, NDArray[np.int64]]  # by two codes, (2, edge): rows of the two node arrays

    def __post_init__(self) -> None:
        for code, array in self.nodes.items():
            if array.ndim != 2 or array.shape[1] != len(COLUMNS[code]):
                raise DataError(f"nodes '{code}' have shape {array.shape}; expected (node, {len(COLUMNS[code])})")
        for codes, pairs in self.edges.items():
            if pairs.ndim != 2 or len(pairs) != 2:
                raise DataError(f"edges '{codes}' have shape {pairs.shape}; expected (2, edge)")
            for code, rows in zip(codes, pairs, strict=True):
                if rows.size and not (rows.min() >= 0 and rows.max() < len(self.nodes.get(code, ()))):
                    raise DataError(
                        f"edges '{codes}' lead to '{code}' {rows.max()}, of {len(self.nodes.get(code, ()))}"
                    )

    def __len__(self) -> int:
        return len(self.nodes.get("b", ()))

    def column(self, code: str, name: str) -> NDArray[np.float64]:
        """Return one column of the nodes ``code``, (node,); empty where the graph has no such nodes."""
        array = self.nodes.get(code)
        return np.zeros(0) if array is None else array[:, COLUMNS[code].index(name)]

    def pairs(self, codes: str) -> NDArray[np.int64]:
        """Return the edges between two kinds of nodes, (2, edge)."""
        return self.edges.get(codes, np.zeros((2, 0), np.int64))

    def check_counts(self, codes: Iterable[str]) -> None:
        """Raise DataError where a column of nodes ``codes`` that names or counts holds no whole number."""
        for code in codes:
            if code in self.nodes and not is_whole(self.nodes[code][:, WHOLE[code]]):
                raise DataError(f"nodes '{code}' have an ident, or another name or count, that is no whole number")

    @cached_property
    def ident(self) -> NDArray[np.int64]:
        """Idents of the blobs, (blob,): the same blob has the same ident in every file of a job."""
        idents = self.column("b", "ident")
        if not is_whole(idents):
            raise DataError("a blob has an ident that is no whole number")
        return idents.astype(np.int64)

    @property
    def charge(self) -> NDArray[np.float64]:
        """Charge of the blobs, (blob,), electrons: solved, or true where BlobDepoFill wrote it; NaN if not known."""
        return self.column("b", "val")


def is_whole(values: NDArray[np.float64]) -> bool:
    """Tell whether all values are whole numbers that a double can count up to."""
    return bool(((np.rint(values) == values) & (np.abs(values) <= MOST_WHOLE)).all())


def plane_of(wpid: NDArray[Any]) -> NDArray[np.int64]:
    """Return 0, 1, 2 for U, V, W from packed wire-plane ids, whose lowest three bits are a flag; -1 where unknown."""
    layers = np.full(8, -1)
    for layer, plane in PLANES.items():
        layers[layer] = plane
    with np.errstate(invalid="ignore"):
        flags = np.asarray(wpid).astype(np.int64) & 7
    return np.asarray(layers[flags])


def wire_slices(graph: BlobGraph) -> NDArray[np.int64]:
    """Return the pairs of a blob and an activity on one of its wires in its slice, (2, pair) rows of b and a.

    Each pair comes once, in ascending order; a wire that has no activity in the slice of the blob gives none.
    """
    (blobs, wires), (actives, active_wires) = graph.pairs("bw"), graph.pairs("aw")
    if not blobs.size or not actives.size:
        return np.zeros((2, 0), np.int64)
    num_wires = len(graph.nodes["w"])
    wanted = slice_of(graph, "b", absent=-1)[blobs] * num_wires + wires
    held = slice_of(graph, "a", absent=-2)[actives] * num_wires + active_wires
    order = np.argsort(held, kind="stable")
    places = np.minimum(np.searchsorted(held, wanted, sorter=order), len(held) - 1)
    found = order[places]
    hit = held[found] == wanted
    return each_once(blobs[hit], actives[found[hit]], len(graph.nodes["a"]))


def slice_of(graph: BlobGraph, code: str, absent: int) -> NDArray[np.int64]:
    """Return the row of the slice of each node ``code``, (node,); ``absent`` where it is in none."""
    slices = np.full(len(graph.nodes.get(code, ())), absent)
    nodes, held = graph.pairs(code + "s")
    slices[nodes] = held
    return slices


def neighbours(graph: BlobGraph) -> NDArray[np.int64]:
    """Return the blobs that touch in neighbouring slices, both ways and each once, (2, pair) in ascending order."""
    tails, heads = graph.pairs("bb")
    return each_once(np.concatenate([tails, heads]), np.concatenate([heads, tails]), len(graph))


def each_once(first: NDArray[np.int64], second: NDArray[np.int64], num_second: int) -> NDArray[np.int64]:
    """Return the pairs in ascending order without repetition, (2, pair); ``second`` is below ``num_second``."""
    return np.stack(np.divmod(np.unique(first * num_second + second), max(num_second, 1)))
