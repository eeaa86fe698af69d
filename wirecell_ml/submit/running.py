"""How a driver is run: here, in the background, or as a job; and how a person watches it."""

import gc
import logging
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psutil
from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.live import Live
from rich.logging import RichHandler

from wirecell_ml.errors import ConfigError, RunError, SubmitError
from wirecell_ml.submit.arguments import Arguments, parse
from wirecell_ml.submit.backend import Refused, Unavailable, make_backend
from wirecell_ml.submit.database import LedgerUnavailable
from wirecell_ml.submit.driver import Driver
from wirecell_ml.submit.following import new_lines, point_of
from wirecell_ml.submit.job import Batch, Job
from wirecell_ml.submit.ledger import Ledger, Superseded, Unit
from wirecell_ml.submit.memory import other_studies
from wirecell_ml.submit.picture import Picture
from wirecell_ml.submit.session import Source, Work
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.states import UNIT_ENDS, AttemptState, UnitState
from wirecell_ml.submit.status import Status, picture, value_of
from wirecell_ml.submit.study import Study, open_study

SILENT_S = 60.0  # a driver elsewhere that said nothing for so long is dead
IN_IMAGES = {"kubernetes", "aws"}  # kinds of sites whose jobs all run in an image
REFRESH_S = 1.0  # between two pictures on a terminal


def perform(words: Sequence[str], actions: Mapping[str, Callable[[Arguments], None]], own: Sequence[str]) -> None:
    """Do what a command line asks for: one of ``actions``, "start" where it names none; ``own`` are our settings.

    Raises RunError where the ledger does not answer.
    """
    arguments = parse(words, list(actions), "start", own)
    if arguments.show and arguments.verb != "start":
        raise ConfigError(
            f"--cfg shows the settings of a new study, and '{arguments.verb}' has none. Leave one of them out"
        )
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("wirecell_ml").setLevel(logging.INFO)  # libraries say where they find logins, at each call
    try:
        actions[arguments.verb](arguments)
    except LedgerUnavailable as error:
        raise RunError(f"the ledger does not answer: {error}. Start the database, or correct ledger=…") from error


def run_here(study: Study, work: Work, make_source: Callable[[], Source], takeover: bool) -> bool:
    """Drive a study in this process, showing how it stands; return whether it is complete.

    Raises RunError if another driver has it, or takes it over; Ctrl-C leaves running units alone.
    """
    gc.enable()  # which an entry leaves off, and a driver lives for days
    ledger = study.ledger()
    check_free(study, takeover)
    memory = other_studies(study) if len(study.sites) > 1 else []
    driver = Driver(study.order(), ledger, work, make_source, memory)
    console = Console(stderr=True)
    try:
        with leaving_on_signals(), view(study, ledger, console) as watch:
            driver.watchers.append(watch)
            return driver.run()
    except Superseded as message:
        raise RunError(f"{message}; this one has stopped, and nothing is lost") from message
    except KeyboardInterrupt:
        console.print(f"\nno longer driven; its units go on. Drive it on with: hpo resume study={study.name}")
        return False


def check_free(study: Study, takeover: bool) -> None:
    """Raise RunError if a study was ordered before, and has a driver that lives and may not be replaced."""
    if takeover or not (study.folder / "study.yaml").exists():
        return
    held = open_study(study.name, study.folder.parent).ledger().driver(study.name)
    if held and lives(held):
        raise RunError(
            f"study '{study.name}' has a driver: process {held['pid']} on {held['host']}. Look on with: hpo status "
            f"study={study.name}; or take it over with takeover=true"
        )


def driven(driver: dict[str, Any] | None) -> bool:
    """Return whether a study has a driver that lives."""
    return driver is not None and lives(driver)


def lives(driver: dict[str, Any]) -> bool:
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
                live.update(picture(status_of(study, ledger, seen)))

        yield watch
        live.update(picture(status_of(study, ledger)))


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
        if seen.trouble != self.trouble:
            self.trouble = seen.trouble
            self.print(self.trouble or "going on")

    def end_of(self, unit: Unit) -> str:
        """Return how a unit ended, in a line."""
        values = "  ".join(f"{name} {value_of(unit, name):.4f}" for name in self.study.objectives)
        end = values if unit.state is UnitState.DONE else " ".join(unit.why.split())
        return f"trial {unit.number} {unit.state.lower()}  {end}"

    def print(self, line: str) -> None:
        """Print one line, however long it is."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def status_of(study: Study, ledger: Ledger, seen: Picture | None = None) -> Status:
    """Return how a study stands; a driver's picture spares reading again what the driver has read."""
    attempts = ledger.attempts(study.name)
    if seen:
        units = [replace(unit, progress=seen.progress.get(unit.number, unit.progress)) for unit in seen.units]
        hindrance = seen.trouble
    else:
        units = ledger.units(study.name)
        newest = {attempt.number: attempt.attempt for attempt in attempts}
        for unit in units:
            if unit.state is UnitState.ACTIVE:
                unit.progress = progress_of(study, unit.number, newest[unit.number])
        hindrance = trouble(study, ledger.driver(study.name))
    ended = sum(unit.state in UNIT_ENDS for unit in units) >= int(study.held.trials)
    shown = "" if ended else hindrance
    sites = {**study.retired, **study.sites}
    return Status(study.name, sites, study.objectives, int(study.held.trials), units, attempts, shown)


