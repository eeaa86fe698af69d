"""Studies that are driven while faults are made, and what became of their units."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import psutil

from tests.sweeping import drive, wait_for
from wirecell_ml.submit.ledger import Attempt
from wirecell_ml.submit.mailbox import UnitBox
from wirecell_ml.submit.study import Study

LONG_S = 240  # more than anything takes here, on a machine that has much else to do


@contextmanager
def driven(*studies: Study) -> Iterator[None]:
    """Drive studies while their faults are made, and then to their ends."""
    ends: list[bool] = []
    drivers = [Thread(target=lambda one: ends.append(drive(one)), args=(study,), daemon=True) for study in studies]
    for driver in drivers:
        driver.start()
    try:
        yield
        for driver in drivers:
            driver.join(LONG_S)
        assert ends == [True] * len(studies)
    finally:
        for study in studies:
            study.stop("checkpoint")
        for driver in drivers:
            driver.join(LONG_S)


def box(study: Study, number: int = 0) -> UnitBox:
    """Return the mailbox of a unit."""
    return study.order().box(number)


def attempts(study: Study, number: int = 0) -> list[Attempt]:
    """Return the attempts at a unit."""
    return [attempt for attempt in study.ledger().attempts(study.name) if attempt.number == number]


def states(study: Study, number: int = 0) -> list[str]:
    """Return the states of the attempts at a unit."""
    return [str(attempt.state) for attempt in attempts(study, number)]


def silent(study: Study) -> bool:
    """Return whether the driver says that something does not answer."""
    return bool(trouble(study))


def trouble(study: Study) -> str:
    """Return what the driver says of what does not answer, "" for nothing."""
    return str((study.ledger().driver(study.name) or {}).get("trouble") or "")


def epochs(study: Study, attempt: int = 1, number: int = 0) -> list[int]:
    """Return the epochs that the newest start of an attempt has reported."""
    path = box(study, number).progress(attempt)
    return [json.loads(line)["epoch"] for line in path.read_text().splitlines()] if path.exists() else []


def epochs_done(study: Study, number: int) -> list[int]:
    """Return the epochs that the training with the result has done, in its own starts and those before."""
    result = box(study, number).result()
    assert result
    return epochs(study, result["attempt"], number)


def ended(process: psutil.Process) -> bool:
    """Return whether a process has ended, be it while it is looked at."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def sent(study: Study, number: int) -> bool:
    """Return whether the newest attempt at a unit is with the batch system."""
    return any(attempt.state in ("SUBMITTED", "RUNNING") for attempt in attempts(study, number)[-1:])


def token_of(study: Study, number: int) -> str:
    """Return the token of the newest attempt at a unit."""
    token = attempts(study, number)[-1].token
    assert token
    return token


def at_work(study: Study, *numbers: int) -> None:
    """Wait until the trainings of units have reported something in their newest attempt."""
    boxes = [study.order().box(number) for number in numbers]
    wait_for(lambda: all(list(box.folder.glob("attempt-*/run-*/progress.jsonl")) for box in boxes), LONG_S)


def went_on(study: Study, number: int) -> bool:
    """Return whether the start with the result took a checkpoint over, and with it the log of the start before."""
    box = study.order().box(number)
    result = box.result()
    assert result
    log = box.progress(result["attempt"]).with_name("log.txt")
    return "checkpointed after epoch" in log.read_text()


def starts(study: Study, number: int, attempt: int = 1) -> int:
    """Return how often an attempt was started."""
    return study.order().box(number).newest_run(attempt)


def follows(study: Study, state: str) -> set[str]:
    """Return the states that attempts went to from this one."""
    return {event.new for event in study.ledger().events(study.name) if event.attempt and event.old == state}


def long(num_epochs: int, epoch_s: float) -> tuple[str, str]:
    """Return the settings of trainings that take their time."""
    return f"+site.environment.DUMMY_EPOCHS='{num_epochs}'", f"+site.environment.DUMMY_EPOCH_S='{epoch_s}'"
