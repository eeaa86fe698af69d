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
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from wirecell_ml.errors import RunError, suggest
from wirecell_ml.submit.states import ATTEMPT_MOVES, OPEN, UNIT_MOVES, AttemptState, UnitState

VERSION = 1  # of the tables below
LOCK = 16817  # whoever holds it in PostgreSQL makes the tables
BUSY_S = 60  # how long a transaction waits for another one, seconds

tables = sql.MetaData()
Json = sql.JSON
VERSIONS = sql.Table("wirecell_ml_ledger", tables, sql.Column("version", sql.Integer, primary_key=True))
STUDY = sql.Table(
    "study",
    tables,
    sql.Column("name", sql.String, primary_key=True),
    sql.Column("digest", sql.String, nullable=False),  # of what must not change: space, objectives, base config
    sql.Column("epoch", sql.Integer, nullable=False),  # of the driver; raised by each one that takes over
    sql.Column("driver", Json),  # host, pid and beat of the one driver; null: none
    sql.Column("created", sql.Float, nullable=False),
)
UNIT = sql.Table(
    "unit",
    tables,
    sql.Column("study", sql.String, sql.ForeignKey("study.name"), primary_key=True),
    sql.Column("number", sql.Integer, primary_key=True),
    sql.Column("key", sql.String, nullable=False),  # equal keys: the same work
    sql.Column("params", Json, nullable=False),
    sql.Column("state", sql.String, nullable=False),
    sql.Column("twin_of", sql.Integer),
    sql.Column("result", Json),
    sql.Column("progress", Json),
    sql.Column("created", sql.Float, nullable=False),
    sql.Column("ended", sql.Float),
    sql.Column("why", sql.String, nullable=False),
    sql.Index("unit_key", "study", "key"),
)
ATTEMPT = sql.Table(
    "attempt",
    tables,
    sql.Column("study", sql.String, primary_key=True),
    sql.Column("number", sql.Integer, primary_key=True),
    sql.Column("attempt", sql.Integer, primary_key=True),  # from 1
    sql.Column("site", sql.String, nullable=False),
    sql.Column("token", sql.String, unique=True),  # null while PLANNED
    sql.Column("state", sql.String, nullable=False),
    sql.Column("memory_gb", sql.Float, nullable=False),
    sql.Column("not_before", sql.Float, nullable=False),  # seconds since 1970
    sql.Column("submitted", sql.Float),
    sql.Column("ended", sql.Float),
    sql.Column("run_seconds", sql.Float, nullable=False),
    sql.Column("core_seconds", sql.Float, nullable=False),
    sql.Column("why", sql.String, nullable=False),
)
EVENT = sql.Table(
    "event",
    tables,
    sql.Column("id", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("study", sql.String, nullable=False),
    sql.Column("number", sql.Integer, nullable=False),
    sql.Column("attempt", sql.Integer),  # null: a transition of the unit itself
    sql.Column("time", sql.Float, nullable=False),
    sql.Column("old", sql.String),
    sql.Column("new", sql.String, nullable=False),
    sql.Column("why", sql.String, nullable=False),
    sql.Index("event_unit", "study", "number"),
)


class LedgerUnavailable(Exception):  # noqa: N818  (a state of the world, which passes)
    """The database does not answer; nothing was written, and the same call may succeed later."""


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
    ended: float | None = None
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
                    f"study '{study}' exists with another space, objective or base config. "
                    f"Choose another name with study=…, or go on with it as it is: hpo resume study={study}"
                )

    def names(self) -> list[str]:
        """Return the names of all studies."""
        with self.begin() as connection:
            return list(connection.execute(sql.select(STUDY.c.name)).scalars())

    def driver(self, study: str) -> dict[str, Any] | None:
        """Return host, pid and last beat of the driver of a study, or None if it has none."""
        with self.begin() as connection:
            row = connection.execute(sql.select(STUDY.c.driver).where(STUDY.c.name == study)).first()
        if row is None:
            raise RunError(f"no study '{study}' in the ledger.{suggest(study, self.names())}")
        found: dict[str, Any] | None = row[0]
        return found

    def take(self, study: str) -> "Writer":
        """Become the driver of a study: the writes of any other are refused from now on."""
        with self.begin() as connection:
            raised = STUDY.update().where(STUDY.c.name == study).values(epoch=STUDY.c.epoch + 1, driver=myself())
            connection.execute(raised)
            epoch = connection.execute(sql.select(STUDY.c.epoch).where(STUDY.c.name == study)).scalar_one()
        return Writer(self, study, epoch)

    def units(self, study: str) -> list[Unit]:
        """Return the units of a study by number."""
        query = sql.select(UNIT).where(UNIT.c.study == study).order_by(UNIT.c.number)
        with self.begin() as connection:
            return [unit_of(row) for row in connection.execute(query).mappings()]

    def attempts(self, study: str, unfinished: bool = False) -> list[Attempt]:
        """Return the attempts of a study, or those that have not ended only."""
        query = sql.select(ATTEMPT).where(ATTEMPT.c.study == study).order_by(ATTEMPT.c.number, ATTEMPT.c.attempt)
        if unfinished:
            query = query.where(ATTEMPT.c.state.in_([str(state) for state in OPEN]))
        with self.begin() as connection:
            return [attempt_of(row) for row in connection.execute(query).mappings()]

    def events(self, study: str, number: int | None = None) -> list[Event]:
        """Return the transitions of a study, or of one of its units, in their order."""
        columns = [EVENT.c[name] for name in ("number", "attempt", "time", "old", "new", "why")]
        query = sql.select(*columns).where(EVENT.c.study == study).order_by(EVENT.c.id)
        if number is not None:
            query = query.where(EVENT.c.number == number)
        with self.begin() as connection:
            return [Event(*row) for row in connection.execute(query)]


