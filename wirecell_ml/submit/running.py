"""How a driver is run: here, in the background, or as a job; and how a person watches it."""

import gc
import logging
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import psutil
from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.live import Live
from rich.logging import RichHandler

from wirecell_ml.errors import RunError, SubmitError
from wirecell_ml.submit.backend import Refused, Unavailable, make_backend
from wirecell_ml.submit.driver import Driver
from wirecell_ml.submit.following import new_lines, parse
from wirecell_ml.submit.job import Batch, Job, batch_name
from wirecell_ml.submit.ledger import Ledger, Superseded, Unit
from wirecell_ml.submit.picture import Picture
from wirecell_ml.submit.session import Source, Work
from wirecell_ml.submit.states import UNIT_ENDS, UnitState
from wirecell_ml.submit.status import Status, picture, value_of
from wirecell_ml.submit.study import Study

SILENT_S = 60.0  # a driver elsewhere that said nothing for so long is dead
REFRESH_S = 1.0  # between two pictures on a terminal
JOB_MINUTES = 7 * 24 * 60


def run_here(study: Study, work: Work, make_source: Callable[[], Source], takeover: bool) -> bool:
    """Drive a study in this process, showing how it stands; return whether it is complete.

    Raises RunError if another driver has it, or takes it over; Ctrl-C leaves running units alone.
    """
    gc.enable()  # which an entry leaves off, and a driver lives for days
    ledger = study.ledger()
    check_free(study, ledger, takeover)
    driver = Driver(study.order(), ledger, make_backend(study.site), work, make_source)
    console = Console(stderr=True)
    try:
        with view(study, ledger, console) as watch:
            driver.watchers.append(watch)
            return driver.run()
    except Superseded as message:
        raise RunError(f"{message}; this one has stopped, and nothing is lost") from message
    except KeyboardInterrupt:
        console.print(f"\nno longer driven; its units go on. Drive it on with: hpo resume study={study.name}")
        return False


def check_free(study: Study, ledger: Ledger, takeover: bool) -> None:
    """Raise RunError if another driver lives and may not be replaced."""
    held = ledger.driver(study.name)
    if held is None or takeover or not lives(held):
        return
    raise RunError(
        f"study '{study.name}' has a driver: process {held['pid']} on {held['host']}. Look on with: hpo status "
        f"study={study.name}; or take it over with takeover=true"
    )


def lives(driver: dict[str, object]) -> bool:
    """Return whether a driver lives: seen here, or heard of lately."""
    pid, beat = int(str(driver["pid"])), float(str(driver["beat"]))
    if driver["host"] != platform.node():
        return time.time() - beat < SILENT_S
    try:
        return pid != os.getpid() and psutil.Process(pid).create_time() <= beat
    except psutil.Error:
        return False


@contextmanager
def view(study: Study, ledger: Ledger, console: Console) -> Iterator[Callable[[Picture], None]]:
    """Give a watcher that shows how the study stands: a live picture on a terminal, a line for each end elsewhere."""
    if not console.is_terminal:
        yield Lines(study, ledger.units(study.name), console)
        return
    with logged_above(console), Live(console=console, refresh_per_second=4) as live:
        shown_at = 0.0

        def watch(seen: Picture) -> None:
            nonlocal shown_at
            if time.monotonic() > shown_at + REFRESH_S:
                shown_at = time.monotonic()
                live.update(picture(status_of(study, ledger, trouble(seen), seen)))

        yield watch
        live.update(picture(status_of(study, ledger, "")))


@contextmanager
def logged_above(console: Console) -> Iterator[None]:
    """Let log lines appear above a live picture, which they would tear."""
    root = logging.getLogger()
    before = list(root.handlers)
    root.handlers[:] = [RichHandler(console=console, show_path=False, highlighter=NullHighlighter())]
    try:
        yield
    finally:
        root.handlers[:] = before


class Lines:
    """A watcher that prints a line for each unit that ends."""

    def __init__(self, study: Study, before: Sequence[Unit], console: Console) -> None:
        self.study, self.console = study, console
        self.known = len(before)
        self.open = {unit.number for unit in before if unit.state not in UNIT_ENDS}
        self.trouble = ""

    def __call__(self, seen: Picture) -> None:
        """Print what has ended since the last call."""
        ended = sorted((self.open | set(range(self.known, len(seen.units)))) - seen.open_units)
        self.known, self.open = len(seen.units), set(seen.open_units)
        before = self.known - len(self.open) - len(ended)
        for count, number in enumerate(ended, before + 1):
            self.print(f"{count}/{self.study.held.trials}  {self.end_of(seen.units[number])}")
        if trouble(seen) != self.trouble:
            self.trouble = trouble(seen)
            self.print(self.trouble or "going on")

    def end_of(self, unit: Unit) -> str:
        """Return how a unit ended, in a line."""
        values = "  ".join(f"{name} {value_of(unit, name):.4f}" for name in self.study.objectives)
        end = values if unit.state is UnitState.DONE else " ".join(unit.why.split())
        return f"trial {unit.number} {unit.state.lower()}  {end}"

    def print(self, line: str) -> None:
        """Print one line, however long it is."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def trouble(seen: Picture) -> str:
    """Return what keeps the driver from going on, in a line."""
    return seen.queue.silence or seen.refusal


def status_of(study: Study, ledger: Ledger, hindrance: str, seen: Picture | None = None) -> Status:
    """Return how a study stands; a driver's picture spares reading again what the driver has read."""
    attempts = ledger.attempts(study.name)
    if seen:
        units = seen.units
        for number in seen.open_units:
            units[number].progress = seen.progress.get(number, {})
    else:
        units = ledger.units(study.name)
        newest = {attempt.number: attempt.attempt for attempt in attempts}
        for unit in units:
            if unit.state is UnitState.ACTIVE:
                unit.progress = progress_of(study, unit.number, newest[unit.number])
    return Status(study.name, study.site, study.objectives, int(study.held.trials), units, attempts, hindrance)


def progress_of(study: Study, number: int, attempt: int) -> dict[str, float]:
    """Return the first objective of a unit after each epoch so far."""
    lines, _ = new_lines(study.order().box(number).progress(attempt), 0)
    points = [parse(line, next(iter(study.objectives))) for line in lines]
    return {str(point[0]): point[1] for point in points if point}


def run_detached(study: Study, command: list[str]) -> None:
    """Drive a study in a process of its own that outlives the terminal."""
    log = study.folder / "driver.log"
    with log.open("ab") as file:
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    Console().print(
        f"driven in the background by process {process.pid}, whose words are in {log}\n"
        f"look on with: python -m wirecell_ml.hpo status study={study.name} folder={study.folder.parent}",
        highlight=False,
        soft_wrap=True,
    )


def run_as_job(study: Study, command: list[str]) -> None:
    """Send the driver itself to the site, as a small job; raises SubmitError where the site does not take it."""
    resources = replace(
        study.site.resources, cores=1, gpus=0, memory_gb=2, minutes=min(JOB_MINUTES, study.site.resources.minutes)
    )
    name = batch_name(f"{study.name[:28]}-driver")
    batch = Batch(name, (Job(f"{name}-0", tuple(command)),), resources, study.folder / "jobs")
    try:
        make_backend(study.site).submit(batch)
    except (Refused, Unavailable) as error:
        raise SubmitError(f"site {study.site.name} does not take the driver: {error}") from error
    Console().print(f"the driver is job {batch.name} at {study.site.name}", highlight=False)
