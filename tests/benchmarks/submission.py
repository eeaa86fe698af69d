"""100 trials through Slurm, beside one plain job array and 100 plain jobs: python -m tests.benchmarks.submission

All run the same dummy program on the Slurm of `make engines`. "submitted" is when sbatch, or the driver's backend, has
returned for the last of them; "known" is when the caller knows that all have ended.
"""

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.engine import start_engine
from tests.sweeping import PROGRAMS, check_exactly_once, driver_of, order
from wirecell_ml.submit.job import Batch

UNITS = 100
NAME = "plain"  # of the jobs that are no study's
POLL_S = 0.2  # of the plain ones, and of the driver
DUMMY = {"DUMMY_EPOCHS": "1", "DUMMY_EPOCH_S": "0"}

Times = tuple[float, float]  # submitted and known, seconds since the beginning


def main() -> None:
    """Print the table."""
    os.environ.update(start_engine("slurm") | DUMMY)
    os.environ["PYTHONPATH"] = str(PROGRAMS)
    sys.path.insert(0, str(PROGRAMS))
    ways: dict[str, Callable[[Path], Times]] = {
        "one plain sbatch --array": plain_array,
        f"{UNITS} plain sbatch": plain_jobs,
        f"a study of {UNITS} trials": study,
    }
    table = Table(title=f"{UNITS} units of the same program through Slurm, {os.cpu_count()} cores")
    for name in ("way", "submitted s", "known s", "of the array"):
        table.add_column(name, justify="left" if name == "way" else "right")
    reference = 0.0
    for name, way in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            submitted, known = way(Path(folder))
        reference = reference or known
        table.add_row(name, f"{submitted:.2f}", f"{known:.1f}", f"{known / reference:.2f}×")
    Console().print(table)


def plain_array(folder: Path) -> Times:
    """Submit one array and wait for it."""
    places = [place(folder, number) for number in range(UNITS)]
    listed = "\n".join(shlex.quote(str(one)) for one in places)
    script = f"#!/bin/bash\nplaces=(\n{listed}\n)\ncd ${{places[SLURM_ARRAY_TASK_ID]}}\nexec {program()}\n"
    began = time.perf_counter()
    sbatch(script, f"--array=0-{UNITS - 1}")
    submitted = time.perf_counter() - began
    wait(places)
    return submitted, time.perf_counter() - began


def plain_jobs(folder: Path) -> Times:
    """Submit each job for itself and wait for all."""
    places = [place(folder, number) for number in range(UNITS)]
    began = time.perf_counter()
    for one in places:
        sbatch(f"#!/bin/bash\ncd {shlex.quote(str(one))}\nexec {program()}\n")
    submitted = time.perf_counter() - began
    wait(places)
    return submitted, time.perf_counter() - began


def study(folder: Path) -> Times:
    """Run a study, proposals, ledger, mailbox and all."""
    settings = [f"trials={UNITS}", f"site.in_flight={UNITS}", "site.resources.cores=1", f"site.policy.poll_s={POLL_S}"]
    settings += [f"+site.environment.{name}='{value}'" for name, value in DUMMY.items()]
    ordered = order(folder, *settings, site="slurm_local", name="submission")
    driver = driver_of(ordered)
    submitted: list[float] = []
    slurm = driver.backends["slurm_local"]
    send = slurm.submit

    def submit(batch: Batch) -> None:
        send(batch)
        submitted.append(time.perf_counter())

    slurm.submit = submit  # type: ignore[method-assign]
    began = time.perf_counter()
    assert driver.run()
    known = time.perf_counter() - began
    check_exactly_once(ordered, UNITS)
    return submitted[-1] - began, known


def place(folder: Path, number: int) -> Path:
    """Return a folder to run in, with the parameters where the program looks for them."""
    run = folder / str(number) / "attempt" / "run"
    run.mkdir(parents=True)
    (folder / str(number) / "params.json").write_text('{"optimizer.lr": 0.001}')
    return run


def program() -> str:
    """Return the command that all run."""
    return shlex.join([sys.executable, "-m", "dummy_unit"])


def sbatch(script: str, *words: str) -> None:
    """Submit a script, as a user would."""
    fixed = ["sbatch", f"--job-name={NAME}", "--output=/dev/null", "--mem=100M", "--time=5", *words]
    subprocess.run(fixed, input=script, text=True, check=True, capture_output=True)


def wait(places: list[Path]) -> None:
    """Wait until Slurm knows of no job of ours that has not ended, and every result is there."""
    command = ["squeue", "--me", "--noheader", f"--name={NAME}"]
    while subprocess.run(command, text=True, check=True, capture_output=True).stdout:
        time.sleep(POLL_S)
    assert all((one / "summary.json").exists() for one in places)


if __name__ == "__main__":
    main()
