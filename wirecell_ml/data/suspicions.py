"""Suspicions: what looks wrong in the events of a file, though it can be read."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.blob_space import corners
from wirecell_ml.data.blobs import BlobGraph
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.detectors import Detector, likely_detectors
from wirecell_ml.data.facts import EventFacts, FrameFacts, is_truth
from wirecell_ml.data.frame import Frame

SHOWN = 3  # events that are named for each suspicion
SPARSE = 0.5  # a tag with fewer non-zero pixels than this share is a flag or a ROI, not a waveform with noise
MOST_AVERAGED = 20  # ticks that may have become one column
OUTSIDE_MM = 1.0  # that a corner may lie beyond the ends of the wires


class Doubt(NamedTuple):
    """One thing that looks wrong in one event."""

    about: str  # what of the event, as "frame 'gauss0'"
    why: str  # the same for every event
    detail: str = ""  # of this event


@dataclass
class Suspicion:
    """One thing that looks wrong, in one event or more, or in the file as a whole."""

    about: str
    why: str
    count: int = 0  # events; 0: the file
    examples: list[str] = field(default_factory=list)  # the first of them, with details

    def text(self) -> str:
        """Return it as a line."""
        if not self.examples:
            return f"{self.about}: {self.why}"
        more = f" and {self.count - len(self.examples)} more" if self.count > len(self.examples) else ""
        return f"{self.about}: {self.why} (event{'s' if self.count > 1 else ''} {', '.join(self.examples)}{more})"


class Suspicions:
    """What looked wrong in the events that were looked at so far."""

    def __init__(self, detector: Detector | None = None) -> None:
        self.detector = detector
        self.found: dict[tuple[str, str], Suspicion] = {}
        self.seen: dict[tuple[int | None, int | None, int], set[str]] = {}  # names of what the events hold
        self.names: set[str] | None = None  # of what the first event holds
        self.masking: dict[tuple[str, str], bool] = {}  # by tags of truth and frame: were all true pixels non-zero?

    def look(self, event: Contents, facts: EventFacts) -> None:
        """Note what looks wrong in an event."""
        for doubt in chain(self.doubts_among_events(event), doubts_of(event, facts, self.detector)):
            self.note(str(event.ident), doubt)
        for pair, masked in masking(event, facts):
            self.masking[pair] = masked and self.masking.get(pair, True)

    def note(self, event: str, doubt: Doubt) -> None:
        """Add a doubt of one event."""
        suspicion = self.found.setdefault((doubt.about, doubt.why), Suspicion(doubt.about, doubt.why))
        suspicion.count += 1
        if len(suspicion.examples) < SHOWN:
            suspicion.examples.append(f"{event}: {doubt.detail}" if doubt.detail else event)

    def doubts_among_events(self, event: Contents) -> Iterator[Doubt]:
        """Yield what is wrong with an event beside the events before it."""
        held = {f"{kind} '{name}'" for kind in ("frames", "blobs") for name in getattr(event, kind)}
        key = event.run, event.subrun, event.ident
        if key in self.seen and (not held or held & self.seen[key]):  # in a bundle, each file has names of its own
            yield Doubt("event", "its ident comes twice in this file")
        self.seen[key] = held | self.seen.get(key, set())
        if self.names is None:
            self.names = held
        for name in sorted(self.names ^ held) if self.names & held or not held else []:
            yield Doubt(name, "in this event only, or missing from it, beside the first event of the file")

    def all(self) -> list[Suspicion]:
        """Return everything that looked wrong, what is wrong alike with several things at once."""
        alike: dict[tuple[str, tuple[str, ...]], Suspicion] = {}
        for one in chain(self.found.values(), self.masked()):
            same = alike.setdefault((one.why, tuple(one.examples)), replace(one, about=""))
            same.about += f", {one.about}" if same.about else one.about
        return list(alike.values())

    def masked(self) -> Iterator[Suspicion]:
        """Yield where a truth was masked in every event."""
        for (truth, tag), always in self.masking.items():
            why = (
                f"every true pixel of every event is a pixel of '{tag}': the truth was masked by it, so that its "
                "efficiency is 1 by construction"
            )
            if always:
                yield Suspicion(f"truth '{truth}'", why)


def doubts_of(event: Contents, facts: EventFacts, detector: Detector | None) -> Iterator[Doubt]:
    """Yield what looks wrong in one event."""
    if not any(event.kinds()):
        yield Doubt("event", "it holds nothing")
    for tag, frame in event.frames.items():
        for doubt in doubts_of_frame(tag, frame, facts.frames[tag], detector):
            yield doubt._replace(about=f"frame '{tag}'")
    yield from doubts_of_grids(facts)
    yield from doubts_of_copies(event, facts)
    yield from doubts_of_masks(event)
    yield from doubts_of_depos(facts)
    for name, graph in event.blobs.items():
        for doubt in doubts_of_blobs(graph):
            yield doubt._replace(about=f"blobs '{name}'")
    yield from doubts_of_arrays(facts)


def doubts_of_frame(tag: str, frame: Frame, facts: FrameFacts, detector: Detector | None) -> Iterator[Doubt]:
    """Yield what looks wrong in a frame."""
    if facts.values.size and not facts.values.nonzero:
        yield Doubt("", "zero throughout: is the tag numbered for this APA, and was debug output on?")
    if facts.values.nonfinite:
        yield Doubt("", "NaN or infinite values", f"{facts.values.nonfinite} of {facts.values.size}")
    if len(np.unique(frame.channels)) < len(frame.channels):
        yield Doubt("", "a channel comes twice")
    elif not facts.ascending:
        yield Doubt("", "channels are not ascending, as FrameFileSink writes them: rows in wire-attachment order?")
    if is_truth(tag) and (facts.values.lowest or 0) < 0:
        yield Doubt("", "true charge below zero", f"{facts.values.lowest:.3g}")
    likely = [detector] if detector else likely_detectors(frame.channels)
    if frame.tbin == 0:  # else the frame is a cut of a readout
        yield from doubts_of_period(facts, likely)
    yield from doubts_of_anode(tag, frame, likely)


def doubts_of_period(facts: FrameFacts, likely: list[Detector]) -> Iterator[Doubt]:
    """Yield where a whole readout was averaged to fewer columns, but the period is still that of a tick."""
    for one in likely:
        ticks = one.readout_ticks if facts.period_ns == one.tick_ns else None
        averaged = [n for n in range(2, MOST_AVERAGED + 1) if ticks and facts.columns == -(-ticks // n)]
        if averaged and facts.values.nonzero:
            yield Doubt(
                "",
                f"{facts.columns} columns of {facts.period_ns:g} ns: if {averaged[0]} ticks were averaged in each, "
                f"tickinfo was not updated and a period is {averaged[0] * facts.period_ns:g} ns",
            )
            return


def doubts_of_anode(tag: str, frame: Frame, likely: list[Detector]) -> Iterator[Doubt]:
    """Yield where a tag ends with the number of one APA, and the channels are another's."""
    stem = tag.rstrip("0123456789")
    anodes = {apa for one in likely for apa in np.unique(frame.channels // one.channels_per_apa)[:2].tolist()}
    if stem != tag and len(anodes) == 1 and int(tag[len(stem) :][:9]) not in anodes:
        yield Doubt("", f"the tag ends with {tag[len(stem) :]}, but its channels are those of APA {anodes.pop()}")


def doubts_of_grids(facts: EventFacts) -> Iterator[Doubt]:
    """Yield where frames of one event start alike with columns of one length, but have different numbers of columns."""
    grids: dict[tuple[float, float], dict[int, str]] = {}
    for tag, frame in facts.frames.items():
        grids.setdefault((frame.start_ns, frame.period_ns), {}).setdefault(frame.columns, tag)
    for (_, period), tags in grids.items():
        if len(tags) > 1:
            columns = ", ".join(f"{number} in '{tag}'" for number, tag in sorted(tags.items()))
            yield Doubt("frames", f"columns of {period:g} ns, but {columns}: a period was not updated after averaging?")


def doubts_of_copies(event: Contents, facts: EventFacts) -> Iterator[Doubt]:
    """Yield where two frames of one event hold the same samples."""
    for (tag, frame), (other, copy) in combinations(event.frames.items(), 2):
        alike = facts.frames[tag].values == facts.frames[other].values and facts.frames[tag].values.nonzero
        if alike and np.array_equal(frame.samples, copy.samples):
            yield Doubt(f"frame '{other}'", f"the same samples as '{tag}'")


def masking(event: Contents, facts: EventFacts) -> Iterator[tuple[tuple[str, str], bool]]:
    """Yield for each truth and each sparse frame on its grid whether all true pixels are non-zero pixels of it."""
    for truth in filter(is_truth, event.frames):
        true = event.frames[truth].samples > 0
        for tag, frame in event.frames.items():
            sparse = 0 < facts.frames[tag].values.occupancy < SPARSE
            if sparse and not is_truth(tag) and frame.samples.shape == true.shape and true.any():
                yield (truth, tag), not np.any(true & (frame.samples == 0))


def doubts_of_masks(event: Contents) -> Iterator[Doubt]:
    """Yield what looks wrong in channel masks."""
    for name, mask in event.masks.items():
        if np.any(mask[:, 1] >= mask[:, 2]):
            yield Doubt(f"mask '{name}'", "a range of ticks ends before it begins")
        known = [frame.channels for frame in event.frames.values()]
        if known and len(mask) and not np.isin(mask[:, 0], np.concatenate(known)).any():
            yield Doubt(f"mask '{name}'", "no frame of the event has any of its channels")


def doubts_of_depos(facts: EventFacts) -> Iterator[Doubt]:
    """Yield what looks wrong in depos; before they drift, all have zero width, which is as it should be."""
    depos = facts.depos
    if depos is None:
        return
    if depos.positive:
        yield Doubt("depos", "positive charge; Wire-Cell counts electrons negative", f"{depos.positive} of them")
    if depos.nonfinite:
        yield Doubt("depos", "NaN or infinite numbers", f"{depos.nonfinite} of them")
    if 0 < depos.zero_width < depos.depos:
        yield Doubt(
            "depos",
            "some drifted depos have no width, so that BlobDepoFill gives blobs that they reach 0 or NaN",
            f"{depos.zero_width_share:.2%} of the charge",
        )


def doubts_of_blobs(graph: BlobGraph) -> Iterator[Doubt]:
    """Yield what looks wrong in a cluster graph."""
    charge, size = graph.charge, len(graph)
    checks: dict[str, NDArray[Any]] = {
        "NaN as charge: reached by depos without width?": ~np.isfinite(charge),
        "negative charge": charge < 0,
        "fewer than three corners": graph.column("b", "ncorners") < 3,
        "no length in time": ~(graph.column("b", "span") > 0),
        "in no slice, or in several": np.bincount(graph.pairs("bs")[0], minlength=size) != 1,
        "corners beyond the ends of the wires": outside(graph),
    }
    for why, wrong in checks.items():
        if number := np.count_nonzero(wrong):
            yield Doubt("", why, f"{number} of {size} blobs")
    if size and not np.any(charge):
        yield Doubt("", "no blob has charge: it was not solved, or not filled from depos")
    if repeated := size - len(np.unique(graph.ident)):
        yield Doubt("", "idents that come twice", f"{repeated} of {size} blobs")


def outside(graph: BlobGraph) -> NDArray[np.bool_]:
    """Return which blobs have a corner outside of the rectangle that all wires fill, (blob,)."""
    places, beyond = corners(graph), np.zeros(len(graph), bool)
    for i, axis in enumerate("yz"):
        ends = np.concatenate([graph.column("w", f"tail{axis}"), graph.column("w", f"head{axis}")])
        if len(ends):
            lowest, highest = ends.min() - OUTSIDE_MM, ends.max() + OUTSIDE_MM
            beyond |= ((places[..., i] < lowest) | (places[..., i] > highest)).any(axis=1)
    return beyond


def doubts_of_arrays(facts: EventFacts) -> Iterator[Doubt]:
    """Yield what looks wrong in points, tensors, tables and other arrays."""
    for name, cloud in facts.points.items():
        if cloud.nonfinite:
            yield Doubt(f"points '{name}'", "no place in space", f"{cloud.nonfinite} of {cloud.points}")
    for name, array in chain(facts.tensors.items(), facts.arrays.items()):
        if array.values and array.values.nonfinite:
            yield Doubt(f"array '{name}'", "NaN or infinite values", f"{array.values.nonfinite} of {array.values.size}")
    for name, table in facts.tables.items():
        if table.infinite:
            yield Doubt(f"table '{name}'", f"infinite values in {', '.join(table.infinite)}")
