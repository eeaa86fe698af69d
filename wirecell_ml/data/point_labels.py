"""Labels of points: neutrino or cosmic, by the nearest particle of the generator truth."""

import fnmatch
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.errors import DataError, suggest

NEUTRINO, COSMIC, UNKNOWN = 1, 0, -1
LABELS = {  # by kind of particle; blips have no place, and a shower by itself is neither
    **dict.fromkeys(("mu-exit", "mu-stop", "proton", "pion", "vtx-gamma", "vtx-e"), NEUTRINO),
    **dict.fromkeys(("cosmic", "prolonged", "isochronous"), COSMIC),
    **dict.fromkeys(("shower-e", "shower-gamma"), UNKNOWN),
}


@dataclass(frozen=True)
class Drift:
    """How the time of a slice becomes a place, for charge that is set free at time 0."""

    time0_us: float  # when tick 0 of the readout is
    velocity_mm_per_us: float  # along x, so negative where charge drifts towards small x
    anode_x_mm: float  # charge set free here at t is seen at t

    def x_mm(self, start_us: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return x of charge seen at ``start_us`` after tick 0."""
        return self.anode_x_mm - self.velocity_mm_per_us * (start_us + self.time0_us)

    def shift_mm(self, t0_us: float) -> float:
        """Return how far along x charge seems to be off that is set free at ``t0_us``."""
        return -self.velocity_mm_per_us * t0_us


@dataclass(frozen=True)
class Segments:
    """Straight lines, where the charge of particles seems to be."""

    start: NDArray[np.float64]  # (segment, 3), mm
    end: NDArray[np.float64]  # (segment, 3), mm
    label: NDArray[np.int8]  # (segment,)

    def distances(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far points (point, 3) are from each segment, (segment, point) in mm."""
        found = np.empty((len(self.start), len(points)))
        for row, (start, end) in enumerate(zip(self.start, self.end, strict=True)):
            along = end - start
            share = np.clip((points - start) @ along / max(along @ along, 1e-9), 0, 1)
            found[row] = np.linalg.norm(points - start - share[:, None] * along, axis=1)
        return found

    def labels(self, points: NDArray[np.float64], near_mm: float) -> NDArray[np.int8]:
        """Return the label of the nearest segment for each of points (point, 3); ``UNKNOWN`` beyond ``near_mm``."""
        if not len(self.start):
            return np.full(len(points), UNKNOWN, np.int8)
        distances = self.distances(points)
        return np.where(distances.min(axis=0) <= near_mm, self.label[distances.argmin(axis=0)], UNKNOWN).astype(np.int8)


def particles_beside(job: Path, pattern: str) -> Path:
    """Return the file of generator truth beside ``job``; what ``*`` stands for in ``pattern`` is in both names.

    Raises DataError where there is none.
    """
    before, _, after = pattern.partition("*")
    held = [path for path in job.parent.iterdir() if fnmatch.fnmatchcase(path.name, pattern)]
    names = {path.name[len(before) : len(path.name) - len(after)]: path for path in held}
    fitting = [name for name in names if name in job.name]
    if not fitting:
        raise DataError(f"{job}: no {pattern} of its name beside it, which says what is neutrino and what is cosmic")
    return names[max(fitting, key=len)]


def read_segments(path: Path, ident: int, drift: Drift, shower_mm: float) -> Segments:
    """Return the particles of one event of a file of generator truth; a shower has ``shower_mm`` of length.

    Raises DataError where the file or a particle in it is something else.
    """
    try:
        events = json.loads(path.read_text())
        particles = [one for one in events[str(ident)]["particles"] if "p0" in one]
        lines = [line(one, drift, shower_mm) for one in particles]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: event {ident}: expected JSON of {{ident: {{particles: [{{kind, p0, p1 or dir, t0}}]}}}} "
            f"({error!r})"
        ) from error
    places = np.array(lines, np.float64).reshape(-1, 2, 3)
    labels = np.array([label_of(str(one["kind"]), path) for one in particles], np.int8)
    return Segments(places[:, 0], places[:, 1], labels)


def line(particle: dict[str, Any], drift: Drift, shower_mm: float) -> NDArray[np.float64]:
    """Return where the charge of a particle seems to start and to end, (2, 3) in mm."""
    start = np.array(particle["p0"], np.float64)
    end = np.array(particle["p1"]) if "p1" in particle else start + shower_mm * np.array(particle["dir"])
    shift = np.array([drift.shift_mm(particle["t0"] / 1000), 0, 0])
    return np.stack([start + shift, end + shift])


def label_of(kind: str, path: Path) -> int:
    """Return the label of a kind of particle; raises DataError where the kind is not known."""
    if kind not in LABELS:
        raise DataError(f"{path}: a particle of the kind '{kind}'.{suggest(kind, LABELS)}")
    return LABELS[kind]
