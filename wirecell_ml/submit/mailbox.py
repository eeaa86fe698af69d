"""The mailbox: a folder per unit on a file system that driver and workers share. Nothing but the standard library.

units/000007/config.yaml          the flat config of the training
units/000007/unit.json            how the runner starts it
units/000007/fence                the attempt that may run; a runner of an earlier one stops
units/000007/stop                 the driver asks for a checkpoint and an end: "pruned" or "stopped"
units/000007/result.json          the one result; the first that is linked here counts
units/000007/attempt-1/heartbeat  touched by the runner while it lives
units/000007/attempt-1/run-1/     run directory of the first start of the first attempt; a restart makes run-2
units/000007/attempt-1/run-1.json why that start ended without a result
"""

import errno
import json
import os
import re
import secrets
import socket
import stat
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST_BYTES = 1_000_000  # of a result or a note; what a worker writes is not trusted
ENDS = ("done", "pruned")  # what a result may say
NOTES = ("mistake", "crashed", "memory", "stopped", "preempted")
CHECKPOINT = "last.ckpt"
RUN = re.compile(r"run-([1-9][0-9]*)")
LONGEST_LINE = 500  # characters of a message
DAMAGED: dict[str, Any] = {"end": "done", "metrics": {}, "message": "damaged result"}


@dataclass(frozen=True)
class UnitBox:
    """The folder of one unit."""

    folder: Path

    def prepare(self, config: str, unit: dict[str, Any], params: dict[str, Any]) -> None:
        """Write what the runner and people read; written again, it is the same."""
        self.folder.mkdir(parents=True, exist_ok=True)
        replace(self.folder / "config.yaml", config)
        replace(self.folder / "unit.json", json.dumps(unit, indent=1) + "\n")
        replace(self.folder / "params.json", json.dumps(params, indent=1) + "\n")

    def attempt(self, number: int) -> Path:
        """Return the folder of an attempt."""
        return self.folder / f"attempt-{number}"

    @property
    def fence(self) -> int:
        """Number of the attempt that may run; 0 before there is one."""
        try:
            return int((self.folder / "fence").read_text() or 0)
        except FileNotFoundError:
            return 0

    def raise_fence(self, attempt: int) -> None:
        """Let no attempt before ``attempt`` go on."""
        if self.fence < attempt:
            replace(self.folder / "fence", str(attempt))

    def stop(self, why: str) -> None:
        """Ask the runner for a checkpoint and an end, since the trial was "pruned" or the study "stopped"."""
        if self.stopped() is None:
            replace(self.folder / "stop", why)

    def stopped(self) -> str | None:
        """Return why the unit shall end, or None."""
        try:
            return (self.folder / "stop").read_text()
        except FileNotFoundError:
            return None

    def allow(self) -> None:
        """Take a stop mark away, so that the unit may go on."""
        (self.folder / "stop").unlink(missing_ok=True)

    def commit(self, result: dict[str, Any]) -> bool:
        """Write the result unless there is one; return whether this one counts. Raises OSError on a full disk."""
        written = self.folder / f".result-{socket.gethostname()}-{os.getpid()}"
        try:
            with written.open("w") as file:
                json.dump(result, file)
                file.flush()
                os.fsync(file.fileno())
            os.link(written, self.folder / "result.json")
        except FileExistsError:
            return False
        finally:
            written.unlink(missing_ok=True)
        return True

    def result(self) -> dict[str, Any] | None:
        """Return the committed result, or None; one that is not of the right form counts as one without metrics."""
        held = read_small(self.folder / "result.json")
        return None if held is None else trusted_result(held)

    def newest_run(self, attempt: int) -> int:
        """Return the number of the newest start of an attempt, 0 if it never started."""
        found = [(RUN.fullmatch(path.name), path) for path in self.attempt(attempt).glob("run-*")]
        return max((int(match[1]) for match, path in found if match and path.is_dir()), default=0)

    def note(self, attempt: int) -> dict[str, Any] | None:
        """Return why the newest start of an attempt ended without a result, or None while nothing is said."""
        run = self.newest_run(attempt)
        return trusted_note(read_small(self.attempt(attempt) / f"run-{run}.json")) if run else None

    def notes(self, attempt: int) -> list[dict[str, Any]]:
        """Return all notes of an attempt, one for each start that ended without a result."""
        paths = self.attempt(attempt).glob("run-*.json")
        return [note for path in paths if (note := trusted_note(read_small(path)))]

    def beat(self, attempt: int) -> float | None:
        """Return when the runner last said that it lives, by the clock of the file system, or None."""
        try:
            return (self.attempt(attempt) / "heartbeat").stat().st_mtime
        except FileNotFoundError:
            return None

    def progress(self, attempt: int) -> Path:
        """Return the file that the training appends its progress to."""
        return self.attempt(attempt) / f"run-{self.newest_run(attempt)}" / "progress.jsonl"

    def claim(self, attempt: int) -> tuple[int, Path]:
        """Return the number and the run directory of a new start of an attempt; what ran before is stale now."""
        folder = self.attempt(attempt)
        folder.mkdir(exist_ok=True)
        run = self.newest_run(attempt)
        while True:
            run += 1
            try:
                (folder / f"run-{run}").mkdir()
            except FileExistsError:
                continue
            return run, folder / f"run-{run}"

    def checkpointed(self, attempt: int, run: int) -> Path | None:
        """Return the newest run directory before this one whose checkpoint is whole, or None."""
        before = [(a, r) for a in range(attempt, 0, -1) for r in range(self.newest_run(a), 0, -1)]
        for a, r in before:
            folder = self.attempt(a) / f"run-{r}"
            if (a, r) != (attempt, run) and whole(folder / CHECKPOINT):
                return folder
        return None


