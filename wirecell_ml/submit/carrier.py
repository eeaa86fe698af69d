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
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeVar

from wirecell_ml.errors import INTERRUPTED, suggest
from wirecell_ml.submit import unit
from wirecell_ml.submit.heeding import PAUSE_S, Heed, complain, keep_trying, run_plain
from wirecell_ml.submit.letters import Distrusted, write_letter
from wirecell_ml.submit.mailbox import CHECKPOINT, UnitBox, replace, whole
from wirecell_ml.submit.parcel import Entry, kept_files, open_parcel, pack_files
from wirecell_ml.submit.unit import CARRIER_VARIABLE

COURIERS = {
    "store": "store_worker.StoreCourier",
    "transfer": "spool.SpoolCourier",
    "idds": "messages.MessageCourier",
}
SAVE_S = 300.0  # between two copies of the checkpoint while the unit runs
LAST_S = 10.0  # before its time runs out a carrier gives up
MAIL_S = 60.0  # that an exchange of mail may take to its end
FETCH_S = 600.0  # that a parcel is waited for
FAILED = 1  # exit status where there was no runner
TOKEN_VARIABLE = "WIRECELL_ML_TOKEN"  # noqa: S105  (a name; see local.py)

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

    def __init__(self, entry: Entry, scratch: Path, courier: Courier, heed: Heed) -> None:
        assert entry.unit
        self.entry, self.scratch, self.courier, self.heed = entry, scratch, courier, heed
        self.box = UnitBox(scratch / "units" / entry.unit)
        self.unit: dict[str, Any] = json.loads((self.box.folder / "unit.json").read_text())
        self.began, self.number = time.time(), 0
        self.sending, self.over = threading.Lock(), threading.Event()
        self.busy = True  # we are, and the runner is not: the signs of life are ours
        self.saved_mark = 0.0  # when the checkpoint that was kept last was written

    @property
    def folder(self) -> Path:
        """Folder of the attempt."""
        return self.box.attempt(self.entry.attempt)

    @property
    def directory(self) -> Path:
        """Run directory of this start."""
        return self.folder / f"run-{self.start}"

    def run(self) -> int:
        """Carry the unit to its end, and return the exit status of the runner."""
        self.start = self.keep_trying(self.courier.claim)
        self.folder.mkdir(exist_ok=True)
        self.keep_trying(self.hear)
        if not self.may_run():
            if self.box.result():
                self.keep_trying(lambda: self.send(last=True))
            return 0
        mail = threading.Thread(target=self.carry_mail, daemon=True)
        mail.start()
        try:
            self.keep_trying(lambda: self.courier.saved(self.box))
            status = self.work()
            self.keep_trying(self.finish)
        finally:
            self.over.set()
            mail.join(MAIL_S)
        self.keep_trying(lambda: self.send(last=True))
        return status

    def may_run(self) -> bool:
        """Return whether nobody else has taken over, and there is no result."""
        later = self.box.fence > self.entry.attempt or self.news.start > self.start
        return not later and self.box.result() is None

    def hear(self) -> None:
        """Put what is known of the other side into the box, where the runner looks."""
        self.news = self.courier.receive()
        self.box.raise_fence(self.news.fence)
        if self.news.stop:
            self.box.stop(self.news.stop)
        if self.news.start > self.start and self.directory.is_dir():
            (self.folder / f"run-{self.news.start}").mkdir(exist_ok=True)
        if self.news.result:
            self.box.commit(self.news.result)

    def send(self, last: bool = False) -> None:
        """Send a letter about where the unit stands."""
        with self.sending:
            self.number += 1
            token, attempt = self.entry.token, self.entry.attempt
            self.courier.send(write_letter(self.box, attempt, self.start, token, self.number, last))

    def carry_mail(self) -> None:
        """Exchange mail at every heartbeat; the runner goes on while the other end is away."""
        while not self.over.is_set():
            if self.busy:
                (self.folder / "heartbeat").touch()
            try:
                self.send()
                self.hear()
            except OSError as error:
                complain(error)
            self.over.wait(self.unit["heartbeat_s"])

    def work(self) -> int:
        """Run the runner to its end, and return its exit status."""
        if self.heed.pending:
            return self.not_begun()
        if self.start > 1:  # so that the runner takes the number that we were given
            (self.folder / f"run-{self.start - 1}").mkdir(exist_ok=True)
        child = subprocess.Popen(self.command(), env=self.environment(), cwd=self.scratch)  # noqa: S603
        save_at = time.time() + SAVE_S
        while child.poll() is None:
            time.sleep(PAUSE_S)
            if (self.directory / "log.txt").exists():  # before, the runner is not ready for a signal
                self.busy = False
                self.heed.pass_on(child)
            if time.time() > save_at:
                save_at = time.time() + SAVE_S
                with contextlib.suppress(OSError):
                    self.save()
        self.busy = True
        killed = child.returncode < 0 and self.heed.asked is not None
        begun = (self.directory / "log.txt").exists()
        return self.not_begun() if killed and not begun else child.returncode

    def not_begun(self) -> int:
        """Note that the batch system wanted its machine back before the runner began."""
        self.directory.mkdir(exist_ok=True)
        note = {"kind": "preempted", "message": "ended by a signal before it began"}
        replace(self.directory.with_suffix(".json"), json.dumps(note))
        return INTERRUPTED

    def command(self) -> list[str]:
        """Return the command of the runner."""
        return [
            sys.executable,
            "-P",
            "-m",
            unit.__name__,
            str(self.box.folder),
            str(self.entry.attempt),
            self.entry.token,
        ]

    def environment(self) -> dict[str, str]:
        """Return the environment of the runner: the code of the parcel, and without the token, for the job is ours."""
        kept = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
        return kept | {"PYTHONPATH": str(self.scratch / "code"), CARRIER_VARIABLE: str(os.getpid())}

    def save(self) -> None:
        """Keep the checkpoint for the next attempt, if there is a new one and it is whole."""
        checkpoint = self.directory / CHECKPOINT
        if not checkpoint.exists() or (mark := checkpoint.stat().st_mtime) == self.saved_mark or not whole(checkpoint):
            return
        self.courier.save(self.directory, self.entry.attempt, self.start)
        self.saved_mark = mark

    def finish(self) -> None:
        """Bring away what the runner has left, its result last."""
        result = self.box.result()
        mine = result is not None and result["token"] == self.entry.token
        if not self.directory.is_dir() or (result and not mine):
            return
        if not mine:
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
        return keep_trying(use, self.deadline)

    def deadline(self) -> float:
        """Return until when it is worth trying: the batch system ends us after our time, or soon after it said so."""
        own = self.began + 60 * float(self.unit["minutes"]) - LAST_S
        asked = self.heed.asked
        return own if asked is None else min(own, asked + float(self.unit["kill_after_s"]))


