"""Frame archives: what FrameFileSink writes, zip or tar (wire-cell-toolkit, sio/src/FrameFileSink.cxx).

An event is a run of members with one ident, ``frame_<tag>_<ident>.npy`` and so ``channels``, ``tickinfo``, ``summary``.
Channel masks (``chanmask_<name>_<ident>.npy``) and all other members are skipped.
"""

import bz2
import gzip
import lzma
import math
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from itertools import groupby, islice
from pathlib import Path
from textwrap import shorten
from tokenize import TokenError
from typing import IO, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.frame import Frame
from wirecell_ml.errors import DataError

TARS: dict[str, Callable[[IO[bytes], Literal["rb", "wb"]], Any]] = {  # how each is unpacked and packed
    ".tar": lambda file, _: file,
    ".tar.gz": lambda file, mode: gzip.GzipFile("", mode, 6, file, mtime=0),
    ".tgz": lambda file, mode: gzip.GzipFile("", mode, 6, file, mtime=0),
    ".tar.bz2": bz2.BZ2File,
    ".tar.xz": lzma.LZMAFile,
}
SUFFIXES = (".npz", ".zip", *TARS)
TYPES = {"frame": np.float32, "channels": np.int32, "tickinfo": np.float64, "summary": np.float64}  # as written
MEMBER = re.compile(rf"({'|'.join(TYPES)})_([ -~]+)_(-?[0-9]{{1,18}})\.npy")  # tags are printable ASCII, with _ or not
MOST_BYTES = 4 << 30  # in one member: the frame of one APA has 61 MB (2560 channels, 6000 ticks), a zip bomb any size
BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError)  # a damaged archive
STRANGE = (ArithmeticError, LookupError, MemoryError, RuntimeError, SyntaxError, TokenError, TypeError, ValueError)
DAMAGE = (*BROKEN, *STRANGE, Warning)  # strange: a .npy header, which numpy takes to Python's parser, and that may warn


def is_archive(path: Path) -> bool:
    """Tell by its name whether ``path`` is a frame archive."""
    return path.name.endswith(SUFFIXES)


def read_events(path: Path, tags: Sequence[str] | None = None) -> Iterator[tuple[int, dict[str, Frame]]]:
    """Yield (ident, {tag: Frame}) one event at a time, in the order of the archive, with those of ``tags`` it holds.

    Raises DataError at the first thing that is wrong: a tar yields its whole events before, and a cut zip yields none.
    """
    seen: set[int] = set()
    for ident, parts in groupby(frame_parts(path), key=lambda part: part.ident):
        if ident in seen:
            raise DataError(f"{path}: event {ident} comes twice; the members of one event must follow one another")
        seen.add(ident)
        wanted = (part for part in parts if tags is None or part.tag in tags)
        yield ident, read_event(path, ident, wanted)
    if not seen:
        held = ", ".join(ascii(name) for name, *_ in islice(members(path), 5)) or "nothing"
        raise DataError(f"{path}: no frame in it, but {brief(held)}; expected 'frame_<tag>_<ident>.npy'")


def write_archive(path: Path, events: Iterable[tuple[int, Mapping[str, Frame]]]) -> None:
    """Write events one at a time, members named and ordered as FrameFileSink does; equal frames give equal bytes."""
    suffix, unfinished = suffix_of(path), path.with_name(path.name + ".partial")
    try:
        write = partial(write_tar, suffix=suffix) if suffix in TARS else write_zip
        write(unfinished, new_members(path, events))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


class Part(NamedTuple):
    """A member that is one array of a frame, not read yet."""

    kind: str
    tag: str
    ident: int
    size: int  # bytes, as the archive declares
    opened: Callable[[], Any]  # until the next member is asked for
    where: str


def frame_parts(path: Path) -> Iterator[Part]:
    """Yield the members of ``path`` that belong to frames."""
    for name, size, opened in members(path):
        if match := MEMBER.fullmatch(name):
            kind, tag, ident = match.groups()
            yield Part(kind, tag, int(ident), size, opened, f"{path}: member '{name}'")


def members(path: Path) -> Iterator[tuple[str, int, Callable[[], Any]]]:
    """Yield name, size and opener of the files in ``path``, in their order."""
    suffix, place = suffix_of(path), "at its start"
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty; write it again")
    try:
        for member in tar_members(path, suffix) if suffix in TARS else zip_members(path):
            place = brief(f"after member {member[0]!a}")
            yield member
    except DAMAGE as error:
        raise DataError(f"{path}: damaged, truncated or no {suffix} {place}; copy it again ({brief(error)})") from error


def suffix_of(path: Path) -> str:
    """Return the one of ``SUFFIXES`` that ``path`` has."""
    if not is_archive(path):
        raise DataError(f"{path}: unknown kind of archive; known are {', '.join(SUFFIXES)}")
    return next(suffix for suffix in SUFFIXES if path.name.endswith(suffix))


