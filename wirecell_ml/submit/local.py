"""This machine: a process per unit, as many as cores, memory and GPUs allow. Processes outlive the driver."""

import os
import shlex
import signal
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from wirecell_ml.errors import SubmitError
from wirecell_ml.submit.backend import Refused, Unavailable
from wirecell_ml.submit.job import Batch, Job, Resources
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.states import JobState

RUNNER = "wirecell_ml.submit.unit"
CARRIER = "wirecell_ml.submit.carrier"  # that runs a runner, where the mailbox is not a folder of the study
TOKEN, CORES, MEMORY, GPUS = (f"WIRECELL_ML_{name}" for name in ("TOKEN", "CORES", "MEMORY_GB", "GPUS"))


@dataclass(frozen=True)
class LocalUnit:
    """A unit of this user that runs on this machine."""

    process: psutil.Process
    token: str
    cores: int
    memory_gb: float
    gpus: tuple[str, ...]


class Local:
    """Processes on this machine; every driver on it sees the units of all, so that several sweeps share it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.asked: set[str] = set()  # tokens of units that were asked to end; who asks again means it
        self.children: list[int] = []  # processes that were started from here and have not been seen to end

    def render(self, batch: Batch) -> str:
        """Return the command of each job, as a shell would be given it."""
        words = [f"{name}={shlex.quote(value)}" for name, value in self.environment(batch.resources).items()]
        return "".join(
            f"{' '.join([f'{TOKEN}={job.token}', *words])} {shlex.join(job.command)}\n" for job in batch.jobs
        )

    def environment(self, resources: Resources) -> dict[str, str]:
        """Return what a job finds in its environment beside what this process has."""
        return {
            "OMP_NUM_THREADS": str(resources.cores),
            CORES: str(resources.cores),
            MEMORY: f"{resources.memory_gb:g}",
            **self.site.environment,
        }

    def submit(self, batch: Batch) -> None:
        """Start a process for each job; raises Refused where the machine starts no more."""
        free, wanted = self.free_gpus(), len(batch.jobs) * batch.resources.gpus
        if wanted > len(free):
            raise Refused(f"{wanted} GPUs are needed, and {len(free)} are free")
        batch.folder.mkdir(parents=True, exist_ok=True)
        for job in batch.jobs:
            gpus = [free.pop(0) for _ in range(batch.resources.gpus)]
            try:
                self.start(job, batch, gpus)
            except Refused as error:
                if job is batch.jobs[0]:
                    raise
                raise Unavailable(f"only {job.index} of {len(batch.jobs)} jobs were started: {error}") from error

    def start(self, job: Job, batch: Batch, gpus: list[str]) -> None:
        """Start one process that outlives this one."""
        own = self.environment(batch.resources) | {TOKEN: job.token, GPUS: ",".join(gpus)}
        if gpus_here():
            own["CUDA_VISIBLE_DEVICES"] = own[GPUS]
        with (batch.folder / f"{batch.name}.log").open("ab") as log:
            output = [(os.POSIX_SPAWN_DUP2, log.fileno(), number) for number in (1, 2)]
            try:
                child = os.posix_spawnp(  # no Popen, which is not meant for a process that outlives it
                    job.command[0],
                    job.command,
                    os.environ | own,
                    file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), *output],
                    setsid=True,
                    setsigdef=[signal.SIGPIPE],
                )
            except OSError as error:
                raise Refused(f"{shlex.join(job.command)}: {error.strerror}") from error
        self.children.append(child)

    def states(self, tokens: Collection[str]) -> dict[str, JobState]:
        """Return RUNNING for each job whose process lives."""
        self.reap()
        running = {unit.token for unit in units()}
        return {token: JobState.RUNNING for token in tokens if token in running}

    def cancel(self, tokens: Collection[str]) -> None:
        """Ask the processes of jobs to checkpoint and end."""
        for unit in units():
            if unit.token in tokens:
                with suppress(psutil.Error):
                    unit.process.send_signal(signal.SIGKILL if unit.token in self.asked else signal.SIGTERM)
                self.asked.add(unit.token)

    def room(self, resources: Resources, open_jobs: int) -> int:
        """Return how many jobs more fit into what the units on this machine leave free."""
        taken = units()
        cores = num_cores() - sum(unit.cores for unit in taken)
        memory = memory_gb() - sum(unit.memory_gb for unit in taken)
        fits = [max(0, cores) // resources.cores, int(max(0.0, memory) / resources.memory_gb)]
        if resources.gpus:
            fits.append(len(self.free_gpus()) // resources.gpus)
        if self.site.in_flight is not None:
            fits.append(self.site.in_flight - open_jobs)
        return max(0, min(fits))

    def check(self, resources: Resources) -> None:
        """Raise SubmitError where this machine is too small for one unit."""
        have = {"cores": num_cores(), "memory_gb": round(memory_gb(), 1), "gpus": len(gpus_here())}
        for name, value in have.items():
            wanted = getattr(resources, name)
            if wanted > value:
                raise SubmitError(
                    f"site.resources.{name}={wanted:g}: {self.site.name} has {value:g}. Ask for less, or elsewhere"
                )

    def outlook(self, resources: Resources) -> float | None:
        """Return 0 where a unit would start at once; how long others run is not known."""
        return 0.0 if self.room(resources, 0) else None

    def explain(self, token: str) -> str:  # noqa: ARG002
        """Return nothing: a process says nothing of itself."""
        return ""

    def fetch(self, tokens: Collection[str], folder: Path) -> None:
        """Do nothing: what processes print goes to the folder of their batch."""

    def free_gpus(self) -> list[str]:
        """Return the GPUs that no unit uses."""
        used = {gpu for unit in units() for gpu in unit.gpus}
        return [gpu for gpu in gpus_here() if gpu not in used]

    def reap(self) -> None:
        """Let go of the processes that have ended."""
        self.children = [child for child in self.children if not reaped(child)]


def reaped(child: int) -> bool:
    """Return whether a child has ended; its number is free from now on."""
    try:
        return os.waitpid(child, os.WNOHANG) != (0, 0)
    except ChildProcessError:  # whoever started this process lets the system reap, which children inherit
        return True


def units() -> list[LocalUnit]:
    """Return the units that drivers of this user have started on this machine; those of a batch system are its own."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if {RUNNER, CARRIER} & set(process.cmdline()) and TOKEN in (environ := process.environ()):
                found.append(local_unit(process, environ))
    return found


def local_unit(process: psutil.Process, environ: dict[str, str]) -> LocalUnit:
    """Return a unit as its process was told of it."""
    gpus = tuple(gpu for gpu in environ.get(GPUS, "").split(",") if gpu)
    return LocalUnit(process, environ[TOKEN], int(environ[CORES]), float(environ[MEMORY]), gpus)


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_gb() -> float:
    """Return the memory of this machine."""
    return float(psutil.virtual_memory().total / 1e9)


def gpus_here() -> list[str]:
    """Return the names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES counts them."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [name for name in allowed.split(",") if name]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