class Writer:
    """What the one driver of a study may write."""

    def __init__(self, ledger: Ledger, study: str, epoch: int) -> None:
        self.ledger, self.study, self.epoch = ledger, study, epoch

    @contextmanager
    def transaction(self) -> Iterator["Transaction"]:
        """Give a transaction; raises Superseded if another driver has taken the study over."""
        with self.ledger.begin() as connection:
            ours = (STUDY.c.name == self.study) & (STUDY.c.epoch == self.epoch)
            if connection.execute(STUDY.update().where(ours).values(driver=myself())).rowcount != 1:
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


def make_engine(url: str) -> Engine:
    """Return the engine of a database; raises RunError for a URL that names no database that we know."""
    try:
        parts = sql.make_url(url)
    except SQLAlchemyError as error:
        raise RunError(f"ledger: '{url}' is no address of a database. Write sqlite:///path or {EXAMPLE}") from error
    kind = parts.get_backend_name()
    if kind == "sqlite":
        return sqlite_engine(parts)
    if kind == "postgresql":
        return postgresql_engine(parts)
    raise RunError(f"ledger: '{kind}' is not known.{suggest(kind, ('sqlite', 'postgresql'))}")


EXAMPLE = "postgresql://user@host/database, with the password in ~/.pgpass"


def sqlite_engine(url: sql.URL) -> Engine:
    """Return an engine whose transactions wait for each other, survive a crash, and are visible while others read."""
    engine = sql.create_engine(url, connect_args={"timeout": BUSY_S})

    @sql.event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we begin transactions ourselves, below
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_S * 1000}"):
            connection.execute(f"PRAGMA {pragma}")

    @sql.event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def postgresql_engine(url: sql.URL) -> Engine:
    """Return an engine for PostgreSQL; raises RunError where its driver is not installed."""
    url = url.set(drivername="postgresql+psycopg")
    try:
        return sql.create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
    except ModuleNotFoundError as error:
        raise RunError("ledger: PostgreSQL needs the package psycopg: pip install 'wirecell_ml[postgresql]'") from error


@contextmanager
def unavailable_passes(engine: Engine) -> Iterator[None]:
    """Turn what a database says when it is down, full or locked into LedgerUnavailable."""
    try:
        yield
    except DBAPIError as error:
        text = " ".join(str(error.orig).split())
        if isinstance(error, sql.exc.IntegrityError | sql.exc.ProgrammingError | sql.exc.DataError):
            raise
        raise LedgerUnavailable(f"{engine.url.render_as_string(hide_password=True)}: {text}") from error


def prepare_tables(connection: Connection) -> None:
    """Make the tables of a new ledger; raises RunError for one that a newer version of this program wrote."""
    if connection.dialect.name == "postgresql":  # where two may make them at once; SQLite lets one in at a time
        connection.execute(sql.select(sql.func.pg_advisory_xact_lock(LOCK)))
    if not sql.inspect(connection).has_table(VERSIONS.name):
        tables.create_all(connection)
        connection.execute(VERSIONS.insert().values(version=VERSION))
    version = connection.execute(sql.select(VERSIONS.c.version)).scalar_one()
    if version > VERSION:
        raise RunError(
            f"{connection.engine.url.render_as_string(hide_password=True)}: a ledger of version {version}, and this "
            f"wirecell_ml reads up to {VERSION}. Install a newer wirecell_ml"
        )


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
