"""Charge ratios: how much of the true charge was found, for frames plane by plane and for blobs.

A ratio far from 1 tells of a scale that was applied or forgotten, of columns that were summed instead of averaged, or
of events that do not belong together.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from wirecell_ml.data.blobs import BlobGraph
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.detectors import Detector, Planes, planes_of
from wirecell_ml.data.facts import EventFacts, is_truth
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.spread import spread

MOST_PLANES = 12  # that are told apart
MOST_PASSED = 16  # true events kept while others are looked for
GHOST = 100.0  # electrons; a blob with less true charge is a ghost


@dataclass(frozen=True)
class ChargeRatio:
    """Found charge over true charge."""

    reco: str  # tag of the frame, or name of the blobs
    truth: str
    plane: str  # "all" where planes are not known, and for blobs
    ratio: float | None  # None where there is no true charge
    ghosts: float | None = None  # share of the blobs with less than ``GHOST`` true charge


def charge_ratios(
    event: Contents, facts: EventFacts, truth: Contents, detector: Detector | None
) -> Iterator[ChargeRatio]:
    """Yield the ratios between the frames and blobs of an event and those of its truth, which may be the same event."""
    own = truth is event
    true_frames = {tag: frame for tag, frame in truth.frames.items() if not own or is_truth(tag)}
    for true_tag, true in true_frames.items():
        for tag, frame in event.frames.items():
            if not is_truth(tag) and facts.frames[tag].unit == "electrons" and len(frame.channels):
                yield from frame_ratios(tag, frame, true_tag, true, detector)
    for name, blobs in {} if own else truth.blobs.items():
        for other, graph in event.blobs.items():
            yield blob_ratio(other, graph, name, blobs)


def frame_ratios(
    tag: str, frame: Frame, true_tag: str, true: Frame, detector: Detector | None
) -> Iterator[ChargeRatio]:
    """Yield the ratio of two frames for each plane; samples are per tick, so a column counts by its length."""
    everything: Planes = {"all": (int(frame.channels.min()), int(frame.channels.max()) + 1)}
    planes = planes_of(frame.channels, detector)
    if not 0 < len(planes) <= MOST_PLANES:
        planes = everything
    for plane, ends in planes.items():
        charge, truth = (charge_in(one, ends) * one.period_ns for one in (frame, true))
        yield ChargeRatio(tag, true_tag, plane, charge / truth if truth else None)


def charge_in(frame: Frame, ends: tuple[int, int]) -> float:
    """Return the sum of the samples on a range of channels."""
    return spread(frame.samples[(frame.channels >= ends[0]) & (frame.channels < ends[1])]).total


def blob_ratio(name: str, graph: BlobGraph, true_name: str, true: BlobGraph) -> ChargeRatio:
    """Return the ratio of the charge of blobs to that of true ones, and how many of those are ghosts."""
    charge, truth = float(np.nansum(graph.charge)), float(np.nansum(true.charge))
    ghosts = float(np.mean(true.charge < GHOST)) if len(true) else None
    return ChargeRatio(name, true_name, "all", charge / truth if truth else None, ghosts)


class TrueEvents:
    """The events of a file of truth, found by ident, though their order may differ a little from that asked for."""

    def __init__(self, events: Iterable[Contents]) -> None:
        self.coming = iter(events)
        self.passed: dict[int, Contents] = {}  # read, but not asked for yet

    def of(self, ident: int) -> Contents | None:
        """Return the true event with this ident; None where the file has none."""
        while ident not in self.passed:
            event = next(self.coming, None)
            if event is None:
                return None
            self.passed[event.ident] = event
            if len(self.passed) > MOST_PASSED:
                del self.passed[next(iter(self.passed))]
        return self.passed.pop(ident)
