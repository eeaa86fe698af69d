"""The carrier on a worker that shares no folder with the driver: it brings the runner its mailbox, and letters back.

  python -m wirecell_ml.submit.carrier PARCEL TOKEN [--courier KIND=ADDRESS]

It unpacks the parcel in a scratch folder and starts the runner there, as it would run beside the driver. While the
runner works it sends a letter at every heartbeat, and puts into the scratch folder what it hears of the other side: a
fence, a stop mark, a later start, a result. It ends as the runner does. Nothing but the standard library, but for what
a courier needs.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeVar

from wirecell_ml.errors import INTERRUPTED, USER_MISTAKE
from wirecell_ml.submit.letters import Distrusted, write_letter
from wirecell_ml.submit.mailbox import CHECKPOINT, UnitBox, replace, whole
from wirecell_ml.submit.parcel import Entry, digest, kept_files, open_parcel, pack_files

RUNNER = "wirecell_ml.submit.unit"
COURIERS = {
    "store": "store.StoreCourier",
    "transfer": "spool.SpoolCourier",
    "idds": "messages.MessageCourier",
}
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGXCPU)
PAUSE_S = 0.1  # between two looks at the runner
SAVE_S = 300.0  # between two copies of the checkpoint while the unit runs
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0  # before the other end is tried again
LAST_S = 10.0  # before its time runs out a carrier gives up
TOKEN_VARIABLE = "WIRECELL_ML_TOKEN"  # noqa: S105  (a name)

T = TypeVar("T")


@dataclass(frozen=True)
class News:
    """What a worker may know of the other side."""

    fence: int = 0
    stop: str | None = None
    start: int = 0  # the newest start of this attempt that is known anywhere
    result: dict[str, Any] | None = None  # that is committed for the unit


class Courier(Protocol):
    """The worker's end of a post; every method raises OSError while the other end is away."""

    def claim(self) -> int:
        """Return the number of this start among the starts of the attempt, from 1."""
        ...

    def receive(self) -> News:
        """Return what is known of the other side now."""
        ...

    def send(self, text: bytes) -> None:
        """Send a letter."""
        ...

    def commit(self, result: dict[str, Any]) -> bool:
        """Commit a result; return whether it may count, False where another one was first."""
        ...

    def save(self, run: Path, attempt: int, start: int) -> None:
        """Keep a run directory, with the checkpoint in it, for whoever goes on from there."""
        ...

    def saved(self, box: UnitBox) -> None:
        """Bring the newest run directory that was kept to its place in a box."""
        ...

    def deliver(self, files: Path, start: int) -> None:
        """Send an archive of the small files of a run."""
        ...


