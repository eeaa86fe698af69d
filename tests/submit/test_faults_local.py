"""What can go wrong on this machine, done to real processes and disks: every trial ends exactly once all the same."""

import logging
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.driving import LONG_S, attempts, box, driven, ended, epochs, states
from tests.sweeping import check_exactly_once, drive, driver_of, driver_process, order, record_fault, wait_for
from wirecell_ml.submit.ledger import Superseded
from wirecell_ml.submit.local import units as units_here
from wirecell_ml.submit.study import Study

KILLS = 100
LAST_WORDS = """
import json, os, sys, time
from pathlib import Path
Here = Path.cwd()
(Here / "summary.json").write_text(json.dumps({"metrics": {"val/dice": 0.5}}))
while os.environ.get("LAST_WORDS") and not (Path(os.environ["LAST_WORDS"]) / "end").exists():
    time.sleep(0.02)
"""


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainings last until something happens to them."""
    monkeypatch.setenv("DUMMY_EPOCHS", "100000")


def runner(study: Study, attempt: int = 1, number: int = 0) -> psutil.Process:
    """Return the runner of an attempt, once its training has reported two epochs more than it found."""
    wait_for(lambda: bool(box(study, number).newest_run(attempt)) and bool(epochs(study, attempt, number)), LONG_S)
    found = len(epochs(study, attempt, number))
    wait_for(lambda: len(epochs(study, attempt, number)) > found + 1, LONG_S)
    place = [str(box(study, number).folder), str(attempt)]
    [process] = [unit.process for unit in units_here() if unit.process.cmdline()[-3:-1] == place]
    return process


def wait_for_state(study: Study, *expected: str) -> None:
    """Wait until the attempts at the first unit are in these states."""
    wait_for(lambda: states(study) == list(expected), LONG_S)


def wait_for_driver(study: Study, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process is the driver of a study."""
    ledger = study.ledger()
    wait_for(lambda: (ledger.driver(study.name) or {}).get("pid") == process.pid, LONG_S)


def test_a_driver_is_killed_at_a_hundred_moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUMMY_EPOCH_S", "0.25")
    study = order(tmp_path, "trials=200", "site.in_flight=2")  # at most two units start between two kills
    moments = random.Random(4)  # noqa: S311
    for kill in range(KILLS):
        with driver_process(study) as driver:
            if kill % 4:
                wait_for_driver(study, driver)
                time.sleep(moments.uniform(0, 0.5))
            else:
                time.sleep(moments.uniform(0, 1))  # it is still starting up
            assert driver.poll() is None
    assert len(study.ledger().units(study.name)) < 200
    monkeypatch.setenv("DUMMY_EPOCH_S", "0")
    assert drive(study)
    counts = check_exactly_once(study, 200)
    assert counts["attempts"] == counts["done"] == 200
    record_fault("driver killed", f"SIGKILL at {KILLS} random moments, then `hpo resume`", counts)


@pytest.mark.usefixtures("endless")
def test_a_runner_is_killed_and_the_next_attempt_goes_on_from_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = order(tmp_path, "trials=2")
    with driven(study):
        runner(study).terminate()
        victim = runner(study, attempt=2)
        saved = len(epochs(study))
        [training] = victim.children()
        victim.kill()
        wait_for(lambda: ended(training))
        found = epochs(study, 2)
        monkeypatch.setenv("DUMMY_EPOCHS", str(saved + 5))
        runner(study, number=1).kill()
    counts = check_exactly_once(study, 2)
    assert states(study) == ["PREEMPTED", "LOST", "SUCCEEDED"]
    assert found[: saved + 1] == list(range(1, saved + 2))
    assert epochs(study, 3) == found + list(range(saved + 1, saved + 6))
    assert [str(attempt.state) for attempt in attempts(study, 1)] == ["LOST", "SUCCEEDED"]
    assert epochs(study, 2, number=1) == list(range(1, saved + 6))
    record_fault(
        "runner killed", "SIGKILL of the process that starts the training, with and without checkpoint", counts
    )


@pytest.mark.usefixtures("endless")
def test_a_training_is_killed_and_the_next_attempt_has_more_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = order(tmp_path, "trials=1")
    with driven(study):
        [training] = runner(study).children()
        monkeypatch.setenv("DUMMY_EPOCHS", "2")
        training.kill()
    counts = check_exactly_once(study, 1)
    assert [(one.state, one.memory_gb) for one in attempts(study)] == [("FAILED_INFRA", 0.1), ("SUCCEEDED", 0.2)]
    record_fault("training killed", "SIGKILL, as the kernel does when memory runs out", counts)


