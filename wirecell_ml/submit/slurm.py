"""Slurm: a job array per batch. The only module that knows sbatch, squeue, scancel and sinfo."""

import os
import re
import shlex
import subprocess
from collections.abc import Collection, Iterable, Sequence
from typing import NoReturn

from wirecell_ml.errors import SubmitError, suggest
from wirecell_ml.submit.backend import Refused, Unavailable
from wirecell_ml.submit.job import Batch, Resources, pieces
from wirecell_ml.submit.site import Container, Site
from wirecell_ml.submit.states import JobState

TIMEOUT_S = 30  # of one Slurm command; a controller that is down lets them hang
NAMES_AT_ONCE = 200  # in one squeue
INHERITED = (
    "HOME",
    "USER",
    "LANG",
    "PATH",
    "LD_LIBRARY_PATH",
    "MODULEPATH",
    "WIRECELL_ML_CACHE",
)  # all else stays here
SILENT = re.compile(
    "contact slurm|timed out|connection refused|communication|connection failure|try again", re.IGNORECASE
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
        names = sorted({token.rpartition("-")[0] for token in tokens})
        for some in pieces(names, NAMES_AT_ONCE):
            lines = self.call(
                "squeue",
                "--me",
                "--noheader",
                "--array",
                "--states=all",
                "--format=%j|%F|%K|%T",
                f"--name={','.join(some)}",
            )
            for line in lines.splitlines():
                name, job, index, state = line.split("|")
                yield f"{name}-{index}", f"{job}_{index}", job_state(state)

    def room(self, resources: Resources, open_jobs: int) -> int:  # noqa: ARG002  (the queue holds jobs of any size)
        """Return how many jobs more may be queued."""
        limit = self.site.array_limit if self.site.in_flight is None else self.site.in_flight
        return max(0, min(self.site.array_limit, limit - open_jobs))

    def check(self, resources: Resources) -> None:
        """Raise SubmitError where there is no such partition or GPU, or Slurm would refuse a job of this size."""
        offers = [line.split("|") for line in self.call("sinfo", "--noheader", "--format=%R|%G").splitlines()]
        partitions = {partition for partition, _ in offers}
        if self.site.partition is not None and self.site.partition not in partitions:
            raise SubmitError(
                f"site.partition: {self.site.name} has no partition '{self.site.partition}'."
                f"{suggest(self.site.partition, partitions)}"
            )
        models = {
            model for partition, gres in offers if self.site.partition in (None, partition) for model in gpus(gres)
        }
        if resources.gpus and self.site.gpu_model and self.site.gpu_model not in models:
            raise SubmitError(
                f"site.gpu_model: {self.site.name} has no GPU '{self.site.gpu_model}'."
                f"{suggest(self.site.gpu_model, models)}"
            )
        try:
            self.call("sbatch", "--test-only", *words(resources, self.site), "--wrap=true")
        except Refused as error:
            raise SubmitError(f"site {self.site.name}: Slurm would refuse such a job: {error}") from error

    def call(self, *command: str, text: str | None = None) -> str:
        """Return what a Slurm command prints; raises Unavailable where Slurm is silent, Refused where it says no."""
        try:
            ended = subprocess.run(  # noqa: S603
                command,
                input=text,
                env=os.environ | self.site.environment,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"{command[0]}: no answer within {TIMEOUT_S} s") from error
        except FileNotFoundError as error:
            raise SubmitError(
                f"site {self.site.name}: no {command[0]} on this machine. Run this on a login node of the cluster, or "
                "choose site=local"
            ) from error
        if ended.returncode:
            refuse(command[0], ended.stderr or ended.stdout)
        return ended.stdout


def refuse(command: str, said: str) -> NoReturn:
    """Raise what a failed Slurm command means."""
    line = " ".join(said.split()) or "failed without a word"
    if SILENT.search(line):
        raise Unavailable(f"{command}: {line}")
    raise Refused(line)


def render(batch: Batch, site: Site) -> str:
    """Return the array script of ``batch``."""
    last = len(batch.jobs) - 1
    header = [
        f"--job-name={batch.name}",
        f"--array=0-{last}",
        f"--output={batch.folder}/%x-%a.log",
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{site.signal_s}",
        f"--export={','.join(INHERITED)}",
        *words(batch.resources, site),
    ]
    threads = {"OMP_NUM_THREADS": str(batch.resources.cores), "MKL_NUM_THREADS": str(batch.resources.cores)}
    exports = [f"export {name}={shlex.quote(value)}" for name, value in (threads | site.environment).items()]
    common, rest = common_words([job.command for job in batch.jobs])
    start = shlex.join([*contained(site.container, batch), *common])
    return "\n".join(
        [
            f"#!/bin/bash{' -l' if site.setup else ''}",
            *(f"#SBATCH {word}" for word in header),
            "",
            *site.setup,
            "unset SLURM_NTASKS  # a unit is one task, which starts its own processes; Lightning would take srun's",
            *exports,
            f"start={shlex.quote(start)}",
            "units=(",
            *(f"  {shlex.quote(shlex.join(words_of))}" for words_of in rest),
            ")",
            'eval "exec $start ${units[SLURM_ARRAY_TASK_ID]}"',
            "",
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


def contained(container: Container | None, batch: Batch) -> list[str]:
    """Return the words that start a command in the container of a site; none without one."""
    if container is None:
        return []
    study = str(batch.folder.parent)
    if container.engine == "apptainer":
        return ["apptainer", "exec", f"--bind={study}", *container.options, container.image]
    return [container.engine, "run", "--rm", f"--volume={study}:{study}", *container.options, container.image]


def common_words(commands: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Return the words that all commands begin with, and the rest of each, at least one word long."""
    same = 0
    while all(len(command) > same + 1 and command[same] == commands[0][same] for command in commands):
        same += 1
    return list(commands[0][:same]), [list(command[same:]) for command in commands]


def gpus(gres: str) -> list[str]:
    """Return the GPU models in what sinfo calls gres: gpu:h200:2(S:0) is one h200."""
    return re.findall(r"gpu:([A-Za-z_][\w.-]*)", gres)


def job_state(state: str) -> JobState:
    """Return our word for a Slurm state."""
    if state in WAITING:
        return JobState.WAITING
    if state in RUNNING:
        return JobState.RUNNING
    return JobState.OUT_OF_MEMORY if state == "OUT_OF_MEMORY" else JobState.ENDED


LIVE = (JobState.WAITING, JobState.RUNNING)
STRENGTH = (None, JobState.ENDED, JobState.OUT_OF_MEMORY, JobState.WAITING, JobState.RUNNING)


def strength(state: JobState | None) -> int:
    """Return how much a state says of a token that several jobs carry."""
    return STRENGTH.index(state)
