"""Text in HDF5: strings of any length, which are read here and not by HDF5, for one wrong byte makes that run for ever.

A dataset of such strings holds for each its length and where it is: the address of a heap, and a number in that heap.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wirecell_ml.errors import DataError

TEXT = np.dtypes.StringDType()
REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("number", "<u4")])
HEAP_HEADER = 16  # bytes: signature, version and size
OBJECT = struct.Struct("<H6xQ")  # number, count of uses, and size of a string in a heap, before it
MOST_TEXTS, MOST_CHARACTERS = 1 << 21, 1 << 26  # at once: many rows may name one long string
MOST_HELD = 1 << 20  # bytes of heaps that are kept, as neighbouring rows use the same
MOST_PASSES = 16  # times that the bytes of a file are searched in all: heaps of a damaged one may lie over each other


def is_text(dataset: h5py.Dataset) -> bool:
    """Tell whether ``dataset`` holds strings of any length."""
    kind = h5py.check_string_dtype(dataset.dtype)
    return kind is not None and kind.length is None


def can_be_written(texts: NDArray[Any]) -> bool:
    """Tell whether an array is text that HDF5 can hold, which ends at a null."""
    return texts.dtype == TEXT and not any("\0" in text for text in texts.flat)


@dataclass
class Text:
    """A dataset of strings of any length, in a file that is also open as a stream of bytes."""

    held: h5py.Dataset
    stream: IO[bytes]
    where: str
    heaps: dict[int, dict[int, bytes]] = field(default_factory=dict)  # by address, strings by number
    num_held: int = 0  # bytes
    num_searched: int = 0  # bytes
    chunk: tuple[int, NDArray[Any]] | None = None  # the last that was read, by its first row

    def rows(self, first: int = 0, end: int | None = None) -> NDArray[Any]:
        """Return rows from ``first`` to ``end`` (excluded), as numpy's ``StringDType``.

        Raises DataError where they are more than memory should take, damaged, or packed in a way that is not known.
        """
        end = len(self.held) if end is None else end
        shape = (end - first, *self.held.shape[1:])
        if math.prod(shape) > MOST_TEXTS:
            raise DataError(f"{self.where} has {math.prod(shape)} strings; at most {MOST_TEXTS} are read at once")
        found = np.concatenate([np.zeros(0, REFERENCE), *self.references(first, end)])
        if found["length"].sum(dtype=np.float64) > MOST_CHARACTERS:
            raise DataError(f"{self.where} holds more than {MOST_CHARACTERS} bytes of text; at most so many are read")
        return np.array(list(self.texts(found)), TEXT).reshape(shape)

    def references(self, first: int, end: int) -> Iterator[NDArray[Any]]:
        """Yield what the dataset holds for the strings of some rows."""
        width = math.prod(self.held.shape[1:])
        if self.held.file.id.get_create_plist().get_sizes() != (8, 8):
            raise DataError(f"{self.where}: a file with addresses of other than 8 bytes; write it again")
        if self.held.chunks is None:
            offset, size = self.held.id.get_offset(), (end - first) * width * REFERENCE.itemsize
            stored = self.held.id.get_storage_size()
            if offset is None and stored:
                raise DataError(
                    f"{self.where} is stored in its own description, where text is not read; write it again"
                )
            place = offset + first * width * REFERENCE.itemsize if stored else None
            yield self.read(place, size).view(REFERENCE)
            return
        if self.held.chunks[1:] != self.held.shape[1:]:
            raise DataError(f"{self.where} is cut in chunks of {self.held.chunks}; expected whole rows")
        if math.prod(self.held.chunks) > MOST_TEXTS:
            raise DataError(
                f"{self.where} has chunks of {self.held.chunks}; at most {MOST_TEXTS} strings are read at once"
            )
        length = self.held.chunks[0]
        for row in range(first - first % length, end, length):
            if self.chunk is None or self.chunk[0] != row:
                self.chunk = (row, self.unpacked(row))
            yield self.chunk[1][max(first - row, 0) * width : min(end - row, length) * width]

    def unpacked(self, row: int) -> NDArray[Any]:
        """Return the chunk that begins with a row."""
        room = math.prod(self.held.chunks) * REFERENCE.itemsize
        place = self.held.id.get_chunk_info_by_coord((row, *[0] * (self.held.ndim - 1)))
        if not place.size:
            return np.zeros(room, np.uint8).view(REFERENCE)
        packed, plan = self.read(place.byte_offset, place.size).tobytes(), self.held.id.get_create_plist()
        for number in reversed(range(plan.get_nfilters())):
            if not place.filter_mask >> number & 1:
                packed = self.unfiltered(packed, plan.get_filter(number)[0], room)
        if len(packed) != room:
            raise DataError(f"{self.where}: a chunk has {len(packed)} bytes, and should have {room}; copy it again")
        return np.frombuffer(packed, REFERENCE)

    def unfiltered(self, packed: bytes, code: int, room: int) -> bytes:
        """Return bytes as they were before a filter of HDF5."""
        if code == h5py.h5z.FILTER_DEFLATE:
            return zlib.decompressobj().decompress(packed, room + 1)
        if code == h5py.h5z.FILTER_SHUFFLE:
            return np.frombuffer(packed, np.uint8).reshape(REFERENCE.itemsize, -1).T.tobytes()
        raise DataError(f"{self.where} is packed by filter {code}, and text only by gzip; write it again")

    def texts(self, found: NDArray[Any]) -> Iterator[str]:
        """Yield the strings that references lead to, each without what follows a null."""
        for length, address, number in found.tolist():
            if not length:
                yield ""
                continue
            heap = self.heaps.get(address) or self.heap(address)
            content = heap.get(number, b"")
            if len(content) != length:
                raise DataError(
                    f"{self.where}: a string of {length} bytes is not where it should be; copy the file again"
                )
            yield content.partition(b"\0")[0].decode()

    def heap(self, address: int) -> dict[int, bytes]:
        """Return the strings of a heap by number."""
        place = self.held.file.userblock_size + address
        header = self.read(place, HEAP_HEADER).tobytes()
        size = int.from_bytes(header[8:], "little")
        self.num_searched += size
        if not header.startswith(b"GCOL\1"):
            raise DataError(f"{self.where}: there are no strings where they should be; copy the file again")
        if self.num_searched > MOST_PASSES * self.stream.seek(0, 2):
            raise DataError(f"{self.where}: its strings lie over each other or in no order; write it again")
        if self.num_held > MOST_HELD:
            self.heaps, self.num_held = {}, 0
        self.num_held += size
        self.heaps[address] = dict(strings(self.read(place, size).tobytes()))
        return self.heaps[address]

    def read(self, place: int | None, size: int) -> NDArray[Any]:
        """Return ``size`` bytes of the file, zeros where nothing was stored."""
        if place is None:
            return np.zeros(size, np.uint8)
        self.stream.seek(place)
        found = self.stream.read(size)
        if len(found) != size:
            raise DataError(f"{self.where}: the file ends before its strings; copy it again")
        return np.frombuffer(found, np.uint8)


def strings(heap: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the numbers and contents of what is in a heap."""
    place = HEAP_HEADER
    while place + OBJECT.size <= len(heap):
        number, size = OBJECT.unpack_from(heap, place)
        if not number:  # the room that is left
            return
        place += OBJECT.size
        yield number, heap[place : place + size]
        place += size + -size % 8
