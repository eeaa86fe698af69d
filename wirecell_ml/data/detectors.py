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
MOST_ANODES = 1000  # that a frame is looked at for

Planes = dict[str, tuple[int, int]]  # first and past-the-last channel ident, by the name of the plane


@dataclass(frozen=True)
class Detector:
    """What a file of configs/detector says of channels and readout."""

    name: str
    channels_per_apa: int
    planes: Mapping[str, tuple[int, int]]  # counted within the APA
    tick_ns: float
    readout_ticks: int | None

    def planes_of(self, channels: NDArray[Any]) -> Planes:
        """Return the planes that some of the ``channels`` belong to, named ``U`` or, of several APAs, ``U3``."""
        anodes = np.unique(channels // self.channels_per_apa)[:MOST_ANODES].tolist()
        found = {}
        for apa in anodes:
            for name, (first, end) in self.planes.items():
                start, stop = apa * self.channels_per_apa + first, apa * self.channels_per_apa + end
                if np.any((channels >= start) & (channels < stop)):
                    found[f"{name}{apa}" if len(anodes) > 1 else name] = (start, stop)
        return found

    def missing(self, channels: NDArray[Any]) -> float:
        """Return the share of channels that a frame lacks of the planes that it has."""
        planes = self.planes_of(channels).values()
        expected = sum(end - first for first, end in planes)
        held = sum(np.count_nonzero((channels >= first) & (channels < end)) for first, end in planes)
        return 1.0 - held / expected if expected else 1.0


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
    breaks = np.flatnonzero(np.diff(known) != 1) + 1
    return [(int(run[0]), int(run[-1]) + 1) for run in np.split(known, breaks) if len(run)]
