"""What is measured of deghosting: blobs kept and charge kept. Every number has a definition with a version."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.models.metrics import ratio

Values = NDArray[np.floating[Any]]  # (blob,)
Mask = NDArray[np.bool_]  # (blob,)

DEFINITIONS: Mapping[str, Mapping[str, str | int]] = {
    "real": {"version": 1, "text": "a blob whose true charge is not below the ghost threshold; all others are ghosts"},
    "precision": {"version": 1, "text": "real blobs kept / blobs kept"},
    "recall": {"version": 1, "text": "real blobs kept / real blobs"},
    "f1": {"version": 1, "text": "harmonic mean of precision and recall"},
    "ghosts_removed": {"version": 1, "text": "ghosts not kept / ghosts"},
    "completeness": {"version": 1, "text": "true charge of the blobs kept / true charge of all blobs"},
    "average_precision": {
        "version": 1,
        "text": "mean over the real blobs of the precision among all blobs that score at least as high",
    },
    "charge_error": {
        "version": 1,
        "text": "|charge - true charge| / true charge of the real blobs: median, and mean weighted with true charge",
    },
}


@dataclass(frozen=True)
class Kept:
    """What keeping some blobs and dropping the others does."""

    precision: float
    recall: float
    f1: float
    ghosts_removed: float
    completeness: float

    def as_dict(self) -> dict[str, float]:
        """Return the numbers by name."""
        return asdict(self)


def kept(mask: Mask, real: Mask, charge: Values) -> Kept:
    """Return what keeping the blobs of ``mask`` does; ``charge`` is true charge in electrons."""
    both, num_kept, num_real = int((mask & real).sum()), int(mask.sum()), int(real.sum())
    ghosts = len(real) - num_real
    return Kept(
        precision=ratio(both, num_kept),
        recall=ratio(both, num_real),
        f1=ratio(2 * both, num_kept + num_real),
        ghosts_removed=ratio(ghosts - (num_kept - both), ghosts),
        completeness=ratio(charge[mask].sum(dtype=np.float64), charge.sum(dtype=np.float64)),
    )


@dataclass(frozen=True)
class Scan:
    """What keeping the blobs above each threshold does, the highest threshold first."""

    thresholds: Values  # (threshold,): blobs that score at least so are kept
    precision: Values
    recall: Values
    f1: Values
    ghosts_removed: Values
    completeness: Values

    @property
    def average_precision(self) -> float:
        """The area below precision against recall."""
        return float(np.sum(np.diff(self.recall, prepend=0.0) * self.precision))

    def at_completeness(self, wanted: float) -> Kept:
        """Return what is done at the highest threshold that keeps ``wanted`` of the true charge, or at the lowest."""
        enough = np.nonzero(self.completeness >= wanted)[0]
        return self.at(enough[0] if len(enough) else -1)

    def at_ghosts_removed(self, wanted: float) -> Kept:
        """Return what is done at the lowest threshold that removes ``wanted`` of the ghosts, or at the highest."""
        enough = np.nonzero(self.ghosts_removed >= wanted)[0]
        return self.at(enough[-1] if len(enough) else 0)

    def at(self, row: int) -> Kept:
        """Return what one threshold does, by its row."""
        return Kept(
            precision=float(self.precision[row]),
            recall=float(self.recall[row]),
            f1=float(self.f1[row]),
            ghosts_removed=float(self.ghosts_removed[row]),
            completeness=float(self.completeness[row]),
        )


def scan(score: Values, real: Mask, charge: Values) -> Scan:
    """Return the scan of a score over all thresholds at which it can be cut; blobs of one score go together."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)  # of each run of equal scores
    num_kept = np.arange(1, len(score) + 1)[last]
    both, inside = np.cumsum(real[order])[last], np.cumsum(charge[order], dtype=np.float64)[last]
    num_real, whole = max(int(real.sum()), 1), float(charge.sum(dtype=np.float64)) or 1.0
    num_ghosts = max(len(real) - int(real.sum()), 1)
    return Scan(
        thresholds=score[order][last],
        precision=both / num_kept,
        recall=both / num_real,
        f1=2 * both / (num_kept + num_real),
        ghosts_removed=1 - (num_kept - both) / num_ghosts,
        completeness=inside / whole,
    )


def charge_errors(found: Values, charge: Values, real: Mask) -> dict[str, float]:
    """Return how far ``found`` is from the true ``charge`` of the real blobs, electrons both; 0 where there is none."""
    if not real.any():
        return {"charge_error_median": 0.0, "charge_error_mean": 0.0}
    error = np.abs(found[real] - charge[real]) / charge[real]
    return {
        "charge_error_median": float(np.median(error)),
        "charge_error_mean": float(np.average(error, weights=charge[real])),
    }
