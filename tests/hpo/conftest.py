"""Fixtures of the tests of studies: ``python -m wirecell_ml.hpo`` in this process, and a study that has ended."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ended, Entry
from tests.sweeping import PROGRAMS, QUICK, SPACE
from wirecell_ml.hpo.__main__ import main
from wirecell_ml.submit.study import Study, open_study

DUMMIES = ("program=dummy_unit", "sampler=random", SPACE, *QUICK)
TRIALS = 12


def with_programs() -> dict[str, str]:
    """Return an environment in which the programs of the tests are found."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(PROGRAMS), *filter(None, [os.environ.get("PYTHONPATH")])])}


def command(*words: str) -> list[str]:
    """Return the command that a user types."""
    return [sys.executable, "-m", "wirecell_ml.hpo", *words]


@pytest.fixture
def hpo(entry: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> Entry:
    """Run ``python -m wirecell_ml.hpo`` in this process, in a folder of the test's own."""
    monkeypatch.setattr(sys, "path", [str(PROGRAMS), *sys.path])
    monkeypatch.setenv("PYTHONPATH", with_programs()["PYTHONPATH"])
    return lambda *words: entry(main, *words)


@pytest.fixture(scope="session")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """How a study of twelve dummy units ended that a user started; it is named dummies, below ``sweeps``."""
    folder = tmp_path_factory.mktemp("ended")
    words = ["study=dummies", f"folder={folder / 'sweeps'}", f"trials={TRIALS}", "site.cost.core_hour=0.1", *DUMMIES]
    done = subprocess.run(command(*words), capture_output=True, text=True, check=False, env=with_programs(), cwd=folder)
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def finished(ended: Ended) -> Study:
    """Return that study."""
    page = next(line for line in ended.output.splitlines() if line.startswith("report: "))
    return open_study("dummies", Path(page.removeprefix("report: ")).parents[2])


@pytest.fixture
def study(finished: Study, tmp_path: Path) -> Study:
    """Return a copy of that study, below ``sweeps`` in the test's own folder, to do with as one likes."""
    shutil.copytree(finished.folder, tmp_path / "sweeps" / "dummies")
    return open_study("dummies", tmp_path / "sweeps")
