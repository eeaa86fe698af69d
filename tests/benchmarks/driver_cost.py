"""What the driver costs per trial, with units that take no time: python -m tests.benchmarks.driver_cost

The backend commits each result where a runner would, at the moment of the submission. All else is as in a real study:
proposals, flat configs, the mailbox on disk, and the ledger in SQLite with every transition synced to disk.
"""

import json
import logging
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.sweeping import PROGRAMS, check_exactly_once, order
from wirecell_ml.hpo import ordering
from wirecell_ml.hpo.ordering import make_source
from wirecell_ml.submit.driver import Driver
from wirecell_ml.submit.job import Batch, Resources
from wirecell_ml.submit.mailbox import UnitBox
from wirecell_ml.submit.states import JobState

TRIALS = (100, 1_000, 10_000)
AT_ONCE = 100  # units in flight


class Instant:
    """A backend whose units have ended before their submission has."""

    def render(self, batch: Batch) -> str:
        """Return nothing: nobody reads it."""
        return batch.name

    def submit(self, batch: Batch) -> None:
        """Commit the result of each job."""
        for job in batch.jobs:
            box = UnitBox(Path(job.command[-3]))
            params = json.loads((box.folder / "params.json").read_text())
            result = {"end": "done", "metrics": {"val/dice": 1 - params["optimizer.lr"]}, "attempt": 1}
            (box.folder / "result.json").write_text(json.dumps(result))

    def states(self, tokens: Collection[str]) -> dict[str, JobState]:  # noqa: ARG002
        """Return that there are no jobs."""
        return {}

    def cancel(self, tokens: Collection[str]) -> None:
        """Have nothing to cancel."""

    def room(self, resources: Resources, open_jobs: int) -> int:  # noqa: ARG002
        """Return room for what makes AT_ONCE."""
        return AT_ONCE - open_jobs

    def check(self, resources: Resources) -> None:
        """Take units of any size."""

    def outlook(self, resources: Resources) -> float | None:  # noqa: ARG002
        """Start everything at once."""
        return 0.0

    def explain(self, token: str) -> str:  # noqa: ARG002
        """Say nothing."""
        return ""

    def fetch(self, tokens: Collection[str], folder: Path) -> None:
        """Have nothing to bring."""


def main() -> None:
    """Print the table."""
    logging.disable(logging.WARNING)
    sys.path.insert(0, str(PROGRAMS))
    samplers = sys.argv[1:] or ["random"]
    table = Table(title=f"driver, {AT_ONCE} units in flight, SQLite synced to disk at every transaction")
    for name in ("sampler", "trials", "wall s", "ms per trial", "CPU ms per trial"):
        table.add_column(name, justify="right")
    for sampler in samplers:
        for trials in TRIALS:
            wall, cpu = measure(sampler, trials)
            table.add_row(
                sampler, f"{trials:,}", f"{wall:.1f}", f"{1000 * wall / trials:.2f}", f"{1000 * cpu / trials:.2f}"
            )
    Console().print(table)


def measure(sampler: str, trials: int) -> tuple[float, float]:
    """Return wall-clock and CPU time of the driver for a whole study, seconds."""
    with tempfile.TemporaryDirectory() as folder:
        study = order(Path(folder), f"trials={trials}", f"sampler={sampler}")
        driver = Driver(study.order(), study.ledger(), ordering.work_of(study), lambda: make_source(study))
        driver.backends = {"local": Instant()}
        wall, cpu = time.perf_counter(), time.process_time()
        assert driver.run()
        spent = time.perf_counter() - wall, time.process_time() - cpu
        check_exactly_once(study, trials)
    return spent


if __name__ == "__main__":
    main()
