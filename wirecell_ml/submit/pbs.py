"""OpenPBS and PBS Professional: a job array per batch. Written from what PBS says of itself; never run on a real PBS.

The only module that knows qsub, qselect, qstat, qdel and pbsnodes. PBS gives no signal before a job's time is over: the
runner looks at the clock itself, and the job has ``signal_s`` more than its unit.
"""

import json
import os
import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from wirecell_ml.errors import SubmitError, suggest
from wirecell_ml.submit.backend import Refused, Unavailable
from wirecell_ml.submit.commands import refuse, run
from wirecell_ml.submit.job import Batch, Resources, batches_of, pieces
from wirecell_ml.submit.script import starting
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.slurm import Node, check_size, strength
from wirecell_ml.submit.states import JobState

TIMEOUT_S = 60  # of one PBS command
IDS_AT_ONCE = 200  # in one qstat or qdel
INHERITED = ("HOME", "USER", "LANG", "PATH", "LD_LIBRARY_PATH", "MODULEPATH", "PBS_CONF_FILE", "PBS_SERVER")
SILENT = re.compile(
    "cannot connect|connection refused|connection reset|communication failure|timed out|pbs_iff|server disconnect|busy"
    "|shutting down|network error|expired credential",
    re.IGNORECASE,
)
GONE = re.compile("unknown job ?id|has finished|invalid state|request invalid for state", re.IGNORECASE)
STATES = {
    **dict.fromkeys("QWTSUH", JobState.WAITING),  # queued, later, in transit, suspended twice, held
    **dict.fromkeys("RBE", JobState.RUNNING),  # running, an array that has begun, ending
    **dict.fromkeys("FXM", JobState.ENDED),  # finished, a finished part of an array, moved
}
GIVEN_UP = "too many failed attempts"  # comment of a job that PBS could not start
OUT_OF_MEMORY = {-27, -26}  # exit status of a job that took more memory, or virtual memory, than it asked for
BYTES = {"b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30, "tb": 2**40, "w": 8}


class Pbs:
    """A cluster whose login node runs this."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def render(self, batch: Batch) -> str:
        """Return the script that qsub is given: a pure function of batch and site."""
        return render(batch, self.site)

    def submit(self, batch: Batch) -> None:
        """Send the array of a batch."""
        batch.folder.mkdir(parents=True, exist_ok=True)
        before = self.ids([batch.name], "QRHSTUWB") if batch.alone else []
        depend = ["-W", f"depend=afterany:{':'.join(before)}"] if before else []
        self.call("qsub", *depend, text=self.render(batch))

    def states(self, tokens: Collection[str]) -> dict[str, JobState]:
        """Return what qstat says; it forgets a job at its end, or where job_history_enable is set, some time later."""
        found: dict[str, JobState] = {}
        for token, _, held in self.jobs(tokens):
            state = job_state(held)
            if token in tokens and strength(state) > strength(found.get(token)):
                found[token] = state
        return found

    def cancel(self, tokens: Collection[str]) -> None:
        """Ask jobs to checkpoint and end; PBS kills them after its kill_delay."""
        wanted = set(tokens)
        live = [number for token, number, held in self.jobs(tokens) if token in wanted and is_live(held)]
        for some in pieces(live, IDS_AT_ONCE):
            try:
                self.call("qdel", *some)
            except Refused as error:
                if not GONE.search(str(error)):
                    raise

    def jobs(self, tokens: Collection[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield token, number and attributes of every job of ours in the batches of ``tokens``."""
        numbers = self.ids(batches_of(tokens))
        for some in pieces(numbers, IDS_AT_ONCE):
            try:
                said = self.call("qstat", "-x", "-t", "-f", "-F", "json", *some)
            except Refused as error:
                if GONE.search(str(error)):  # some ended meanwhile; the next look will tell
                    continue
                raise
            yield from read_jobs(said)

    def ids(self, names: Sequence[str], states: str = "") -> list[str]:
        """Return the numbers of our jobs and arrays of these names, in any of these states."""
        some = ["-s", states] if states else ["-x"]
        user = ["-u", os.environ["USER"]] if "USER" in os.environ else []
        return [number for name in names for number in self.call("qselect", *some, *user, "-N", name).split()]

    def room(self, resources: Resources, open_jobs: int) -> int:  # noqa: ARG002  (the queue holds jobs of any size)
        """Return how many jobs more may be queued."""
        return self.site.queue_room(open_jobs)

    def check(self, resources: Resources) -> None:
        """Raise SubmitError where there is no such queue, or no node for a job of this size."""
        if self.site.gpu_model:
            raise SubmitError("site.gpu_model: PBS has no word for it. Write site.constraint, e.g. gpu_type=a100")
        queues = read_json(self.call("qstat", "-Q", "-f", "-F", "json")).get("Queue", {})
        if self.site.partition and self.site.partition not in queues:
            raise SubmitError(
                f"site.partition: {self.site.name} has no queue '{self.site.partition}'."
                f"{suggest(self.site.partition, queues)}"
            )
        queue = queues.get(self.site.partition, {}) if self.site.partition else {}
        if queue.get("enabled", "True") != "True":
            raise SubmitError(f"site.partition: the queue '{self.site.partition}' takes no jobs")
        nodes = read_json(self.call("pbsnodes", "-a", "-F", "json")).get("nodes", {})
        minutes = limit_minutes(queue)
        check_size(resources, self.site, [node(held, minutes) for held in nodes.values()])

    def outlook(self, resources: Resources) -> float | None:  # noqa: ARG002
        """Return None: PBS says nothing of a job that is not in its queue."""
        return None

    def explain(self, token: str) -> str:
        """Return the comment of PBS on a job."""
        return next((str(held.get("comment", "")) for name, _, held in self.jobs([token]) if name == token), "")

    def fetch(self, tokens: Collection[str], folder: Path) -> None:
        """Do nothing: a job writes to the folder of its batch itself."""

    def call(self, *command: str, text: str | None = None) -> str:
        """Return what a PBS command prints; raises Unavailable where PBS is silent, Refused where it says no."""
        ended = run(self.site, command, text, INHERITED, TIMEOUT_S)
        if ended.returncode:
            refuse(command[0], ended.stderr or ended.stdout, SILENT)
        return ended.stdout


def render(batch: Batch, site: Site) -> str:
    """Return the script of ``batch``; PBS has no array of a single job."""
    last = len(batch.jobs) - 1
    header = [
        f"-N {batch.name}",
        *([f"-J 0-{last}"] if last else []),
        "-j oe",
        "-o /dev/null",  # the script writes its log itself, where a restart goes on with it
        "-r y",
        "-S /bin/bash",
        *words(batch.resources, site),
    ]
    return "\n".join(
        [
            f"#!/bin/bash{' -l' if site.setup else ''}",
            *(f"#PBS {line}" for line in header),
            "",
            "index=${PBS_ARRAY_INDEX:-0}",
            f"exec >>{shlex.quote(str(batch.folder))}/{batch.name}-$index.log 2>&1",
            *site.setup,
            *starting(batch, site, site.container, "index"),
        ]
    )


def words(resources: Resources, site: Site) -> list[str]:
    """Return what qsub is told of size and place; ``constraint`` is a part of the chunk, such as gpu_type=a100."""
    chunk = {
        "ncpus": resources.cores,
        "mem": f"{round(resources.memory_gb * 1000**3 / 1024)}kb",
        "ngpus": resources.gpus or None,
    }
    parts = [f"{name}={value}" for name, value in chunk.items() if value is not None]
    parts += [site.constraint] if site.constraint else []
    seconds = 60 * resources.minutes + site.signal_s
    flags = {"-q": site.partition, "-A": site.account}
    return [
        f"-l select=1:{':'.join(parts)}",
        f"-l walltime={seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}",
        *(f"{flag} {value}" for flag, value in flags.items() if value),
        *site.options,
    ]


def read_json(text: str) -> dict[str, Any]:
    """Return what PBS prints as JSON; raises Unavailable for what is none, as some versions print."""
    try:
        held = json.loads(text)
    except ValueError as error:
        raise Unavailable(f"what PBS says is no JSON: {error}") from error
    if not isinstance(held, dict):
        raise Unavailable("what PBS says is not what was asked for")
    return held


def read_jobs(text: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield token, number and attributes of each job in the JSON of qstat, less the arrays themselves."""
    for number, held in read_json(text).get("Jobs", {}).items():
        if held.get("array") != "True":
            yield f"{held['Job_Name']}-{held.get('array_index', 0)}", number, held


def job_state(held: dict[str, Any]) -> JobState:
    """Return our word for the state of a job."""
    state = STATES.get(held["job_state"], JobState.WAITING)
    if held["job_state"] == "H" and GIVEN_UP in str(held.get("comment", "")):
        return JobState.HELD
    if state is JobState.ENDED and int(held.get("Exit_status", 0)) in OUT_OF_MEMORY:
        return JobState.OUT_OF_MEMORY
    return state


def is_live(held: dict[str, Any]) -> bool:
    """Return whether a job waits, is held or runs."""
    return job_state(held) in (JobState.WAITING, JobState.HELD, JobState.RUNNING)


def node(held: dict[str, Any], minutes: float) -> Node:
    """Return what a job can get on a node, for as long as the queue gives."""
    has = held.get("resources_available", {})
    gpus = {"": int(has.get("ngpus", 0))}
    return Node("", True, int(has.get("ncpus", 0)), memory_gb(str(has.get("mem", "0kb"))), minutes, gpus)


def memory_gb(text: str) -> float:
    """Return a size as PBS has it, 528034752kb, in GB."""
    size = re.fullmatch(r"(\d+)([a-z]*)", text.lower())
    return int(size[1]) * BYTES.get(size[2], 1) / 1e9 if size else 0.0


def limit_minutes(queue: dict[str, Any]) -> float:
    """Return the longest walltime of a queue, [[hours:]minutes:]seconds, in minutes; infinity where it has none."""
    limit = queue.get("resources_max", {}).get("walltime")
    if limit is None:
        return float("inf")
    hours, minutes, seconds = ([0, 0] + [int(part) for part in str(limit).split(":")])[-3:]
    return 60 * hours + minutes + seconds / 60