def main(words: Sequence[str]) -> int:
    """Carry one unit, or run one command, of a parcel; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m wirecell_ml.submit.carrier", allow_abbrev=False)
    parser.add_argument("--courier", metavar="KIND=ADDRESS", help="who carries letters; a store carries its own")
    parser.add_argument("parcel")
    parser.add_argument("token")
    given = parser.parse_args(words)
    heed = Heed()
    scratch = os.environ.get("WIRECELL_ML_SCRATCH")
    with tempfile.TemporaryDirectory(dir=scratch, prefix="wirecell-ml-", ignore_cleanup_errors=True) as folder:
        try:
            return carry(given, Path(folder), heed)
        except (OSError, Distrusted) as error:
            print(f"error: {given.parcel}: {error}", file=sys.stderr)  # noqa: T201
            return FAILED


def carry(given: argparse.Namespace, scratch: Path, heed: Heed) -> int:
    """Open a parcel in a scratch folder, and run what it has for a token."""
    stored = "://" in given.parcel
    deadline = time.time() + FETCH_S
    open_it = fetch_parcel if stored else lambda parcel, token, folder: open_parcel(Path(parcel), token, folder)
    entry: Entry = keep_trying(lambda: open_it(given.parcel, given.token, scratch), lambda: deadline)
    kind, _, address = (
        f"{courier_of(given.parcel)}={given.parcel}".partition("=") if stored else (given.courier or "").partition("=")
    )
    if entry.unit is None or not kind:
        return run_plain(entry.command, heed)
    return Carrier(entry, scratch, make_courier(kind, address, entry), heed).run()


def fetch_parcel(address: str, token: str, scratch: Path) -> Entry:
    """Open a parcel that is kept where letters go, too."""
    module, _, _ = COURIERS[courier_of(address)].rpartition(".")
    fetched: Entry = import_module(f"wirecell_ml.submit.{module}").fetch_parcel(address, token, scratch)
    return fetched


def courier_of(address: str) -> str:
    """Return the kind of courier that belongs to the address of a parcel."""
    return "idds" if address.startswith("idds+") else "store"


def make_courier(kind: str, address: str, entry: Entry) -> Courier:
    """Return a courier; raises Distrusted for a kind that there is not."""
    if kind not in COURIERS:
        raise Distrusted(f"courier '{kind}' is not known.{suggest(kind, COURIERS)}")
    module, _, name = COURIERS[kind].rpartition(".")
    made: Courier = getattr(import_module(f"wirecell_ml.submit.{module}"), name)(address, entry)
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
