"""The runner on the worker: real trainings in processes of their own, and what it leaves of each in the mailbox."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from tests.driving import ended
from tests.sweeping import wait_for
from wirecell_ml.errors import INTERRUPTED
from wirecell_ml.submit.mailbox import UnitBox
from wirecell_ml.submit.unit import last_line

DUMMY = ["{python}", "-m", "dummy_unit"]
SURVIVOR = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
IGNORING = ("sh", "-c", 'trap "" CHLD; exec "$@"', "sh")  # SIGCHLD stays ignored in what it starts
Popen = subprocess.Popen[bytes]


class Unit:
    """One unit, and the runners that were started for it."""

    def __init__(self, folder: Path) -> None:
        self.box, self.runners = UnitBox(folder), list[Popen]()
        self.prepare(DUMMY)

    def prepare(self, start: list[str], resume: list[str] = DUMMY) -> None:
        """Say how the unit is started and resumed."""
        unit = {"start": start, "resume": resume, "heartbeat_s": 0.05, "minutes": 5, "kill_after_s": 45}
        self.box.prepare("", unit, {"optimizer.lr": 0.01})

    def start(self, attempt: int = 1, words: Sequence[str] = ()) -> Popen:
        """Start a runner, with ``words`` before its command."""
        command = [sys.executable, "-m", "wirecell_ml.submit.unit", str(self.box.folder), str(attempt), "s-a1b2c3-0"]
        self.runners.append(subprocess.Popen([*words, *command]))
        return self.runners[-1]

    def training(self, attempt: int = 1, epochs: int = 1) -> psutil.Process:
        """Return the process of the training of the newest runner, once it has done some epochs."""
        wait_for(lambda: len(self.epochs(attempt)) >= epochs)
        return psutil.Process(self.runners[-1].pid).children()[0]

    def epochs(self, attempt: int = 1) -> list[int]:
        """Return the epochs that the newest start of an attempt has reported."""
        path = self.box.progress(attempt)
        return [json.loads(line)["epoch"] for line in path.read_text().splitlines()] if path.exists() else []

    def result(self) -> dict[str, object]:
        """Return the result, which there must be."""
        result = self.box.result()
        assert result
        return result

    def note(self, attempt: int = 1) -> tuple[str, str]:
        """Return kind and message of the note of an attempt, which there must be."""
        note = self.box.note(attempt)
        assert note
        return note["kind"], note["message"]


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[Unit]:
    unit = Unit(tmp_path / "000000")
    yield unit
    for runner in unit.runners:
        runner.kill()
        runner.wait()


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainings last until something happens to them."""
    monkeypatch.setenv("DUMMY_EPOCHS", "3000")


def test_a_training_that_ends_well_leaves_one_result(unit: Unit) -> None:
    assert unit.start().wait() == 0
    result = unit.result()
    metrics = result["metrics"]
    assert isinstance(metrics, dict)
    assert metrics["val/dice"] == pytest.approx(0.75)
    assert (result["end"], result["attempt"], result["token"]) == ("done", 1, "s-a1b2c3-0")
    assert 0 < float(str(result["core_seconds"])) < float(str(result["seconds"])) + 1
    assert unit.epochs() == [1, 2, 3]


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [(1, "crashed", "exit status 1: error: told to end with 1"), (2, "mistake", "error: told to end with 2")],
)
def test_why_a_training_failed_is_noted(
    unit: Unit, monkeypatch: pytest.MonkeyPatch, status: int, kind: str, message: str
) -> None:
    monkeypatch.setenv("DUMMY_EXIT", str(status))
    assert unit.start().wait() == status
    assert unit.note() == (kind, message)
    assert unit.box.result() is None


def test_an_exit_status_is_not_lost_where_a_parent_ignores_its_children(
    unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUMMY_EXIT", "2")
    assert unit.start(words=IGNORING).wait() == 2
    assert unit.note()[0] == "mistake"


def test_a_training_without_a_summary_has_no_metrics(unit: Unit) -> None:
    unit.prepare(["true"])
    assert unit.start().wait() == 0
    assert unit.result()["metrics"] == {}


@pytest.mark.parametrize("summary", ["", "[]", '{"metrics": 5}', '{"metrics": {"val/dice": NaN}}'])
def test_a_summary_that_is_no_summary_leaves_no_number(unit: Unit, summary: str) -> None:
    unit.prepare(["cp", "{unit}/given.json", "summary.json"])
    (unit.box.folder / "given.json").write_text(summary)
    assert unit.start().wait() == 0
    metrics = unit.result()["metrics"]
    assert isinstance(metrics, dict)
    assert metrics.get("val/dice") is None


@pytest.mark.usefixtures("long")
def test_a_training_that_was_killed_ran_out_of_memory(unit: Unit) -> None:
    runner = unit.start()
    unit.training().kill()
    assert runner.wait() == 1
    assert unit.note()[0] == "memory"


@pytest.mark.usefixtures("long")
def test_a_training_dies_with_its_runner(unit: Unit) -> None:
    runner = unit.start()
    training = unit.training()
    runner.kill()
    wait_for(lambda: ended(training))
    assert unit.box.note(1) is None
    assert unit.box.result() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGXCPU])
