"""HDF5 files opened with care: no other file is read, and no more memory taken than what is stored can fill."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

import h5py
from numpy.typing import NDArray

from wirecell_ml.data import container
from wirecell_ml.data.container import DAMAGE, brief
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError, suggest

SIGNATURE = b"\x89HDF\r\n\x1a\n"
PLACES = (0, 512, 1024, 2048)  # of the signature: other data may come first
MOST_PACKED = 1100  # bytes that a stored one may stand for; deflate reaches 1032
MOST_UNSTORED = 1 << 20  # bytes that nothing needs to be stored for: fill values


def is_hdf5(file: IO[bytes]) -> bool:
    """Tell by its first bytes whether ``file`` is HDF5; it is left at its start."""
    start = file.read(PLACES[-1] + len(SIGNATURE))
    file.seek(0)
    return any(start.startswith(SIGNATURE, place) for place in PLACES)


@contextmanager
def opened(place: str | Path | Source) -> Iterator[h5py.File]:
    """Open ``place`` for reading; raises DataError where it is missing, empty, truncated or no HDF5 file.

    What else h5py raises while it is open is a DataError, too: wrong bytes are noticed where they are read.
    """
    source = Source.of(place)
    with source.opened() as stream:
        if not is_hdf5(stream):
            raise DataError(f"{source}: not an HDF5 file; expected the output of HDF5FrameTap (g4-rec-*.h5), say")
        try:
            with h5py.File(source.path or stream, "r") as file:
                yield file
        except DAMAGE as error:
            raise DataError(f"{source}: damaged or truncated, write or copy it again ({brief(error)})") from error


@contextmanager
def created(path: Path) -> Iterator[h5py.File]:
    """Open a new file for writing, which takes the place of ``path`` when it is whole, and is nowhere before."""
    unfinished = path.with_name(path.name + ".partial")
    try:
        with h5py.File(unfinished, "w") as file:
            yield file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def child(group: h5py.Group, name: str, where: str, kind: str) -> Any:
    """Return the object ``name`` in ``group``, never one that is elsewhere; ``where`` opens the DataError otherwise."""
    if not holds(group, name):
        raise DataError(f"{where}: no {kind} {brief(name)!r}.{suggest(name, map(brief, islice(names(group), 50)))}")
    if not is_here(group, name):
        raise DataError(
            f"{where}: {brief(name)!r} is a link to elsewhere, which is not followed; copy the data into it"
        )
    return group[name]


def holds(group: h5py.Group, name: str) -> bool:
    """Tell whether ``group`` has something of this name; h5py's own ``in`` would follow a link to another file."""
    return "/" not in name and name not in ("", ".") and group.id.links.exists(encoded(name))


def is_here(group: h5py.Group, name: str) -> bool:
    """Tell whether ``name``, which is in ``group``, is an object of this file and no link by name."""
    return bool(group.id.links.get_info(encoded(name)).type == h5py.h5l.TYPE_HARD)


def encoded(name: str) -> bytes:
    """Return a name as HDF5 keeps it."""
    return name.encode("utf-8", "surrogateescape")


def names(group: h5py.Group) -> Iterator[str]:
    """Yield the names in ``group``, in the order of the file; raises ValueError for one that is no text."""
    for name in group:
        if not isinstance(name, str):  # h5py gives bytes where they are no UTF-8
            raise ValueError(f"the name {brief(name)} in it is no text")
        yield name


def groups(group: h5py.Group) -> Iterator[tuple[str, h5py.Group]]:
    """Yield the names and groups in ``group``, in the order of the file; what is no group is left out."""
    for name in names(group):
        if is_here(group, name) and isinstance(held := group[name], h5py.Group):
            yield name, held


def subgroup(group: h5py.Group, name: str, where: str) -> h5py.Group:
    """Return the group ``name`` in ``group``; raises DataError where there is none."""
    held = child(group, name, where, "group")
    if not isinstance(held, h5py.Group):
        raise DataError(f"{where}: {brief(name)!r} is no group")
    return held


def dataset(group: h5py.Group, name: str, where: str, kinds: str = "biuf", most: int | None = None) -> h5py.Dataset:
    """Return the dataset ``name`` in ``group``, which is safe to read whole; ``where`` opens the text of a DataError.

    Raises DataError where there is none, where its type is none of ``kinds`` (of numpy; "V" for records of numbers),
    where its data are in another file, and where it declares more than memory takes (than ``most`` bytes, for what is
    read in parts) or than what is stored can fill.
    """
    held, what = child(group, name, where, "dataset"), f"{where}: {brief(name)!r}"
    if not isinstance(held, h5py.Dataset) or held.shape is None:
        raise DataError(f"{what} is no array")
    dtype = held.dtype  # which h5py makes anew each time
    if dtype.kind not in kinds or (dtype.hasobject and "O" not in kinds):
        raise DataError(f"{what} holds {brief(dtype)}; expected numbers")
    layout = held.id.get_create_plist()
    if layout.get_layout() == h5py.h5d.VIRTUAL or layout.get_external_count():
        raise DataError(f"{what} has its data in another file, which is not opened; copy them into this one")
    size, chunk = (dtype.itemsize * math.prod(shape) for shape in (held.shape, held.chunks or ()))
    for declared, limit in ((size, most or container.MOST_BYTES), (chunk, container.MOST_BYTES)):
        if declared > limit:
            raise DataError(f"{what} declares {declared} bytes; at most {limit} are read")
    if size and max(size, chunk) > MOST_UNSTORED:
        stored = min(held.id.get_storage_size(), held.file.id.get_filesize())
        if max(size, chunk) > MOST_UNSTORED + MOST_PACKED * stored:
            raise DataError(f"{what} declares {max(size, chunk)} bytes, but {stored} are stored; write it again")
    return held


def values(group: h5py.Group, name: str, where: str, kinds: str = "biuf") -> NDArray[Any]:
    """Return the whole dataset ``name`` as it was written, in this machine's byte order; raises as ``dataset``."""
    array: NDArray[Any] = dataset(group, name, where, kinds)[()]
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
