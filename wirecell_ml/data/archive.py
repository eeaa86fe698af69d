"""Frame archives: what FrameFileSink writes, zip or tar (wire-cell-toolkit, sio/src/FrameFileSink.cxx).

An event is a run of members with one ident, ``frame_<tag>_<ident>.npy`` and so ``channels``, ``tickinfo``, ``summary``,
and ``chanmask_<name>_<ident>.npy``. All other members are skipped.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data import container
from wirecell_ml.data.container import SUFFIXES, Member, brief, members, write_members
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek, check_event
from wirecell_ml.data.frame import DIGITIZED, Frame, timing
from wirecell_ml.data.npy import npy_bytes, read_array
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

MASK = "chanmask"
TYPES = {"frame": np.float32, "channels": np.int32, "tickinfo": np.float64, "summary": np.float64, MASK: np.int32}
MEMBER = re.compile(rf"({'|'.join(TYPES)})_([ -~]+)_(-?[0-9]{{1,18}})\.npy")  # tags are printable ASCII, with _ or not


def read(source: Source) -> Iterator[Contents]:
    """Yield the events of an archive one at a time, in its order; digitized frames keep their type.

    Raises DataError at the first thing that is wrong: a tar yields its whole events before, and a cut zip yields none.
    """
    for ident, parts in event_parts(source):
        yield event_of(source, ident, parts)


def read_events(
    place: str | Path | Source, tags: Sequence[str] | None = None
) -> Iterator[tuple[int, dict[str, Frame]]]:
    """Yield (ident, {tag: Frame}) as ``read`` does, with those of ``tags`` only, float32 and row by row in memory."""
    source = Source.of(place)
    for ident, parts in event_parts(source):
        wanted = (part for part in parts if part.kind != MASK and (tags is None or part.tag in tags))
        yield ident, frames_of(read_arrays(source, ident, wanted, by_row), source, ident)


class Part(NamedTuple):
    """A member that is one array of an event, not read yet."""

    kind: str
    tag: str
    ident: int
    member: Member


def event_parts(source: Source) -> Iterator[tuple[int, Iterator[Part]]]:
    """Yield the ident and the parts of each event, which are to be read before the next event is asked for."""
    found = False
    for ident, parts in container.by_event(frame_parts(source), source):
        found = True
        yield ident, parts
    if not found:
        held = ", ".join(ascii(member.name) for member in islice(members(source), 5)) or "nothing"
        raise DataError(f"{source}: no frame in it, but {brief(held)}; expected 'frame_<tag>_<ident>.npy'")


def frame_parts(source: Source) -> Iterator[Part]:
    """Yield the members of ``source`` that belong to frames, or are masks."""
    for member in members(source):
        if match := MEMBER.fullmatch(member.name):
            kind, tag, ident = match.groups()
            yield Part(kind, tag, int(ident), member)


def event_of(source: Source, ident: int, parts: Iterable[Part]) -> Contents:
    """Return the event that ``parts`` make."""
    arrays, where = read_arrays(source, ident, parts, as_written), f"{source}: event {ident}"
    masks = {name: mask_of(held, where) for (name, kind), held in arrays.items() if kind == MASK}
    return Contents(ident, frames=frames_of(arrays, source, ident), masks=masks)


def read_arrays(
    source: Source, ident: int, parts: Iterable[Part], read_part: Callable[[Part], NDArray[Any]]
) -> dict[tuple[str, str], NDArray[Any]]:
    """Return the arrays of one event by tag and kind."""
    arrays: dict[tuple[str, str], NDArray[Any]] = {}
    size = 0
    for part in parts:
        if (part.tag, part.kind) in arrays:
            raise DataError(f"{part.member.where} comes twice; write it once")
        arrays[part.tag, part.kind] = read_part(part)
        size += part.member.size
        if size > container.MOST_BYTES:
            raise DataError(
                f"{source}: event {ident} has more than {container.MOST_BYTES} bytes; at most these are read"
            )
    return arrays


def as_written(part: Part) -> NDArray[Any]:
    """Return the array of a member; digitized frames keep their type, and all their order in memory."""
    return read_array(part.member, TYPES[part.kind], kept=DIGITIZED if part.kind == "frame" else ())


def by_row(part: Part) -> NDArray[Any]:
    """Return the array of a member, row by row in memory, of its one type."""
    return np.ascontiguousarray(read_array(part.member, TYPES[part.kind]))


def frames_of(arrays: Mapping[tuple[str, str], NDArray[Any]], source: Source, ident: int) -> dict[str, Frame]:
    """Return the frames that the arrays of one event make, by tag."""
    frames: dict[str, dict[str, NDArray[Any]]] = {}
    for (tag, kind), array in arrays.items():
        if kind != MASK:
            frames.setdefault(tag, {})[kind] = array
    return {tag: frame_of(held, f"{source}: event {ident}, tag '{tag}'") for tag, held in frames.items()}


def frame_of(arrays: Mapping[str, NDArray[Any]], where: str) -> Frame:
    """Return the frame that ``arrays`` make, by kind."""
    if missing := {"frame", "channels", "tickinfo"} - set(arrays):
        raise DataError(f"{where} has no {' and no '.join(sorted(missing))}; frame, channels and tickinfo go together")
    samples, tickinfo = arrays["frame"], arrays["tickinfo"]
    if samples.ndim != 2:
        raise DataError(f"{where}: frame has shape {samples.shape}; expected (channel, tick)")
    fitting = {"channels": (len(samples),), "summary": (len(samples),)}
    for kind, shape in fitting.items():
        if kind in arrays and arrays[kind].shape != shape:
            raise DataError(f"{where}: {kind} has shape {arrays[kind].shape}; expected {shape}")
    return Frame(samples, arrays["channels"], *timing(tickinfo, where), arrays.get("summary"))


def mask_of(array: NDArray[Any], where: str) -> NDArray[np.int32]:
    """Return the ranges of masked channels that ``array`` holds."""
    if array.ndim != 2 or array.shape[1] != 3:
        raise DataError(f"{where}: chanmask has shape {array.shape}; expected (range, 3): channel, first tick, end")
    return array


def write(path: Path, events: Iterable[Contents]) -> None:
    """Write events one at a time, members named and ordered as FrameFileSink does; equal frames give equal bytes.

    Raises DataError for an event that comes twice or holds something else, and for a tag that is not printable ASCII.
    """
    write_members(path, new_members(path, events))


def write_archive(path: Path, events: Iterable[tuple[int, Mapping[str, Frame]]]) -> None:
    """Write frames by tag as events of their idents, as ``write`` does."""
    write(path, (Contents(ident, frames=frames) for ident, frames in events))


def new_members(path: Path, events: Iterable[Contents]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each member that ``events`` need."""
    written: set[int] = set()
    for event in events:
        check_event(event, FORMAT.kinds, written, str(path))
        if not event.frames and not event.masks:
            raise DataError(
                f"{path}: event {event.ident} has no frames and no masks, so that it could not be read back"
            )
        for kind, tag, array in event_arrays(event):
            name = f"{kind}_{tag}_{event.ident}.npy"
            if not MEMBER.fullmatch(name):
                raise DataError(f"{path}: event {event.ident}: tag {tag!r} cannot be written; use printable ASCII")
            yield name, npy_bytes(array)


