"""What the stand-in for a PanDA server knows and does: tasks, jobs and their states, as the real one moves them."""

import time
from collections import Counter
from dataclasses import dataclass, field
from threading import RLock
from typing import Any
from urllib.parse import unquote

AGAIN = ("finished", "failed", "aborted", "done", "exhausted")  # states in which the same name starts a task again
ENDED = ("finished", "done", "broken", "aborted", "aborting", "failed")  # states in which nothing is left to end
JOB_ENDED = ("finished", "failed", "cancelled", "closed")
USER = "Test Physicist"
NEEDED = {  # parameters without which JEDI refines no task, and their types
    "taskName": str,
    "vo": str,
    "prodSourceLabel": str,
    "taskType": str,
    "taskPriority": int,
    "processingType": str,
    "architecture": str,
    "transUses": str,
    "transHome": str,
    "nFiles": int,
    "nFilesPerJob": int,
    "noInput": bool,
    "pfnList": list,
    "coreCount": int,
    "ramCount": int,
    "walltime": int,
    "jobParameters": list,
    "log": dict,
    "sourceURL": str,
    "maxAttempt": int,
}
ALLOWED = set(NEEDED) | {
    *("uniqueTaskName", "maxFailure", "disableAutoRetry", "skipScout", "noLoopingCheck", "useSecrets", "ramUnit"),
    *("maxWalltime", "site", "workingGroup", "cloud", "transPath", "container_name"),
}


@dataclass
class Job:
    """One job, as PanDA describes it."""

    number: int
    task: "Task"
    token: str
    site: str
    parameters: str
    status: str = "pending"
    command: str | None = None
    beat: float = field(default_factory=time.time)
    said: dict[str, Any] = field(default_factory=dict)  # what pilots have reported
    starts: int = 0

    def description(self) -> dict[str, Any]:
        """Return what get_description gives, of what is used."""
        return {
            "PandaID": self.number,
            "jediTaskID": self.task.number,
            "jobStatus": self.status,
            "computingSite": self.site,
            "jobParameters": self.parameters,
            "pilotID": self.said.get("pilot_id"),
            "pilotErrorCode": self.said.get("pilot_error_code", 0),
            "pilotErrorDiag": self.said.get("pilot_error_diag"),
            "transExitCode": self.said.get("trans_exit_code"),
            "exeErrorCode": 0,
            "jobDispatcherErrorCode": self.said.get("dispatcher_error", 0),
            "jobDispatcherErrorDiag": "lost heartbeat" if "dispatcher_error" in self.said else None,
            "taskBufferErrorCode": 100 if self.status == "cancelled" else 0,
            "taskBufferErrorDiag": f"killed by {USER}" if self.status == "cancelled" else None,
        }


@dataclass
class Task:
    """One JEDI task."""

    number: int
    parameters: dict[str, Any]
    status: str = "waiting"  # put down; JEDI has not looked at it yet
    files: dict[str, str] = field(default_factory=dict)  # token → status
    jobs: dict[str, Job] = field(default_factory=dict)  # by token
    error: str | None = None

    @property
    def name(self) -> str:
        """Name of the task."""
        return str(self.parameters["taskName"])

    def statistics(self) -> str:
        """Return inputs by the states of their jobs: those that no pilot can have yet are picked."""
        counted = Counter(
            {"ready": "tobedone"}.get(status, status) for status in self.files.values() if status != "running"
        )
        live = [self.jobs[token].status for token, status in self.files.items() if status == "running"]
        counted.update("picked" if status in ("pending", "defined") else status for status in live)
        return ",".join(f"{name}*{number}" for name, number in counted.items())


@dataclass
class Faults:
    """What is wrong with the server now."""

    down: bool = False  # connections are closed without an answer
    broken: int | None = None  # this status of HTTP is all that it answers
    asleep: bool = False  # its daemons do nothing, and it answers
    never_activate: bool = False  # jobs stay pending
    refine_error: str | None = None  # of tasks that are refined from now on: they are broken
    lose_answers: int = 0  # of so many submissions the answer is lost, and the task is there


