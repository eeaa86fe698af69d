"""Letters: whatever order they come in and however often, the driver has what the newest of each start says."""

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wirecell_ml.submit.following import new_lines
from wirecell_ml.submit.letters import Distrusted, accept, deliver, read_letter, write_letter
from wirecell_ml.submit.mailbox import LARGEST_BYTES, UnitBox
from wirecell_ml.submit.post import Address

SENDER = "s-a1b2c3-0"
RESULT = {"end": "done", "metrics": {"val/dice": 0.5}, "attempt": 1, "token": SENDER, "seconds": 2.0}


class Worker:
    """The box of a runner that the driver can't see."""

    def __init__(self, folder: Path, run: int = 1, attempt: int = 1) -> None:
        self.box, self.attempt, self.run, self.number = UnitBox(folder), attempt, run, 0
        self.directory = self.box.attempt(attempt) / f"run-{run}"
        self.directory.mkdir(parents=True)
        self.beat(1000.0)

    def beat(self, moment: float) -> None:
        """Give a sign of life at a moment by the worker's own clock."""
        heartbeat = self.box.attempt(self.attempt) / "heartbeat"
        heartbeat.touch()
        os.utime(heartbeat, (moment, moment))

    def report(self, *epochs: int, more: str = "") -> None:
        """Report epochs."""
        with (self.directory / "progress.jsonl").open("a") as file:
            file.writelines(
                json.dumps({"epoch": epoch, "metrics": {"val/dice": 0.5}, "more": more}) + "\n" for epoch in epochs
            )

    def note(self, kind: str = "preempted") -> None:
        """Say why there is no result."""
        self.directory.with_suffix(".json").write_text(json.dumps({"kind": kind, "message": "so it was", "seconds": 3}))

    def letter(self) -> bytes:
        """Write the next letter."""
        self.number += 1
        return write_letter(self.box, self.attempt, self.run, SENDER, self.number)


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path / "there")


@pytest.fixture
def address(tmp_path: Path) -> Address:
    box = UnitBox(tmp_path / "here" / "000007")
    box.folder.mkdir(parents=True)
    box.raise_fence(1)
    return Address(box, 1)


def epochs(address: Address) -> list[int]:
    lines, _ = new_lines(address.box.progress(address.attempt), 0)
    return [json.loads(line)["epoch"] for line in lines]


def beat(address: Address) -> float:
    moment = address.box.beat(address.attempt)
    assert moment
    return moment


def age(address: Address) -> None:
    """Let the last sign of life that was heard be long ago."""
    os.utime(address.box.attempt(address.attempt) / "heartbeat", (5.0, 5.0))


