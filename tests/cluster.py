"""A Slurm of the tests' own, and what can happen to it: daemons stop, die and come back, jobs are pre-empted."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from tests.engine import private_engine
from tests.sweeping import order, wait_for
from wirecell_ml.submit.local import RUNNER
from wirecell_ml.submit.study import Study

FOLDER = Path.home() / ".cache" / "wirecell_ml" / "faults"  # not where a user's sweeps may run
PORT = "16917"
PING = ("scontrol", "ping")
LIVE = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED")


@dataclass(frozen=True)
class Cluster:
    """A Slurm on this machine, by its slurm.conf."""

    conf: Path

    def ask(self, *command: str) -> str:
        """Return what a Slurm command prints."""
        environment = os.environ | {"SLURM_CONF": str(self.conf)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    def answers(self) -> bool:
        """Return whether the controller answers."""
        environment = os.environ | {"SLURM_CONF": str(self.conf)}
        return subprocess.run(PING, env=environment, capture_output=True, check=False).returncode == 0

    def pid_file(self, daemon: str) -> Path:
        """Return the file that holds the number of a daemon's process."""
        return self.conf.parent / f"{daemon}.pid"

    def signal(self, daemon: str, number: signal.Signals) -> None:
        """Send a signal to slurmctld or slurmd."""
        process = psutil.Process(int(self.pid_file(daemon).read_text()))
        assert process.name() == daemon
        process.send_signal(number)
        if number is signal.SIGKILL:
            process.wait()

    def start(self, daemon: str) -> None:
        """Start slurmctld or slurmd again."""
        node = self.ask_conf("NodeName")
        words = ["-N", node] if daemon == "slurmd" else []
        subprocess.run([daemon, "-f", self.conf, *words], stdin=subprocess.DEVNULL, capture_output=True, check=True)
        wait_for(self.answers)

    def ask_conf(self, name: str) -> str:
        """Return the first value of a name in slurm.conf."""
        return next(word.partition("=")[2] for word in self.conf.read_text().split() if word.partition("=")[0] == name)

    def jobs(self, name: str) -> dict[str, str]:
        """Return the state of every job, by token, whose name begins with ``name``."""
        lines = self.ask("squeue", "--noheader", "--array", "--states=all", "--format=%j-%K %T").splitlines()
        found = [line.split() for line in lines if line.startswith(name)]
        assert len(dict(found)) == len(found), "two jobs carry the same token"
        return dict(found)

    def job_id(self, token: str) -> str:
        """Return the number of the job of a token, as scontrol takes it."""
        lines = self.ask("squeue", "--noheader", "--array", "--states=all", "--format=%j-%K %F_%K").splitlines()
        return dict(line.split() for line in lines)[token]

    def live(self, study: Study) -> set[str]:
        """Return the tokens of the jobs of a study that wait or run."""
        return {token for token, state in self.jobs(f"{study.name}-").items() if state in LIVE}

    def restarts(self, token: str) -> int:
        """Return how often Slurm has started a job again."""
        words = self.ask("scontrol", "--oneliner", "show", "job", self.job_id(token)).split()
        return int(dict(word.partition("=")[::2] for word in words)["Restarts"])

    @contextmanager
    def nothing_starts(self) -> Iterator[None]:
        """Let the node start no job: its folder for them is gone."""
        spool, away = self.conf.parent / "spool", self.conf.parent / "spool-away"
        spool.rename(away)
        spool.touch()
        try:
            yield
        finally:
            spool.unlink()
            away.rename(spool)

    @contextmanager
    def partition_down(self) -> Iterator[Callable[[], str]]:
        """Let the partition take jobs and start none, until what is given is called."""
        set_state = partial(self.ask, "scontrol", "update", "partitionname=cpu")
        set_state("state=down")
        try:
            yield partial(set_state, "state=up")
        finally:
            set_state("state=up")

    def mend(self) -> None:
        """Return the node to service, as an administrator does after Slurm has drained it."""
        if self.ask("sinfo", "--noheader", "--format=%T", "--partition=cpu").startswith("drain"):
            self.ask("scontrol", "update", f"nodename={self.ask_conf('NodeName')}", "state=resume")

    def pre_empt_all(self) -> None:
        """Pre-empt every running job for the sake of a short one that is urgent."""
        self.ask("sbatch", "--partition=urgent", "--cpus-per-task=8", "--output=/dev/null", "--wrap=sleep 0.5")

    def order(self, folder: Path, name: str, *settings: str) -> Study:
        """Write a study of dummy units of one core that runs here."""
        calm = "site.policy.lease_s=20"  # a machine that has much else to do stops no heart for so long
        own = (f"site.environment.SLURM_CONF={self.conf}", "site.resources.cores=1", calm)
        return order(folder, *own, *settings, name=name, site="slurm_local")


@contextmanager
def private_cluster() -> Iterator[Cluster]:
    """Start a Slurm of the tests' own, in which nobody minds what dies, and stop it in the end."""
    with private_engine("slurm", FOLDER, PORT) as variables:
        cluster = Cluster(Path(variables["SLURM_CONF"]))
        cluster.ask("scontrol", "update", "partitionname=cpu", "gracetime=0")  # a grace is seen to every 30 s only
        yield cluster


def runner(token: str, but: psutil.Process | None = None) -> psutil.Process:
    """Return the runner of a job on this machine, once there is one ``but`` that one."""
    found: list[psutil.Process] = []

    def seen() -> bool:
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
            except psutil.Error:
                continue
            if RUNNER in words and words[-1] == token and process != but:
                found.append(process)
        return bool(found)

    wait_for(seen)
    return found[-1]
