"""The runner on the worker: one unit of work, once. Nothing but the standard library.

  python -m wirecell_ml.submit.unit UNIT_FOLDER ATTEMPT TOKEN

It starts the training as a process of its own, says with a heartbeat that it lives, hands signals on, and commits one
result. It stops where a later attempt or a later start of this one has taken over, or where there is a result.
"""

import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from wirecell_ml.errors import INTERRUPTED, USER_MISTAKE
from wirecell_ml.submit.mailbox import UnitBox, replace

FIRST_POLL_S, LONGEST_POLL_S = 0.02, 1.0
FULL_DISK_BYTES = 1_000_000  # less room than this, and the training's mistake is the disk's
OUT_OF_MEMORY = {-signal.SIGKILL}  # how a training ends that the kernel killed for its memory
PR_SET_PDEATHSIG = 1
CARRIER_VARIABLE = "WIRECELL_ML_CARRIER"  # process that started the runner and brings its letters away, see carrier.py
SUMMARY = "summary.json"

T = TypeVar("T")


class Runner:
    """One start of one attempt at a unit."""

    def __init__(self, folder: Path, attempt: int, token: str) -> None:
        self.box, self.attempt, self.token = UnitBox(folder), attempt, token
        self.unit: dict[str, Any] = json.loads((folder / "unit.json").read_text())
        self.began = time.time()
        self.asked: float | None = None  # when the training was asked to end
        self.signalled = False

    def run(self) -> int:
        """Run the unit to its end, and return the exit status of the runner."""
        if self.box.result() is not None or self.box.fence > self.attempt:
            return 0
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGXCPU):
            signal.signal(number, self.heed)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, the training's exit status is lost
        self.start, self.directory = self.box.claim(self.attempt)
        self.heartbeat = self.box.attempt(self.attempt) / "heartbeat"
        self.heartbeat.touch()
        (self.directory / "log.txt").touch()
        if self.box.stopped():  # before it began
            self.asked = self.began
            return self.conclude(INTERRUPTED)
        with (self.directory / "log.txt").open("ab") as log:
            self.child = subprocess.Popen(  # noqa: S603
                self.command(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        status = self.watch()
        if status is None:
            return 0
        return self.conclude(status)

    def command(self) -> list[str]:
        """Return the command of the training: from its checkpoint, if an earlier start left one."""
        before = self.box.checkpointed(self.attempt, self.start)
        if before is None:
            words = self.unit["start"]
        else:
            shutil.copytree(before, self.directory, dirs_exist_ok=True)
            words = self.unit["resume"]
        places = {"unit": str(self.box.folder), "run": str(self.directory), "python": sys.executable}
        return [word.format(**places) for word in words]

    def watch(self) -> int | None:
        """Wait for the training, and return its exit status; None where another runner has taken over."""
        pause, next_beat = FIRST_POLL_S, self.began + self.unit["heartbeat_s"]
        while (status := self.child.poll()) is None:
            time.sleep(pause)
            pause = min(LONGEST_POLL_S, 1.2 * pause)
            if time.time() < next_beat:
                continue
            next_beat = time.time() + self.unit["heartbeat_s"]
            with suppress(OSError):  # the training goes on while the file system is away
                self.heartbeat.touch()
                if self.taken_over():
                    self.child.kill()
                    self.child.wait()
                    return None
                self.signalled = self.signalled or self.out_of_time() or self.box.stopped() is not None
            if self.signalled:
                self.ask_to_end()
        return status

    def out_of_time(self) -> bool:
        """Return whether the unit has had all its time, where no batch system says so."""
        return time.time() > self.began + 60 * float(self.unit["minutes"])

    def heed(self, *_: object) -> None:
        """Hand the wish of the batch system on: checkpoint and end."""
        self.signalled = True
        if hasattr(self, "child"):
            self.ask_to_end()

    def ask_to_end(self) -> None:
        """Ask the training to checkpoint and end; kill it if it does not."""
        if self.asked is None:
            self.asked = time.time()
            self.child.send_signal(signal.SIGTERM)
        elif time.time() > self.asked + self.unit["kill_after_s"]:
            self.child.kill()

    def taken_over(self) -> bool:
        """Return whether a later attempt, or a later start of this one, runs the unit now, or it has ended."""
        later = self.box.fence > self.attempt or self.box.newest_run(self.attempt) > self.start
        return later or self.box.result() is not None

    def conclude(self, status: int) -> int:
        """Write the result, or why there is none; return the exit status of the runner."""
        stop = self.box.stopped()
        if status == 0:
            return self.commit("done", self.keep_trying(self.summary))
        if stop == "pruned" and self.asked:
            return self.commit("pruned", {})
        kind, message = self.reason(status, stop)
        self.keep_trying(
            lambda: replace(
                self.directory.with_suffix(".json"), json.dumps(self.spent() | {"kind": kind, "message": message})
            )
        )
        return INTERRUPTED if kind in ("preempted", "stopped") else max(1, status)

    def reason(self, status: int, stop: str | None) -> tuple[str, str]:
        """Return the kind of end that ``status`` means, and a line about it."""
        last = last_line(self.directory / "log.txt")
        if stop and self.asked:
            return "stopped", "checkpointed, since the study was stopped"
        if self.asked or self.signalled or status == INTERRUPTED:
            return "preempted", last or "ended by a signal"
        if shutil.disk_usage(self.directory).free < FULL_DISK_BYTES:
            return "crashed", f"no space left in {self.directory}"
        if status == USER_MISTAKE:
            return "mistake", last
        if status in OUT_OF_MEMORY:
            return "memory", "killed, as the kernel does when memory runs out"
        return "crashed", f"exit status {status}: {last}"

    def commit(self, end: str, metrics: dict[str, Any]) -> int:
        """Commit the result; a full disk or a file system that is away is waited for."""
        result = self.spent() | {"end": end, "metrics": metrics, "attempt": self.attempt, "token": self.token}
        self.keep_trying(lambda: self.box.commit(result))
        return 0

    def summary(self) -> dict[str, Any]:
        """Return what the training reports of itself; raises OSError where the file system is away."""
        path = self.directory / SUMMARY
        if self.directory.is_dir() and not path.exists():
            return {}
        try:
            metrics: dict[str, Any] = json.loads(path.read_text())["metrics"]
        except (ValueError, KeyError, TypeError):
            return {}
        return metrics

    def spent(self) -> dict[str, Any]:
        """Return what the unit has cost so far: wall-clock and CPU time of this start, in seconds."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "seconds": time.time() - self.began,
            "core_seconds": used.ru_utime + used.ru_stime,
            "ended": time.time(),
        }

    def keep_trying(self, use: Callable[[], T]) -> T:
        """Use the mailbox, if need be until time runs out: a full disk has room again some time."""
        deadline = self.began + 60 * self.unit["minutes"] - 10
        pause = 0.2
        while True:
            try:
                return use()
            except OSError as error:
                if time.time() > deadline:
                    raise
                with suppress(OSError):  # what it says goes to a file that may be on the same full disk
                    print(f"{self.box.folder}: {error.strerror}; trying again", file=sys.stderr, flush=True)  # noqa: T201
                with suppress(OSError):
                    os.utime(self.heartbeat)
                time.sleep(pause)
                pause = min(5.0, 2 * pause)


def last_line(log: Path) -> str:
    """Return the last line of a log that is not blank."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4000))
        lines = deque((line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()), 1)
    return lines[0][:500] if lines else ""


def die_with_parent() -> None:
    """Let the kernel end the training with its runner: without it, the training would work for nobody (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def die_with_carrier() -> None:
    """Let the kernel end the runner with its carrier, if it has one: nobody would hear of its result."""
    carrier = os.environ.pop(CARRIER_VARIABLE, None)
    if carrier is None:
        return
    die_with_parent()
    if os.getppid() != int(carrier):  # which had died before
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    die_with_carrier()
    sys.exit(Runner(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]).run())
