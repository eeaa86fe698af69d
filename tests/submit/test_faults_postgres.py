"""A ledger in PostgreSQL: the database stops and starts again, drivers die, and every trial ends exactly once."""

import logging
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engine import start_engine, stop_engine
from tests.sweeping import check_exactly_once, drive, driver_process, order, record_fault, wait_for
from wirecell_ml.submit.ledger import Ledger
from wirecell_ml.submit.study import LEDGER_VARIABLE, Study

KILLS = 5
LONG_S = 240  # more than anything takes here, on a machine that has much else to do


@pytest.fixture
def in_postgres(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let ``ledger=environment`` be a database of the test's own."""
    monkeypatch.setenv(LEDGER_VARIABLE, database)
    return "ledger=environment"


@contextmanager
def database_down() -> Iterator[None]:
    """Let PostgreSQL be down for a while."""
    stop_engine("postgres")
    try:
        yield
    finally:
        start_engine("postgres")


def ends(ledger: Ledger, study: Study) -> int:
    """Return how many attempts have ended."""
    return sum(attempt.ended is not None for attempt in ledger.attempts(study.name))


def test_postgresql_stops_and_starts_during_a_sweep(
    tmp_path: Path, in_postgres: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DUMMY_EPOCH_S", "0.2")
    caplog.set_level(logging.WARNING)
    study = order(tmp_path, "trials=12", in_postgres)
    ledger = study.ledger()
    with ThreadPoolExecutor(1) as pool:
        end = pool.submit(drive, study)
        for stop in (1, 2):
            wait_for(lambda: ends(ledger, study) >= 3 * stop, LONG_S)  # noqa: B023
            caplog.clear()
            with database_down():
                wait_for(lambda: "Nothing is lost; trying again" in caplog.text, LONG_S)
                wait_for(lambda: all_at_rest(study), LONG_S)
        assert end.result(LONG_S)
    counts = check_exactly_once(study, 12)
    assert counts["attempts"] == counts["done"] == 12
    record_fault("PostgreSQL stopped", "twice during a sweep, started again when all units were at rest", counts)


def all_at_rest(study: Study) -> bool:
    """Return whether every unit that was sent has left its result."""
    boxes = list((study.folder / "units").iterdir())
    return all((box / "result.json").exists() for box in boxes if (box / "attempt-1").exists())


def test_a_driver_whose_ledger_is_in_postgresql_is_killed(
    tmp_path: Path, in_postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUMMY_EPOCH_S", "0.2")
    study = order(tmp_path, "trials=20", "site.in_flight=2", in_postgres)
    ledger, moments = study.ledger(), random.Random(4)  # noqa: S311
    for _ in range(KILLS):
        with driver_process(study) as driver:
            wait_for(lambda: (ledger.driver(study.name) or {}).get("pid") == driver.pid, LONG_S)
            time.sleep(moments.uniform(0, 0.5))
            assert driver.poll() is None
    monkeypatch.setenv("DUMMY_EPOCH_S", "0")
    assert drive(study)
    counts = check_exactly_once(study, 20)
    assert counts["attempts"] == counts["done"] == 20
    record_fault("driver killed, ledger in PostgreSQL", f"SIGKILL at {KILLS} random moments, then `hpo resume`", counts)


def test_a_driver_that_finds_no_database_says_so_in_one_line(tmp_path: Path, in_postgres: str) -> None:
    study = order(tmp_path, "trials=1", in_postgres)
    with database_down(), driver_process(study) as driver:
        assert driver.wait(LONG_S) == 2
    [line] = (study.folder / "driver.log").read_text().splitlines()
    assert line.startswith("error: the ledger does not answer: postgresql+psycopg://wirecell:***@127.0.0.1:")
    assert line.endswith("Start the database, or correct ledger=…")
