"""Fixtures of the tests of jobs and sweeps."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from tests.sweeping import PROGRAMS

from tests.cluster import Cluster, private_cluster


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
