"""Contents: what a file of any format holds of one event, as typed objects with units."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.blobs import BlobGraph
from wirecell_ml.data.depos import DepoSet
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.points import PointCloud
from wirecell_ml.data.tensors import Tensor

Columns = Mapping[str, Any]  # a table: numpy or awkward arrays of one length, by name; a graph's store: of any shape


@dataclass(frozen=True)
class Contents:
    """One event of a file; what its format does not hold is empty."""

    ident: int
    run: int | None = None
    subrun: int | None = None
    frames: Mapping[str, Frame] = field(default_factory=dict)  # by tag
    masks: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)  # by name; (range, 3): channel, ticks [b, e)
    depos: DepoSet | None = None
    blobs: Mapping[str, BlobGraph] = field(default_factory=dict)  # by the prefix of the file's members
    points: Mapping[str, PointCloud] = field(default_factory=dict)  # by name
    tensors: Mapping[str, Tensor] = field(default_factory=dict)  # by datapath
    tables: Mapping[str, Columns] = field(default_factory=dict)  # by name
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # by name; what has no object of its own

    def kinds(self) -> Iterator[str]:
        """Yield the names of the fields that hold something."""
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name not in ("ident", "run", "subrun") and value is not None and len(value):
                yield one.name
