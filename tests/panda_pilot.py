"""A stand-in for PanDA's pilots: they take jobs, really run them in folders of their own, and say how that goes.

What runs is what runGen would run: the sandbox unpacked from the server's cache, and the command that comes with -p.
"""

import argparse
import io
import json
import os
import shlex
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote
from urllib.request import Request, urlopen

from tests.panda_standin import QuietServer, Standin

BEAT_S = 0.1  # between two updates; the real one takes 30 minutes, less when it is told to
KILL_AFTER_S = 20.0
KILLED, EVICTED, PAYLOAD_FAILED, OUT_OF_MEMORY = 1144, 1201, 1305, 1212  # the pilot's codes of errors
SEEN = ("PATH", "HOME", "LANG")  # what a job finds of the pilot's environment


@dataclass
class Slot:
    """A job that a pilot has."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    lost: bool = False  # the worker is gone, and says nothing more
    evicted: bool = False  # the batch system under the pilot wants its machine back
    told: float = 0.0  # when the payload was told to end


@dataclass
class Pilots:
    """All pilots of one queue."""

    standin: Standin
    folder: Path
    logs: str = ""  # address of the folder with the logs
    ended: Event = field(default_factory=Event)
    slots: list[Slot] = field(default_factory=list)
    memory_short: bool = False  # what fails from now on failed since its memory ran out

    def slot(self, token: str, start: int = -1) -> Slot:
        """Return the slot of a token's newest start."""
        number = self.standin.job(token).number
        return [slot for slot in self.slots if slot.number == number][start]

    def lose(self, token: str) -> None:
        """Let the worker of a token go up in smoke."""
        slot = self.slot(token)
        slot.lost = True
        assert slot.process
        os.killpg(slot.process.pid, signal.SIGKILL)

    def evict(self, token: str) -> None:
        """Let the batch system under the pilot take the machine of a token away."""
        slot = self.slot(token)
        slot.evicted = True
        tell(slot)

    def work(self, node: str) -> None:
        """Take jobs, one after the other."""
        while not self.ended.wait(BEAT_S):
            asked = {"site_name": "TEST_QUEUE", "prod_source_label": "user", "node": node, "n_jobs": 1}
            got = self.call("acquire_jobs", asked | {"target_architecture": {"gpus": []}})
            for job in (got or {}).get("jobs", ()):
                slot = Slot(job["PandaID"])
                self.slots.append(slot)
                self.run(slot, job, node)

    def call(self, endpoint: str, values: dict[str, Any]) -> dict[str, Any] | None:
        """Return what the server answers a pilot, None where it has nothing for it."""
        token = self.standin.issuer.mint(("dune", "dune/pilot"))
        headers = {"Authorization": f"Bearer {token}", "Origin": "dune.pilot", "Content-Type": "application/json"}
        body = json.dumps(values).encode()
        with suppress(HTTPError, URLError, OSError):
            with urlopen(Request(f"{self.standin.address}/api/v1/pilot/{endpoint}", body, headers)) as answer:  # noqa: S310
                held = json.loads(answer.read())
            return held["data"] if held["success"] else None
        return None

    def run(self, slot: Slot, job: dict[str, Any], node: str) -> None:
        """Run a job to its end, and say how it ended."""
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            log = self.folder / "logs" / f"{slot.number}.out"
            with log.open("ab") as output:
                secrets = json.loads(job.get("secrets", "{}"))
                slot.process = begin(job["jobPars"], secrets, Path(scratch), output)
            about = {"job_id": slot.number, "node": node, "pilot_id": f"{self.logs}/{log.name}|Stand-in|PR|3"}
            while alive(slot.process) and not slot.lost:
                answer = self.call("update_job", about | {"job_status": "running"})
                self.heed(slot, (answer or {}).get("command"))
                time.sleep(BEAT_S)
            status = slot.process.wait()
            if not slot.lost:
                self.call("update_job", about | self.end(slot, status))

    def heed(self, slot: Slot, command: str | None) -> None:
        """Do what the server tells, or the end of all patience."""
        if command == "tobekilled" and not slot.told:
            tell(slot)
        assert slot.process
        if self.ended.is_set() or (slot.told and time.time() > slot.told + KILL_AFTER_S):
            with suppress(ProcessLookupError):
                os.killpg(slot.process.pid, signal.SIGKILL)

    def end(self, slot: Slot, status: int) -> dict[str, Any]:
        """Return how a job has ended."""
        if status == 0 and not slot.told:
            return {"job_status": "finished", "trans_exit_code": 0}
        code = PAYLOAD_FAILED if not slot.told else EVICTED if slot.evicted else KILLED
        code = OUT_OF_MEMORY if self.memory_short else code
        said = {KILLED: "killed by a command of the server", EVICTED: "SIGTERM", OUT_OF_MEMORY: "out of memory"}
        diag = said.get(code, f"payload ended with {status}")
        return {
            "job_status": "failed",
            "trans_exit_code": abs(status),
            "pilot_error_code": code,
            "pilot_error_diag": diag,
        }


def begin(words: str, secrets: dict[str, str], scratch: Path, output: Any) -> subprocess.Popen[bytes]:
    """Start a payload as runGen does, for which the user's secrets are variables."""
    parser = argparse.ArgumentParser()
    for name in ("-j", "--sourceURL", "-r", "-a", "-p"):
        parser.add_argument(name, required=True)
    asked = parser.parse_args(shlex.split(words))
    with urlopen(f"{asked.sourceURL}/cache/{asked.a}") as answer:  # noqa: S310
        packed = answer.read()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(scratch, filter="data")
    return subprocess.Popen(
        ["sh", "-c", unquote(asked.p)],  # noqa: S607
        cwd=scratch / asked.r,
        env={name: os.environ[name] for name in SEEN if name in os.environ} | secrets,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def alive(process: subprocess.Popen[bytes]) -> bool:
    """Return whether anything of a payload lives."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def tell(slot: Slot) -> None:
    """Ask a payload to end."""
    slot.told = time.time()
    assert slot.process
    with suppress(ProcessLookupError):
        os.killpg(slot.process.pid, signal.SIGTERM)


@contextmanager
def pilots_of(standin: Standin, number: int) -> Iterator[Pilots]:
    """Run so many pilots, each with one slot."""
    with tempfile.TemporaryDirectory() as folder:
        pilots = Pilots(standin, Path(folder))
        (pilots.folder / "logs").mkdir()

        class Logs(SimpleHTTPRequestHandler):
            def log_message(self, *_: Any) -> None: ...

        with QuietServer(("127.0.0.1", 0), partial(Logs, directory=str(pilots.folder / "logs"))) as server:
            pilots.logs = f"http://127.0.0.1:{server.server_port}"
            Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            threads = [Thread(target=pilots.work, args=(f"{socket.gethostname()}_{n}",)) for n in range(number)]
            for thread in threads:
                thread.start()
            try:
                yield pilots
            finally:
                pilots.ended.set()
                for thread in threads:
                    thread.join()
                server.shutdown()
