"""Frames that tensors make: traces on a grid of channels and columns.

Two dialects of wire-cell-toolkit are read: that of aux/docs/tensor-data-model.org, whose ``frame`` lists its parts and
which ``tensor_writing`` writes, and that of spng/docs/datamodel.org, whose parts name the frame as their ``parent``.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.frame import Frame
from wirecell_ml.data.tensor_model import columns_at
from wirecell_ml.data.tensors import Tensor, Tensors, array_at, as_int32, listed, paths_of, quoted
from wirecell_ml.errors import DataError

UNTAGGED = "*"  # as FrameFileSink names the traces of a frame that has no tags
MOST_SAMPLES = 1 << 30  # in the frames of an event: 70 APAs
MOST_RATIO = 1 << 10  # of these to the numbers in the tensors: short traces far apart make a large grid
FREE_SAMPLES = 1 << 24  # at any ratio: an APA
PARTS = re.compile(r"(.*)/traces")  # SPNG: the channels of the traces are beside them


@dataclass(frozen=True)
class Patch:
    """Samples of some channels that begin at one column."""

    samples: NDArray[np.float32 | np.int16]  # (trace, column)
    channels: NDArray[np.int32]  # (trace,), idents
    tbin: int
    summary: NDArray[np.float64] | None = None  # (trace,)


def frames(tensors: Tensors) -> dict[str, Frame]:
    """Return all frames by tag, or by datapath and tag where two tensors of a set have frames with one tag.

    Raises DataError where a part is missing, or no number where one should be.
    """
    found = list(every_frame(tensors))
    times = Counter(tag for _, tag, _ in found)
    return {tag if times[tag] == 1 else f"{path}/{tag}": frame for path, tag, frame in found}


def every_frame(tensors: Tensors) -> Iterator[tuple[str, str, Frame]]:
    """Yield datapath, tag and frame of all; raises DataError where they are far larger than what they are made of."""
    held = sum(tensor.array.size for tensor in tensors.values() if tensor.array is not None)
    room, children = min(MOST_SAMPLES, max(FREE_SAMPLES, MOST_RATIO * held)), children_of(tensors)
    for path in paths_of(tensors, "frame"):
        time_ns, period_ns = clock_of(tensors, path)
        is_list = "traces" in tensors[path].metadata
        tagged = listed_patches(tensors, path) if is_list else child_patches(tensors, children.get(path, []))
        for tag, patches in tagged:
            patch = on_grid(patches, room, f"tensor {quoted(path)}")
            room -= patch.samples.size
            yield path, tag, Frame(patch.samples, patch.channels, time_ns, period_ns, patch.tbin, patch.summary)


def clock_of(tensors: Tensors, path: str) -> tuple[float, float]:
    """Return the time of a frame and the period of its ticks, ns."""
    metadata, where = tensors[path].metadata, f"tensor {quoted(path)}"
    period_ns = number(metadata, "tick" if "tick" in metadata else "period", where)
    if period_ns <= 0:
        raise DataError(f"{where}: a period of {period_ns} ns; expected more than 0")
    return number(metadata, "time", where), period_ns


def children_of(tensors: Tensors) -> dict[object, list[str]]:
    """Return the datapaths of the traces of SPNG by that of their parent."""
    children: dict[object, list[str]] = {}
    for path in paths_of(tensors, "traces"):
        parent = tensors[path].metadata.get("parent")
        children.setdefault(parent if isinstance(parent, str) else None, []).append(path)
    return children


def listed_patches(tensors: Tensors, path: str) -> Iterator[tuple[str, list[Patch]]]:
    """Yield by tag the traces that the frame at ``path`` lists; all of them as ``*`` where none has a tag."""
    traces = [trace_patch(tensors, where, path) for where in listed(tensors, path, "traces")]
    ends = np.cumsum([len(patch.samples) for patch in traces], dtype=np.int64)
    total = int(ends[-1]) if traces else 0
    channels, known = np.zeros(total, np.int32), np.zeros(total, bool)
    tags: dict[str, tuple[NDArray[np.int64], NDArray[np.float64] | None]] = {}
    for where in listed(tensors, path, "tracedata"):
        columns, tag = columns_at(tensors, where, path), tag_of(tensors[where], where)
        index = index_in(columns.get("index"), total, where) if tag else np.arange(total)
        if "chid" in columns:
            channels[index] = row_of(columns["chid"], np.int32, len(index), f"tensor {quoted(where)}: chid")
            known[index] = True
        if (tag or UNTAGGED) in tags:
            raise DataError(f"tensor {quoted(path)}: the tag {quoted(tag)} comes twice; write it once")
        summary = columns.get("summary")
        told = None if summary is None else row_of(summary, np.float64, len(index), f"tensor {quoted(where)}: summary")
        tags[tag or UNTAGGED] = index, told
    if len(tags) > 1:
        tags.pop(UNTAGGED, None)
    for tag, (index, summary) in tags.items():
        if not known[index].all():
            raise DataError(
                f"tensor {quoted(path)}: trace {index[~known[index]][0]} of tag {quoted(tag)} has no channel"
            )
        yield tag, selected(traces, ends, index, channels, summary)


def trace_patch(tensors: Tensors, path: str, by: str, datatype: str = "trace") -> Patch:
    """Return the traces of one tensor, one or many of them, with channels still to be told."""
    samples = array_at(tensors, path, by, datatype)
    where = f"tensor {quoted(path)}"
    is_grid = samples.ndim == 1 or (samples.ndim == 2 and samples.shape[1] > 0)  # without columns, any number of rows
    if not is_grid or not np.can_cast(samples.dtype, np.float32):
        raise DataError(f"{where}: {samples.dtype} of shape {samples.shape}; expected float32 or int16 (trace, tick)")
    tbin = number(tensors[path].metadata, "tbin", where, default=0)
    if tbin != int(tbin) or abs(tbin) >= 1 << 31:
        raise DataError(f"{where}: tbin is {tbin}; expected the number of a tick")
    kept = np.int16 if np.can_cast(samples.dtype, np.int16) else np.float32
    samples = np.atleast_2d(samples).astype(kept, copy=False)
    return Patch(samples, np.zeros(len(samples), np.int32), int(tbin))


def selected(
    traces: Sequence[Patch],
    ends: NDArray[np.int64],
    index: NDArray[np.int64],
    channels: NDArray[np.int32],
    summary: NDArray[np.float64] | None,
) -> list[Patch]:
    """Return the patches that the traces at ``index`` make; ``channels`` are of all traces, ``summary`` of those."""
    owners = np.searchsorted(ends, index, side="right")
    order = np.argsort(owners, kind="stable")
    cuts = np.flatnonzero(np.diff(owners[order])) + 1
    patches = []
    for places in np.split(order, cuts) if len(order) else []:
        owner, chosen = owners[places[0]], index[places]
        samples, rows = traces[owner].samples, chosen - (ends[owner] - len(traces[owner].samples))
        whole = len(rows) == len(samples) and np.array_equal(rows, np.arange(len(rows)))
        numbers = None if summary is None else summary[places]
        patches.append(Patch(samples if whole else samples[rows], channels[chosen], traces[owner].tbin, numbers))
    return patches


def child_patches(tensors: Tensors, children: Iterable[str]) -> Iterator[tuple[str, list[Patch]]]:
    """Yield by tag those of the traces of a frame whose channels are told, groups in order."""
    by_tag: dict[str, list[Patch]] = {}
    for where in children:
        match = PARTS.fullmatch(where)
        beside = f"{match[1]}/chids" if match else ""
        if beside in tensors:
            patch = trace_patch(tensors, where, where, "traces")
            label, count = f"tensor {quoted(beside)}", len(patch.samples)
            chids = row_of(array_at(tensors, beside, where, "chids"), np.int32, count, label)
            numbers = tensors.get(f"{beside.removesuffix('chids')}summaries", Tensor({})).array
            summary = None if numbers is None else row_of(numbers, np.float64, count, f"summaries beside {label}")
            tag = tag_of(tensors[where], where)
            patches = by_tag.setdefault(UNTAGGED if tag in ("", "null") else tag, [])
            patches.append(Patch(patch.samples, chids, patch.tbin, summary))
    yield from by_tag.items()


def on_grid(patches: Sequence[Patch], room: int, where: str) -> Patch:
    """Return one patch with a row per channel, in the order in which they come; what overlaps is added.

    Of several summaries of a channel the last holds; where a patch has none, nor has the whole.
    """
    if not patches:
        return Patch(np.zeros((0, 0), np.float32), np.zeros(0, np.int32), 0)
    every = np.concatenate([patch.channels for patch in patches])
    channels, first, rows = np.unique(every, return_index=True, return_inverse=True)
    if len(patches) == 1 and len(channels) == len(every) and patches[0].samples.size <= room:
        return patches[0]
    tbin = min(patch.tbin for patch in patches)
    columns = max(patch.tbin + patch.samples.shape[1] for patch in patches) - tbin
    if len(channels) * columns > room:
        raise DataError(f"{where}: {len(channels)} channels and {columns} ticks are too much for what the traces hold")
    order = np.argsort(first)
    rows = np.argsort(order)[rows]
    is_apart = len(channels) == len(every)  # if not, sums of 16 bits may be longer
    dtype = np.result_type(*{patch.samples.dtype for patch in patches}) if is_apart else np.float32
    samples, numbers = np.zeros((len(channels), columns), dtype), np.zeros(len(channels))
    for patch, place in zip(
        patches, np.split(rows, np.cumsum([len(one.channels) for one in patches[:-1]])), strict=True
    ):
        inside = samples[:, patch.tbin - tbin :][:, : patch.samples.shape[1]]
        if len(place) == 1 or len(np.unique(place)) == len(place):
            inside[place] += patch.samples
        else:
            np.add.at(inside, place, patch.samples)
        if patch.summary is not None:
            numbers[place] = patch.summary
    complete = all(patch.summary is not None for patch in patches)
    return Patch(samples, channels[order], tbin, numbers if complete else None)


def masks(tensors: Tensors) -> dict[str, NDArray[np.int32]]:
    """Return the channel masks of all frames by name, (range, 3): channel, ticks [begin, end), ascending, each once."""
    found: dict[str, list[NDArray[np.int32]]] = {}
    for path in paths_of(tensors, "frame"):
        metadata, where = tensors[path].metadata, f"tensor {quoted(path)}: masks"
        held = metadata.get("masks") or metadata.get("cmm") or {}  # Wire-Cell writes the one, and reads the other
        if not isinstance(held, Mapping):
            raise DataError(f"{where} are {quoted(held)}; expected ranges by name and channel")
        for name, ranges in held.items():
            found.setdefault(name, []).append(mask_rows(ranges, where))
    for path in paths_of(tensors, "chmasks"):  # SPNG: batch, channel, begin, end
        array, name = tensors[path].array, str(tensors[path].metadata.get("label", ""))
        if array is None or array.ndim != 2 or array.shape[1] != 4:
            raise DataError(f"tensor {quoted(path)}: no array of shape (range, 4)")
        found.setdefault(name, []).append(as_int32(array[:, 1:], f"tensor {quoted(path)}"))
    return {name: np.unique(np.concatenate(rows), axis=0) for name, rows in found.items()}


def mask_rows(ranges: object, where: str) -> NDArray[np.int32]:
    """Return the rows of one mask, (range, 3), from lists of [begin, end) by channel."""
    if not isinstance(ranges, Mapping):
        raise DataError(f"{where} have {quoted(ranges)}; expected ranges by channel")
    try:
        rows = [(int(channel), int(begin), int(end)) for channel, pairs in ranges.items() for begin, end in pairs]
        return np.array(rows, np.int32).reshape(-1, 3)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where} have no [begin, end) of each channel ({quoted(str(error))})") from error


def tag_of(tensor: Tensor, path: str) -> str:
    """Return the tag of traces; empty where they have none."""
    tag = tensor.metadata.get("tag") or ""
    if not isinstance(tag, str):
        raise DataError(f"tensor {quoted(path)}: tag is {quoted(tag)}; expected a name")
    return tag


def index_in(index: NDArray[Any] | None, total: int, path: str) -> NDArray[np.int64]:
    """Return the numbers of traces in the order of all; raises DataError where there are none or no such traces."""
    if index is None or index.dtype.kind not in "iu" or index.ndim != 1:
        raise DataError(f"tensor {quoted(path)}: traces with a tag need an 'index', the numbers of the traces")
    if len(index) and not (index.min() >= 0 and index.max() < total):
        raise DataError(f"tensor {quoted(path)}: an index of {index.max()}, of {total} traces")
    if len(np.unique(index)) < len(index):
        raise DataError(f"tensor {quoted(path)}: a trace comes twice in the index; expected each once")
    return index.astype(np.int64)


def row_of(array: NDArray[Any], dtype: type, length: int, where: str) -> NDArray[Any]:
    """Return one number per trace; raises DataError where there are more, fewer or others."""
    if array.shape != (length,) or array.dtype.kind not in ("iu" if dtype is np.int32 else "iuf"):
        raise DataError(f"{where}: {array.dtype} of shape {array.shape}; expected {length} numbers")
    return as_int32(array, where) if dtype is np.int32 else array.astype(dtype)


def number(metadata: Mapping[str, Any], key: str, where: str, default: float | None = None) -> float:
    """Return a number of the metadata; raises DataError where it is missing, no number or not finite."""
    value = metadata.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        raise DataError(f"{where}: '{key}' is {quoted(value)}; expected a number")
    return float(value)
