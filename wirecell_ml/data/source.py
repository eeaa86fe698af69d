"""Where a file is: on this machine, or behind any URL that fsspec knows (https, s3, and root where its plugin is)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self
from urllib.parse import unquote, urlsplit

import fsspec

from wirecell_ml.errors import DataError

BLOCK = 1 << 20  # bytes that are transferred at a time


@dataclass(frozen=True)
class Source:
    """A file to read, by its path or URL."""

    url: str

    @classmethod
    def of(cls, place: "str | Path | Source") -> Self:
        """Return the source that ``place`` names; ``~`` is the home folder."""
        if isinstance(place, cls):
            return place
        text = str(place)
        return cls(text if "://" in text else str(Path(text).expanduser()))

    def __str__(self) -> str:
        return self.url

    @property
    def path(self) -> Path | None:
        """The path of a file on this machine; None for one that is elsewhere."""
        if self.url.startswith("file://"):
            return Path(unquote(urlsplit(self.url).path))
        return None if "://" in self.url else Path(self.url)

    @property
    def name(self) -> str:
        """The name of the file, without its folder and without what a URL asks."""
        return self.path.name if self.path else self.url.partition("?")[0].rpartition("/")[2]

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Open for reading bytes, from any place in the file; raises DataError where that cannot be done."""
        with self.opened_far() if self.path is None else self.opened_here(self.path) as file:
            yield file

    @contextmanager
    def opened_here(self, path: Path) -> Iterator[IO[bytes]]:
        """Open a file on this machine."""
        if not path.is_file():
            raise DataError(f"{self}: {'a folder; name a file in it' if path.is_dir() else 'no such file'}")
        if path.stat().st_size == 0:
            raise DataError(f"{self}: the file is empty; write it again")
        try:
            number = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise DataError(f"{self}: cannot be opened ({error.strerror})") from error
        try:  # a reader that is left halfway is garbage together with its file, in any order: only this closes it
            with open(number, "rb", closefd=False) as file:
                yield file
        finally:
            os.close(number)

    @contextmanager
    def opened_far(self) -> Iterator[IO[bytes]]:
        """Open a file behind a URL; the blocks that are read of it are all that is transferred."""
        try:
            place, path = fsspec.core.url_to_fs(self.url)
            far = place.open(path, "rb", block_size=BLOCK, cache_type="blockcache")
        except FileNotFoundError as error:
            raise DataError(f"{self}: no such file") from error
        except ImportError as error:
            raise DataError(f"{self}: a package is missing for this kind of URL ({error})") from error
        except Exception as error:  # of the many packages behind fsspec, each has errors of its own
            raise DataError(f"{self}: cannot be opened ({' '.join(str(error).split())})") from error
        with far as file:
            if not file.read(1):
                raise DataError(f"{self}: the file is empty; write it again")
            file.seek(0)
            yield file
