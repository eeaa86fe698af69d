"""Bundles: archives of archives, as large sets of cluster files are kept, since one packing of all saves the most."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from wirecell_ml.data import container, readers
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

INNER = (*container.SUFFIXES, ".h5", ".hdf5", ".root")


@dataclass(frozen=True)
class Inner(Source):
    """A file inside a bundle; its URL is that of the bundle and its name there."""

    content: bytes = field(repr=False)

    @property
    def path(self) -> Path | None:
        """None, since it is no file of its own."""
        return None

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Open for reading bytes, from any place in the file; raises DataError where it is empty."""
        if not self.content:
            raise DataError(f"{self}: the file is empty; write it again")
        yield BytesIO(self.content)


def inner_files(place: str | Path | Source) -> Iterator[Source]:
    """Yield the files of data in a bundle, one at a time; raises DataError where it is damaged or holds none."""
    source = Source.of(place)
    if isinstance(source, Inner):
        raise DataError(f"{source}: a bundle inside a bundle; unpack the outer one")
    names = []
    for member in container.members(source):
        names.append(member.name)
        if member.name.endswith(INNER):
            yield Inner(f"{source}/{member.name}", member.content())
    if not any(name.endswith(INNER) for name in names):
        held = container.brief(", ".join(map(ascii, names[:5])) or "nothing")
        raise DataError(f"{source}: no file of data in it, but {held}; expected {', '.join(INNER)}")


def read(source: Source) -> Iterator[Contents]:
    """Yield the events of the files in a bundle, whose names there are put before the names of what they hold.

    Raises DataError where a file is damaged or of no known format.
    """
    for inner in inner_files(source):
        for event in readers.open(inner):
            yield renamed(event, stem(inner.name))


def renamed(event: Contents, prefix: str) -> Contents:
    """Return an event with ``prefix`` before every name in it."""
    held = {one.name: getattr(event, one.name) for one in fields(event)}
    named: dict[str, Any] = {
        kind: {f"{prefix}/{name}": value for name, value in values.items()}
        for kind, values in held.items()
        if isinstance(values, Mapping)
    }
    return replace(event, **named)


def stem(name: str) -> str:
    """Return the name of an inner file without its suffix."""
    return name.removesuffix(max((suffix for suffix in INNER if name.endswith(suffix)), key=len, default=""))


def recognises(peek: Peek) -> bool:
    """Tell whether the first members of an archive are files of data themselves."""
    return peek.container == "archive" and any(name.endswith(INNER) for name in peek.names)


FORMAT = Format(
    name="bundle",
    title="tar or zip of other files",
    kinds=("frames", "masks", "depos", "blobs", "points", "tensors", "tables", "arrays"),
    suffixes=(".tar.xz", ".tar.zst", ".tar.gz", ".tgz", ".tar.bz2", ".tar", ".zip"),
    recognises=recognises,
    read=read,
    write=None,
)
