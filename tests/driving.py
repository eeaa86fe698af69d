"""Studies that are driven while faults are made, and what became of their units."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from tests.sweeping import drive, wait_for
from wirecell_ml.submit.ledger import Attempt
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


def attempts(study: Study, number: int) -> list[Attempt]:
    """Return the attempts at a unit."""
    return [attempt for attempt in study.ledger().attempts(study.name) if attempt.number == number]


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