def test_the_driver_sees_what_the_runner_wrote(worker: Worker, address: Address) -> None:
    worker.report(1, 2)
    worker.note()
    assert accept(worker.letter(), SENDER, address)
    assert epochs(address) == [1, 2]
    assert address.box.note(1) == worker.box.note(1)
    assert address.box.result() is None
    worker.box.commit(RESULT)
    accept(worker.letter(), SENDER, address)
    assert address.box.result() == worker.box.result()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_no_number_arrives_as_none(worker: Worker, address: Address, value: float) -> None:
    worker.box.commit(RESULT | {"metrics": {"val/dice": value, "loss": 1.5}})
    accept(worker.letter(), SENDER, address)
    assert (address.box.result() or {})["metrics"] == {"val/dice": None, "loss": 1.5}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(order=st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_the_order_and_the_number_of_copies_of_letters_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("letters")
    worker, address = Worker(folder / "there"), Address(UnitBox(folder / "here"), 1)
    letters = []
    for number in range(6):
        worker.report(number + 1)
        worker.beat(1000.0 + number)
        if number == 5:
            worker.note()
        letters.append(worker.letter())
    for index in order:
        accept(letters[index], SENDER, address)
    assert epochs(address) == list(range(1, max(order) + 2))
    assert (address.box.note(1) is not None) == (5 in order)


def test_a_driver_that_died_between_writing_and_knowing_does_no_harm(worker: Worker, address: Address) -> None:
    worker.report(1, 2)
    letter = worker.letter()
    accept(letter, SENDER, address)
    (address.box.attempt(1) / "run-1.letter").unlink()
    assert accept(letter, SENDER, address)
    assert sorted(set(epochs(address))) == [1, 2]


def test_progress_is_appended_and_what_was_read_never_changes(worker: Worker, address: Address) -> None:
    path, offset, found = address.box.attempt(1) / "run-1" / "progress.jsonl", 0, []
    for epoch in range(1, 30):
        worker.report(epoch, more="x" * 90_000)
        accept(worker.letter(), SENDER, address)
        lines, offset = new_lines(path, offset)
        found += [json.loads(line)["epoch"] for line in lines]
    assert found == list(range(1, 30))


def test_a_full_letter_has_the_newest_progress(worker: Worker, address: Address) -> None:
    worker.report(*range(1, 40), more="x" * 50_000)
    letter = worker.letter()
    assert LARGEST_BYTES - 100_000 < len(letter) <= LARGEST_BYTES
    held = read_letter(letter)
    assert held.skipped == 39 - len(held.progress) > 0
    accept(letter, SENDER, address)
    assert epochs(address) == list(range(held.skipped + 1, 40))


def test_lines_and_results_that_no_letter_can_hold_do_not_stop_it(worker: Worker, address: Address) -> None:
    worker.report(1, more="x" * 2_000_000)
    worker.report(2)
    worker.box.commit(RESULT | {"metrics": {f"metric {number:09d}": 0.123456789 for number in range(30_000)}})
    assert accept(worker.letter(), SENDER, address)
    assert (address.box.result() or {})["metrics"] == {}
    assert json.loads(address.box.progress(1).read_text().splitlines()[-1])["epoch"] == 2


@pytest.mark.parametrize("skew_s", [-1e6, 0, 1e6])
def test_signs_of_life_are_of_our_clock_whatever_the_worker_s_says(
    worker: Worker, address: Address, skew_s: float
) -> None:
    worker.beat(time.time() + skew_s)
    before = time.time() - 1
    accept(worker.letter(), SENDER, address)
    assert before < beat(address) < time.time() + 1
    age(address)
    worker.beat(time.time() + skew_s - 3600)  # the clock of the worker was set
    accept(worker.letter(), SENDER, address)
    assert beat(address) > before


def test_letters_without_a_runner_are_no_sign_of_life(worker: Worker, address: Address) -> None:
    accept(worker.letter(), SENDER, address)
    age(address)
    assert accept(worker.letter(), SENDER, address)
    assert beat(address) == 5.0


def test_an_earlier_start_is_no_sign_of_life_and_what_it_says_does_not_count(
    worker: Worker, address: Address, tmp_path: Path
) -> None:
    later = Worker(tmp_path / "elsewhere", run=2)
    later.report(7)
    accept(later.letter(), SENDER, address)
    age(address)
    worker.report(1, 2)
    worker.note("crashed")
    accept(worker.letter(), SENDER, address)
    assert beat(address) == 5.0
    assert address.box.note(1) is None
    assert epochs(address) == [7]


def test_of_two_starts_that_both_have_a_result_the_first_counts(
    worker: Worker, address: Address, tmp_path: Path
) -> None:
    later = Worker(tmp_path / "elsewhere", run=2)
    later.box.commit(RESULT | {"metrics": {"val/dice": 0.9}})
    worker.box.commit(RESULT)
    accept(later.letter(), SENDER, address)
    accept(worker.letter(), SENDER, address)
    assert (address.box.result() or {})["metrics"] == {"val/dice": 0.9}


def test_an_attempt_that_is_over_says_nothing_more(worker: Worker, address: Address) -> None:
    worker.box.commit(RESULT)
    address.box.raise_fence(2)
    with pytest.raises(Distrusted, match="attempt 1 is over: attempt 2 may run now"):
        deliver(read_letter(worker.letter()), SENDER, address)
    assert address.box.result() is None