def zip_members(path: Path) -> Iterator[tuple[str, int, Callable[[], Any]]]:
    """Yield the files in a zip; only those that are opened are read."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            yield info.filename, info.file_size, partial(archive.open, info)


def tar_members(path: Path, suffix: str) -> Iterator[tuple[str, int, Callable[[], Any]]]:
    """Yield the plain files in a tar that is read as a stream, to its last byte, so that a missing end is noticed."""
    with path.open("rb") as file, TARS[suffix](file, "rb") as stream:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=StrictHeader) as tar:
            for info in filter(tarfile.TarInfo.isreg, tar):
                yield info.name, info.size, partial(tar.extractfile, info)
        while stream.read(1 << 20):
            continue


class StrictHeader(tarfile.TarInfo):
    """A tar header that takes neither damage for the end of the archive, as tarfile does, nor too much memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Return the header in ``buf``."""
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf.count(0) == tarfile.BLOCKSIZE:  # the end, as it should be
                raise
            raise tarfile.ReadError(f"{error} where a member or the end is due") from error
        if not header.isreg() and header.size > 1 << 20:  # a long name, say, which tarfile reads into memory
            raise tarfile.ReadError(f"a header of {header.size} bytes; at most {1 << 20} are read")
        return header


def read_event(path: Path, ident: int, parts: Iterable[Part]) -> dict[str, Frame]:
    """Return the frames of one event by tag."""
    arrays: dict[str, dict[str, NDArray[Any]]] = {}
    for part in parts:
        held = arrays.setdefault(part.tag, {})
        if part.kind in held:
            raise DataError(f"{part.where} comes twice; write it once")
        held[part.kind] = read_array(part)
    return {tag: frame_of(held, f"{path}: event {ident}, tag '{tag}'") for tag, held in arrays.items()}


def read_array(part: Part) -> NDArray[Any]:
    """Return the array of a member, in C order and the type of its kind; nothing is unpickled."""
    if part.size > MOST_BYTES:
        raise DataError(f"{part.where} declares {part.size} bytes; at most {MOST_BYTES} are read")
    try:
        with part.opened() as content:
            return array_in(content, part)
    except DAMAGE as error:
        raise DataError(f"{part.where} is damaged, truncated or no .npy; copy it again ({brief(error)})") from error


def array_in(content: IO[bytes], part: Part) -> NDArray[Any]:
    """Return the array in ``content``, of which no more is read than its header, if that does not fit the member."""
    if (version := np.lib.format.read_magic(content)) != (1, 0):
        raise DataError(f"{part.where} is .npy of version {version}; numbers are written in version (1, 0)")
    shape, by_column, dtype = np.lib.format.read_array_header_1_0(content)
    if not np.can_cast(dtype, TYPES[part.kind]):
        raise DataError(f"{part.where} holds {brief(dtype)}; expected {np.dtype(TYPES[part.kind])} or what fits in it")
    size, room = math.prod(shape) * dtype.itemsize, part.size - content.tell()
    if size != room:
        raise DataError(f"{part.where} declares shape {brief(shape)} of {dtype}, {size} bytes, but it holds {room}")
    values = np.frombuffer(content.read(size), dtype).reshape(shape, order="F" if by_column else "C")
    return np.array(values, TYPES[part.kind], order="C")


def frame_of(arrays: dict[str, NDArray[Any]], where: str) -> Frame:
    """Return the frame that ``arrays`` make, by kind."""
    if missing := {"frame", "channels", "tickinfo"} - set(arrays):
        raise DataError(f"{where} has no {' and no '.join(sorted(missing))}; frame, channels and tickinfo go together")
    samples, tickinfo = arrays["frame"], arrays["tickinfo"]
    if samples.ndim != 2:
        raise DataError(f"{where}: frame has shape {samples.shape}; expected (channel, tick)")
    fitting = {"channels": (len(samples),), "tickinfo": (3,), "summary": (len(samples),)}
    for kind, shape in fitting.items():
        if kind in arrays and arrays[kind].shape != shape:
            raise DataError(f"{where}: {kind} has shape {arrays[kind].shape}; expected {shape}")
    if not np.isfinite(tickinfo).all() or tickinfo[1] <= 0:
        raise DataError(f"{where}: tickinfo is {tickinfo.tolist()}; expected [time ns, period ns > 0, first tick]")
    time_ns, period_ns, tbin = tickinfo.tolist()
    return Frame(samples, arrays["channels"], time_ns, period_ns, round(tbin), arrays.get("summary"))


def brief(thing: object) -> str:
    """Return the text of ``thing`` on one line that is not too long, whatever a stranger wrote there."""
    return shorten(str(thing) or type(thing).__name__, 160)


def new_members(path: Path, events: Iterable[tuple[int, Mapping[str, Frame]]]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each member that ``events`` need."""
    written: set[int] = set()
    for ident, frames in events:
        if ident in written:
            raise DataError(f"{path}: event {ident} comes twice; give all its tags at once")
        written.add(ident)
        for tag, frame in frames.items():
            for kind, array in arrays_of(frame).items():
                name = f"{kind}_{tag}_{ident}.npy"
                if not MEMBER.fullmatch(name):
                    raise DataError(f"{path}: event {ident}: tag {tag!r} cannot be written; use printable ASCII")
                buffer = BytesIO()
                np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
                yield name, buffer.getvalue()


def arrays_of(frame: Frame) -> dict[str, NDArray[Any]]:
    """Return the arrays of ``frame`` by kind, typed and ordered as FrameFileSink does."""
    tickinfo = np.array([frame.time_ns, frame.period_ns, frame.tbin])
    arrays = {"frame": frame.samples, "channels": frame.channels, "tickinfo": tickinfo, "summary": frame.summary}
    return {kind: np.asfortranarray(held, TYPES[kind]) for kind, held in arrays.items() if held is not None}


def write_zip(path: Path, contents: Iterable[tuple[str, bytes]]) -> None:
    """Write a zip whose members are dated 1980."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def write_tar(path: Path, contents: Iterable[tuple[str, bytes]], suffix: str) -> None:
    """Write a tar whose members are dated 1970."""
    with path.open("wb") as file, TARS[suffix](file, "wb") as stream, tarfile.open(fileobj=stream, mode="w|") as tar:
        for name, content in contents:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, BytesIO(content))
