"""The ledger: every study, unit, attempt and transition, in SQLite or PostgreSQL; the one truth of what was sent where.

One transition is one row of ``event``, written in the transaction that makes it. Every transaction of a driver first
checks that no other driver has taken the study over.
"""

import os
import platform
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from wirecell_ml.errors import RunError, suggest
from wirecell_ml.submit.database import (
    ATTEMPT,
    EVENT,
    STUDY,
    UNIT,
    make_engine,
    prepare_tables,
    unavailable_passes,
)
from wirecell_ml.submit.states import ATTEMPT_MOVES, OPEN, UNIT_MOVES, AttemptState, UnitState


class Superseded(Exception):  # noqa: N818
    """Another driver has taken the study over; this one must stop."""


@dataclass
class Unit:
    """A row of ``unit``: one point of a study."""

    number: int
    key: str
    params: dict[str, Any]
    state: UnitState = UnitState.PROPOSED
    twin_of: int | None = None
    result: dict[str, Any] | None = None  # what the runner committed
    progress: dict[str, float] = field(default_factory=dict)  # epoch → first objective
    created: float = 0.0
    ended: float | None = None
    why: str = ""


@dataclass
class Attempt:
    """A row of ``attempt``: one try at a unit."""

    number: int  # of the unit
    attempt: int  # from 1
    site: str
    memory_gb: float
    token: str | None = None
    state: AttemptState = AttemptState.PLANNED
    not_before: float = 0.0
    submitted: float | None = None
    started: float | None = None  # when its runner was first heard of
    ended: float | None = None
    choice: dict[str, Any] | None = None  # what the broker had before it when it chose the site
    run_seconds: float = 0.0
    core_seconds: float = 0.0
    why: str = ""


@dataclass(frozen=True)
class Event:
    """A row of ``event``: one transition."""

    number: int
    attempt: int | None
    time: float
    old: str | None
    new: str
    why: str


