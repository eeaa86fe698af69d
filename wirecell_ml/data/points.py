"""Points: charge at places in space."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.errors import DataError


@dataclass(frozen=True)
class PointCloud:
    """Points in space with columns of anything that is known of each."""

    position: NDArray[np.floating[Any]]  # (point, 3): x, y, z in mm
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # (point,) each; "charge" is in electrons
    edges: NDArray[np.int64] | None = None  # (2, edge), rows of the points that an edge links
    edge_columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # (edge,) each
    attributes: Mapping[str, Any] = field(default_factory=dict)  # what is said of all points, as JSON holds it

    def __post_init__(self) -> None:
        if self.position.ndim != 2 or self.position.shape[1] != 3:
            raise DataError(f"positions of shape {self.position.shape}; expected (point, 3)")
        for name, values in self.columns.items():
            if len(values) != len(self):
                raise DataError(f"{len(self)} points, but {len(values)} values of '{name}'")
        if self.edges is None:
            return
        if self.edges.ndim != 2 or len(self.edges) != 2:
            raise DataError(f"edges of shape {self.edges.shape}; expected (2, edge)")
        if self.edges.size and not (self.edges.min() >= 0 and self.edges.max() < len(self)):
            raise DataError(f"an edge to point {self.edges.max()}, of {len(self)}")
        for name, values in self.edge_columns.items():
            if len(values) != self.edges.shape[1]:
                raise DataError(f"{self.edges.shape[1]} edges, but {len(values)} values of '{name}'")

    def __len__(self) -> int:
        return len(self.position)
