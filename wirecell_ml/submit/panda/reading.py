"""What PanDA's words for tasks, inputs and jobs mean: pure functions."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from wirecell_ml.submit.states import JobState

TASK_ENDED = {"done", "finished", "failed", "aborted"}
TASK_GIVEN_UP = {"broken", "exhausted"}  # nothing more is started, unless somebody retries the task by hand
INPUT_ENDED = {"finished", "failed", "lost", "cancelled", "missing"}
JOB_RUNNING = {"running", "holding", "transferring", "merging"}
JOB_ENDED = {"finished", "failed", "cancelled", "closed"}
INPUT_WITH_JOB = "running"  # from the moment when JEDI makes its job, long before that runs
OUT_OF_MEMORY = {1212, 1235}  # pilot: payload ran out of memory, payload exceeded its maximum
SOURCES = ("pilot", "exe", "jobDispatcher", "taskBuffer", "brokerage", "sup", "ddm")  # whose errors a job carries


def inputs(data: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the status of each token among the inputs of a task: 000001:sweep-0a1b2c3d4e-1."""
    files = [file for dataset in data for file in dataset.get("files", ())]
    return {str(file["lfn"]).rpartition(":")[2]: str(file["status"]) for file in files}


def counts(statistics: str) -> dict[str, int]:
    """Return how many inputs have jobs in each state: activated*2,holding*1."""
    parts = [part.rpartition("*") for part in statistics.split(",") if "*" in part]
    return {name: int(number) for name, _, number in parts if number.isdigit()}


def input_state(status: str, task: str, job: JobState) -> JobState:
    """Return the state of a token; ``job``: what the jobs of its task say."""
    if status in INPUT_ENDED:
        return JobState.ENDED
    if task in TASK_GIVEN_UP:
        return JobState.HELD
    if task in TASK_ENDED:
        return JobState.ENDED
    return job if status == INPUT_WITH_JOB else JobState.WAITING


def common_state(statistics: str) -> JobState | None:
    """Return the state that all live jobs of a task have, or None where they differ."""
    live = {name for name in counts(statistics) if name not in JOB_ENDED | {"tobedone"}}
    if not live & JOB_RUNNING:
        return JobState.WAITING
    return None if live - JOB_RUNNING else JobState.RUNNING


def job_token(job: Mapping[str, Any], tokens: str) -> str:
    """Return the token that a job of the batch ``tokens`` was started with, "" where it has none."""
    found = re.findall(rf"{re.escape(tokens)}-[0-9]+", str(job.get("jobParameters") or ""))
    return found[-1] if found else ""


def job_end(job: Mapping[str, Any]) -> JobState:
    """Return how a job ended."""
    return JobState.OUT_OF_MEMORY if number(job.get("pilotErrorCode")) in OUT_OF_MEMORY else JobState.ENDED


def number(value: object) -> int:
    """Return a number as PanDA writes it, 0 for none."""
    return int(value) if isinstance(value, int | str) and str(value).isdigit() else 0


def job_line(job: Mapping[str, Any]) -> str:
    """Return what a job says of itself."""
    where = f" at {job['computingSite']}" if job.get("computingSite") else ""
    errors = [
        f"{source} {job[f'{source}ErrorCode']}: {job.get(f'{source}ErrorDiag') or 'no reason given'}"
        for source in SOURCES
        if number(job.get(f"{source}ErrorCode"))
    ]
    return f"job {job.get('PandaID')}{where} {job.get('jobStatus')}" + (f", {'; '.join(errors)}" if errors else "")
