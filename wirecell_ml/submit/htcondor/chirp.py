"""Chirp: how a job reads and writes files of the machine that its queue is on. Nothing but the standard library.

The starter of a job with +WantIOProxy serves it on the loopback; paths begin in the job's initialdir.
"""

import io
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

CONFIG = "_CONDOR_CHIRP_CONFIG"  # variable that names the file with host, port and cookie
TIMEOUT_S = 60
MODE = 0o600
MISSING = -3
ERRORS = {  # answers below zero
    -1: "the starter does not know us",
    -2: "not allowed there",
    -5: "too large",
    -6: "no space left there",
    -17: "the queue's machine does not answer",
}


class Chirp:
    """The files of the queue's machine; each call has a connection of its own, so that threads may call at once.

    Every method raises OSError where that machine does not answer, or has no room.
    """

    def __init__(self) -> None:
        if CONFIG not in os.environ:
            raise OSError(f"no {CONFIG}: HTCondor lets this job write nothing home. The pool must have ENABLE_CHIRP")
        self.host, self.port, self.cookie = Path(os.environ[CONFIG]).read_text().split()

    def get(self, name: str, target: BinaryIO) -> bool:
        """Write the contents of a file to ``target``; return whether there is such a file."""
        with self.connected() as stream:
            length = ask(stream, f"getfile {name}")
            if length == MISSING:
                return False
            left = fine(length)
            while left:
                piece = stream.read(min(left, 1_000_000))
                if not piece:
                    raise ConnectionError("a file broke off")
                target.write(piece)
                left -= len(piece)
        return True

    def put(self, source: BinaryIO, name: str) -> None:
        """Write a file so that a reader sees the old one or the new one, never half of it."""
        size = source.seek(0, io.SEEK_END)
        source.seek(0)
        written = f"{name}.new"
        with self.connected() as stream:
            fine(ask(stream, f"putfile {written} {MODE} {size}"))
            shutil.copyfileobj(source, stream)
            fine(answer(stream))
            fine(ask(stream, f"rename {written} {name}"))

    @contextmanager
    def connected(self) -> Iterator[io.BufferedRWPair]:
        """Yield a stream to the starter, who knows us."""
        place = self.host, int(self.port)
        with socket.create_connection(place, TIMEOUT_S) as connection, connection.makefile("rwb") as stream:
            fine(ask(stream, f"cookie {self.cookie}"))
            yield stream


def ask(stream: io.BufferedRWPair, line: str) -> int:
    """Send a line and return the number that is answered."""
    stream.write(f"{line}\n".encode())
    return answer(stream)


def answer(stream: io.BufferedRWPair) -> int:
    """Return the number that is answered."""
    stream.flush()
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise ConnectionError("the starter hung up")
    return int(line)


def fine(number: int) -> int:
    """Return a number that is no error."""
    if number < 0:
        raise OSError(ERRORS.get(number, f"chirp: error {number}"))
    return number
