"""The tables of a ledger, and the databases that they can be in: SQLite and PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from wirecell_ml.errors import RunError, suggest

VERSION = 2  # of the tables below
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
    sql.Column("started", sql.Float),  # when its runner was first heard of
    sql.Column("ended", sql.Float),
    sql.Column("choice", Json),  # what the broker had before it when it chose the site
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
    """The database does not answer; all of a transaction was written or nothing, and a later call may succeed."""


def make_engine(url: str) -> Engine:
    """Return the engine of a database; raises RunError for a URL that names no database that we know."""
    try:
        parts = sql.make_url(url)
    except (SQLAlchemyError, ValueError) as error:
        raise RunError(f"ledger: no address of a database. Write sqlite:///path or {EXAMPLE}") from error
    if "@" in (parts.host or ""):  # whose begin is the end of a password
        raise RunError("ledger: its address has two @. In a password write %40 for @, %2F for / and %3A for :")
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
        reads = connection.get_execution_options().get("reads", False)  # readers do not wait for a writer
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def postgresql_engine(url: sql.URL) -> Engine:
    """Return an engine for PostgreSQL; raises RunError where its driver is not installed."""
    url = url.set(drivername="postgresql+psycopg")
    try:
        engine = sql.create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
    except ModuleNotFoundError as error:
        raise RunError("ledger: PostgreSQL needs the package psycopg: pip install 'wirecell_ml[postgresql]'") from error

    @sql.event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        # a driver that hangs in a transaction would keep its successor out
        connection.execute(f"SET idle_in_transaction_session_timeout = {BUSY_S * 1000}")
        connection.commit()

    return engine


@contextmanager
def unavailable_passes(engine: Engine) -> Iterator[None]:
    """Turn what a database says when it is down, full or locked into LedgerUnavailable."""
    try:
        yield
    except DBAPIError as error:
        text = " ".join(str(error.orig).split())
        if isinstance(error, sql.exc.IntegrityError | sql.exc.ProgrammingError | sql.exc.DataError):
            raise
        raise LedgerUnavailable(f"{shown(engine.url)}: {text}") from error


def shown(url: sql.URL) -> str:
    """Return an address without its password and without its options, of which one may be a password, too."""
    return url.set(query={}).render_as_string(hide_password=True)


def prepare_tables(connection: Connection) -> None:
    """Make the tables of a new ledger; raises RunError for one that a newer version of this program wrote."""
    if connection.dialect.name == "postgresql":  # where two may make them at once; SQLite lets one in at a time
        connection.execute(sql.select(sql.func.pg_advisory_xact_lock(LOCK)))
    if not sql.inspect(connection).has_table(VERSIONS.name):
        tables.create_all(connection)
        connection.execute(VERSIONS.insert().values(version=VERSION))
    version = connection.execute(sql.select(VERSIONS.c.version)).scalar_one()
    if version == 1:
        add_columns(connection)
    if version > VERSION:
        raise RunError(
            f"{shown(connection.engine.url)}: a ledger of version {version}, and this "
            f"wirecell_ml reads up to {VERSION}. Install a newer wirecell_ml"
        )


def add_columns(connection: Connection) -> None:
    """Bring a ledger of version 1 to version 2."""
    for column in (ATTEMPT.c.started, ATTEMPT.c.choice):
        kind = column.type.compile(connection.dialect)
        connection.execute(sql.text(f"ALTER TABLE {ATTEMPT.name} ADD COLUMN {column.name} {kind}"))
    connection.execute(VERSIONS.update().values(version=2))
