"""Settling: what the evidence says of each attempt becomes a transition, and what follows for its unit another."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wirecell_ml.errors import SubmitError
from wirecell_ml.submit.backend import Refused, Unavailable
from wirecell_ml.submit.following import read_progress
from wirecell_ml.submit.ledger import Attempt, Transaction, Unit
from wirecell_ml.submit.mailbox import UnitBox, clock
from wirecell_ml.submit.session import Session
from wirecell_ml.submit.states import ATTEMPT_ENDS, AttemptState, Evidence, JobState, UnitState, Verdict, judge

A, U = AttemptState, UnitState
INTERRUPTIONS = (A.PREEMPTED, A.LOST)  # nobody's fault, but there must be an end


@dataclass(frozen=True)
class Finding:
    """What was found of one attempt."""

    attempt: Attempt
    verdict: Verdict
    evidence: Evidence


@dataclass
class Settlement:
    """Transitions on their way into the ledger."""

    session: Session
    transaction: Transaction
    ended: list[Unit] = field(default_factory=list)
    planned: list[Attempt] = field(default_factory=list)

    def write(self, finding: Finding) -> None:
        """Write what was found of one attempt, and what follows for its unit."""
        attempt, verdict = finding.attempt, finding.verdict
        unit = self.session.picture.units[attempt.number]
        values: dict[str, Any] = {"token": None} if verdict.state is A.PLANNED else {}
        if verdict.state in ATTEMPT_ENDS:
            box = self.session.order.box(attempt.number)
            values = {"ended": time.time()} | spent(box, attempt, finding.evidence.result)
        self.transaction.move_attempt(attempt, verdict.state, verdict.why, **values)
        if verdict.state is A.RUNNING and unit.state is U.QUEUED:
            self.transaction.move_unit(unit, U.ACTIVE, verdict.why)
        if verdict.state is A.SUCCEEDED:
            assert finding.evidence.result
            self.end_with_result(unit, finding.evidence.result)
        elif verdict.state in ATTEMPT_ENDS:
            self.try_again(unit, finding)

    def end_with_result(self, unit: Unit, result: dict[str, Any]) -> None:
        """End a unit that has a result."""
        read_progress(self.session, unit.number)
        state, why = end_of(result, self.session.order.objectives)
        self.end(unit, state, why, result)

    def try_again(self, unit: Unit, finding: Finding) -> None:
        """Plan the next attempt at a unit, or end it where no other attempt would do better."""
        attempt, why = finding.attempt, finding.verdict.why
        obstacle = self.obstacle(finding)
        if obstacle:
            self.end(unit, U.FAILED, obstacle)
            return
        if unit.state is U.ACTIVE:
            self.transaction.move_unit(unit, U.QUEUED, why)
        policy = self.session.order.site.policy
        memory_gb = attempt.memory_gb * (policy.more_memory if out_of_memory(finding) else 1)
        wait_s = policy.backoff_s if finding.verdict.state in (A.FAILED_INFRA, A.LOST) else 0.0
        planned = self.session.next_attempt(unit, memory_gb, wait_s, f"after {finding.verdict.state}: {why}")
        self.transaction.add_attempt(planned)
        self.planned.append(planned)

    def obstacle(self, finding: Finding) -> str | None:
        """Return why another attempt would not do better, or None."""
        number, state, why = finding.attempt.number, finding.verdict.state, finding.verdict.why
        policy, picture = self.session.order.site.policy, self.session.picture
        if state is A.FAILED_APP:
            return why
        if out_of_memory(finding):
            return self.too_large(finding.attempt.memory_gb)
        if state is A.FAILED_INFRA and picture.failed[number] >= policy.failures:
            return f"given up after {policy.failures + 1} failures: {why}"
        if state in INTERRUPTIONS and picture.lost[number] >= policy.preemptions:
            return f"given up after {policy.preemptions + 1} interruptions: {why}"
        return None

    def too_large(self, memory_gb: float) -> str | None:
        """Return why a unit whose memory ran out cannot have more, or None."""
        size, policy = self.session.order.site.resources, self.session.order.site.policy
        if memory_gb > size.memory_gb:
            return f"memory ran out twice, with {memory_gb:g} GB"
        try:
            self.session.backend.check(replace(size, memory_gb=memory_gb * policy.more_memory))
        except SubmitError as error:
            return f"memory ran out, and there is no more: {error}"
        except (Unavailable, Refused):
            return None  # the submission itself will tell
        return None

    def end(self, unit: Unit, state: UnitState, why: str, result: dict[str, Any] | None = None) -> None:
        """End a unit, and those that share its work."""
        picture = self.session.picture
        values = {"ended": time.time(), "result": result, "progress": picture.progress.get(unit.number, {})}
        self.transaction.move_unit(unit, state, why, **values)
        self.ended.append(unit)
        for number in picture.twins.get(unit.number, []):
            twin = picture.units[number]
            self.transaction.move_unit(twin, state, f"the same work as unit {unit.number}: {why}", **values)
            self.ended.append(twin)


def settle(session: Session) -> bool:
    """Write every transition that the evidence asks for, in one transaction; return whether there was one."""
    now = clock(session.order.folder)
    findings = [finding for attempt in session.picture.out() if (finding := examine(session, attempt, now))]
    if not findings:
        return False
    with session.writer.transaction() as transaction:
        settlement = Settlement(session, transaction)
        for finding in findings:
            settlement.write(finding)
    for finding in findings:
        if finding.attempt.state in ATTEMPT_ENDS:
            session.picture.count_end(finding.attempt)
    for attempt in settlement.planned:
        session.picture.add_attempt(attempt)
    session.end_units(settlement.ended)
    return True


def examine(session: Session, attempt: Attempt, now: float) -> Finding | None:
    """Return what is to be written of an attempt, or None where nothing has changed; ``now`` is the mailbox's time."""
    seen = gather(session, attempt, now)
    verdict: Verdict | None
    if attempt.state in (A.SUBMITTING, A.AMBIGUOUS):
        verdict = judge_submission(seen, session.order.site.policy.grace_s)
    else:
        verdict = judge(seen, session.order.site.policy.patience())
        if verdict is None and seen.job is JobState.WAITING and seen.beat_age_s is None and session.order.stopping():
            verdict = Verdict(A.CANCELLED, "the study was stopped before the job began")
        if verdict is None and attempt.state is A.SUBMITTED and seen.beat_age_s is not None:
            verdict = Verdict(A.RUNNING, "heartbeat")
    return Finding(attempt, verdict, seen) if verdict else None


