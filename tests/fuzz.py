"""Fuzz every reader: mutated files must end in events or in one DataError, in bounded time and memory, writing nothing.

  python -m tests.fuzz                       10,000 files of each format; json=FILE keeps the counts for docs/formats.md
  python -m tests.fuzz count=300 seed=2      fewer, others
  python -m tests.fuzz only=magnify          one format

A file that ends otherwise is kept in the folder ``fuzz-failures``, and the command ends with status 1.
"""

import importlib.util
import json
import multiprocessing
import multiprocessing.pool
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.mutations import damage, rebuild
from tests.reading import ReaderContract
from wirecell_ml.data import container, readers
from wirecell_ml.errors import DataError

SETTINGS = {"count": "10000", "seed": "1", "only": "", "json": "", "jobs": str(os.cpu_count() or 1)}
MOST_BYTES = 64 << 20  # in one member or array while fuzzing, in place of the 4 GiB that users may read
LIMIT_S, HUNG_S = 10.0, 60.0  # for one file: when it is stopped, and when its process is
MEMORY_BYTES = 2 << 30  # more than the process has at its start
FAILURES = Path("fuzz-failures")


class TooLong(BaseException):
    """A file took longer than it may; no reader catches it."""


@dataclass
class Tally:
    """What became of the mutated files of one format."""

    format: str
    files: int = 0
    refused: int = 0  # one DataError
    read: int = 0  # nothing was noticed, or nothing was wrong
    failures: dict[str, int] = field(default_factory=dict)  # files by what went wrong
    slowest_s: float = 0.0
    memory_mb: float = 0.0  # most that reading added to the process
    total_s: float = 0.0


def main() -> int:
    """Fuzz the formats that the command line names, print the table, and return 1 if anything failed."""
    settings = SETTINGS | dict(argument.split("=", 1) for argument in sys.argv[1:])
    if unknown := set(settings) - set(SETTINGS):
        sys.exit(f"no setting {', '.join(sorted(unknown))}. Known here: {', '.join(SETTINGS)}")
    with tempfile.TemporaryDirectory() as folder:
        seeds = write_seeds(Path(folder), settings["only"])
        if not seeds:
            sys.exit(f"no format '{settings['only']}'")
        count, jobs = int(settings["count"]), int(settings["jobs"])
        with Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task("fuzzing", total=count * len(seeds))
            tallies = list(fuzz_all(seeds, count, int(settings["seed"]), jobs, lambda n: progress.advance(bar, n)))
    Console().print(table(tallies))
    if settings["json"]:
        Path(settings["json"]).write_text(json.dumps([asdict(tally) for tally in tallies], indent=1) + "\n")
    return int(any(tally.failures for tally in tallies))


def write_seeds(folder: Path, only: str) -> dict[str, list[Path]]:
    """Write the files that are mutated, by format: those of the contract tests, in every suffix."""
    seeds: dict[str, list[Path]] = {}
    for module in test_modules():
        for contract in vars(module).values():
            if isinstance(contract, type) and issubclass(contract, ReaderContract) and contract is not ReaderContract:
                place = folder / contract.__name__
                place.mkdir(exist_ok=True)
                seeds.setdefault(contract().format().name, []).extend(contract().written(place))
        if hasattr(module, "examples"):  # of formats that are only read
            place = folder / module.__name__
            place.mkdir(exist_ok=True)
            for name, path in module.examples(place):
                seeds.setdefault(name, []).append(path)
    return {name: paths for name, paths in sorted(seeds.items()) if only in ("", name)}


def test_modules() -> Iterator[Any]:
    """Yield the modules of tests that have examples of a format."""
    for path in sorted(Path(__file__).parent.joinpath("data").glob("test_*.py")):
        if "ReaderContract" in path.read_text() or "def examples(" in path.read_text():
            spec = importlib.util.spec_from_file_location(path.stem, path)
            assert spec
            assert spec.loader
            module = importlib.util.module_from_spec(spec)
            sys.modules[path.stem] = module
            spec.loader.exec_module(module)
            yield module


def fuzz_all(
    seeds: dict[str, list[Path]], count: int, seed: int, jobs: int, advance: Any = lambda _: None
) -> Iterator[Tally]:
    """Yield the tally of each format, ``count`` files of it mutated, in ``jobs`` processes at a time."""
    with multiprocessing.pool.ThreadPool(jobs) as pool:
        yield from pool.imap(lambda item: fuzz_format(*item, count, seed, advance), seeds.items())


