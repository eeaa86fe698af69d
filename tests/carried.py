"""What tests of carried mailboxes need: a driver's end and workers that share nothing with it but what carries."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.sweeping import PROGRAMS
from wirecell_ml.paths import PACKAGE
from wirecell_ml.submit.job import Batch, Resources
from wirecell_ml.submit.mailbox import UnitBox
from wirecell_ml.submit.objects import Objects, open_objects
from wirecell_ml.submit.post import Address, make_post
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.unit import __name__ as RUNNER

DUMMY = ["{python}", "-P", "-m", "dummy_unit"]


def snapshot_with_dummy(study: Path) -> Path:
    """Write a snapshot of the code with the dummy training in it, as a study has one."""
    code = study / "code" / "0123456789ab"
    left_out = shutil.ignore_patterns("__pycache__", "_shipped")
    shutil.copytree(PACKAGE, code / PACKAGE.name, ignore=left_out)
    shutil.copyfile(PROGRAMS / "dummy_unit.py", code / "dummy_unit.py")
    (code / "COMMIT").write_text("a test")
    return code


class Elsewhere:
    """One unit of a study, and workers in scratch folders of their own."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.folder, self.site = folder, site
        self.study = folder / "here" / "far-study"
        self.box = UnitBox(self.study / "units" / "000007")
        self.code = snapshot_with_dummy(self.study)
        self.post = make_post(site)
        self.addresses: dict[str, Address] = {}
        self.workers: list[subprocess.Popen[bytes]] = []
        self.prepare(DUMMY)

    def prepare(self, start: list[str], minutes: float = 5) -> None:
        """Say what the unit does."""
        unit = {"start": start, "resume": start, "heartbeat_s": 0.1, "minutes": minutes, "kill_after_s": 45}
        self.box.prepare("lr: 0.01\n", unit, {"optimizer.lr": 0.01})

    def pack(self, attempt: int = 1) -> tuple[str, ...]:
        """Pack an attempt, and return the command of its worker."""
        self.box.raise_fence(attempt)
        runner = ["env", f"PYTHONPATH={self.code}", sys.executable, "-P", "-m", RUNNER]
        words = [[*runner, str(self.box.folder), str(attempt)]]
        batch = Batch.of("far-study", words, Resources(minutes=5), self.study / "jobs")
        address = Address(self.box, attempt)
        self.addresses[batch.jobs[0].token] = address
        [job] = self.post.pack(batch, [address]).jobs
        return job.command

    def start(self, attempt: int = 1, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker of a new batch with an attempt."""
        return self.start_again(self.pack(attempt), **environment)

    def start_again(self, command: tuple[str, ...], **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker, on another machine each time as far as it can tell."""
        scratch = self.folder / f"machine-{len(self.workers)}"
        scratch.mkdir()
        places = {"WIRECELL_ML_SCRATCH": str(scratch), "HOME": str(scratch), **self.site.environment}
        with (scratch / "worker.log").open("wb") as log:
            worker = subprocess.Popen(
                command, cwd=scratch, env=os.environ | places | environment, stdout=log, stderr=log
            )
        self.workers.append(worker)
        return worker

    def tell(self) -> None:
        """Let the workers see fence and stop mark."""
        for token, address in self.addresses.items():
            self.post.tell(token, address)

    def objects(self) -> Objects:
        """Return what is in the store."""
        assert self.site.mailbox
        return open_objects(self.site.mailbox, self.site.environment)

    def collect(self) -> None:
        """Bring in what has come."""
        self.post.collect(self.addresses)

    def epochs(self, attempt: int = 1) -> list[int]:
        """Return the epochs that the newest start of an attempt has reported, as far as the driver has heard."""
        self.collect()
        path = self.box.progress(attempt)
        return [json.loads(line)["epoch"] for line in path.read_text().splitlines()] if path.exists() else []

    def result(self) -> dict[str, Any]:
        """Return the result, which there must be."""
        result = self.box.result()
        assert result
        return result

    def close(self) -> None:
        """End what still runs."""
        for worker in self.workers:
            worker.kill()
            worker.wait()


def worker_log(elsewhere: Elsewhere, number: int) -> Path:
    """Return what a worker has printed."""
    return elsewhere.folder / f"machine-{number}" / "worker.log"
