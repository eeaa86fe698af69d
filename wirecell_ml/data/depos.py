"""Depos: ionization electrons at points in space, as the simulation gives them to Wire-Cell."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.errors import DataError


@dataclass(frozen=True)
class DepoSet:
    """Depositions, one per row; drifted ones stand beside the priors that they came from."""

    time_ns: NDArray[np.float32]  # (depo,)
    charge: NDArray[np.float32]  # (depo,), electrons; negative, as Wire-Cell counts them
    position: NDArray[np.float32]  # (depo, 3): x, y, z in mm
    extent_long: NDArray[np.float32]  # (depo,), Gaussian sigma along the drift, mm
    extent_tran: NDArray[np.float32]  # (depo,), Gaussian sigma across it, mm
    ident: NDArray[np.int32]  # (depo,)
    pdg: NDArray[np.int32]  # (depo,), particle code
    generation: NDArray[np.int32]  # (depo,); 0: the latest, above: a prior
    child: NDArray[np.int32]  # (depo,), row of the depo that a prior became

    def __post_init__(self) -> None:
        if self.position.shape != (len(self), 3):
            raise DataError(f"{len(self)} depos, but positions of shape {self.position.shape}")
        for name, values in vars(self).items():
            if len(values) != len(self):
                raise DataError(f"{len(self)} depos, but {len(values)} values of {name}")

    def __len__(self) -> int:
        return len(self.time_ns)

    def latest(self) -> "DepoSet":
        """Return the depos without their priors."""
        return self.select(self.generation == 0)

    def select(self, rows: NDArray[Any]) -> "DepoSet":
        """Return the depos that an index or a mask of rows picks; ``child`` keeps the numbers of the whole set."""
        return DepoSet(**{name: values[rows] for name, values in vars(self).items()})
