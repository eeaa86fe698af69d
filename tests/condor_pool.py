"""An HTCondor pool of the tests' own, and what can happen to it: daemons stop, die and come back, jobs are evicted."""

import json
import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.engine import private_engine
from tests.sweeping import order, wait_for
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.study import Study

FOLDER = Path.home() / ".cache" / "wirecell_ml" / "faults_htcondor"  # not where a user's sweeps may run
PORT = "16831"


@dataclass(frozen=True)
class Pool:
    """A personal pool on this machine, by the folder of its state."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What its commands need."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {"CONDOR_CONFIG": str(self.folder / "condor_config"), "PATH": path}

    def ask(self, *command: str) -> str:
        """Return what a command of HTCondor prints."""
        environment = os.environ | self.environment
        return subprocess.run(
            [self.folder / "bin" / command[0], *command[1:]],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def site(self) -> Site:
        """Return the pool as a site."""
        return Site(name="pool", kind="htcondor", environment=self.environment, signal_s=20)

    def jobs(self, name: str) -> list[dict[str, Any]]:
        """Return the jobs in the queue whose tokens begin with ``name``."""
        where = f'substr(WirecellMlToken, 0, {len(name)}) == "{name}"'
        found: list[dict[str, Any]] = json.loads(self.ask("condor_q", "-json", "-constraint", where) or "[]")
        return found

    def job(self, token: str) -> dict[str, Any]:
        """Return the job of a token."""
        (found,) = [job for job in self.jobs(token) if job["WirecellMlToken"] == token]
        return found

    def job_id(self, token: str) -> str:
        """Return the number of the job of a token."""
        job = self.job(token)
        return f"{job['ClusterId']}.{job['ProcId']}"

    def daemon(self, name: str) -> psutil.Process:
        """Return the process of a daemon of this pool."""
        return self.daemons()[name]

    def daemons(self) -> dict[str, psutil.Process]:
        """Return the daemons of this pool by their names."""
        master = psutil.Process(int((self.folder / "master.pid").read_text()))
        found = {}
        for process in master.children():
            with suppress(psutil.NoSuchProcess):
                found[process.name()] = process
        return found

    def guard(self, runner: psutil.Process) -> psutil.Process:
        """Return the starter that a runner is a child of."""
        return next(parent for parent in runner.parents() if parent.name() == "condor_starter")

    def answers(self) -> bool:
        """Return whether the queue answers, and a machine offers itself."""
        try:
            self.ask("condor_q")
            return bool(self.ask("condor_status", "-af", "Name").strip())
        except subprocess.CalledProcessError:
            return False

    @contextmanager
    def without(self, daemon: str) -> Iterator[None]:
        """Let there be no schedd, or no startd, for a while."""
        self.ask("condor_off", "-fast", "-daemon", daemon)
        try:
            wait_for(lambda: f"condor_{daemon}" not in self.daemons())
            yield
        finally:
            self.ask("condor_on", "-daemon", daemon)
            wait_for(self.answers)

    def kill(self) -> None:
        """Kill every process of the pool, jobs and all, as a failure of power does."""
        master = psutil.Process(int((self.folder / "master.pid").read_text()))
        for process in [master, *master.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def give_token(self, folder: Path, lifetime_s: int) -> None:
        """Give the user a token in place of the one before."""
        owner = pwd.getpwuid(1).pw_name if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        told = ("-identity", f"{owner}@wirecell", "-lifetime", str(lifetime_s))
        (folder / "token").write_text(self.ask("condor_token_create", *told))
        (folder / "token").chmod(0o600)

    def order(self, folder: Path, name: str, *settings: str) -> Study:
        """Write a study of dummy units of one core that runs here."""
        environment = [f"site.environment.{key}='{value}'" for key, value in self.environment.items()]
        calm = "site.policy.lease_s=20"  # a machine that has much else to do stops no heart for so long
        own = (*environment, "site.resources.cores=1", calm)
        return order(folder, *own, *settings, name=name, site="htcondor_local")


@contextmanager
def private_pool() -> Iterator[Pool]:
    """Start a pool of the tests' own, in which nobody minds what dies, and stop it in the end."""
    with private_engine("condor", FOLDER, PORT) as variables:
        yield Pool(Path(variables["CONDOR_CONFIG"]).parent)
