"""The contract of every format that is read and written, as tests that the test class of a format inherits."""

import dataclasses
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pytest
from fsspec import AbstractFileSystem

import wirecell_ml.data
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

LARGE = 400_000  # bytes of a file of which half is much more than any reader looks ahead
CUTS = (0, 1, 10, 50, 90, 99)  # percent of a file that are left
FLIPS = 200


class ReaderContract:
    """Tests of one format; ``format`` and ``events`` are given by the class that inherits them."""

    one_event = False  # a file of this format holds one event only

    def format(self) -> Format:
        """Return the format under test."""
        raise NotImplementedError

    def events(self) -> list[Contents]:
        """Return small events that hold between them everything that the format can."""
        raise NotImplementedError

    def many(self, count: int) -> list[Contents]:
        """Return events for one file, so many that the first is a small part of it."""
        return [dataclasses.replace(self.events()[0], ident=ident) for ident in range(count)]

    def test_what_is_written_is_read_as_it_was_under_every_suffix(self, tmp_path: Path) -> None:
        for path in self.written(tmp_path):
            assert_same_events(list(self.format().read(Source.of(path))), self.events())

    def test_the_one_door_reads_it(self, tmp_path: Path) -> None:
        for path in self.written(tmp_path):
            opened = wirecell_ml.data.open(path)
            assert opened.format.name == self.format().name
            assert_same_events(list(opened), self.events())

    def test_it_is_told_by_its_content_under_any_name(self, tmp_path: Path) -> None:
        for path in self.written(tmp_path):
            opened = wirecell_ml.data.open(path.rename(tmp_path / "download"))
            assert opened.format.name == self.format().name
            assert len(list(opened)) == len(self.events())

    def test_the_first_event_is_read_without_the_rest(self, tmp_path: Path) -> None:
        if self.one_event:
            return
        suffix = min(self.format().suffixes, key=lambda suffix: (suffix != ".tar", suffix in (".npz", ".zip")))
        path, count = tmp_path / f"large{suffix}", 32
        self.write(path, self.many(count))
        count = max(count, count * LARGE // path.stat().st_size)
        self.write(path, self.many(count))
        with counted(path) as (url, files):
            first = next(iter(wirecell_ml.data.open(url)))
        assert first.ident == self.many(1)[0].ident
        assert 0 < sum(file.num_read for file in files) < path.stat().st_size / 2

    def test_a_cut_file_is_refused_after_whole_events(self, tmp_path: Path) -> None:
        for path in self.written(tmp_path):
            content = path.read_bytes()
            for percent in CUTS:
                path.write_bytes(content[: len(content) * percent // 100])
                events, fault = read_until_fault(self.format(), path)
                assert_same_events(events, self.events()[: len(events)])
                assert fault or len(events) == len(self.events()), f"{percent} % of {path.name}"

    def test_a_wrong_byte_is_never_another_error(self, tmp_path: Path) -> None:
        paths, dice = list(self.written(tmp_path)), random.Random(1)  # noqa: S311
        whole = [path.read_bytes() for path in paths]
        for flip in range(FLIPS):
            damaged = bytearray(whole[flip % len(whole)])
            damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
            path = paths[flip % len(paths)]
            path.write_bytes(damaged)
            read_until_fault(self.format(), path)

    def test_a_writer_that_fails_leaves_the_file_of_before(self, tmp_path: Path) -> None:
        def fail() -> Iterator[Contents]:
            yield self.events()[0]
            raise InterruptedError

        for suffix in self.format().suffixes:
            path = tmp_path / f"out{suffix}"
            path.write_bytes(b"before")
            with pytest.raises(InterruptedError):
                self.write(path, fail())
            assert path.read_bytes() == b"before"
            assert list(tmp_path.iterdir()) == [path]
            path.unlink()

    def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / f"nowhere{self.format().suffixes[0]}"
        for read in (self.format().read, wirecell_ml.data.open):
            with pytest.raises(DataError, match="no such file"):
                list(read(Source.of(path)))

    def test_an_empty_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / f"empty{self.format().suffixes[0]}"
        path.touch()
        for read in (self.format().read, wirecell_ml.data.open):
            with pytest.raises(DataError, match="the file is empty"):
                list(read(Source.of(path)))

    def written(self, folder: Path) -> Iterator[Path]:
        """Yield a file with the events under every suffix of the format."""
        for number, suffix in enumerate(self.format().suffixes):
            path = folder / f"file{number}{suffix}"
            self.write(path, self.events())
            yield path

    def write(self, path: Path, events: Iterable[Contents]) -> None:
        """Write events, which come once, one at a time."""
        write = self.format().write
        assert write is not None, "a format that is not written has no use for this contract"
        write(path, iter(events))


def read_until_fault(form: Format, path: Path) -> tuple[list[Contents], str]:
    """Return the events that come from ``path``, and the text of the DataError that ends them, if one does."""
    events = []
    try:
        for event in form.read(Source.of(path)):
            assert isinstance(event, Contents)
            events.append(event)
    except DataError as error:
        assert str(error).startswith(str(path))  # noqa: PT017  (most faults, not all, are noticed)
        assert "\n" not in str(error)  # noqa: PT017
        return events, str(error)
    return events, ""


def assert_same_events(some: list[Contents], others: list[Contents]) -> None:
    """Fail unless two lists of events are equal, and say where the first difference is."""
    assert [event.ident for event in some] == [event.ident for event in others]
    for one, other in zip(some, others, strict=True):
        assert not (found := difference(one, other)), f"event {one.ident}{found}"


def same(one: Any, other: Any) -> bool:
    """Tell whether two things are equal: arrays with their types and NaN, dataclasses by field, mappings by key."""
    return not difference(one, other)


def difference(one: Any, other: Any) -> str:
    """Return where two things differ first, and how; nothing where they do not."""
    if dataclasses.is_dataclass(one) and type(one) is type(other):
        names = [field.name for field in dataclasses.fields(one)]
        return first((f".{name}", getattr(one, name), getattr(other, name)) for name in names)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return f" has {list(one)}, not {list(other)}"
        return first((f"[{key!r}]", held, other[key]) for key, held in one.items())
    if isinstance(one, list | tuple) and type(one) is type(other) and len(one) == len(other):
        return first((f"[{row}]", *pair) for row, pair in enumerate(zip(one, other, strict=True)))
    return "" if equal(one, other) else f" is {one!r}, not {other!r}"


def first(parts: Iterable[tuple[str, Any, Any]]) -> str:
    """Return the first difference between two of some parts, after the name of the part."""
    return next((f"{name}{found}" for name, *pair in parts if (found := difference(*pair))), "")


def equal(one: Any, other: Any) -> bool:
    """Tell whether two things without parts are equal."""
    if type(one).__module__.startswith("awkward"):
        import awkward as ak

        return isinstance(other, ak.Array) and bool(ak.array_equal(one, other, equal_nan=True))
    if not isinstance(one, np.ndarray):
        return type(one) is type(other) and bool(one == other or (one != one and other != other))
    if not isinstance(other, np.ndarray) or one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.names:
        return all(equal(one[name], other[name]) for name in one.dtype.names)
    return np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")


@contextmanager
def counted(path: Path) -> Iterator[tuple[str, "list[CountedFile]"]]:
    """Give a file a URL, and tell of each time that it is opened what is read of it."""
    fsspec.register_implementation("counted", CountedFiles, clobber=True)
    CountedFiles.content, CountedFiles.files = path.read_bytes(), []
    yield f"counted://{path.name}", CountedFiles.files


class CountedFile(BytesIO):
    """A file in memory that counts the bytes read of it."""

    num_read = 0

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes."""
        held = super().read(size)
        self.num_read += len(held)
        return held

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` with the next bytes."""
        num = super().readinto(buffer)
        self.num_read += num
        return num


class CountedFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A place that has one file, by any name."""

    protocol = "counted"
    content = b""
    files: ClassVar[list[CountedFile]] = []

    def _open(self, _path: str, *_: Any, **__: Any) -> CountedFile:
        self.files.append(CountedFile(self.content))
        return self.files[-1]