@pytest.mark.usefixtures("endless")
def test_a_runner_is_terminated_and_no_epoch_is_lost_or_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = order(tmp_path, "trials=1")
    with driven(study):
        first = runner(study)
        first.terminate()
        wait_for(lambda: ended(first), LONG_S)
        total = len(epochs(study)) + 3
        monkeypatch.setenv("DUMMY_EPOCHS", str(total))
    counts = check_exactly_once(study, 1)
    assert states(study) == ["PREEMPTED", "SUCCEEDED"]
    assert epochs(study, 2) == list(range(1, total + 1))
    record_fault("runner terminated", "SIGTERM, as pre-emption and time limit do", counts)


@pytest.mark.usefixtures("endless")
def test_a_checkpoint_is_damaged_and_the_next_attempt_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = order(tmp_path, "trials=1", "site.policy.grace_s=3")
    with driven(study):
        first = runner(study)
        first.terminate()
        wait_for(lambda: ended(first), LONG_S)
        checkpoint = box(study).attempt(1) / "run-1" / "last.ckpt"
        checkpoint.write_bytes(checkpoint.read_bytes()[:-9])
        monkeypatch.setenv("DUMMY_EPOCHS", "2")
    counts = check_exactly_once(study, 1)
    assert states(study) == ["PREEMPTED", "SUCCEEDED"]
    assert epochs(study, 2) == [1, 2]
    record_fault("checkpoint damaged", "cut off after a pre-emption", counts)


