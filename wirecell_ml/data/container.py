"""Containers of members: zip and tar, told by what is in them, read member by member, written whole or not at all.

A zip is read only where a member is opened; a tar is a stream, read up to the member that is asked for.
"""

import bz2
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from io import BytesIO
from itertools import groupby
from pathlib import Path
from textwrap import shorten
from tokenize import TokenError
from typing import IO, Any, Literal, NamedTuple, Protocol, Self, TypeVar

from backports.zstd import ZstdError, ZstdFile

from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

Packing = Callable[[IO[bytes], Literal["rb", "wb"]], Any]
GZIP: Packing = lambda file, mode: gzip.GzipFile("", mode, 6, file, mtime=0)  # noqa: E731
TARS: dict[str, Packing] = {  # by suffix, how a tar is unpacked and packed
    ".tar": lambda file, _: file,
    ".tar.gz": GZIP,
    ".tgz": GZIP,
    ".tar.bz2": bz2.BZ2File,
    ".tar.xz": lzma.LZMAFile,
    ".tar.zst": lambda file, mode: ZstdFile(file, mode),
}
SUFFIXES = (".npz", ".zip", *TARS)
MAGIC = {  # first bytes of a file -> its kind of container
    b"PK\x03\x04": ".zip",
    b"PK\x05\x06": ".zip",
    b"\x1f\x8b": ".tar.gz",
    b"BZh": ".tar.bz2",
    b"\xfd7zXZ\0": ".tar.xz",
    b"\x28\xb5\x2f\xfd": ".tar.zst",
}
MOST_BYTES = 4 << 30  # in one member: the frame of one APA has 61 MB (2560 channels, 6000 ticks), a zip bomb any size
PIECE = 1 << 18  # bytes of a member read at once, few enough for the processor to keep them at hand
BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, ZstdError, zipfile.BadZipFile, tarfile.TarError)
STRANGE = (ArithmeticError, LookupError, MemoryError, RuntimeError, SyntaxError, TokenError, TypeError, ValueError)
DAMAGE = (*BROKEN, *STRANGE, Warning)  # strange: a .npy header, which numpy takes to Python's parser, and that may warn


class Member(NamedTuple):
    """A file in a container, not read yet."""

    name: str
    size: int  # bytes, as the container declares
    opened: Callable[[], Any]  # until the next member is asked for
    where: str

    def content(self, most: int | None = None) -> bytes:
        """Return the bytes of the member; raises DataError where they are damaged or more than ``most``."""
        limit = MOST_BYTES if most is None else most
        if self.size > limit:
            raise DataError(f"{self.where} declares {self.size} bytes; at most {limit} are read")
        try:
            with self.opened() as stream:
                held = b"".join(iter(lambda: stream.read(PIECE), b""))
        except DAMAGE as error:
            raise DataError(f"{self.where} is damaged or truncated; copy it again ({brief(error)})") from error
        if len(held) != self.size:
            raise DataError(f"{self.where} declares {self.size} bytes, but it holds {len(held)}; copy it again")
        return held


class Identified(Protocol):
    """A part of an event."""

    @property
    def ident(self) -> int:
        """The ident of the event."""
        ...


P = TypeVar("P", bound=Identified)


def by_event(parts: Iterable[P], source: Source) -> Iterator[tuple[int, Iterator[P]]]:
    """Yield the ident of each event with its parts; raises DataError where they do not follow one another."""
    seen: set[int] = set()
    for ident, run in groupby(parts, key=lambda part: part.ident):
        if ident in seen:
            raise DataError(f"{source}: event {ident} comes twice; the members of one event must follow one another")
        seen.add(ident)
        yield ident, run


def members(place: str | Path | Source) -> Iterator[Member]:
    """Yield the files in a container, in their order; raises DataError where it is damaged or none."""
    source, where = Source.of(place), "at its start"
    with source.opened() as file:
        kind = kind_of(file, source)
        try:
            for name, size, opened in zip_members(file) if kind == ".zip" else tar_members(file, kind):
                where = brief(f"after member {name!a}")
                yield Member(name, size, opened, f"{source}: member {brief(name)!a}")
        except DAMAGE as error:
            raise DataError(
                f"{source}: damaged, truncated or no {kind} {where}; copy it again ({brief(error)})"
            ) from error


def kind_of(file: IO[bytes], source: Source) -> str:
    """Return the suffix that says how ``file`` is packed: by its first bytes, a plain tar by its name or its header."""
    start = file.read(512)
    file.seek(0)
    for magic, kind in MAGIC.items():
        if start.startswith(magic):
            return kind
    if start[257:262] == b"ustar" or suffix_of(source.name) == ".tar":
        return ".tar"
    return suffix_of(source.name) or ".tar"


def suffix_of(name: str) -> str | None:
    """Return the one of ``SUFFIXES`` that a file name ends with, as its kind of container; None if it has another."""
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
    return {".npz": ".zip", ".tgz": ".tar.gz"}.get(suffix, suffix) if suffix else None


def zip_members(file: IO[bytes]) -> Iterator[tuple[str, int, Callable[[], Any]]]:
    """Yield the files in a zip; only those that are opened are read."""
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield info.filename, info.file_size, partial(archive.open, info)


def tar_members(file: IO[bytes], kind: str) -> Iterator[tuple[str, int, Callable[[], Any]]]:
    """Yield the plain files in a tar that is read as a stream, to its last byte, so that a missing end is noticed."""
    with TARS[kind](file, "rb") as stream:
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
        if header.isreg() and header.size > MOST_BYTES:
            raise tarfile.ReadError(f"a member of {header.size} bytes; at most {MOST_BYTES} are read")
        return header


def brief(thing: object) -> str:
    """Return the text of ``thing`` on one line that is not too long, whatever a stranger wrote there."""
    text = " ".join((str(thing) or type(thing).__name__).split())
    return text if len(text) <= 160 else shorten(text, 160)  # which is slow


def write_members(path: Path, contents: Iterable[tuple[str, bytes]]) -> None:
    """Write a container, its kind by the suffix of ``path``, one member at a time; equal members give equal bytes.

    The file appears whole or not at all. Raises DataError for an unknown suffix.
    """
    kind, unfinished = suffix_of(path.name), path.with_name(path.name + ".partial")
    if kind is None:
        raise DataError(f"{path}: unknown kind of archive; known are {', '.join(SUFFIXES)}")
    try:
        if kind == ".zip":
            write_zip(unfinished, contents)
        else:
            write_tar(unfinished, contents, kind)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_zip(path: Path, contents: Iterable[tuple[str, bytes]]) -> None:
    """Write a zip whose members are dated 1980."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def write_tar(path: Path, contents: Iterable[tuple[str, bytes]], kind: str) -> None:
    """Write a tar whose members are dated 1970."""
    with path.open("wb") as file, TARS[kind](file, "wb") as stream, tarfile.open(fileobj=stream, mode="w|") as tar:
        for name, content in contents:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, BytesIO(content))
