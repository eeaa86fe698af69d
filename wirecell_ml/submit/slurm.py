"""Slurm: a job array per batch. The only module that knows sbatch, squeue, scancel and sinfo."""

import math
import re
import shlex
import subprocess
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from wirecell_ml.errors import SubmitError, suggest
from wirecell_ml.submit.backend import Refused, Unavailable
from wirecell_ml.submit.commands import refuse, run
from wirecell_ml.submit.job import Batch, Resources, batches_of, pieces
from wirecell_ml.submit.script import starting
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.states import JobState

TIMEOUT_S = 30  # of one Slurm command; a controller that is down lets them hang
NAMES_AT_ONCE = 200  # in one squeue
QUEUE_FORMAT = "%j|%F|%K|%T|%r"  # name, array, index, state, reason
INHERITED = (  # all else stays here; to name these to sbatch instead would make Slurm run a login shell for each job
    *("HOME", "USER", "LANG", "PATH", "LD_LIBRARY_PATH", "MODULEPATH"),
    *("SLURM_CONF", "WIRECELL_ML_CACHE"),
)
SILENT = re.compile(
    "contact slurm|timed out|connection refused|communication|connection failure|not connected|zero bytes|standby"
    "|try again|authentication",
    re.IGNORECASE,
)

WAITING = {
    "PENDING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "RESV_DEL_HOLD",
    "SPECIAL_EXIT",
    "SUSPENDED",
    "STOPPED",
}
RUNNING = {"RUNNING", "CONFIGURING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT"}
GIVEN_UP = {"launch failed requeued held", "JobHoldMaxRequeue"}  # reasons for which only an administrator starts a job
STARTS_AT = re.compile(r"to start at (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)")  # local time, of sbatch --test-only
REASONS = {  # of squeue → what they mean
    "None": "",
    "Resources": "it waits for nodes to become free",
    "Priority": "jobs of higher priority are before it",
    "Dependency": "it waits for another job to end",
    "BeginTime": "Slurm starts it again after a pause",
    "ReqNodeNotAvail": "the nodes that it needs are down or reserved",
    "PartitionDown": "its partition is closed",
    "PartitionTimeLimit": "it asks for more time than its partition gives: lower site.resources.minutes",
    "AssocGrpCpuLimit": "the account uses all the cores that it may",
    "AssocGrpGRES": "the account uses all the GPUs that it may",
    "AssocMaxJobsLimit": "the account runs as many jobs as it may",
    "QOSMaxJobsPerUserLimit": "you run as many jobs as the quality of service allows",
    "QOSMaxCpuPerUserLimit": "you use as many cores as the quality of service allows",
    "JobHeldUser": "you hold it back: scontrol release",
    "JobHeldAdmin": "an administrator holds it back",
}

LIMITS = {  # setting → how its limit is said
    "cores": "nodes of at most {:g} cores",
    "memory_gb": "nodes of at most {:g} GB",
    "gpus": "nodes of at most {:g} GPUs",
    "minutes": "a limit of {:g} minutes",
}


@dataclass(frozen=True)
class Node:
    """What a job can get on one kind of nodes in one partition."""

    partition: str
    is_default: bool
    cores: int
    memory_gb: float
    minutes: float
    gpus: dict[str, int]  # by model, which may be without a name

    def size(self, name: str, gpu_model: str | None) -> float:
        """Return the most that a job can have of a resource."""
        if name == "gpus":
            return self.gpus.get(gpu_model, 0) if gpu_model else sum(self.gpus.values())
        return float(getattr(self, name))


