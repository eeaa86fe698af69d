"""What a look at 1,000 jobs of one PanDA task costs, on the stand-in: python -m tests.benchmarks.panda_status

The stand-in answers at once, where a real server took 0.05 s for the inputs of such a task, and 25 ms to describe each
job. So the numbers of questions matter more than the seconds.
"""

import os
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.backend_contract import batch_of, tokens
from tests.panda_standin import Standin, standin_at
from tests.sweeping import wait_for
from wirecell_ml.submit.backend import Backend, make_backend
from wirecell_ml.submit.site import PandaSettings, Site

JOBS, LOOKS = 1000, 20


def main() -> None:
    """Print the table."""
    table = Table(title=f"{JOBS} jobs in one task, mean of {LOOKS} looks")
    for name in ("jobs are", "questions", "seconds"):
        table.add_column(name, justify="left" if name == "jobs are" else "right")
    with standin_at() as standin, tempfile.TemporaryDirectory() as folder:
        os.environ["PANDA_AUTH_ID_TOKEN"] = standin.issuer.mint()
        panda = PandaSettings(url=standin.address, vo="dune", queue="TEST_QUEUE")
        backend = make_backend(Site(name="grid", kind="panda", panda=panda))
        batch = batch_of(Path(folder), [["true"]] * JOBS)
        began = time.perf_counter()
        backend.submit(batch)
        table.add_row("sent", str(len(standin.requests)), f"{time.perf_counter() - began:.3f}")
        wait_for(lambda: len(standin.panda.jobs) == JOBS and standin.panda.jobs[JOBS].status == "activated")
        for what, running, finished in (
            ("all activated", 0, 0),
            ("200 running", 200, 0),
            ("all running", JOBS, 0),
            ("800 finished, 200 running", JOBS, 800),
        ):
            move(standin, running, finished)
            table.add_row(what, *look(standin, backend, tokens(batch)))
    Console().print(table)


def move(standin: Standin, running: int, finished: int) -> None:
    """Let the first jobs run, and of these the first have finished."""
    with standin.panda.lock:
        for number, job in standin.panda.jobs.items():
            job.status = "finished" if number <= finished else "running" if number <= running else "activated"
            standin.panda.step_job(job)


def look(standin: Standin, backend: Backend, asked: list[str]) -> tuple[str, str]:
    """Return the mean number of questions and of seconds that a look takes, once the backend knows the jobs."""
    for _ in range(3):
        backend.states(asked)
    standin.requests.clear()
    began = time.perf_counter()
    for _ in range(LOOKS):
        backend.states(asked)
    seconds = time.perf_counter() - began
    return f"{len(standin.requests) / LOOKS:.1f}", f"{seconds / LOOKS:.3f}"


if __name__ == "__main__":
    main()
