"""What every ledger keeps to, in SQLite and in PostgreSQL alike."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from tests.sweeping import driver_process, order
from wirecell_ml.errors import RunError
from wirecell_ml.submit.database import VERSION, VERSIONS, LedgerUnavailable, make_engine
from wirecell_ml.submit.ledger import Attempt, Ledger, Superseded, Transaction, Unit, Writer
from wirecell_ml.submit.mailbox import trusted_note, trusted_result
from wirecell_ml.submit.states import ATTEMPT_MOVES, UNIT_MOVES, AttemptState, UnitState

A, U = AttemptState, UnitState
PARAMS = {"optimizer.lr": 0.1, "model.norm": "batch", "model.widths": "[24,48]", "data.batch_size": 4, "große": True}
HOSTILE = r'{"end": "done", "metrics": {"a\u0000\ud800": NaN, "b": 1e999, "c": 0.5}, "token": "\u0000", "seconds": NaN}'
OPEN = "import sys; from wirecell_ml.submit.ledger import Ledger; sys.stdin.readline(); Ledger(sys.argv[1])"


def begun(ledger: Ledger, study: str = "s") -> Writer:
    """Return a writer of a new study."""
    ledger.create(study, "digest")
    return ledger.take(study)


def proposed(writer: Writer, number: int = 0) -> tuple[Unit, Attempt]:
    """Return a unit and its first attempt, written."""
    unit, attempt = Unit(number, f"key-{number}", PARAMS, why="proposed"), Attempt(number, 1, "here", 4.0, why="first")
    with writer.transaction() as transaction:
        transaction.add_units([unit])
        transaction.add_attempt(attempt)
    return unit, attempt


def send(transaction: Transaction, attempt: Attempt, name: str = "s-a1b2c3-0") -> None:
    """Write that an attempt is being sent."""
    transaction.move_attempt(attempt, A.SUBMITTING, "sent", token=name, submitted=1.7e9)


def write_half(writer: Writer, unit: Unit) -> None:
    """Begin to write, and fail."""
    with writer.transaction() as transaction:
        transaction.add_units([Unit(1, "key", {})])
        transaction.move_unit(unit, U.QUEUED, "sent")
        raise OSError("meanwhile")


class Contract:
    """What every ledger keeps to; subclasses have a fixture ``url``, the address of an empty database."""

    @pytest.fixture
    def ledger(self, url: str) -> Ledger:
        return Ledger(url)

    def test_what_is_written_is_read(self, ledger: Ledger) -> None:
        writer = begun(ledger)
        unit, attempt = proposed(writer)
        result = {"end": "done", "metrics": {"val/dice": 0.1 + 0.2, "loss": None}}
        values: dict[str, Any] = {"result": result, "progress": {"1": 0.3}, "ended": 1.75e9}
        with writer.transaction() as transaction:
            send(transaction, attempt)
            transaction.move_unit(unit, U.DONE, "result", **values)
        again = Ledger(ledger.url)
        assert again.units("s") == [unit]
        assert again.attempts("s") == [attempt]
        assert (unit.state, unit.result, unit.params) == (U.DONE, result, PARAMS)
        assert (attempt.state, attempt.token, attempt.submitted) == (A.SUBMITTING, "s-a1b2c3-0", 1.7e9)

    def test_every_transition_is_an_event(self, ledger: Ledger) -> None:
        writer = begun(ledger)
        unit, attempt = proposed(writer)
        with writer.transaction() as transaction:
            send(transaction, attempt)
            transaction.move_unit(unit, U.QUEUED, "sent")
        with writer.transaction() as transaction:
            transaction.move_attempt(attempt, A.LOST, "no heartbeat")
            transaction.move_unit(unit, U.FAILED, "given up")
        events = [(event.attempt, event.old, event.new, event.why) for event in ledger.events("s", 0)]
        assert events == [
            (None, None, "PROPOSED", "proposed"),
            (1, None, "PLANNED", "first"),
            (1, "PLANNED", "SUBMITTING", "sent"),
            (None, "PROPOSED", "QUEUED", "sent"),
            (1, "SUBMITTING", "LOST", "no heartbeat"),
            (None, "QUEUED", "FAILED", "given up"),
        ]

    def test_a_transaction_that_fails_leaves_nothing(self, ledger: Ledger) -> None:
        writer = begun(ledger)
        unit, _ = proposed(writer)
        with pytest.raises(OSError, match="meanwhile"):
            write_half(writer, unit)
        assert unit.state is U.PROPOSED
        assert ledger.units("s") == [unit]
        assert len(ledger.events("s")) == 2

    def test_no_transition_but_those_of_the_table_is_made(self, ledger: Ledger) -> None:
        writer = begun(ledger)
        with writer.transaction() as transaction:
            for old, new in product(U, U):
                if new not in UNIT_MOVES.get(old, ()):
                    with pytest.raises(AssertionError, match=f"unit 0: {old} to {new}"):
                        transaction.move_unit(Unit(0, "key", {}, old), new, "")
            for start, end in product(A, A):
                if end not in ATTEMPT_MOVES.get(start, ()):
                    with pytest.raises(AssertionError, match=f"{start} to {end}"):
                        transaction.move_attempt(Attempt(0, 1, "here", 4.0, state=start), end, "")
        assert ledger.events("s") == []

    def test_nothing_ends_twice(self, ledger: Ledger) -> None:
        writer = begun(ledger)
        unit, attempt = proposed(writer)
        [stale_unit], [stale_attempt] = ledger.units("s"), ledger.attempts("s")
        with writer.transaction() as transaction:
            transaction.move_unit(unit, U.DONE, "result")
            transaction.move_attempt(attempt, A.CANCELLED, "result")
        with pytest.raises(AssertionError, match="is not PROPOSED"), writer.transaction() as transaction:
            transaction.move_unit(stale_unit, U.FAILED, "late")
        with pytest.raises(AssertionError, match="is not PLANNED"), writer.transaction() as transaction:
            transaction.move_attempt(stale_attempt, A.SUPERSEDED, "late")
        assert [event.new for event in ledger.events("s")] == ["PROPOSED", "PLANNED", "DONE", "CANCELLED"]

    def test_a_driver_that_was_replaced_writes_nothing(self, ledger: Ledger) -> None:
        first = begun(ledger)
        unit, _ = proposed(first)
        second = Ledger(ledger.url).take("s")
        for write in (first.beat, lambda: proposed(first, 1)):
            with pytest.raises(Superseded, match="another driver has taken study 's' over"):
                write()
        with second.transaction() as transaction:
            transaction.move_unit(unit, U.QUEUED, "sent")
        assert [event.new for event in ledger.events("s")] == ["PROPOSED", "PLANNED", "QUEUED"]

    def test_a_driver_that_was_replaced_does_not_sign_its_successor_off(self, ledger: Ledger) -> None:
        first = begun(ledger)
        second = ledger.take("s")
        first.leave()
        assert ledger.driver("s")
        second.leave()
        assert ledger.driver("s") is None

    def test_drivers_of_different_studies_do_not_meet(self, ledger: Ledger) -> None:
        first, second = begun(ledger, "one"), begun(ledger, "two")
        proposed(first)
        proposed(second)
        assert ledger.names() == ["one", "two"]
        assert len(ledger.units("one")) == len(ledger.units("two")) == 1

    def test_whoever_takes_a_study_over_sees_all_that_was_written_before(self, url: str) -> None:
        Ledger(url).create("s", "digest")
        with ThreadPoolExecutor(4) as pool:
            added = sum(pool.map(add_units, [url] * 4))
        units, events = Ledger(url).units("s"), Ledger(url).events("s")
        assert [unit.number for unit in units] == [event.number for event in events] == list(range(added))
        assert added > 0

    def test_two_attempts_with_one_token_are_refused(self, ledger: Ledger) -> None:
        writer = begun(ledger)
        (_, first), (_, second) = proposed(writer, 0), proposed(writer, 1)
        with writer.transaction() as transaction:
            send(transaction, first)
        with pytest.raises(sql.exc.IntegrityError), writer.transaction() as transaction:
            send(transaction, second)
        assert [attempt.state for attempt in ledger.attempts("s")] == [A.SUBMITTING, A.PLANNED]

    def test_open_attempts_are_found(self, ledger: Ledger) -> None:
        writer = begun(ledger)
        _, attempt = proposed(writer)
        with writer.transaction() as transaction:
            transaction.move_attempt(attempt, A.CANCELLED, "")
            transaction.add_attempt(Attempt(0, 2, "here", 4.0))
        assert [attempt.attempt for attempt in ledger.attempts("s", unfinished=True)] == [2]

    def test_whatever_a_worker_wrote_can_be_kept(self, ledger: Ledger) -> None:
        writer = begun(ledger)
        unit, _ = proposed(writer)
        note = trusted_note({"kind": "crashed", "message": "a\0b\ud800\n"})
        assert note
        with writer.transaction() as transaction:
            transaction.move_unit(unit, U.FAILED, note["message"], result=trusted_result(json.loads(HOSTILE)))
        [kept] = ledger.units("s")
        assert kept.result
        assert kept.result["metrics"] == {"a  ": None, "b": None, "c": 0.5}
        assert kept.why == "a b  "

    def test_many_may_open_a_new_ledger_at_once(self, url: str) -> None:
        users = [subprocess.Popen([sys.executable, "-c", OPEN, url], stdin=subprocess.PIPE) for _ in range(4)]
        for user in users:
            assert user.stdin
            user.stdin.write(b"\n")
            user.stdin.flush()
        for user in users:
            user.communicate()
        assert [user.returncode for user in users] == [0] * 4
        assert Ledger(url).names() == []

    def test_a_study_of_the_same_name_and_another_space_is_refused(self, ledger: Ledger) -> None:
        ledger.create("s", "digest")
        ledger.create("s", "digest")
        with pytest.raises(RunError, match=r"study 's' exists with another space.*hpo resume study=s$"):
            ledger.create("s", "another")
        assert ledger.names() == ["s"]

    def test_a_study_that_is_not_there_is_said_with_the_near_name(self, ledger: Ledger) -> None:
        ledger.create("roinet", "digest")
        with pytest.raises(RunError, match=r"no study 'roinnet' in the ledger\. Did you mean 'roinet'"):
            ledger.driver("roinnet")

    def test_a_ledger_of_a_newer_version_is_refused(self, ledger: Ledger) -> None:
        newer(ledger.url)
        with pytest.raises(RunError, match=f"a ledger of version {VERSION + 1}, and this wirecell_ml reads up to"):
            Ledger(ledger.url)


def add_units(url: str) -> int:
    """Take a study over 15 times, each time adding the unit that comes next; return how many were written."""
    ledger, added = Ledger(url), 0
    for _ in range(15):
        writer = ledger.take("s")
        number = len(ledger.units("s"))
        try:
            with writer.transaction() as transaction:
                transaction.add_units([Unit(number, f"key-{number}", {})])
        except Superseded:
            continue
        added += 1
    return added


def newer(url: str) -> None:
    """Let a ledger look as if a newer version of the program had written it."""
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(VERSIONS.update().values(version=VERSION + 1))
    engine.dispose()


class TestSqlite(Contract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"


class TestPostgres(Contract):
    @pytest.fixture
    def url(self, database: str) -> str:
        return database

    def test_a_driver_that_hangs_while_it_writes_keeps_nobody_out(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("wirecell_ml.submit.database.BUSY_S", 1)
        first = begun(Ledger(url))
        with pytest.raises(LedgerUnavailable, match="idle-in-transaction timeout"), first.transaction():
            proposed(Ledger(url).take("s"))
        with pytest.raises(Superseded):
            first.beat()
        assert len(Ledger(url).units("s")) == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:////nowhere/ledger.sqlite", "sqlite:////nowhere/ledger.sqlite: unable to open database file"),
        ("postgresql://me:secret@127.0.0.1:1/none", r"postgresql\+psycopg://me:\*\*\*@127.0.0.1:1/none: .*refused"),
    ],
)
def test_a_database_that_does_not_answer_is_unavailable(url: str, said: str) -> None:
    with pytest.raises(LedgerUnavailable, match=said) as caught:
        Ledger(url)
    assert "secret" not in str(caught.value)


def test_while_another_one_writes_a_ledger_can_be_read(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    with ledger.begin() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=10")
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert ledger.names() == []
    with pytest.raises(LedgerUnavailable, match="database is locked"):
        ledger.create("s", "digest")
    other.execute("ROLLBACK")
    other.close()
    ledger.create("s", "digest")
    assert ledger.names() == ["s"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresq://host/name", "ledger: 'postgresq' is not known. Did you mean 'postgresql'?"),
        ("sweeps.db", "ledger: no address of a database. Write sqlite:///path or postgresql://"),
    ],
)
def test_an_address_of_no_database_is_said(url: str, said: str) -> None:
    with pytest.raises(RunError) as caught:
        Ledger(url)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (newer, f"a ledger of version {VERSION + 1}, and this wirecell_ml reads up to {VERSION}"),
        (lambda url: Path(url.removeprefix("sqlite:///")).write_bytes(b"no database" * 999), "file is not a database"),
    ],
)
def test_a_driver_says_in_one_line_that_it_cannot_use_a_ledger(
    tmp_path: Path, harm: Callable[[str], object], said: str
) -> None:
    study = order(tmp_path, "trials=1")
    harm(study.ledger().url)
    with driver_process(study) as driver:
        assert driver.wait() == 2
    [line] = (study.folder / "driver.log").read_text().splitlines()
    assert line.startswith("error: ")
    assert said in line