class Slurm:
    """A cluster whose login node runs this."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def render(self, batch: Batch) -> str:
        """Return the script that sbatch is given: a pure function of batch and site."""
        return render(batch, self.site)

    def submit(self, batch: Batch) -> None:
        """Send the array of a batch."""
        batch.folder.mkdir(parents=True, exist_ok=True)
        self.call("sbatch", "--parsable", text=self.render(batch))

    def states(self, tokens: Collection[str]) -> dict[str, JobState]:
        """Return what squeue says; it forgets a job MinJobAge seconds after its end."""
        found: dict[str, JobState] = {}
        for token, _, state in self.queue(tokens):
            if token in tokens and strength(state) > strength(found.get(token)):
                found[token] = state
        return found

    def cancel(self, tokens: Collection[str]) -> None:
        """Ask jobs to checkpoint and end; Slurm kills them after its KillWait."""
        wanted = set(tokens)
        ids = [job for token, job, state in self.queue(tokens) if token in wanted and state in LIVE]
        for some in pieces(ids, NAMES_AT_ONCE):
            self.call("scancel", *some)

    def queue(self, tokens: Collection[str]) -> Iterable[tuple[str, str, JobState]]:
        """Yield token, id and state of every job of ours in the batches of ``tokens``."""
        names = batches_of(tokens)
        for some in pieces(names, NAMES_AT_ONCE):
            for line in self.squeue(some).splitlines():
                if line.count("|") < QUEUE_FORMAT.count("|"):
                    raise Unavailable(f"squeue: '{line}' is no line that was asked for")
                name, job, index, state, reason = line.split("|", 4)
                yield f"{name}-{index}", f"{job}_{index}", job_state(state, reason)

    def squeue(self, names: Sequence[str]) -> str:
        """Return what squeue says of the batches of these names; it has no jobs to refuse."""
        flags = ["--me", "--noheader", "--array", "--states=all", f"--format={QUEUE_FORMAT}"]
        try:
            return self.call("squeue", *flags, f"--name={','.join(names)}")
        except (Refused, SubmitError) as error:
            raise Unavailable(f"squeue: {error}") from error

    def room(self, resources: Resources, open_jobs: int) -> int:  # noqa: ARG002  (the queue holds jobs of any size)
        """Return how many jobs more may be queued."""
        return self.site.queue_room(open_jobs)

    def check(self, resources: Resources) -> None:
        """Raise SubmitError where there is no such partition or GPU, or no node for a job of this size."""
        check_size(resources, self.site, in_partition(self.nodes(), self.site))
        try:
            self.call("sbatch", "--test-only", *words(resources, self.site), "--wrap=true")
        except Refused as error:
            raise SubmitError(f"site {self.site.name}: Slurm would refuse such a job: {error}") from error

    def nodes(self) -> list[Node]:
        """Return one node of each kind in each partition."""
        lines = self.call("sinfo", "--exact", "--noheader", "--format=%P|%c|%m|%l|%G").splitlines()
        return [node(line) for line in lines]

    def outlook(self, resources: Resources) -> float | None:
        """Return when sbatch --test-only would start such a job, in seconds from now."""
        try:
            said = self.ask("sbatch", "--test-only", *words(resources, self.site), "--wrap=true").stderr
        except Refused:
            return None
        start = STARTS_AT.search(said)
        return max(0.0, datetime.fromisoformat(start[1]).timestamp() - time.time()) if start else None

    def explain(self, token: str) -> str:
        """Return why a job waits or is held, from the reason that squeue gives."""
        name, _, index = token.rpartition("-")
        for line in self.squeue([name]).splitlines():
            _, _, number, state, reason = line.split("|", 4)
            if number == index and state in WAITING:
                return REASONS.get(reason, reason)
        return ""

    def fetch(self, tokens: Collection[str], folder: Path) -> None:
        """Do nothing: Slurm writes to the folder of the batch itself."""

    def call(self, *command: str, text: str | None = None) -> str:
        """Return what a Slurm command prints; raises Unavailable where Slurm is silent, Refused where it says no."""
        return self.ask(*command, text=text).stdout

    def ask(self, *command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Return a Slurm command that has ended well; raises Unavailable and Refused."""
        if self.run("scontrol", "ping").returncode:  # it knows at once, where other commands try for seconds
            raise Unavailable(f"{command[0]}: no controller of Slurm answers")
        ended = self.run(*command, text=text)
        if ended.returncode:
            refuse(command[0], ended.stderr or ended.stdout, SILENT)
        return ended

    def run(self, *command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a Slurm command to its end; raises Unavailable where that takes too long."""
        return run(self.site, command, text, INHERITED, TIMEOUT_S)


def render(batch: Batch, site: Site) -> str:
    """Return the array script of ``batch``."""
    last = len(batch.jobs) - 1
    header = [
        f"--job-name={batch.name}",
        f"--array=0-{last}",
        f"--output={str(batch.folder).replace('%', '%%')}/%x-%a.log",
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{site.signal_s}",
        "--export=ALL",  # of the little that sbatch itself is given
        *words(batch.resources, site),
        *(["--dependency=singleton"] if batch.alone else []),
    ]
    return "\n".join(
        [
            f"#!/bin/bash{' -l' if site.setup else ''}",
            *(f"#SBATCH {shlex.quote(word)}" for word in header),
            "",
            *site.setup,
            "unset SLURM_NTASKS  # a unit is one task, which starts its own processes; Lightning would take srun's",
            *starting(batch, site, site.container, "SLURM_ARRAY_TASK_ID"),
        ]
    )


def words(resources: Resources, site: Site) -> list[str]:
    """Return what sbatch is told of size and place."""
    gpu = f"gpu:{site.gpu_model}:{resources.gpus}" if site.gpu_model else f"gpu:{resources.gpus}"
    flags = {
        "nodes": 1,
        "ntasks": 1,
        "cpus-per-task": resources.cores,
        "mem": f"{round(1000 * resources.memory_gb)}M",
        "time": resources.minutes,
        "gres": gpu if resources.gpus else None,
        "partition": site.partition,
        "account": site.account,
        "qos": site.qos,
        "constraint": site.constraint,
    }
    return [f"--{name}={value}" for name, value in flags.items() if value is not None] + list(site.options)


def node(line: str) -> Node:
    """Return a node from a line of sinfo: cpu*|64|256000|1-00:00:00|gpu:a100:4(S:0-1)."""
    partition, cores, megabytes, limit, gres = line.split("|")
    gpus = {model: int(number) for model, number in re.findall(r"gpu:(?:([^:,()]+):)?(\d+)(?=[(,]|$)", gres)}
    return Node(
        partition.rstrip("*"), partition.endswith("*"), int(cores), int(megabytes) / 1000, limit_minutes(limit), gpus
    )


def limit_minutes(limit: str) -> float:
    """Return a time limit as sinfo has it, [days-][[hours:]minutes:]seconds, in minutes."""
    if not limit[0].isdigit():
        return math.inf
    days, _, clock = limit.rpartition("-")
    hours, minutes, seconds = ([0, 0] + [int(part) for part in clock.split(":")])[-3:]
    return 1440 * int(days or 0) + 60 * hours + minutes + seconds / 60


def in_partition(nodes: Sequence[Node], site: Site) -> list[Node]:
    """Return the nodes of the site's partition; raises SubmitError for a partition that is not there."""
    partitions = {node.partition for node in nodes}
    wanted = site.partition.split(",") if site.partition else [node.partition for node in nodes if node.is_default]
    for partition in set(wanted) - partitions:
        raise SubmitError(
            f"site.partition: {site.name} has no partition '{partition}'.{suggest(partition, partitions)}"
        )
    return [node for node in nodes if node.partition in wanted]


def check_size(resources: Resources, site: Site, nodes: Sequence[Node]) -> None:
    """Raise SubmitError where a job is too large for each of ``nodes``: Slurm might queue it, and never run it."""
    partition = f"partition {site.partition}" if site.partition else "its default partition"
    models = {model for node in nodes for model in node.gpus if model}
    if resources.gpus and site.gpu_model and site.gpu_model not in models:
        raise SubmitError(
            f"site.gpu_model: {site.name} has no GPU '{site.gpu_model}' in {partition}."
            f"{suggest(site.gpu_model, models)}"
        )
    for name, limit in LIMITS.items():
        wanted = getattr(resources, name)
        most = max((node.size(name, site.gpu_model) for node in nodes), default=math.inf)
        if wanted > most:
            raise SubmitError(
                f"site.resources.{name}={wanted:g}: {site.name} has {limit.format(most)} in {partition}. Ask for less, "
                "or for another partition"
            )


def job_state(state: str, reason: str = "") -> JobState:
    """Return our word for a Slurm state, and the reason for it."""
    if state in WAITING and reason.replace("_", " ") in GIVEN_UP:
        return JobState.HELD
    if state in WAITING:
        return JobState.WAITING
    if state in RUNNING:
        return JobState.RUNNING
    return JobState.OUT_OF_MEMORY if state == "OUT_OF_MEMORY" else JobState.ENDED


LIVE = (JobState.HELD, JobState.WAITING, JobState.RUNNING)
STRENGTH = (None, JobState.ENDED, JobState.OUT_OF_MEMORY, *LIVE)


def strength(state: JobState | None) -> int:
    """Return how much a state says of a token that several jobs carry."""
    return STRENGTH.index(state)
