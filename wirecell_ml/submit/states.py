"""States of units and of attempts, and what the evidence says of an attempt."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class UnitState(StrEnum):
    """Where a unit of work stands; it ends exactly once."""

    PROPOSED = "PROPOSED"
    QUEUED = "QUEUED"
    ACTIVE = "ACTIVE"
    DONE = "DONE"
    PRUNED = "PRUNED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class AttemptState(StrEnum):
    """Where one attempt at a unit stands."""

    PLANNED = "PLANNED"
    SUBMITTING = "SUBMITTING"
    AMBIGUOUS = "AMBIGUOUS"  # nobody knows whether the submission arrived
    SUBMITTED = "SUBMITTED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED_APP = "FAILED_APP"
    FAILED_INFRA = "FAILED_INFRA"
    PREEMPTED = "PREEMPTED"
    LOST = "LOST"
    SUPERSEDED = "SUPERSEDED"
    CANCELLED = "CANCELLED"


U, A = UnitState, AttemptState
UNIT_ENDS = frozenset({U.DONE, U.PRUNED, U.FAILED, U.CANCELLED})
OUT = frozenset({A.SUBMITTED, A.RUNNING})  # attempts that a site has
OPEN = OUT | {A.PLANNED, A.SUBMITTING, A.AMBIGUOUS}
ATTEMPT_ENDS = frozenset(A) - OPEN

UNIT_MOVES = {
    U.PROPOSED: {U.QUEUED} | UNIT_ENDS,
    U.QUEUED: {U.ACTIVE} | UNIT_ENDS,
    U.ACTIVE: {U.QUEUED} | UNIT_ENDS,
}
ATTEMPT_MOVES = {
    A.PLANNED: {A.SUBMITTING, A.CANCELLED, A.SUPERSEDED},
    A.SUBMITTING: {A.SUBMITTED, A.AMBIGUOUS} | {A.PLANNED} | ATTEMPT_ENDS,
    A.AMBIGUOUS: {A.SUBMITTED, A.PLANNED} | ATTEMPT_ENDS,
    A.SUBMITTED: {A.RUNNING} | ATTEMPT_ENDS,
    A.RUNNING: ATTEMPT_ENDS,
}


START_LEASES = 5  # leases that a job may take from its start to its first heartbeat: an image may have to be fetched


class JobState(StrEnum):
    """What a batch system says of a job that it knows; of one that it does not know it says nothing."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    HELD = "HELD"  # it could not be started, and is not tried again
    ENDED = "ENDED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"


@dataclass(frozen=True)
class Evidence:
    """All that is known of an attempt that a site has."""

    result: dict[str, Any] | None = None  # committed by any attempt at the unit
    note: dict[str, Any] | None = None  # of the newest runner of this attempt: why it ended without a result
    beat_age_s: float | None = None  # since the last heartbeat; None: there was none
    job: JobState | None = None  # None: the batch system does not know it
    answered: bool = True  # whether the batch system answered at all
    running_s: float = 0.0  # since the batch system began to say RUNNING: a restarted job has yet to beat
    quiet_s: float = 0.0  # since the batch system said ENDED, or no longer knew the job
    waiting_s: float = 0.0  # since the submission
    silent_s: float = 0.0  # since the site fell silent, where there are others to go to
    said: str = ""  # by the batch system, of a job that ended before its runner began


@dataclass(frozen=True)
class Patience:
    """How long what is waited for, in seconds."""

    lease_s: float
    grace_s: float
    queue_s: float | None
    silence_s: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What becomes of an attempt, and why."""

    state: AttemptState
    why: str


NOTES = {  # what a runner writes when its training ended without a result
    "mistake": A.FAILED_APP,  # exit status 2: the same will fail again
    "crashed": A.FAILED_INFRA,
    "memory": A.FAILED_INFRA,
    "stopped": A.CANCELLED,  # the user stopped the study; there is a checkpoint
    "preempted": A.PREEMPTED,
}


def judge(seen: Evidence, patience: Patience) -> Verdict | None:
    """Return the end of an attempt, or None where it goes on.

    A result outweighs the runner's own note, that the heartbeat, and that what the batch system says.
    """
    if seen.result is not None:
        return Verdict(A.SUCCEEDED, "result committed")
    if seen.note is not None and not may_restart(seen, patience):
        return Verdict(NOTES[seen.note["kind"]], seen.note["message"])
    if not seen.answered:
        return judge_silent(seen, patience)
    if seen.job in (JobState.WAITING, JobState.RUNNING):
        return judge_present(seen, patience)
    if seen.quiet_s < patience.grace_s or beats(seen, patience):
        return None
    if seen.job is JobState.OUT_OF_MEMORY:
        return Verdict(A.FAILED_INFRA, "out of memory")
    if seen.job is JobState.HELD:
        return Verdict(A.LOST, f"the batch system could not start the job, and holds it back{why(seen)}")
    if seen.beat_age_s is None:
        said = why(seen) or ": the folder jobs has what it said"
        return Verdict(A.FAILED_INFRA, f"the job ended before its runner began{said}")
    if seen.job is JobState.ENDED:
        return Verdict(A.LOST, "the job ended and left neither result nor note")
    return Verdict(A.LOST, "the batch system knows the job no more, and there is no result")


def why(seen: Evidence) -> str:
    """Return what the batch system said of a job, to be put behind a sentence."""
    return f": {seen.said}" if seen.said else ""


def may_restart(seen: Evidence, patience: Patience) -> bool:
    """Return whether the batch system may yet start the same attempt again, as it does after a pre-emption."""
    assert seen.note
    if seen.note["kind"] != "preempted":
        return False
    present = seen.job in (JobState.WAITING, JobState.RUNNING)
    return present or not seen.answered or seen.quiet_s < patience.grace_s


def beats(seen: Evidence, patience: Patience) -> bool:
    """Return whether the runner still lives, whatever the batch system says."""
    return seen.beat_age_s is not None and seen.beat_age_s < patience.grace_s


def judge_silent(seen: Evidence, patience: Patience) -> Verdict | None:
    """Return the end of an attempt at a site that does not answer."""
    if seen.beat_age_s is not None and seen.beat_age_s > patience.lease_s:
        return Verdict(A.LOST, f"no heartbeat for {seen.beat_age_s:.0f} s, and the site is silent")
    if patience.silence_s is not None and seen.beat_age_s is None and seen.silent_s > patience.silence_s:
        return Verdict(A.LOST, f"nothing heard of it, and the site is silent for {seen.silent_s / 60:.0f} minutes")
    return None


def judge_present(seen: Evidence, patience: Patience) -> Verdict | None:
    """Return the end of an attempt whose job waits or runs."""
    silent_s = seen.running_s if seen.beat_age_s is None else min(seen.beat_age_s, seen.running_s)
    lease_s = patience.lease_s * (START_LEASES if seen.beat_age_s is None else 1)
    if seen.job is JobState.RUNNING and silent_s > lease_s:
        return Verdict(A.LOST, f"no heartbeat for {silent_s:.0f} s")
    late = patience.queue_s is not None and seen.beat_age_s is None and seen.waiting_s > patience.queue_s
    if late and seen.job is JobState.WAITING:
        return Verdict(A.CANCELLED, f"not started within {seen.waiting_s / 60:.0f} minutes")
    return None
