"""Fixtures of the tests of jobs and sweeps."""

import os
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

PROGRAMS = Path(__file__).parents[1] / "programs"


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``program=dummy_unit`` be found, here and in drivers started from here."""
    monkeypatch.setattr(sys, "path", [str(PROGRAMS), *sys.path])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PROGRAMS), *filter(None, [os.environ.get("PYTHONPATH")])]))
    GlobalHydra.instance().clear()
