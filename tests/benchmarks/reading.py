"""Reading every format, beside the plain loop of its library over the same arrays: python -m tests.benchmarks.reading

``python -m tests.benchmarks.reading FOLDER`` measures the files of a folder, in place of examples that are made for it;
``repeats=9`` measures each more often. A row shows seconds for the whole file, their ratio, and for the first event the
seconds and the bytes that were read of the file.
"""

import dataclasses
import io
import json
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import uproot
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.benchmarks.measure import machine, median_seconds
from tests.fuzz import test_modules
from tests.reading import ReaderContract, counted
from wirecell_ml.data import readers
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

ENOUGH_BYTES = 4_000_000  # of an example
MOST_EVENTS = 3000


def main() -> None:
    """Print the table."""
    arguments = [argument for argument in sys.argv[1:] if "=" not in argument]
    settings = dict(argument.split("=", 1) for argument in sys.argv[1:] if "=" in argument)
    with tempfile.TemporaryDirectory() as folder:
        paths = found(Path(arguments[0])) if arguments else list(examples(Path(folder)))
        console = Console()
        console.print(machine())
        shown = Table("file", "format", "MB", "events", "plain", "ours", "ratio", "first event", "of the file")
        for path in track(paths, "measuring", console=Console(stderr=True)):
            if row := measure(path, int(settings.get("repeats", "5"))):
                shown.add_row(*row)
        console.print(shown)


def found(folder: Path) -> list[Path]:
    """Return the files below a folder that some format knows."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and known(path)]


def known(path: Path) -> bool:
    """Tell whether a file is of a known format."""
    try:
        return bool(readers.open(path))
    except DataError:
        return False


def examples(folder: Path) -> Iterator[Path]:
    """Write a file of each format, in its first suffix, from the events of its contract test, repeated."""
    for module in test_modules():
        for contract in vars(module).values():
            if isinstance(contract, type) and issubclass(contract, ReaderContract) and contract is not ReaderContract:
                form, test = contract().format(), contract()
                path = folder / f"{contract.__name__}{form.suffixes[0]}"
                test.write(path, test.events() if test.one_event else enlarged(test))
                yield path


def enlarged(test: ReaderContract) -> list[Any]:
    """Return so many events of a test that a file of them is not small."""
    (one,) = test.many(1)
    size = sum(array.nbytes for array in arrays_in(one))
    return test.many(min(max(ENOUGH_BYTES // max(size, 1), 3), MOST_EVENTS))


def arrays_in(held: Any) -> Iterator[np.ndarray]:
    """Yield the arrays inside some contents."""
    if isinstance(held, np.ndarray):
        yield held
    elif dataclasses.is_dataclass(held):
        for one in dataclasses.fields(held):
            yield from arrays_in(getattr(held, one.name))
    elif hasattr(held, "values"):
        for value in held.values():
            yield from arrays_in(value)


def measure(path: Path, repeats: int) -> tuple[str, ...] | None:
    """Return the row of one file; nothing for one that no plain library reads."""
    plain = plain_loop(path)
    if plain is None:
        return None
    form = readers.open(path).format

    def ours() -> int:
        return sum(1 for _ in form.read(Source.of(path)))

    events = ours()
    plain()
    library_s, ours_s = interleaved(plain, ours, repeats)
    first_s = median_seconds(lambda: next(iter(readers.open(path))), repeats)
    with counted(path) as (url, files):
        next(iter(readers.open(url)))
    share = sum(file.num_read for file in files) / path.stat().st_size
    times = (f"{library_s * 1e3:.1f} ms", f"{ours_s * 1e3:.1f} ms", f"{ours_s / library_s:.2f}")
    size = f"{path.stat().st_size / 1e6:.1f}"
    return (path.name, form.name, size, str(events), *times, f"{first_s * 1e3:.1f} ms", f"{share:.0%}")


def interleaved(one: Callable[[], Any], other: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Return the least seconds of two calls, made in turn, so that what else the machine does falls on both."""
    times = [(median_seconds(one, 1), median_seconds(other, 1)) for _ in range(repeats)]
    return min(first for first, _ in times), min(second for _, second in times)


def plain_loop(path: Path) -> Callable[[], Any] | None:
    """Return what reads everything in a file with its library alone; nothing where there is no such library."""
    start = path.open("rb").read(8)
    if start.startswith(b"PK"):
        return lambda: read_zip(path)
    if start.startswith(b"\x89HDF"):
        return lambda: read_hdf5(path)
    if start.startswith(b"root"):
        return lambda: read_root(path)
    if start[:1] in b"{[":
        return lambda: json.loads(path.read_bytes())
    return (lambda: read_tar(path)) if tarfile.is_tarfile(path) else None


def read_member(name: str, content: bytes) -> Any:
    """Read one member of an archive."""
    if name.endswith(".json"):
        return json.loads(content)
    return np.load(io.BytesIO(content)) if name.endswith(".npy") else read_inner(content)


def read_inner(content: bytes) -> None:
    """Read an archive inside another."""
    with np.load(io.BytesIO(content)) as held:
        for name in held.files:
            held[name]


def read_zip(path: Path) -> None:
    """Read all members of a zip: arrays by numpy, JSON by json."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if any(not name.endswith(".npy") for name in names):
            for name in names:
                read_member(name, archive.read(name))
            return
    with np.load(path) as held:
        for name in held.files:
            held[name]


def read_tar(path: Path) -> None:
    """Read all members of a tar."""
    with tarfile.open(path) as tar:
        for info in tar:
            read_member(info.name, tar.extractfile(info).read())  # type: ignore[union-attr]


def read_hdf5(path: Path) -> None:
    """Read all datasets of an HDF5 file."""
    with h5py.File(path) as file:
        names: list[str] = []
        file.visit(names.append)
        for held in map(file.__getitem__, names):
            if isinstance(held, h5py.Dataset):
                held[()]


def read_root(path: Path) -> None:
    """Read all histograms and trees of a ROOT file."""
    with uproot.open(path) as file:
        for key in file.keys(cycle=False):
            held = file[key]
            read = held.arrays if hasattr(held, "arrays") else held.values
            read()


if __name__ == "__main__":
    main()