class Carrier:
    """One start of one attempt, carried."""

    def __init__(self, entry: Entry, scratch: Path, courier: Courier, heed: "Heed") -> None:
        assert entry.unit
        self.entry, self.scratch, self.courier, self.heed = entry, scratch, courier, heed
        self.box = UnitBox(scratch / "units" / entry.unit)
        self.unit: dict[str, Any] = json.loads((self.box.folder / "unit.json").read_text())
        self.began, self.number = time.time(), 0
        self.sending = threading.Lock()
        self.over = threading.Event()
        self.saved_mark = 0.0  # when the checkpoint that was saved last was written

    def run(self) -> int:
        """Carry the unit to its end, and return the exit status of the runner."""
        self.keep_trying(self.prepare)
        mail = threading.Thread(target=self.carry_mail, daemon=True)
        mail.start()
        try:
            status = self.work()
            self.keep_trying(self.finish)
        finally:
            self.over.set()
        self.keep_trying(self.send)
        return status

    def prepare(self) -> None:
        """Take a number, and bring what earlier starts have left."""
        self.start = self.courier.claim()
        self.box.attempt(self.entry.attempt).mkdir(exist_ok=True)
        if self.start > 1:  # so that the runner takes the number that we were given
            (self.box.attempt(self.entry.attempt) / f"run-{self.start - 1}").mkdir(exist_ok=True)
        self.hear()
        if self.may_run():
            self.courier.saved(self.box)

    @property
    def directory(self) -> Path:
        """Run directory of this start."""
        return self.box.attempt(self.entry.attempt) / f"run-{self.start}"

    def may_run(self) -> bool:
        """Return whether nobody else has taken over, and there is no result."""
        attempt = self.entry.attempt
        later = self.box.fence > attempt or self.box.newest_run(attempt) > self.start
        return not later and self.box.result() is None

    def hear(self) -> None:
        """Put what is known of the other side into the box, where the runner looks."""
        news = self.courier.receive()
        self.box.raise_fence(news.fence)
        if news.stop:
            self.box.stop(news.stop)
        if news.start > self.start:
            (self.box.attempt(self.entry.attempt) / f"run-{news.start}").mkdir(exist_ok=True)
        if news.result:
            self.box.commit(news.result)

    def send(self) -> None:
        """Send a letter about where the runner stands."""
        with self.sending:
            self.number += 1
            token, attempt = self.entry.token, self.entry.attempt
            self.courier.send(write_letter(self.box, attempt, self.start, token, self.number))

    def carry_mail(self) -> None:
        """Exchange mail at every heartbeat; the runner goes on while the other end is away."""
        while not self.over.is_set():
            try:
                self.hear()
                self.send()
            except OSError as error:
                complain(error)
            self.over.wait(self.unit["heartbeat_s"])

    def work(self) -> int:
        """Run the runner to its end, and return its exit status."""
        if self.heed.pending and self.may_run():
            self.directory.mkdir()
            note = {"kind": "preempted", "message": "ended by a signal before it began"}
            replace(self.directory.with_suffix(".json"), json.dumps(note))
            return INTERRUPTED
        child = subprocess.Popen(self.command(), env=self.environment(), cwd=self.scratch)  # noqa: S603
        heartbeat = self.box.attempt(self.entry.attempt) / "heartbeat"
        save_at = time.time() + SAVE_S
        while child.poll() is None:
            time.sleep(PAUSE_S)
            if heartbeat.exists():  # before, the runner is not ready for a signal
                self.heed.pass_on(child)
            if time.time() > save_at:
                save_at = time.time() + SAVE_S
                with contextlib.suppress(OSError):
                    self.save()
        return child.returncode

    def command(self) -> list[str]:
        """Return the command of the runner."""
        return [sys.executable, "-P", "-m", RUNNER, str(self.box.folder), str(self.entry.attempt), self.entry.token]

    def environment(self) -> dict[str, str]:
        """Return the environment of the runner; it is not the job, we are."""
        kept = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
        return kept | {"PYTHONPATH": str(self.scratch / "code"), "WIRECELL_ML_CARRIER": str(os.getpid())}

    def save(self) -> None:
        """Keep the checkpoint for the next attempt, if there is a new one and it is whole."""
        checkpoint = self.directory / CHECKPOINT
        if not checkpoint.exists() or (mark := checkpoint.stat().st_mtime) == self.saved_mark or not whole(checkpoint):
            return
        self.courier.save(self.directory, self.entry.attempt, self.start)
        self.saved_mark = mark

    def finish(self) -> None:
        """Bring away what the runner has left, the result last."""
        if not self.directory.is_dir():  # it did not begin: there is a result, or a later attempt
            return
        result = self.box.result()
        if result and result["token"] != self.entry.token:
            return
        if not result:
            self.save()
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            files = Path(folder) / "files.tar.gz"
            pack_files(self.directory, kept_files(self.directory), files)
            self.courier.deliver(files, self.start)
        if result and not self.courier.commit(result):
            (self.box.folder / "result.json").unlink()  # another one was first, and counts
            self.hear()

    def keep_trying(self, use: Callable[[], T]) -> T:
        """Use the courier, if need be until time runs out."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                return use()
            except OSError as error:
                if time.time() + wait_s > self.deadline():
                    raise
                complain(error)
                time.sleep(wait_s)
                wait_s = min(LONGEST_WAIT_S, 2 * wait_s)

    def deadline(self) -> float:
        """Return until when it is worth trying: the batch system ends us after our time, or soon after it said so."""
        own = self.began + 60 * float(self.unit["minutes"]) - LAST_S
        asked = self.heed.asked
        return own if asked is None else min(own, asked + float(self.unit["kill_after_s"]))


class Heed:
    """What the batch system has asked for: it is passed on to the runner, once that is ready."""

    def __init__(self) -> None:
        self.pending: list[int] = []
        self.asked: float | None = None
        for number in SIGNALS:
            signal.signal(number, self.note)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, the exit status is lost

    def note(self, number: int, _: object) -> None:
        """Note a signal."""
        self.pending.append(number)
        self.asked = self.asked or time.time()

    def pass_on(self, child: subprocess.Popen[bytes]) -> None:
        """Pass on what was asked for."""
        while self.pending:
            child.send_signal(self.pending.pop(0))


def complain(error: Exception) -> None:
    """Say what was in the way, to the log of the job."""
    print(f"carrier: {type(error).__name__}: {error}; trying again", file=sys.stderr, flush=True)  # noqa: T201


def run_plain(command: tuple[str, ...], heed: Heed) -> int:
    """Run a command that is no unit of ours, as it is, and return its exit status."""
    child = subprocess.Popen(command)  # noqa: S603
    while child.poll() is None:
        heed.pass_on(child)
        time.sleep(PAUSE_S)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def make_courier(kind: str, address: str, entry: Entry) -> Courier:
    """Return a courier."""
    module, _, name = COURIERS[kind].rpartition(".")
    made: Courier = getattr(import_module(f"wirecell_ml.submit.{module}"), name)(address, entry)
    return made


@contextlib.contextmanager
def opened(parcel: str, token: str, scratch: Path) -> Iterator[Entry]:
    """Unpack a parcel, which is a file here or in a store."""
    yield open_parcel(Path(parcel), token, scratch)


def main(words: list[str]) -> int:
    """Carry one unit, or run one command, of a parcel."""
    parser = argparse.ArgumentParser(prog="python -m wirecell_ml.submit.carrier", allow_abbrev=False)
    parser.add_argument("--courier", metavar="KIND=ADDRESS", help="who carries letters; a store carries its own")
    parser.add_argument("parcel")
    parser.add_argument("token")
    given = parser.parse_args(words)
    heed = Heed()
    with tempfile.TemporaryDirectory(dir=os.environ.get("WIRECELL_ML_SCRATCH"), prefix="wirecell-ml-") as folder:
        return carry(given.parcel, given.token, given.courier, Path(folder), heed)
