"""JSON files, plain or compressed, told by what is in them and read with bounds on what they may unpack to."""

import gc
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import SEEK_END
from typing import IO, Any

import orjson

from wirecell_ml.data.container import DAMAGE, MAGIC, TARS, brief, kind_of
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

MOST_BYTES = 1 << 30  # unpacked: the wires of six APAs have 15 MB, a field response 18 MB
MOST_RATIO = 256  # of unpacked to packed bytes: bzip2 packs wires 28 to 1, a bomb a million to 1
FREE_BYTES = 1 << 24  # that a small file may unpack to at any ratio
MOST_VALUES = 1 << 25  # each takes 30 to 100 bytes of memory, however few of text: six APAs have half a million
PEEKED = 1 << 16  # bytes that tell what a file is
PIECE = 1 << 20  # bytes read at once
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"?|[][{}:,]', re.DOTALL)  # a string that is cut ends with the text


def read_json(source: Source) -> Any:
    """Return what a JSON file holds; raises DataError where it is damaged, too large or no JSON."""
    most = most_bytes(source)
    try:
        with unpacked(source) as stream:
            text = b"".join(pieces(stream, most))
    except DAMAGE as error:
        raise DataError(f"{source}: damaged or truncated; copy it again ({brief(error)})") from error
    if len(text) > most:
        raise DataError(f"{source}: unpacks to more than {most} bytes; unpack it and read what comes out")
    return parsed(text, str(source))


def parsed(text: bytes, where: str) -> Any:
    """Return what a JSON text says, NaN and Infinity included; raises DataError where it is none or has too much."""
    if len(text) > MOST_VALUES and (values := sum(map(text.count, (b",", b"[", b"{")))) > MOST_VALUES:
        raise DataError(f"{where}: {values} values; at most {MOST_VALUES} are read")
    try:
        with uncollected():
            return orjson.loads(text)
    except ValueError as error:
        if b"NaN" not in text and b"Infinity" not in text:
            raise DataError(f"{where}: not JSON ({brief(error)})") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({brief(error)})") from None


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector away from objects that are being made, none of them garbage: a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def most_bytes(source: Source) -> int:
    """Return how many bytes a file may unpack to."""
    with source.opened() as file:
        return min(MOST_BYTES, FREE_BYTES + MOST_RATIO * file.seek(0, SEEK_END))


def pieces(stream: IO[bytes], most: int) -> Iterator[bytes]:
    """Yield what a stream holds, until it has given more than ``most`` bytes."""
    given = 0
    while given <= most and (piece := stream.read(PIECE)):
        given += len(piece)
        yield piece


@contextmanager
def unpacked(source: Source) -> Iterator[IO[bytes]]:
    """Open a file for reading what gzip, bzip2, xz or zstd packed, or else what it holds itself."""
    with source.opened() as file:
        start = file.read(max(map(len, MAGIC)))
        file.seek(0)
        packing = next((kind for magic, kind in MAGIC.items() if start.startswith(magic)), ".tar")
        if packing == ".zip":
            raise DataError(f"{source}: a zip archive; expected a JSON file")
        with TARS[packing](file, "rb") as stream:
            yield stream


def beginning(source: Source) -> bytes:
    """Return the first 64 KiB of a file, unpacked; raises DataError where it is damaged."""
    try:
        with unpacked(source) as stream:
            return stream.read(PEEKED)
    except DAMAGE as error:
        raise DataError(f"{source}: damaged or truncated; copy it again ({brief(error)})") from error


def is_json(start: bytes) -> bool:
    """Tell whether a file that begins with ``start`` may be JSON: an object or a list."""
    return start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")


def is_json_file(source: Source) -> bool:
    """Tell whether a file is JSON itself, packed or not, rather than an archive."""
    with source.opened() as file:
        if kind_of(file, source) == ".zip":
            return False
    return is_json(beginning(source))


def keys_in(start: bytes) -> tuple[str, ...]:
    """Return the keys that the beginning of a JSON text shows, each once, an inner one as ``key.key`` or ``[].key``.

    Those of the two outermost objects are told.
    """
    path: list[str] = []  # of each level that is open: the key last seen in an object, [] in a list
    found: dict[str, None] = {}
    last = ""
    for mark in TOKEN.findall(start.decode("utf-8", "replace")):
        if mark in "{[":
            path.append("[]" if mark == "[" else "")
        elif mark in "}]":
            del path[-1:]
        elif mark == ":" and 0 < len(path) <= 4 and len(path) - path.count("[]") <= 2:
            path[-1] = last
            found[".".join(path)] = None
        last = mark[1:-1]
    return tuple(found)
