"""Fixtures of the tests of jobs and sweeps."""

import os
import secrets
import sys
from collections.abc import Iterator

import pytest
import sqlalchemy as sql
from hydra.core.global_hydra import GlobalHydra

from tests.cluster import Cluster, private_cluster
from tests.condor_pool import Pool, private_pool
from tests.engine import start_engine
from tests.kubernetes_cluster import KubernetesCluster, private_kubernetes
from tests.sweeping import PROGRAMS

SLOW_ENGINES = {"kubernetes", "built"}  # fixtures, and cases, of engines that take minutes to build


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of engines that take minutes to build, unless WIRECELL_ML_SLOW_ENGINES is set."""
    slow = [item for item in items if SLOW_ENGINES & needed(item)]
    for item in slow:
        item.add_marker(pytest.mark.slow_engine)
    if slow and not os.environ.get("WIRECELL_ML_SLOW_ENGINES"):
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


def needed(item: pytest.Item) -> set[str]:
    """Return the fixtures that a test needs; the canary's take that of their case as they run."""
    case = {item.name.partition("[")[2].rstrip("]")} if item.path.stem == "test_canary" else set()
    return {*getattr(item, "fixturenames", ()), *case}


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``program=dummy_unit`` be found, here and in drivers started from here."""
    monkeypatch.setattr(sys, "path", [str(PROGRAMS), *sys.path])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PROGRAMS), *filter(None, [os.environ.get("PYTHONPATH")])]))
    GlobalHydra.instance().clear()


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A Slurm in which nobody minds what dies."""
    with private_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    """An HTCondor pool in which nobody minds what dies."""
    with private_pool() as started:
        yield started


@pytest.fixture(scope="session")
def kubernetes() -> Iterator[KubernetesCluster]:
    """A Kubernetes in which nobody minds what dies."""
    with private_kubernetes() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgres() -> str:
    """The address of a PostgreSQL that runs."""
    return start_engine("postgres")["WIRECELL_ML_POSTGRES"]


@pytest.fixture
def database(postgres: str) -> Iterator[str]:
    """The address of a database of the test's own."""
    name = f"test_{secrets.token_hex(6)}"
    server = sql.create_engine(postgres, isolation_level="AUTOCOMMIT", poolclass=sql.NullPool)
    with server.connect() as connection:
        connection.execute(sql.text(f"CREATE DATABASE {name}"))
    yield sql.make_url(postgres).set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(sql.text(f"DROP DATABASE {name} WITH (FORCE)"))
