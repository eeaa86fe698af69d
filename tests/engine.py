"""Engines of the tests: Slurm and PostgreSQL as tests/engines starts them."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ENGINES = Path(__file__).parent / "engines"
NOT_HERE = 3  # exit status of start.sh where an engine cannot be installed
EXPORT = re.compile(r"^export (\w+)=(.*)$", re.MULTILINE)


def start_engine(name: str) -> dict[str, str]:
    """Start an engine unless it is up, and return what env.sh sets; the test is skipped where it cannot be installed.

    In CI, which sets CI=true, it fails instead.
    """
    started = run_engine("start", name)
    if started.returncode == NOT_HERE and os.environ.get("CI") != "true":
        pytest.skip(started.stderr.strip())
    if started.returncode:
        pytest.fail(f"start.sh {name}: {started.stderr.strip()}")
    state = Path(os.environ.get("WIRECELL_ML_ENGINES") or Path.home() / ".cache" / "wirecell_ml" / "engines")
    return dict(EXPORT.findall((state / "env.sh").read_text()))


def stop_engine(name: str) -> None:
    """Stop an engine, as a failure of its host would; what it holds on disk stays."""
    run_engine("stop", name).check_returncode()


@contextmanager
def private_engine(name: str, folder: Path, port: str) -> Iterator[dict[str, str]]:
    """Start an engine of the tests' own, in which nobody minds what dies, and stop it in the end."""
    with apart(name, folder, port):
        if folder.exists():
            stop_engine(name)  # which a killed session left
        shutil.rmtree(folder, ignore_errors=True)  # with its queue
        variables = start_engine(name)
    try:
        yield variables
    finally:
        with apart(name, folder, port):
            stop_engine(name)


@contextmanager
def apart(name: str, folder: Path, port: str) -> Iterator[None]:
    """Let start.sh and stop.sh work beside the engine that sweeps of this user may run on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WIRECELL_ML_ENGINES", str(folder))
        patch.setenv(f"WIRECELL_ML_{name.upper()}_PORT", port)
        yield


def run_engine(script: str, name: str) -> subprocess.CompletedProcess[str]:
    """Run start.sh or stop.sh for one engine."""
    return subprocess.run([ENGINES / f"{script}.sh", name], capture_output=True, text=True, check=False)
