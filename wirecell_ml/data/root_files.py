"""ROOT files, through uproot: whatever a stranger's file holds, reading it ends in arrays or in one DataError.

uproot is given a file object, so it reads only what is asked for; it keeps nothing and starts no thread.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cramjam
import numpy as np
import uproot
import uproot.compression
import xxhash
from numpy.typing import NDArray
from uproot.source.chunk import Chunk

from wirecell_ml.data.container import brief
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

MOST_BYTES = 1 << 30  # unpacked at a time: a plane of 2400 channels and 9600 ticks has 92 MB
MOST_KEYS = 10_000  # in a folder of a file
BLOCK = struct.Struct("<2sx3s3s")  # kind, method, bytes packed and unpacked: what precedes each packed block


@contextmanager
def opened(place: str | Path | Source) -> Iterator[Any]:
    """Open a ROOT file, as uproot's folder of objects; raises DataError for all that goes wrong while it is open."""
    source = Source.of(place)
    with source.opened() as stream:
        try:
            with uproot.open(stream, object_cache=None, array_cache=None, use_threads=False) as folder:
                allow_bytes(folder)
                folder.file._streamers = {}  # uproot would make code of the classes that a file describes, and run it
                yield folder
        except DataError as error:
            raise error if str(error).startswith(str(source)) else DataError(f"{source}: {error}") from error
        except Exception as error:  # uproot raises what the wrong bytes lead to, which may be anything
            raise DataError(f"{source}: damaged, truncated or no ROOT file; copy it again ({brief(error)})") from error


def keys(folder: Any) -> dict[str, list[Any]]:
    """Return the keys of a folder by the name of their object, which has no slash, the latest cycle first."""
    names = list(folder.iterkeys(recursive=False))
    if len(names) > MOST_KEYS:
        raise ValueError(f"{len(names)} objects in it; at most {MOST_KEYS} are read")
    found: dict[str, list[Any]] = {}
    for name in names:
        if "/" in name:
            continue
        key = folder.key(name)
        found.setdefault(key.fName, []).append(key)
    return {name: sorted(held, key=lambda key: -abs(key.fCycle)) for name, held in found.items()}


def latest(folder: Any, *kinds: str) -> dict[str, Any]:
    """Return the latest key of each object of some classes, by the object's name."""
    found = {name: [key for key in held if key.fClassName in kinds] for name, held in keys(folder).items()}
    return {name: held[0] for name, held in found.items() if held}


def read_object(key: Any) -> Any:
    """Return what a key leads to, unpacked within ``MOST_BYTES``."""
    allow_bytes(key)
    return key.get()


def allow_bytes(thing: Any) -> None:
    """Let ``MOST_BYTES`` be unpacked from here on of the file that ``thing``, a key or a branch, is in."""
    thing.file.source.bytes_allowed = MOST_BYTES


def unpack(chunk: Any, cursor: Any, context: Any, packed: int, size: int, *_: Any) -> Any:
    """Return a chunk unpacked, as uproot does it, but no more of it than is declared, and that within what is allowed.

    Raises ValueError where it holds less or more than it should.
    """
    if hasattr(chunk.source, "bytes_allowed"):  # else the file was not opened here
        chunk.source.bytes_allowed -= size
        if chunk.source.bytes_allowed < 0:
            raise ValueError(f"more than {MOST_BYTES} bytes to unpack at a time")
    start, filled, whole = cursor.index, 0, np.empty(size, np.uint8)
    while cursor.index - start < packed:
        filled += unpack_block(chunk, cursor, context, whole[filled:])
    if filled != size:
        raise ValueError(f"{filled} bytes unpacked, declared as {size}")
    return Chunk.wrap(chunk.source, whole)


def unpack_block(chunk: Any, cursor: Any, context: Any, room: NDArray[np.uint8]) -> int:
    """Unpack the block at the cursor, which goes to its end, and return the size of it."""
    kind, packed, unpacked = cursor.fields(chunk, BLOCK, context)
    length, size = int.from_bytes(packed, "little"), int.from_bytes(unpacked, "little")
    data = cursor.bytes(chunk, length, context)
    if size > len(room):
        raise ValueError(f"a block of {size} bytes where {len(room)} are due")
    if (held := UNPACKERS[kind](data, room[:size])) != size:
        raise ValueError(f"a block of {held} bytes, declared as {size}")
    return size


def unpack_lz4(data: Any, room: Any) -> int:
    """Unpack a block that follows its checksum, and return the size of it."""
    if xxhash.xxh64(data[8:]).digest() != data[:8].tobytes():
        raise ValueError("wrong checksum of a block")
    return int(cramjam.lz4.decompress_block_into(data[8:], room, output_len=len(room)))


UNPACKERS: dict[bytes, Callable[[Any, Any], int]] = {
    b"ZL": cramjam.zlib.decompress_into,
    b"L4": unpack_lz4,
    b"XZ": cramjam.xz.decompress_into,
    b"ZS": cramjam.zstd.decompress_into,
}
uproot.compression.decompress = unpack  # of a block of 30 kB, its own makes a gigabyte, whatever is declared