class Panda:
    """The server's tasks and jobs. ``step`` is what its daemons do from time to time."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.tasks: dict[int, Task] = {}
        self.jobs: dict[int, Job] = {}
        self.cache: dict[str, bytes] = {}
        self.twice: list[Job] = []  # jobs that the next pilots get though others have them
        self.secrets: dict[str, str] = {}  # that the user has left with the server
        self.faults = Faults()
        self.heartbeat_s = 3600.0  # a job from which nothing is heard for so long has failed
        self.jobs_at_once = 10_000  # that JEDI makes in one step
        self.queues: dict[str, dict[str, Any]] = {
            "TEST_QUEUE": {"status": "online", "coreCount": 8, "maxrss": 16000, "maxtime": 86400},
            "CLOSED_QUEUE": {"status": "offline", "coreCount": 64, "maxrss": 0, "maxtime": 0},
        }

    def submit(self, parameters: dict[str, Any]) -> tuple[int, str]:
        """Return PanDA's code and message for new task parameters."""
        same = [task for task in self.tasks.values() if task.name == parameters["taskName"]]
        if same and same[-1].status == "waiting":
            return 1, f"jediTaskID={same[-1].number} is already queued for outDS={same[-1].name}. "
        if same and same[-1].status not in AGAIN:
            return 2, f"jediTaskID={same[-1].number} is in the {same[-1].status} state for outDS={same[-1].name}. "
        if same:
            return 3, f"reactivation accepted. jediTaskID={same[-1].number} (currently in {same[-1].status} state)"
        number = len(self.tasks) + 1
        self.tasks[number] = Task(number, parameters)
        return 0, f"succeeded. new jediTaskID={number}"

    def known(self, number: int) -> Task | None:
        """Return a task that JEDI has looked at."""
        task = self.tasks.get(number)
        return task if task and task.status != "waiting" else None

    def step(self) -> None:
        """Move everything on by one state."""
        with self.lock:
            if self.faults.asleep:
                return
            for job in self.jobs.values():
                self.step_job(job)
            for task in self.tasks.values():
                self.step_task(task)

    def step_job(self, job: Job) -> None:
        """Move a job on; one that has ended ends its input."""
        if job.status == "pending" and not self.faults.never_activate:
            job.status = "activated"
        elif job.status == "holding":
            job.status = job.said["end"]
        elif job.status in ("sent", "running") and time.time() > job.beat + self.heartbeat_s:
            job.said["dispatcher_error"] = 100
            job.status = "failed"
        if job.status in JOB_ENDED and job.task.files[job.token] == "running":
            job.task.files[job.token] = "finished" if job.status == "finished" else "failed"

    def step_task(self, task: Task) -> None:
        """Move a task on."""
        if task.status == "waiting":
            task.status = "defined"
        elif task.status == "defined" and (wrong := self.faults.refine_error or refused(task.parameters)):
            task.status, task.error = "broken", wrong
        elif task.status == "defined":
            task.files = dict.fromkeys(task.parameters["pfnList"], "ready")
            task.status = "ready"
        elif task.status in ("ready", "running"):
            self.make_jobs(task)
            task.status = end_of(task) or "running"
        elif task.status == "aborting" and all(job.status in JOB_ENDED for job in task.jobs.values()):
            task.status = "aborted"

    def make_jobs(self, task: Task) -> None:
        """Make jobs for inputs that have none."""
        for token in [token for token, status in task.files.items() if status == "ready"][: self.jobs_at_once]:
            words = " ".join(item["value"] for item in task.parameters["jobParameters"])
            words = words.replace("${IN/L}", token).replace("${SURL}", task.parameters["sourceURL"])
            site = task.parameters.get("site") or "TEST_QUEUE"
            job = Job(len(self.jobs) + 1, task, token, site, words)
            self.jobs[job.number] = task.jobs[token] = job
            task.files[token] = "running"

    def kill_task(self, task: Task) -> tuple[int, str]:
        """Return PanDA's code and message for an order to end a task."""
        if task.status in ENDED:
            return 4, f"Command rejected: the kill command is not accepted if the task is in {task.status} status "
        for job in task.jobs.values():
            self.kill(job)
        task.status = "aborting" if task.status != "waiting" else "aborted"
        return 0, f"command=kill is registered for task ID {task.number}. will be executed in a few minutes"

    def kill(self, job: Job) -> bool:
        """End a job that waits; the pilot of one that runs is told."""
        if job.status in JOB_ENDED:
            return False
        if job.status in ("pending", "activated"):
            job.status = "cancelled"
        else:
            job.command = "tobekilled"
        return True

    def acquire(self, site: str, most: int, has_gpu: bool) -> list[Job]:
        """Return jobs for a pilot, which has them from now on."""
        activated = [job for job in self.jobs.values() if job.status == "activated"]
        fits = [job for job in [*self.twice, *activated] if job.site == site]
        taken = [job for job in fits if has_gpu or not job.task.parameters["architecture"]][:most]
        self.twice = [job for job in self.twice if job not in taken]
        for job in taken:
            job.status, job.beat, job.starts = "sent", time.time(), job.starts + 1
        return taken

    def update(self, job: Job, status: str, said: dict[str, Any]) -> str | None:
        """Take in what a pilot says of its job; return the command to the pilot."""
        if job.status in JOB_ENDED or job.status == "holding":
            return "tobekilled"
        job.beat = time.time()
        job.said |= said
        job.status = status
        if status in ("finished", "failed"):
            job.said["end"], job.status = status, "holding"
        return job.command


def refused(parameters: dict[str, Any]) -> str | None:
    """Return why JEDI would refine no task from these parameters, or None."""
    if unknown := set(parameters) - ALLOWED:
        return f"unknown parameters {sorted(unknown)}"
    for name, kind in NEEDED.items():
        if not isinstance(parameters.get(name), kind):
            return f"{name} is no {kind.__name__}"
    if parameters["nFiles"] != len(parameters["pfnList"]) or parameters["maxAttempt"] != 1:
        return "as many inputs as nFiles says, and one attempt at each"
    words = unquote(" ".join(item["value"] for item in parameters["jobParameters"]))
    return None if words.count("${IN/L}") == 1 else "the name of the input is nowhere, or twice"


def end_of(task: Task) -> str | None:
    """Return how a task has ended: finished means that some inputs failed."""
    statuses = set(task.files.values())
    if statuses - {"finished", "failed"}:
        return None
    return {frozenset({"finished"}): "done", frozenset({"failed"}): "failed"}.get(frozenset(statuses), "finished")