@contextmanager
def stopped(process: psutil.Process, group: bool = True) -> Iterator[None]:
    """Let a process, with its children or without them, do nothing for a while; its driver may kill it meanwhile."""
    send = os.killpg if group else os.kill
    send(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            send(process.pid, signal.SIGCONT)


@pytest.mark.usefixtures("endless")
def test_a_unit_stands_still_until_another_attempt_has_done_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = order(tmp_path, "trials=1")
    with driven(study):
        zombie = runner(study)
        with stopped(zombie):
            monkeypatch.setenv("DUMMY_EPOCHS", "2")
            wait_for_state(study, "LOST", "SUCCEEDED")
            result = box(study).result()
        wait_for(lambda: ended(zombie), LONG_S)
    counts = check_exactly_once(study, 1)
    assert result
    assert result["attempt"] == 2
    assert box(study).result() == result
    assert box(study).note(1) is None
    record_fault("unit stopped, continued late", "SIGSTOP past its lease, SIGCONT after the next attempt's end", counts)


@pytest.mark.usefixtures("endless")
def test_a_unit_stands_still_and_goes_on_beside_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = order(tmp_path, "trials=1")
    with driven(study):
        zombie = runner(study)
        with stopped(zombie):
            second = runner(study, attempt=2)
        wait_for(lambda: ended(zombie), LONG_S)
        assert not ended(second)
        assert box(study).result() is None
        monkeypatch.setenv("DUMMY_EPOCHS", "1")
        second.terminate()
    counts = check_exactly_once(study, 1)
    assert states(study) == ["LOST", "PREEMPTED", "SUCCEEDED"]
    assert box(study).note(1) is None
    record_fault("unit stopped, continued", "SIGSTOP past its lease, SIGCONT while the next attempt runs", counts)


def test_a_training_ends_while_its_runner_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUMMY_EPOCHS", "50")
    study = order(tmp_path, "trials=1")
    with driven(study):
        first = runner(study)
        with stopped(first, group=False):
            second = runner(study, attempt=2)
            wait_for(lambda: len(epochs(study)) == 50, LONG_S)
        wait_for(lambda: ended(first) and ended(second), LONG_S)
    counts = check_exactly_once(study, 1)
    assert states(study) == ["LOST", "SUCCEEDED"]
    assert box(study).note(1) is None
    assert len(list(box(study).folder.glob("*result*"))) == 1
    record_fault("runner stopped alone", "SIGSTOP past its lease while the training ended, then SIGCONT", counts)


def test_a_second_driver_is_refused_unless_it_is_to_take_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUMMY_EPOCH_S", "0.3")
    study = order(tmp_path, "trials=40", "site.in_flight=2")
    with driver_process(study) as first:
        wait_for_driver(study, first)
        with driver_process(study) as second:
            assert second.wait(LONG_S) == 2
        refused = f"error: study 'dummies' has a driver: process {first.pid} on "
        assert [line for line in words(study) if line.startswith(refused)] == [words(study)[-1]]
        monkeypatch.setenv("DUMMY_EPOCH_S", "0")
        with driver_process(study, "takeover=true") as third:
            assert first.wait(LONG_S) == 2
            assert third.wait(LONG_S) == 0
    replaced = "error: another driver has taken study 'dummies' over; this one has stopped, and nothing is lost"
    assert words(study).count(replaced) == 1
    counts = check_exactly_once(study, 40)
    assert counts["attempts"] == 40
    record_fault("two drivers", "a second one took the study over from one that lived", counts)


def test_a_driver_stands_still_while_another_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUMMY_EPOCH_S", "0.1")
    study = order(tmp_path, "trials=12", "site.in_flight=2")
    with driver_process(study) as first:
        wait_for_driver(study, first)
        wait_for(lambda: any(attempt.token for attempt in attempts(study)), LONG_S)
        with stopped_between_transactions(study, first), driver_process(study, "takeover=true") as second:
            assert second.wait(LONG_S) == 0
        assert first.wait(LONG_S) == 2
    counts = check_exactly_once(study, 12)
    record_fault("driver stopped, continued", "SIGSTOP, another took over and ended the study, SIGCONT", counts)


@contextmanager
def stopped_between_transactions(study: Study, driver: subprocess.Popen[bytes]) -> Iterator[None]:
    """Let a driver do nothing for a while; one that stood still while it writes would let nobody else write."""
    process = psutil.Process(driver.pid)
    while True:
        with stopped(process, group=False):
            wait_for(lambda: process.status() == psutil.STATUS_STOPPED)
            if writable(study.folder / "ledger.sqlite"):
                yield
                return


def writable(database: Path) -> bool:
    """Return whether nobody is writing to an SQLite database."""
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True


def test_a_driver_whose_parent_ignores_its_children_ends_its_study(tmp_path: Path) -> None:
    study = order(tmp_path, "trials=2")
    resume = ("-m", "wirecell_ml.hpo", "resume", f"study={study.name}", f"folder={tmp_path}")
    ignoring = ("sh", "-c", 'trap "" CHLD; exec "$@"', "sh")  # SIGCHLD stays ignored in what it starts
    call(*ignoring, sys.executable, *resume).check_returncode()
    assert check_exactly_once(study, 2)["attempts"] == 2


def test_a_driver_that_pauses_does_not_take_its_study_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    disk = tmp_path / "dummies" / "units"
    with small_disk(disk, "1m"), ThreadPoolExecutor(1) as pool:
        study = order(tmp_path, "trials=2")
        with full(disk):
            first = pool.submit(drive, study)
            wait_for(lambda: "trying again" in caplog.text, LONG_S)
            second = driver_of(study)
            second.begin()
        with pytest.raises(Superseded):
            first.result(LONG_S)
        assert second.run()
        counts = check_exactly_once(study, 2)
    record_fault("driver replaced in a pause", "another took over while the first one waited for a full disk", counts)


def words(study: Study) -> list[str]:
    """Return the lines that drivers have said."""
    return (study.folder / "driver.log").read_text().splitlines()


def mount(*words: str | Path) -> None:
    """Mount a file system; the test is skipped where that is not allowed."""
    made = call("mount", *words)
    if made.returncode:
        pytest.skip(f"needs the right to mount: {made.stderr.strip()}")


def unmount(folder: Path) -> None:
    """Take a file system away, though it be in use."""
    call("umount", "--lazy", folder).check_returncode()


def call(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Give a folder a disk of its own."""
    folder.mkdir(parents=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "none", folder)
    try:
        yield
    finally:
        unmount(folder)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Leave no room on a disk for a while."""
    with (disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert shutil.disk_usage(disk).free == 0
    try:
        yield
    finally:
        (disk / "filler").unlink()


@pytest.fixture
def last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let ``program=last_words`` be a training that, with its summary written, waits for what this function says."""
    (tmp_path / "last_words.py").write_text(LAST_WORDS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LAST_WORDS", str(tmp_path))

    def end() -> None:
        (tmp_path / "end").touch()

    return end


def wait_for_summaries(study: Study, trials: int) -> None:
    """Wait until trainings have written their summaries, and the driver has seen them run."""
    wait_for(lambda: len(list((study.folder / "units").glob("*/attempt-1/run-1/summary.json"))) == trials, LONG_S)
    ledger = study.ledger()
    wait_for(lambda: {attempt.state for attempt in ledger.attempts(study.name)} == {"RUNNING"}, LONG_S)


def said_by_jobs(study: Study) -> str:
    """Return what the runners of a study have printed."""
    return "".join(path.read_text() for path in (study.folder / "jobs").glob("*.log"))


def test_the_disk_of_the_mailbox_is_full_when_results_are_due(tmp_path: Path, last_words: Callable[[], None]) -> None:
    disk = tmp_path / "sweeps" / "dummies" / "units"
    with small_disk(disk, "1m"):
        study = order(tmp_path / "sweeps", "trials=6", "program=last_words", "site.in_flight=2")
        with driven(study):
            wait_for_summaries(study, 2)
            tokens = [attempt.token for number in (0, 1) for attempt in attempts(study, number)]
            with full(disk):
                last_words()
                waiting = [f"{box(study, number).folder}: No space left on device; trying again" for number in (0, 1)]
                wait_for(lambda: all(line in said_by_jobs(study) for line in waiting), LONG_S)
                assert [box(study, number).result() for number in (0, 1)] == [None, None]
        counts = check_exactly_once(study, 6)
        assert counts["attempts"] == counts["done"] == 6
        assert [(box(study, number).result() or {})["token"] for number in (0, 1)] == tokens
    record_fault("disk of the mailbox full", "no room when two results were due, room again later", counts)


def test_the_disk_of_a_whole_study_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DUMMY_EPOCHS", "20")
    caplog.set_level(logging.WARNING)
    with small_disk(tmp_path / "disk", "16m"):
        study = order(tmp_path / "disk", "trials=5", "site.in_flight=2", "site.policy.failures=9")
        with driven(study):
            runner(study)
            with full(tmp_path / "disk"):
                wait_for(lambda: "trying again" in caplog.text, LONG_S)
        counts = check_exactly_once(study, 5)
        assert counts["done"] == 5
    record_fault("disk of ledger and mailbox full", "no room while units ran, room again later", counts)


def test_the_disk_of_the_ledger_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DUMMY_EPOCHS", "20")
    caplog.set_level(logging.WARNING)
    with small_disk(tmp_path / "disk", "1m"):
        ledger = f"ledger=sqlite:///{tmp_path / 'disk' / 'ledger.sqlite'}"
        study = order(tmp_path, "trials=5", "site.in_flight=2", ledger)
        with driven(study):
            runner(study)
            with full(tmp_path / "disk"):
                wait_for(lambda: "database or disk is full. Nothing is lost; trying again" in caplog.text, LONG_S)
        counts = check_exactly_once(study, 5)
    assert counts["attempts"] == counts["done"] == 5
    record_fault("disk of the ledger full", "no room while units ran, room again later", counts)


def test_the_file_system_of_the_mailbox_goes_away_and_comes_back(
    tmp_path: Path, last_words: Callable[[], None]
) -> None:
    real, seen = tmp_path / "elsewhere", tmp_path / "sweeps" / "dummies" / "units"
    real.mkdir()
    study = order(tmp_path / "sweeps", "trials=4", "program=last_words", "site.in_flight=2")
    with mounted(real, seen), driven(study):
        wait_for_summaries(study, 2)
        unmount(seen)
        processes = [unit.process for unit in units_here() if str(seen) in " ".join(unit.process.cmdline())]
        last_words()
        time.sleep(1.5)  # several heartbeats, and more than the grace of a job that is gone
        assert len(processes) == 2
        assert not any(map(ended, processes))
        mount("--bind", real, seen)
    shutil.copytree(real, seen, dirs_exist_ok=True)
    counts = check_exactly_once(study, 4)
    assert counts["attempts"] == counts["done"] == 4
    record_fault("file system of the mailbox away", "unmounted when two results were due, mounted again later", counts)


@contextmanager
def mounted(real: Path, seen: Path) -> Iterator[None]:
    """Let a folder be seen at another place."""
    seen.mkdir()
    mount("--bind", real, seen)
    try:
        yield
    finally:
        call("umount", "--lazy", seen)