def event_arrays(event: Contents) -> Iterator[tuple[str, str, NDArray[Any]]]:
    """Yield kind, tag and array of each member of ``event``, typed and ordered in memory as FrameFileSink does."""
    for tag, frame in event.frames.items():
        tickinfo = np.array([frame.time_ns, frame.period_ns, frame.tbin], np.float64)
        arrays = {"frame": frame.samples, "channels": frame.channels, "tickinfo": tickinfo, "summary": frame.summary}
        for kind, held in arrays.items():
            if held is not None:
                stays = kind == "frame" and held.dtype in DIGITIZED
                yield kind, tag, np.asfortranarray(held, None if stays else TYPES[kind])
    for name, mask in event.masks.items():
        yield MASK, name, np.asfortranarray(mask, np.int32)


def recognises(peek: Peek) -> bool:
    """Tell an archive by a frame or a mask among its first members."""
    found = filter(None, map(MEMBER.fullmatch, peek.names))
    return peek.container == "archive" and any(match[1] in ("frame", MASK) for match in found)


FORMAT = Format(
    name="frame archive",
    title="FrameFileSink",
    kinds=("frames", "masks"),
    suffixes=SUFFIXES,
    recognises=recognises,
    read=read,
    write=write,
    loses="run and subrun numbers",
)
