"""Settling: what the evidence says of each attempt becomes a transition, and what follows for its unit another."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from wirecell_ml.submit.following import read_progress
from wirecell_ml.submit.ledger import Attempt, Transaction, Unit
from wirecell_ml.submit.mailbox import UnitBox, clock
from wirecell_ml.submit.session import Session, unsent
from wirecell_ml.submit.states import (
    ATTEMPT_ENDS,
    AttemptState,
    Evidence,
    JobState,
    Patience,
    UnitState,
    Verdict,
    judge,
    judge_silent,
)

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
        site = self.session.order.site(attempt.site)
        values: dict[str, Any] = unsent(attempt, site) if verdict.state is A.PLANNED else {}
        if verdict.state is A.RUNNING:
            values = {"started": time.time()}
        if verdict.state in ATTEMPT_ENDS:
            values = ending(self.session.order.box(attempt.number), attempt, finding.evidence)
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
        site = self.session.order.site(attempt.site)
        policy = site.policy
        memory_gb = float(unsent(attempt, site)["memory_gb"])
        if out_of_memory(finding):
            memory_gb = attempt.memory_gb * policy.more_memory
        wait_s = policy.backoff_s if finding.verdict.state in (A.FAILED_INFRA, A.LOST) else 0.0
        planned = self.session.next_attempt(unit, memory_gb, wait_s, f"after {finding.verdict.state}: {why}")
        self.transaction.add_attempt(planned)
        self.planned.append(planned)

    def obstacle(self, finding: Finding) -> str | None:
        """Return why another attempt would not do better, or None."""
        number, state, why = finding.attempt.number, finding.verdict.state, finding.verdict.why
        policy, picture = self.session.order.site(finding.attempt.site).policy, self.session.picture
        if state is A.FAILED_APP:
            return why
        if out_of_memory(finding):
            return self.too_large(finding.attempt)
        if state is A.FAILED_INFRA and picture.failed[number] >= policy.failures:
            return f"given up after {policy.failures + 1} failures: {why}"
        if state in INTERRUPTIONS and picture.lost[number] >= policy.preemptions:
            return f"given up after {policy.preemptions + 1} interruptions: {why}"
        return None

    def too_large(self, attempt: Attempt) -> str | None:
        """Return why a unit whose memory ran out cannot have more, at any site, or None."""
        site = self.session.order.site(attempt.site)
        if attempt.memory_gb > site.resources.memory_gb:
            return f"memory ran out twice, with {attempt.memory_gb:g} GB"
        more_gb = attempt.memory_gb * site.policy.more_memory
        obstacles = [self.session.obstacle_at(one, more_gb) for one in self.session.order.sites.values()]
        if all(obstacles):
            return f"memory ran out, and there is no more: {obstacles[0]}"
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
    policy = session.order.site(attempt.site).policy
    verdict: Verdict | None
    if attempt.state in (A.SUBMITTING, A.AMBIGUOUS):
        verdict = judge_submission(seen, policy.patience())
    else:
        verdict = judge(seen, policy.patience()) or judge_waiting(session, attempt, seen)
        if verdict is None and attempt.state is A.SUBMITTED and seen.beat_age_s is not None:
            verdict = Verdict(A.RUNNING, "heartbeat")
    return Finding(attempt, verdict, seen) if verdict else None


def judge_waiting(session: Session, attempt: Attempt, seen: Evidence) -> Verdict | None:
    """Return the end of an attempt that has not begun and is no longer wanted where it waits, or None."""
    if seen.job is not JobState.WAITING or seen.beat_age_s is not None:
        return None
    if session.order.stopping():
        return Verdict(A.CANCELLED, "the study was stopped before the job began")
    why = session.picture.withdrawn.get(str(attempt.token))
    return Verdict(A.CANCELLED, why) if why else None


def gather(session: Session, attempt: Attempt, now: float) -> Evidence:
    """Return all that is known of an attempt."""
    box, queue = session.order.box(attempt.number), session.picture.queue(attempt)
    assert attempt.token
    assert attempt.submitted is not None
    beat = box.beat(attempt.attempt)
    age_s = None if beat is None else max(0.0, now - beat)
    if age_s is not None and session.order.site(attempt.site).mailbox:  # nobody hears of it while its post is away
        age_s = None if queue.silence else min(age_s, queue.answering_s())
    return Evidence(
        result=box.result(),
        note=box.note(attempt.attempt) if beat is not None else None,
        beat_age_s=age_s,
        job=queue.jobs.get(attempt.token),
        answered=queue.answered_at > attempt.submitted and not queue.silence,
        running_s=queue.running_s(attempt.token),
        quiet_s=queue.quiet_s(attempt.token),
        waiting_s=time.time() - attempt.submitted,
        silent_s=queue.silent_s() if len(session.order.sites) > 1 else 0.0,
        said=session.picture.sites[attempt.site].said.get(attempt.token, ""),
    )


def judge_submission(seen: Evidence, patience: Patience) -> Verdict | None:
    """Return what became of a submission whose fate was not known."""
    if seen.result is not None or seen.beat_age_s is not None or seen.job is not None:
        return Verdict(A.SUBMITTED, "found by its token")
    if seen.answered and seen.quiet_s >= patience.grace_s:
        return Verdict(A.PLANNED, "the batch system does not know it: it never arrived")
    return None if seen.answered else judge_silent(seen, patience)


def ending(box: UnitBox, attempt: Attempt, seen: Evidence) -> dict[str, float]:
    """Return when an attempt began and ended, and the wall-clock and CPU time of its starts, as far as they said."""
    said = box.notes(attempt.attempt)
    if seen.result and seen.result.get("attempt") == attempt.attempt:
        said.append(seen.result)
    times = {
        "ended": time.time(),
        "run_seconds": sum(one["seconds"] for one in said),
        "core_seconds": sum(one["core_seconds"] for one in said),
    }
    if attempt.started is None and said:  # it was over before it was seen to run
        times["started"] = times["ended"] - times["run_seconds"]
    return times


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
