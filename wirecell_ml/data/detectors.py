"""Detectors: which channels make which plane, as configs/detector says; which detector it is, told by the channels."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.paths import shipped

MOST_MISSING = 0.1  # of the channels of the planes that a frame has; with more, it is no frame of this detector

Planes = dict[str, tuple[int, int]]  # first and past-the-last channel ident, by the name of the plane


@dataclass(frozen=True)
class Detector:
    """What a file of configs/detector says of channels and readout."""

    name: str
    channels_per_apa: int
    planes: Mapping[str, tuple[int, int]]  # counted within the APA, ascending
    tick_ns: float
    readout_ticks: int | None

    def planes_of(self, channels: NDArray[Any]) -> Planes:
        """Return the planes that some of the ``channels`` belong to, named ``U`` or, of several APAs, ``U3``."""
        anodes, numbers, _ = self.placed(channels)
        several = len(set(anodes)) > 1
        names, ends = list(self.planes), list(self.planes.values())
        found = {}
        for apa, i in zip(anodes, numbers, strict=True):
            (first, end), offset = ends[i], apa * self.channels_per_apa
            found[f"{names[i]}{apa}" if several else names[i]] = (offset + first, offset + end)
        return found

    def missing(self, channels: NDArray[Any]) -> float:
        """Return the share of channels that a frame lacks of the planes that it has."""
        _, numbers, held = self.placed(channels)
        sizes = [end - first for first, end in self.planes.values()]
        expected = sum(sizes[i] for i in numbers)
        return 1.0 - held / expected if expected else 1.0

    def placed(self, channels: NDArray[Any]) -> tuple[list[int], list[int], int]:
        """Return APA and number of each plane that some of the ``channels`` belong to, and how many channels do."""
        known = np.unique(channels).astype(np.int64)
        apa, within = np.divmod(known, self.channels_per_apa)
        first, end = np.array(list(self.planes.values())).T
        plane = np.searchsorted(first, within, side="right") - 1
        inside = (plane >= 0) & (within < end[plane])
        pairs = np.unique(apa[inside] * len(first) + plane[inside])
        return (pairs // len(first)).tolist(), (pairs % len(first)).tolist(), int(np.count_nonzero(inside))


@lru_cache(maxsize=1)
def detectors() -> dict[str, Detector]:
    """Return the detectors of configs/detector, by the name of their file."""
    return {path.stem: load(path.read_text()) for path in sorted(shipped("configs").glob("detector/*.yaml"))}


def load(text: str) -> Detector:
    """Return the detector that a YAML text describes."""
    held = yaml.safe_load(text)
    planes = {name: (first, end) for name, (first, end) in held["planes"].items()}
    return Detector(held["name"], held["channels_per_apa"], planes, held["tick_ns"], held.get("readout_ticks"))


def detector_named(name: str) -> Detector:
    """Return a detector of configs/detector; raises ConfigError where there is none of this name."""
    if name not in detectors():
        raise ConfigError(f"no detector named '{name}'.{suggest(name, detectors())}")
    return detectors()[name]


def likely_detectors(channels: NDArray[Any]) -> list[Detector]:
    """Return the detectors whose planes a frame with these ``channels`` has most nearly whole; none if none fits."""
    lacking = {detector.name: detector.missing(channels) for detector in detectors().values()}
    least = min(lacking.values(), default=1.0)
    if not len(channels) or least > MOST_MISSING:
        return []
    return [detector for detector in detectors().values() if lacking[detector.name] == least]


def planes_of(channels: NDArray[Any], detector: Detector | None = None) -> Planes:
    """Return the planes of a frame with these ``channels``, of ``detector`` or the one that fits; none if none does."""
    if detector:
        return detector.planes_of(channels)
    found = [likely.planes_of(channels) for likely in likely_detectors(channels)]
    return found[0] if found and all(planes == found[0] for planes in found) else {}


def runs_of(channels: NDArray[Any]) -> list[tuple[int, int]]:
    """Return first and past-the-last ident of each run of channels that follow one another, ascending."""
    known = np.unique(channels).astype(np.int64)
    if not len(known):
        return []
    breaks = np.flatnonzero(np.diff(known) != 1)
    first, last = known[np.r_[0, breaks + 1]], known[np.r_[breaks, -1]]
    return list(zip(first.tolist(), (last + 1).tolist(), strict=True))