class Ledger:
    """A database of studies; every method raises LedgerUnavailable where the database does not answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = make_engine(url)
        weakref.finalize(self, self.engine.dispose)
        with self.begin() as connection:
            prepare_tables(connection)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Give one transaction; all of it is written, or nothing."""
        with unavailable_passes(self.engine), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give one transaction that writes nothing."""
        with unavailable_passes(self.engine), self.engine.execution_options(reads=True).begin() as connection:
            yield connection

    def create(self, study: str, digest: str) -> None:
        """Add a study; one of that name with the same digest is left as it is.

        Raises RunError where a study of that name is another one.
        """
        with self.begin() as connection:
            held = connection.execute(sql.select(STUDY.c.digest).where(STUDY.c.name == study)).scalar()
            if held is None:
                row = {"name": study, "digest": digest, "epoch": 0, "created": time.time()}
                connection.execute(STUDY.insert().values(row))
            elif held != digest:
                raise RunError(
                    f"study '{study}' exists with another space, objective, base config or folder. "
                    f"Choose another name with study=…, or go on with it as it is: hpo resume study={study}"
                )

    def names(self) -> list[str]:
        """Return the names of all studies."""
        with self.read() as connection:
            return list(connection.execute(sql.select(STUDY.c.name)).scalars())

    def driver(self, study: str) -> dict[str, Any] | None:
        """Return host, pid, last beat and trouble of the driver of a study, or None if it has none."""
        with self.read() as connection:
            row = connection.execute(sql.select(STUDY.c.driver).where(STUDY.c.name == study)).first()
        if row is None:
            raise RunError(f"no study '{study}' in the ledger.{suggest(study, self.names())}")
        found: dict[str, Any] | None = row[0]
        return found

    def take(self, study: str, since: int | None = None) -> "Writer":
        """Become the driver of a study: the writes of any other are refused from now on.

        ``since`` is the epoch that this driver has and keeps; raises Superseded if another one has a later one.
        """
        place = STUDY.c.name == study if since is None else (STUDY.c.name == study) & (STUDY.c.epoch == since)
        with self.begin() as connection:
            later = STUDY.c.epoch + 1 if since is None else since
            raised = STUDY.update().where(place).values(epoch=later, driver=myself())
            if connection.execute(raised).rowcount != 1:
                raise Superseded(f"another driver has taken study '{study}' over")
            epoch = connection.execute(sql.select(STUDY.c.epoch).where(STUDY.c.name == study)).scalar_one()
        return Writer(self, study, epoch)

    def units(self, study: str) -> list[Unit]:
        """Return the units of a study by number."""
        query = sql.select(UNIT).where(UNIT.c.study == study).order_by(UNIT.c.number)
        with self.read() as connection:
            return [unit_of(row) for row in connection.execute(query).mappings()]

    def attempts(self, study: str, unfinished: bool = False) -> list[Attempt]:
        """Return the attempts of a study, or those that have not ended only."""
        query = sql.select(ATTEMPT).where(ATTEMPT.c.study == study).order_by(ATTEMPT.c.number, ATTEMPT.c.attempt)
        if unfinished:
            query = query.where(ATTEMPT.c.state.in_([str(state) for state in OPEN]))
        with self.read() as connection:
            return [attempt_of(row) for row in connection.execute(query).mappings()]

    def events(self, study: str, number: int | None = None) -> list[Event]:
        """Return the transitions of a study, or of one of its units, in their order."""
        columns = [EVENT.c[name] for name in ("number", "attempt", "time", "old", "new", "why")]
        query = sql.select(*columns).where(EVENT.c.study == study).order_by(EVENT.c.id)
        if number is not None:
            query = query.where(EVENT.c.number == number)
        with self.read() as connection:
            return [Event(*row) for row in connection.execute(query)]


class Writer:
    """What the one driver of a study may write."""

    def __init__(self, ledger: Ledger, study: str, epoch: int) -> None:
        self.ledger, self.study, self.epoch = ledger, study, epoch
        self.trouble = ""  # what keeps the driver from going on, for those who look at the study

    @contextmanager
    def transaction(self) -> Iterator["Transaction"]:
        """Give a transaction; raises Superseded if another driver has taken the study over."""
        with self.ledger.begin() as connection:
            ours = (STUDY.c.name == self.study) & (STUDY.c.epoch == self.epoch)
            driver = myself() | {"trouble": self.trouble}
            if connection.execute(STUDY.update().where(ours).values(driver=driver)).rowcount != 1:
                raise Superseded(f"another driver has taken study '{self.study}' over")
            transaction = Transaction(connection, self.study)
            yield transaction
            transaction.write_events()
        transaction.apply()

    def beat(self) -> None:
        """Say that this driver lives."""
        with self.transaction():
            pass

    def leave(self) -> None:
        """Say that the study has no driver now."""
        ours = (STUDY.c.name == self.study) & (STUDY.c.epoch == self.epoch)
        with self.ledger.begin() as connection:
            connection.execute(STUDY.update().where(ours).values(driver=sql.null()))


class Transaction:
    """Transitions that happen together or not at all."""

    def __init__(self, connection: Connection, study: str) -> None:
        self.connection, self.study = connection, study
        self.rows: list[dict[str, Any]] = []
        self.moved: list[tuple[Unit | Attempt, dict[str, Any]]] = []
        self.now = time.time()

    def add_units(self, units: Sequence[Unit]) -> None:
        """Add units that were just proposed."""
        rows = [
            {
                "study": self.study,
                "number": unit.number,
                "key": unit.key,
                "params": unit.params,
                "state": str(unit.state),
                "twin_of": unit.twin_of,
                "created": self.now,
                "why": unit.why,
            }
            for unit in units
        ]
        if rows:
            self.connection.execute(UNIT.insert(), rows)
        for unit in units:
            unit.created = self.now
            self.note(unit.number, None, None, unit.state, unit.why)

    def add_attempt(self, attempt: Attempt) -> None:
        """Add an attempt that is planned."""
        row = {
            "study": self.study,
            "number": attempt.number,
            "attempt": attempt.attempt,
            "site": attempt.site,
            "state": str(attempt.state),
            "memory_gb": attempt.memory_gb,
            "run_seconds": 0.0,
            "core_seconds": 0.0,
            "not_before": attempt.not_before,
            "why": attempt.why,
        }
        self.connection.execute(ATTEMPT.insert(), row)
        self.note(attempt.number, attempt.attempt, None, attempt.state, attempt.why)

    def move_unit(self, unit: Unit, new: UnitState, why: str, **values: Any) -> None:
        """Move a unit from the state that it is in; ``unit`` itself follows once the transaction is written."""
        assert new in UNIT_MOVES.get(unit.state, ()), f"unit {unit.number}: {unit.state} to {new}"
        place = (UNIT.c.study == self.study) & (UNIT.c.number == unit.number) & (UNIT.c.state == str(unit.state))
        moved = self.connection.execute(UNIT.update().where(place).values(state=str(new), why=why, **values))
        assert moved.rowcount == 1, f"unit {unit.number} is not {unit.state} in the ledger"
        self.note(unit.number, None, unit.state, new, why)
        self.moved.append((unit, {"state": new, "why": why} | values))

    def move_attempt(self, attempt: Attempt, new: AttemptState, why: str, **values: Any) -> None:
        """Move an attempt from the state that it is in; ``attempt`` itself follows once the transaction is written."""
        assert new in ATTEMPT_MOVES.get(attempt.state, ()), f"{attempt.token}: {attempt.state} to {new}"
        place = (
            (ATTEMPT.c.study == self.study)
            & (ATTEMPT.c.number == attempt.number)
            & (ATTEMPT.c.attempt == attempt.attempt)
            & (ATTEMPT.c.state == str(attempt.state))
        )
        moved = self.connection.execute(ATTEMPT.update().where(place).values(state=str(new), why=why, **values))
        assert moved.rowcount == 1, f"{attempt.token} is not {attempt.state} in the ledger"
        self.note(attempt.number, attempt.attempt, attempt.state, new, why)
        self.moved.append((attempt, {"state": new, "why": why} | values))

    def note(self, number: int, attempt: int | None, old: str | None, new: str, why: str) -> None:
        """Keep one event, to be written with the others."""
        row = {"study": self.study, "number": number, "attempt": attempt, "time": self.now}
        self.rows.append(row | {"old": str(old) if old else None, "new": str(new), "why": why})

    def write_events(self) -> None:
        """Write the events of this transaction."""
        if self.rows:
            self.connection.execute(EVENT.insert(), self.rows)

    def apply(self) -> None:
        """Let the objects in memory follow what is now written."""
        for moved, values in self.moved:
            for name, value in values.items():
                setattr(moved, name, value)


def myself() -> dict[str, Any]:
    """Return what tells this driver from others."""
    return {"host": platform.node(), "pid": os.getpid(), "beat": time.time()}


def unit_of(row: sql.RowMapping) -> Unit:
    """Return a unit from its row."""
    values = {name: row[name] for name in ("number", "key", "params", "twin_of", "result", "created", "ended", "why")}
    return Unit(state=UnitState(row["state"]), progress=row["progress"] or {}, **values)


def attempt_of(row: sql.RowMapping) -> Attempt:
    """Return an attempt from its row."""
    values: dict[str, Any] = {name: value for name, value in row.items() if name != "study"}
    return Attempt(**values | {"state": AttemptState(row["state"])})