def trouble(study: Study, driver: dict[str, Any] | None) -> str:
    """Return what keeps a study from going on, in a line."""
    if driver is None or not (lives(driver) or driver["pid"] == os.getpid()):
        return f"it has no driver. Drive it on with: hpo resume study={study.name}"
    return str(driver.get("trouble", ""))


def progress_of(study: Study, number: int, attempt: int) -> dict[str, float]:
    """Return the first objective of a unit after each epoch so far."""
    lines, _ = new_lines(study.order().box(number).progress(attempt), 0)
    points = [point_of(line, next(iter(study.objectives))) for line in lines]
    return {str(point[0]): point[1] for point in points if point}


def stop_units(study: Study, how: str) -> None:
    """Ask the units that are out to checkpoint and end, if that is how a study is stopped that has no driver."""
    for attempt in study.ledger().attempts(study.name, unfinished=True):
        if how == "checkpoint" and attempt.state is not AttemptState.PLANNED:
            study.order().box(attempt.number).stop("stopped")


@contextmanager
def leaving_on_signals() -> Iterator[None]:
    """Let a driver leave as with Ctrl-C when a batch system or a person asks it to go."""
    numbers = (signal.SIGTERM, signal.SIGUSR1)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def drive(study: Study, module: str, how: str, takeover: bool, here: Callable[[], None]) -> None:
    """Drive a study "detached" in a process of its own, as a "job" at its site, or else ``here``."""
    words = ["-m", module, "drive", f"study={study.name}", f"folder={study.folder.parent}"]
    words += ["takeover=true"] if takeover else []
    if how == "detached":
        run_detached(study, [sys.executable, *words])
    elif how == "job":
        run_as_job(study, words)
    else:
        here()


def run_detached(study: Study, command: list[str]) -> None:
    """Drive a study in a process of its own that outlives the terminal."""
    log = study.folder / "driver.log"
    with log.open("ab") as file:
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    Console().print(
        f"driven in the background by process {process.pid}, whose words are in {log}\n{how_to_look_on(study)}",
        highlight=False,
        soft_wrap=True,
    )


def how_to_look_on(study: Study) -> str:
    """Return the line with the command that shows how a study stands."""
    return f"look on with: python -m wirecell_ml.hpo status study={study.name} folder={study.folder.parent}"


def run_as_job(study: Study, words: list[str]) -> None:
    """Send the driver itself to the site, as a small job that is never there twice.

    Raises ConfigError for what the job could not open, and SubmitError where the site does not take it.
    """
    if study.held.ledger == "environment":
        raise ConfigError(
            "driver=job: a job inherits no address with a password. Put the password in ~/.pgpass and write "
            "ledger=postgresql://user@host/database"
        )
    site = of_driver(study.site)
    command = ("env", f"PYTHONPATH={study.held.code}", site.python or sys.executable, "-P", *words)
    name = f"{study.name}-driver"
    batch = Batch(name, (Job(f"{name}-0", command),), site.driver, study.folder / "jobs", alone=True)
    try:
        make_backend(site).submit(batch)
    except (Refused, Unavailable) as error:
        raise SubmitError(f"site {site.name} does not take the driver: {error}") from error
    said = f"the driver is job {name} at {site.name}\n{how_to_look_on(study)}"
    Console().print(said, highlight=False, soft_wrap=True)


def of_driver(site: Site) -> Site:
    """Return a site as the driver's job needs it; raises ConfigError where that would not see the study.

    It is in a container only where every job is: elsewhere it runs commands of the batch system, which no image has.
    """
    in_image = site.kind in IN_IMAGES
    if in_image and site.mailbox is not None:
        raise ConfigError(
            f"driver=job: jobs at {site.name} do not see the folder of the study, since it has a mailbox. Write "
            "driver=detached"
        )
    return replace(site, container=site.container if in_image else None, constraint=None, gpu_model=None)