def whole(checkpoint: Path) -> bool:
    """Return whether a checkpoint, which is a zip archive, was written to its end and is not damaged."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except Exception:  # zipfile says in many ways that an archive is damaged
        return False


def read_small(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file, {} for what no worker of ours would write, or None where there is no file."""
    try:
        text = read_plain(path, 0, LARGEST_BYTES + 1)
    except FileNotFoundError:
        return None
    except NoPlainFile:
        return {}
    try:
        held = json.loads(text) if len(text) <= LARGEST_BYTES else {}
    except (ValueError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}


class NoPlainFile(OSError):  # noqa: N818  (it says what is there)
    """Where a worker should have written a file there is a link, a pipe or a device, which may lead anywhere."""


def read_plain(path: Path, offset: int, size: int) -> bytes:
    """Return at most ``size`` bytes of a file, and of nothing but a file; raises NoPlainFile, OSError."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise NoPlainFile(error.errno, "no file, but a link or a pipe", str(path)) from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise NoPlainFile(errno.EINVAL, "no file", str(path))
        with os.fdopen(opened, "rb", closefd=False) as file:
            file.seek(offset)
            return file.read(size)
    finally:
        os.close(opened)


def trusted_result(held: dict[str, Any]) -> dict[str, Any]:
    """Return what a result says in the form that a runner gives it; a metric that is no finite number is None."""
    metrics, attempt, token = held.get("metrics"), held.get("attempt"), held.get("token")
    if held.get("end") not in ENDS or not isinstance(metrics, dict):
        return DAMAGED
    if not all(isinstance(value, int | float | None) for value in metrics.values()):
        return DAMAGED
    numbers = {printable(name): value if finite(value) else None for name, value in metrics.items()}
    who = {
        "attempt": attempt if isinstance(attempt, int) else 0,
        "token": printable(token) if isinstance(token, str) else "",
    }
    return {"end": held["end"], "metrics": numbers} | who | spent(held)


def trusted_note(held: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what a note says in the form that a runner gives it, or None where it says nothing."""
    if not held or held.get("kind") not in NOTES or not isinstance(held.get("message"), str):
        return None
    return {"kind": held["kind"], "message": printable(held["message"])} | spent(held)


def spent(held: dict[str, Any]) -> dict[str, float]:
    """Return the times that a runner reports, in seconds, zero where it reports no number."""
    return {name: held[name] if finite(held.get(name)) else 0.0 for name in ("seconds", "core_seconds", "ended")}


def finite(value: object) -> bool:
    """Return whether a value is a number that a database can hold."""
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def printable(text: str) -> str:
    """Return text in one line that every terminal and database takes."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:LONGEST_LINE])


def replace(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new one, never half of it."""
    written = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    written.write_text(text)
    written.replace(path)


def clock(folder: Path) -> float:
    """Return the time now by the clock of the file system that holds ``folder``, seconds since 1970."""
    mark = folder / f".clock-{socket.gethostname()}"
    try:
        mark.touch()
        return mark.stat().st_mtime
    except OSError:  # a full disk has no clock
        return time.time()
