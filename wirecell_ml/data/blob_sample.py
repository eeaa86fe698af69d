"""Blob samples: one event of blobs as networks take it, with what is true of each blob and what others say of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BlobSample:
    """The features and edges of one event; every array has a row per blob, per activity or per pair."""

    blobs: NDArray[np.float32]  # (blob, feature)
    activities: NDArray[np.float32]  # (activity, feature)
    planes: NDArray[np.int8]  # (activity,): 0, 1, 2 for U, V, W
    pairs: NDArray[np.int32]  # (2, pair): rows of a blob and of an activity that it is made of
    neighbours: NDArray[np.int32]  # (2, pair): rows of two blobs that touch in neighbouring slices, both ways


@dataclass(frozen=True)
class BlobTruth:
    """What is true of each blob, and what Wire-Cell says of it."""

    ident: NDArray[np.int64]  # (blob,)
    position: NDArray[np.float32]  # (blob, 3): start of the slice in us, then y and z of the centre of the corners, mm
    charge: NDArray[np.float32]  # (blob,), true charge, electrons; NaN where it is not known
    solved: NDArray[np.float32]  # (blob,), solved charge, electrons; -1 where deghosting removed the blob
    chain: NDArray[np.float32]  # (blob,), the same after the full chain of deghosting; NaN where it was not run


@dataclass(frozen=True)
class BlobEvent:
    """One event, read."""

    ident: int
    category: str
    sample: BlobSample
    truth: BlobTruth

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name."""
        return vars(self.sample) | {f"true_{name}": values for name, values in vars(self.truth).items()}


@dataclass(frozen=True)
class Stored:
    """Where an event is prepared, and what is known of it without its arrays."""

    key: str  # <truth file>:<ident>
    path: Path
    ident: int
    category: str
    digest: str  # SHA-256 of its arrays
    num_blobs: int
    num_known: int  # blobs whose true charge is known
    true_charge: float  # of all blobs together, electrons

    def load(self) -> BlobEvent:
        """Return the event."""
        with np.load(self.path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
        truth = {name.removeprefix("true_"): arrays.pop(name) for name in list(arrays) if name.startswith("true_")}
        return BlobEvent(self.ident, self.category, BlobSample(**arrays), BlobTruth(**truth))