def test_a_signal_means_a_checkpoint_and_the_next_attempt_goes_on_from_it(
    unit: Unit, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setenv("DUMMY_EPOCHS", "3000")
    first = unit.start()
    unit.training(epochs=2)
    first.send_signal(number)
    assert first.wait() == INTERRUPTED
    done = len(unit.epochs())
    assert unit.note() == ("preempted", f"checkpointed after epoch {done}")
    monkeypatch.setenv("DUMMY_EPOCHS", str(done + 2))
    unit.box.raise_fence(2)
    assert unit.start(attempt=2).wait() == 0
    assert unit.epochs(2) == list(range(1, done + 3))


@pytest.mark.usefixtures("long")
def test_a_damaged_checkpoint_is_not_resumed_from(unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    first = unit.start()
    unit.training(epochs=2)
    first.terminate()
    first.wait()
    checkpoint = unit.box.attempt(1) / "run-1" / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-10])
    monkeypatch.setenv("DUMMY_EPOCHS", "2")
    assert unit.start(attempt=2).wait() == 0
    assert unit.epochs(2) == [1, 2]


@pytest.mark.usefixtures("long")
def test_a_runner_stops_where_a_later_attempt_is_allowed(unit: Unit) -> None:
    runner = unit.start()
    training = unit.training()
    unit.box.raise_fence(2)
    assert runner.wait() == 0
    assert ended(training)
    assert unit.box.note(1) is None
    assert unit.box.result() is None


def test_of_two_starts_of_one_attempt_the_later_one_goes_on(unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUMMY_EPOCHS", "3000")
    first = unit.start()
    training = unit.training()
    monkeypatch.setenv("DUMMY_EPOCHS", "3")
    assert unit.start().wait() == 0
    assert first.wait() == 0
    assert ended(training)
    assert unit.box.progress(1).parent.name == "run-2"
    assert unit.result()["metrics"]


@pytest.mark.usefixtures("long")
def test_a_runner_stops_where_there_is_a_result(unit: Unit) -> None:
    runner = unit.start()
    training = unit.training()
    unit.box.commit({"end": "done", "metrics": {"val/dice": 0.5}, "attempt": 2})
    assert runner.wait() == 0
    assert ended(training)
    assert unit.result()["attempt"] == 2


def test_a_runner_that_finds_a_result_starts_nothing(unit: Unit) -> None:
    unit.box.commit({"end": "done", "metrics": {}})
    assert unit.start().wait() == 0
    assert not unit.box.attempt(1).exists()


def test_a_runner_of_an_attempt_that_is_over_starts_nothing(unit: Unit) -> None:
    unit.box.raise_fence(2)
    assert unit.start(attempt=1).wait() == 0
    assert not unit.box.attempt(1).exists()


@pytest.mark.usefixtures("long")
def test_a_pruned_unit_ends_with_a_result(unit: Unit) -> None:
    runner = unit.start()
    unit.training()
    unit.box.stop("pruned")
    assert runner.wait() == 0
    assert unit.result()["end"] == "pruned"
    assert unit.result()["metrics"] == {}


@pytest.mark.usefixtures("long")
def test_a_stopped_unit_has_a_checkpoint_and_no_result(unit: Unit) -> None:
    runner = unit.start()
    unit.training()
    unit.box.stop("stopped")
    assert runner.wait() == INTERRUPTED
    assert unit.note()[0] == "stopped"
    assert unit.box.checkpointed(2, 1) == unit.box.attempt(1) / "run-1"
    assert unit.box.result() is None


def test_a_training_that_wont_stop_is_waited_for(unit: Unit) -> None:
    unit.prepare(["{python}", "-c", SURVIVOR])
    runner = unit.start()
    log = unit.box.attempt(1) / "run-1" / "log.txt"
    wait_for(lambda: log.exists() and log.read_text() == "up\n")
    training = psutil.Process(runner.pid).children()[0]
    beat = unit.box.beat(1)
    assert beat
    runner.terminate()
    wait_for(lambda: (unit.box.beat(1) or 0) > beat + 0.5)
    assert not ended(training)
    os.kill(training.pid, signal.SIGKILL)
    assert runner.wait() == INTERRUPTED
    assert unit.note()[0] == "preempted"


def test_the_last_line_of_a_log_is_found_in_a_large_one(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"\xff noise\n" * 100_000 + b"error: the reason\n\n  \n")
    assert last_line(log) == "error: the reason"
    log.write_text("")
    assert last_line(log) == ""


def test_a_signal_to_all_that_meets_the_training_before_its_runner_knows_it_is_noted(unit: Unit) -> None:
    early = "import os, pathlib, signal, sys; from wirecell_ml.submit import unit; real = unit.subprocess.Popen\n"
    early += "def start(*words, **more):\n    child = real(*words, **more)\n"
    early += "    [os.kill(number, signal.SIGTERM) for number in (child.pid, os.getpid())]\n    child.wait()\n"
    early += "    return child\nunit.subprocess.Popen = start\n"
    early += "sys.exit(unit.Runner(pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]).run())"
    words = [sys.executable, "-c", early, str(unit.box.folder), "1", "s-a1b2c3-0"]
    unit.runners.append(subprocess.Popen(words))
    assert unit.runners[0].wait() == INTERRUPTED
    assert unit.note()[0] == "preempted"