def fuzz_format(name: str, paths: list[Path], count: int, seed: int, advance: Any) -> Tally:
    """Return the tally of one format; a process that dies or hangs is replaced, and counts as a failure."""
    tally, began, reader = Tally(name), time.monotonic(), Reader(paths[0])
    with tempfile.TemporaryDirectory() as place:
        for number in range(count):
            path = mutated(Path(place), name, paths, seed, number)
            outcome, seconds, memory_mb = reader.read(path)
            tally.files += 1
            tally.slowest_s, tally.memory_mb = max(tally.slowest_s, seconds), max(tally.memory_mb, memory_mb)
            if outcome == "read":
                tally.read += 1
            elif outcome == "refused":
                tally.refused += 1
            else:
                tally.failures[outcome] = tally.failures.get(outcome, 0) + 1
                keep(path, name, number)
            path.unlink()
            advance(1)
    reader.end()
    tally.total_s = time.monotonic() - began
    return tally


class Reader:
    """A process that reads files one after another, and is replaced when it dies or hangs."""

    def __init__(self, whole: Path) -> None:
        self.whole = whole
        self.start()

    def start(self) -> None:
        """Start the process."""
        spawn = multiprocessing.get_context("spawn")
        self.pipe, other = spawn.Pipe()
        self.process = spawn.Process(target=work, args=(other, self.whole), daemon=True)
        self.process.start()
        other.close()

    def read(self, path: Path) -> tuple[str, float, float]:
        """Return what became of a file, the seconds that it took, and the MB that the process has grown by."""
        self.pipe.send(path)
        try:
            if self.pipe.poll(HUNG_S):
                answer: tuple[str, float, float] = self.pipe.recv()
                return answer
            outcome = f"hung for {HUNG_S:g} s"
        except (EOFError, ConnectionError):
            self.process.join()
            outcome = f"the process ended with {self.process.exitcode}"
        self.end()
        self.start()
        return outcome, 0.0, 0.0

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def work(pipe: Any, whole: Path) -> None:
    """Read the files that are named through a pipe and say what became of each."""
    container.MOST_BYTES = MOST_BYTES
    list(readers.open(whole))  # what it imports counts for no file
    base = peak_mb()
    limit = address_space() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGALRM, stop)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        while True:
            path = pipe.recv()
            began = time.monotonic()
            outcome = outcome_of(path, Path(folder))
            seconds = time.monotonic() - began
            pipe.send((outcome, seconds, peak_mb() - base))


def stop(*_: Any) -> None:
    """Stop the reading of a file."""
    raise TooLong


def peak_mb() -> float:
    """Return the most memory that this process has held; what getrusage tells includes that of its parent."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def address_space() -> int:
    """Return the bytes of address space that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def mutated(folder: Path, name: str, paths: list[Path], seed: int, number: int) -> Path:
    """Write the mutated file of a number; the same numbers give the same file."""
    dice = random.Random(f"{seed}-{name}-{number}")  # noqa: S311
    path = paths[number % len(paths)]
    content = path.read_bytes()
    _, changed = (damage if dice.random() < 0.5 else rebuild)(content, dice)
    written = folder / path.name
    written.write_bytes(changed)
    return written


def outcome_of(path: Path, folder: Path) -> str:
    """Return "read", "refused", or what went wrong in the reading of a file."""
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        for event in readers.open(path):
            list(event.kinds())
        outcome = "read"
    except DataError as error:
        outcome = "refused" if "\n" not in str(error) and len(str(error)) < 2000 else "a text of more than one line"
    except TooLong:
        outcome = f"longer than {LIMIT_S:g} s"
    except BaseException as error:  # anything else is what is looked for
        outcome = f"{type(error).__name__}: {container.brief(error)}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if any(folder.iterdir()) or len(list(path.parent.iterdir())) > 1:
        outcome = "something was written"
    return outcome


def keep(path: Path, name: str, number: int) -> None:
    """Keep a mutated file that was not survived."""
    FAILURES.mkdir(exist_ok=True)
    shutil.copyfile(path, FAILURES / f"{name.replace(' ', '-')}-{number}-{path.name}")


def table(tallies: list[Tally]) -> Table:
    """Return what became of all files, as a table."""
    shown = Table("format", "files", "refused", "read", "failed", "slowest", "memory", "in all")
    for tally in tallies:
        failures = "; ".join(f"{n} x {what}" for what, n in tally.failures.items()) or "0"
        times = (f"{tally.slowest_s:.2f} s", f"{tally.memory_mb:.0f} MB", f"{tally.total_s:.0f} s")
        shown.add_row(tally.format, *map(str, (tally.files, tally.refused, tally.read)), failures, *times)
    return shown


if __name__ == "__main__":
    np.seterr(all="ignore")
    warnings.filterwarnings("ignore", "Duplicate name")  # of members, on purpose
    sys.exit(main())