def gather(session: Session, attempt: Attempt, now: float) -> Evidence:
    """Return all that is known of an attempt."""
    box, queue = session.order.box(attempt.number), session.picture.queue
    assert attempt.token
    assert attempt.submitted is not None
    beat = box.beat(attempt.attempt)
    return Evidence(
        result=box.result(),
        note=box.note(attempt.attempt) if beat is not None else None,
        beat_age_s=None if beat is None else max(0.0, now - beat),
        job=queue.jobs.get(attempt.token),
        answered=queue.answered_at > attempt.submitted and not queue.silence,
        running_s=queue.running_s(attempt.token),
        quiet_s=queue.quiet_s(attempt.token),
        waiting_s=time.time() - attempt.submitted,
    )


def judge_submission(seen: Evidence, grace_s: float) -> Verdict | None:
    """Return what became of a submission whose fate was not known."""
    if seen.result is not None or seen.beat_age_s is not None or seen.job is not None:
        return Verdict(A.SUBMITTED, "found by its token")
    if seen.answered and seen.quiet_s >= grace_s:
        return Verdict(A.PLANNED, "the batch system does not know it: it never arrived")
    return None


def spent(box: UnitBox, attempt: Attempt, result: dict[str, Any] | None) -> dict[str, float]:
    """Return the wall-clock and CPU time that the starts of an attempt took, in seconds, as far as they said."""
    said = box.notes(attempt.attempt)
    if result and result.get("attempt") == attempt.attempt:
        said.append(result)
    return {
        "run_seconds": sum(one["seconds"] for one in said),
        "core_seconds": sum(one["core_seconds"] for one in said),
    }


def out_of_memory(finding: Finding) -> bool:
    """Return whether an attempt ended since its memory ran out."""
    note = finding.evidence.note or {}
    return note.get("kind") == "memory" or finding.evidence.job is JobState.OUT_OF_MEMORY


def end_of(result: dict[str, Any], objectives: Sequence[str]) -> tuple[UnitState, str]:
    """Return how a unit with this result ends, and why."""
    if result["end"] == "pruned":
        return U.PRUNED, "not worth its time"
    missing = [name for name in objectives if result["metrics"].get(name) is None]
    if missing:
        return U.FAILED, f"the training reported no number for {', '.join(missing)}"
    return U.DONE, "result committed"
