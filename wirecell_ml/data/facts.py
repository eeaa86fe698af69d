"""Facts: what the contents of one event are like, in numbers that a table or JSON can show."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.blob_space import corners
from wirecell_ml.data.blobs import BlobGraph
from wirecell_ml.data.contents import Columns, Contents
from wirecell_ml.data.depos import DepoSet
from wirecell_ml.data.detectors import runs_of
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.points import PointCloud
from wirecell_ml.data.spread import Range, Spread, range_of, spread
from wirecell_ml.data.tensors import Tensor

MOST_LABELS = 12  # distinct values that make whole numbers labels
MOST_COUNTED = 1 << 22  # values that labels are looked for in
FULL_FLAG = (1.0, 4000.0)  # of multi-plane coincidence, before and after its scale
RAW_TAGS = re.compile(r"|\*|(orig|raw)[0-9]*")  # of the digitizer's counts
TRUTH_TAGS = re.compile(r"ductor|true|truth|splat|numelectrons")  # found anywhere in a tag


@dataclass(frozen=True)
class FrameFacts:
    """A frame, in numbers."""

    unit: str  # a guess: ADC, electrons per tick, flag, label or probability
    dtype: str
    channels: tuple[int, int] | None  # lowest and highest ident
    num_channels: int
    runs: int  # of channels that follow one another; planes apart make several
    ascending: bool
    columns: int
    period_ns: float
    start_ns: float
    summary: bool
    values: Spread


@dataclass(frozen=True)
class MaskFacts:
    """A channel mask, in numbers."""

    ranges: int
    channels: int
    ticks: int  # masked, over all channels


@dataclass(frozen=True)
class DepoFacts:
    """Depos without their priors, in numbers."""

    depos: int
    priors: int
    charge: float  # electrons; negative, as Wire-Cell counts them
    positive: int  # depos of positive charge
    nonfinite: int  # depos with a number that is none
    zero_width: int  # depos whose extent is zero along the drift or across it
    zero_width_share: float  # of the charge
    time_ns: Range | None
    x: Range | None  # mm
    y: Range | None
    z: Range | None
    particles: dict[str, int]  # depos by PDG code, the most frequent first


@dataclass(frozen=True)
class BlobFacts:
    """A cluster graph, in numbers."""

    nodes: dict[str, int]  # by code
    edges: dict[str, int]  # by two codes
    charge: Spread
    span_ns: Range | None  # of a slice
    start_ns: Range | None
    y: Range | None  # mm, of the corners
    z: Range | None


@dataclass(frozen=True)
class PointFacts:
    """A point cloud, in numbers."""

    points: int
    edges: int
    nonfinite: int  # points without a place
    x: Range | None  # mm
    y: Range | None
    z: Range | None
    charge: float | None  # sum, electrons
    columns: dict[str, Range | dict[str, int] | None]  # range of values, or how often each label comes


@dataclass(frozen=True)
class ArrayFacts:
    """An array, in numbers; without shape where there is none."""

    shape: tuple[int, ...] | None
    dtype: str | None
    values: Spread | None
    datatype: str = ""  # of a tensor


@dataclass(frozen=True)
class TableFacts:
    """A table, in numbers."""

    rows: int
    columns: dict[str, str]  # type of each
    infinite: list[str]  # columns with infinite values; NaN is how a table says that something is not known


@dataclass(frozen=True)
class EventFacts:
    """One event, in numbers."""

    ident: int
    run: int | None
    subrun: int | None
    frames: dict[str, FrameFacts]  # by tag
    masks: dict[str, MaskFacts]
    depos: DepoFacts | None
    blobs: dict[str, BlobFacts]
    points: dict[str, PointFacts]
    tensors: dict[str, ArrayFacts]
    tables: dict[str, TableFacts]
    arrays: dict[str, ArrayFacts]


def facts_of(event: Contents) -> EventFacts:
    """Return an event in numbers."""
    return EventFacts(
        event.ident,
        event.run,
        event.subrun,
        {tag: frame_facts(tag, frame) for tag, frame in event.frames.items()},
        {name: mask_facts(mask) for name, mask in event.masks.items()},
        None if event.depos is None else depo_facts(event.depos),
        {name: blob_facts(graph) for name, graph in event.blobs.items()},
        {name: point_facts(cloud) for name, cloud in event.points.items()},
        {path: tensor_facts(tensor) for path, tensor in event.tensors.items()},
        {name: table_facts(table) for name, table in event.tables.items()},
        {name: array_facts(array) for name, array in event.arrays.items()},
    )


def frame_facts(tag: str, frame: Frame) -> FrameFacts:
    """Return a frame in numbers."""
    values, channels = spread(frame.samples), frame.channels
    ends = (int(channels.min()), int(channels.max())) if len(channels) else None
    return FrameFacts(
        unit=unit_of(tag, frame, values),
        dtype=str(frame.samples.dtype),
        channels=ends,
        num_channels=len(channels),
        runs=len(runs_of(channels)),
        ascending=bool(np.all(np.diff(channels.astype(np.int64)) > 0)),
        columns=frame.samples.shape[1],
        period_ns=frame.period_ns,
        start_ns=frame.start_ns,
        summary=frame.summary is not None,
        values=values,
    )


def unit_of(tag: str, frame: Frame, values: Spread) -> str:
    """Return what the samples of a frame seem to count."""
    if frame.samples.dtype == np.int8:
        return "label"
    if frame.samples.dtype.kind in "iu" or RAW_TAGS.fullmatch(tag):
        return "ADC"
    if values.lowest == 0.0 and values.highest in FULL_FLAG:
        full = np.count_nonzero(frame.samples == values.highest)
        return "flag" if 2 * full >= values.nonzero else "probability" if values.highest == 1.0 else "electrons"
    bounded = values.lowest is not None and values.highest is not None and 0 <= values.lowest < values.highest <= 1
    return "probability" if bounded else "electrons"


def is_truth(tag: str) -> bool:
    """Tell by its tag whether a frame is what was simulated rather than found."""
    return bool(TRUTH_TAGS.search(tag))


def mask_facts(mask: NDArray[np.int32]) -> MaskFacts:
    """Return a channel mask in numbers."""
    lengths = mask[:, 2].astype(np.int64) - mask[:, 1]
    return MaskFacts(len(mask), len(np.unique(mask[:, 0])), int(lengths.sum()))


def depo_facts(depos: DepoSet) -> DepoFacts:
    """Return depos in numbers."""
    latest = depos.latest()
    charge = latest.charge.astype(np.float64)
    narrow = (latest.extent_long == 0) | (latest.extent_tran == 0)
    numbers = [latest.time_ns, latest.charge, latest.extent_long, latest.extent_tran, *latest.position.T]
    total = float(np.nansum(charge))
    codes, counts = np.unique(latest.pdg, return_counts=True)
    return DepoFacts(
        depos=len(latest),
        priors=len(depos) - len(latest),
        charge=total,
        positive=int(np.count_nonzero(charge > 0)),
        nonfinite=int(np.count_nonzero(~np.isfinite(numbers).all(axis=0))),
        zero_width=int(np.count_nonzero(narrow)),
        zero_width_share=float(np.nansum(charge[narrow])) / total if total else 0.0,
        time_ns=range_of(latest.time_ns),
        x=range_of(latest.position[:, 0]),
        y=range_of(latest.position[:, 1]),
        z=range_of(latest.position[:, 2]),
        particles=most_frequent(dict(zip(codes.tolist(), counts.tolist(), strict=True))),
    )


def most_frequent(counts: Mapping[Any, int]) -> dict[str, int]:
    """Return counts by name, the largest first."""
    return {str(name): count for name, count in Counter(counts).most_common(MOST_LABELS)}


def blob_facts(graph: BlobGraph) -> BlobFacts:
    """Return a cluster graph in numbers."""
    places = corners(graph)
    return BlobFacts(
        nodes={code: len(array) for code, array in graph.nodes.items()},
        edges={codes: pairs.shape[1] for codes, pairs in graph.edges.items()},
        charge=spread(graph.charge),
        span_ns=range_of(graph.column("b", "span")),
        start_ns=range_of(graph.column("b", "start")),
        y=range_of(places[..., 0]),
        z=range_of(places[..., 1]),
    )


def point_facts(cloud: PointCloud) -> PointFacts:
    """Return a point cloud in numbers."""
    charge = cloud.columns.get("charge")
    return PointFacts(
        points=len(cloud),
        edges=0 if cloud.edges is None else cloud.edges.shape[1],
        nonfinite=int(np.count_nonzero(~np.isfinite(cloud.position).all(axis=1))),
        x=range_of(cloud.position[:, 0]),
        y=range_of(cloud.position[:, 1]),
        z=range_of(cloud.position[:, 2]),
        charge=None if charge is None else spread(charge).total,
        columns={name: values_of(array) for name, array in cloud.columns.items() if name != "charge"},
    )


def values_of(array: NDArray[Any]) -> Range | dict[str, int] | None:
    """Return how often each value comes where there are few whole numbers, else their range."""
    if array.dtype.kind in "biu" and array.size < MOST_COUNTED:
        labels, counts = np.unique(array, return_counts=True)
        if len(labels) <= MOST_LABELS:
            return {str(label): count for label, count in zip(labels.tolist(), counts.tolist(), strict=True)}
    return range_of(array)


def tensor_facts(tensor: Tensor) -> ArrayFacts:
    """Return a tensor in numbers."""
    datatype = str(tensor.metadata.get("datatype", ""))
    return ArrayFacts(None, None, None, datatype) if tensor.array is None else array_facts(tensor.array, datatype)


def array_facts(array: NDArray[Any], datatype: str = "") -> ArrayFacts:
    """Return an array in numbers; text has none."""
    values = spread(array) if array.dtype.kind in "biuf" else None
    return ArrayFacts(array.shape, str(array.dtype), values, datatype)


def table_facts(table: Columns) -> TableFacts:
    """Return a table in numbers; its columns are numpy or awkward arrays."""
    infinite = [name for name, column in table.items() if has_infinite(column)]
    rows = max((len(column) for column in table.values() if getattr(column, "ndim", 1)), default=0)
    return TableFacts(rows, {name: type_of(column) for name, column in table.items()}, infinite)


def has_infinite(column: Any) -> bool:
    """Tell whether a column holds infinite numbers; jagged columns are not looked at."""
    return isinstance(column, np.ndarray) and column.dtype.kind == "f" and bool(np.isinf(column).any())


def type_of(column: Any) -> str:
    """Return the type of a column as text: numpy's, or awkward's without the number of rows."""
    if not isinstance(column, np.ndarray):
        return str(column.type).partition(" * ")[2] if hasattr(column, "type") else type(column).__name__
    return str(column.dtype) if column.ndim == 1 else f"{column.dtype} {column.shape[1:]}"
