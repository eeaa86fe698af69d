"""Heeding: what a carrier does of the batch system's wishes, and how long it tries while the other end is away."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGXCPU)
PAUSE_S = 0.1  # between two looks at what runs
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0  # before the other end is tried again

T = TypeVar("T")


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


def run_plain(command: Sequence[str], heed: Heed) -> int:
    """Run a command as it is, and return its exit status."""
    child = subprocess.Popen(command)  # noqa: S603
    while child.poll() is None:
        heed.pass_on(child)
        time.sleep(PAUSE_S)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def keep_trying(use: Callable[[], T], deadline: Callable[[], float]) -> T:
    """Use the other end, if need be until ``deadline``; what is not there stays away, and is not waited for."""
    wait_s = FIRST_WAIT_S
    while True:
        try:
            return use()
        except FileNotFoundError:
            raise
        except OSError as error:
            if time.time() + wait_s > deadline():
                raise
            complain(error)
            time.sleep(wait_s)
            wait_s = min(LONGEST_WAIT_S, 2 * wait_s)


def complain(error: Exception) -> None:
    """Say what was in the way, to the log of the job."""
    print(f"carrier: {type(error).__name__}: {error}; trying again", file=sys.stderr, flush=True)  # noqa: T201
