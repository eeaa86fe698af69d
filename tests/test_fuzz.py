"""The shorter fuzz of CI, and what the harness sees of readers that misbehave."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import fuzz
from tests.fuzz import fuzz_all, outcome_of, write_seeds
from tests.mutations import bombs
from wirecell_ml.data import readers
from wirecell_ml.data.contents import Contents
from wirecell_ml.errors import DataError

COUNT = 150  # files of each format; make fuzz does 10,000
SEED = 20260101
GROWTH_MB = 300
Misread = Callable[[Callable[[], Any]], str]


@pytest.mark.filterwarnings("ignore:Duplicate name")  # of members, on purpose
def test_mutated_files_of_every_format_end_in_events_or_in_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "FAILURES", tmp_path / "failures")
    seeds = write_seeds(tmp_path, only="")
    tallies = list(fuzz_all(seeds, COUNT, SEED, jobs=os.cpu_count() or 1))
    assert {tally.format: dict(tally.failures) for tally in tallies if tally.failures} == {}
    assert {tally.format: tally.refused + tally.read for tally in tallies} == dict.fromkeys(seeds, COUNT)


def test_every_format_is_fuzzed(tmp_path: Path) -> None:
    assert set(write_seeds(tmp_path, only="")) == {form.name for form in readers.formats()}


@pytest.mark.parametrize("name", bombs())
def test_a_file_that_unpacks_to_very_much_is_read_or_refused_in_little_memory(name: str, tmp_path: Path) -> None:
    whole, bomb = tmp_path / "whole.npz", tmp_path / "bombs" / name.replace(" ", "-")
    np.savez(whole, truth_1=np.zeros(3))
    bomb.parent.mkdir()
    bomb.write_bytes(bombs()[name])
    reader = fuzz.Reader(whole)
    outcome, _, memory_mb = reader.read(bomb)
    reader.end()
    assert outcome == "refused"
    assert memory_mb < 200


@pytest.fixture
def misread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Misread:
    """Return what the harness says of a file whose reading does something."""
    (tmp_path / "files").mkdir()
    path = tmp_path / "files" / "file"
    path.write_bytes(b"x")
    folder = tmp_path / "working"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(fuzz, "LIMIT_S", 0.2)

    def read(act: Callable[[], Any]) -> str:
        def opened(_: Path) -> list[Contents]:
            act()
            return [Contents(0)]

        monkeypatch.setattr(readers, "open", opened)
        return outcome_of(path, folder)

    return read


def raising(error: BaseException) -> Callable[[], Any]:
    """Return what raises an error."""

    def act() -> None:
        raise error

    return act


def test_a_reader_that_gives_events_or_one_line_is_no_failure(misread: Misread) -> None:
    assert misread(lambda: None) == "read"
    assert misread(raising(DataError("file: holds nothing; give one that does"))) == "refused"


@pytest.mark.parametrize(
    ("act", "outcome"),
    [
        (raising(KeyError("tag")), "KeyError: 'tag'"),
        (raising(SystemExit(0)), "SystemExit: 0"),
        (raising(RecursionError("too deep")), "RecursionError: too deep"),
        (raising(MemoryError("no room")), "MemoryError: no room"),
        (raising(DataError("one line\nand another")), "a text of more than one line"),
        (raising(DataError("x" * 5000)), "a text of more than one line"),
        (lambda: Path("outside.txt").write_text("x"), "something was written"),
    ],
)
def test_what_a_reader_may_not_do_is_a_failure(act: Callable[[], Any], outcome: str, misread: Misread) -> None:
    assert misread(act) == outcome


def test_a_reader_that_writes_beside_the_file_is_a_failure(misread: Misread, tmp_path: Path) -> None:
    assert misread(lambda: (tmp_path / "files" / "file.cache").touch()) == "something was written"


def test_a_reader_that_takes_long_is_stopped(misread: Misread) -> None:
    before = signal.signal(signal.SIGALRM, fuzz.stop)
    try:
        assert misread(lambda: time.sleep(30)) == "longer than 0.2 s"
    finally:
        signal.signal(signal.SIGALRM, before)


def misbehave(pipe: Any, whole: Path) -> None:
    """Be a process of the harness whose reader does what the name of a file says."""
    readers.open = acting  # type: ignore[assignment]
    fuzz.work(pipe, whole)


def acting(path: Path) -> list[Contents]:
    """Hang, die, take memory, or read."""
    match path.name:
        case "hang":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])  # as a library written in C may
            time.sleep(600)
        case "die":
            os._exit(3)
        case "eat":
            bytearray(fuzz.MEMORY_BYTES * 2)
        case "grow":
            np.ones(GROWTH_MB << 17)
    return [Contents(0)]


@pytest.fixture
def misbehaving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fuzz.Reader]:
    """Return a process of the harness whose reader misbehaves."""
    monkeypatch.setattr(fuzz, "work", misbehave)
    monkeypatch.setattr(fuzz, "HUNG_S", 20.0)  # seconds that starting one may take
    reader = fuzz.Reader(tmp_path / "whole")
    assert reader.read(tmp_path / "good")[0] == "read"
    yield reader
    reader.end()


@pytest.mark.parametrize(
    ("name", "outcome"),
    [("hang", "hung for 1 s"), ("die", "the process ended with 3"), ("eat", "MemoryError: MemoryError")],
)
def test_a_process_that_hangs_dies_or_takes_all_memory_is_seen_and_the_next_file_is_read(
    name: str, outcome: str, misbehaving: fuzz.Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "HUNG_S", 1.0)
    assert misbehaving.read(tmp_path / name)[0] == outcome
    monkeypatch.setattr(fuzz, "HUNG_S", 20.0)
    assert misbehaving.read(tmp_path / "good")[0] == "read"


def test_the_memory_that_a_reader_takes_is_told(misbehaving: fuzz.Reader, tmp_path: Path) -> None:
    outcome, seconds, memory_mb = misbehaving.read(tmp_path / "grow")
    assert outcome == "read"
    assert 0 < seconds < fuzz.LIMIT_S
    assert GROWTH_MB / 2 < memory_mb < GROWTH_MB * 2


def test_a_failure_is_counted_and_its_file_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "work", misbehave)
    monkeypatch.setattr(fuzz, "FAILURES", tmp_path / "failures")
    seed = tmp_path / "die"
    seed.write_bytes(b"x" * 100)
    tally = fuzz.fuzz_format("a format", [seed], 2, SEED, lambda _: None)
    assert (tally.files, tally.read, tally.refused) == (2, 0, 0)
    assert tally.failures == {"the process ended with 3": 2}
    assert sorted(path.name for path in (tmp_path / "failures").iterdir()) == ["a-format-0-die", "a-format-1-die"]


def test_the_same_numbers_give_the_same_file(tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    seed.write_bytes(bytes(range(256)))
    contents = []
    for number in (0, 1, 0):
        (folder := tmp_path / "files").mkdir(exist_ok=True)
        contents.append(fuzz.mutated(folder, "a format", [seed], SEED, number).read_bytes())
    assert contents[0] == contents[2] != contents[1]
