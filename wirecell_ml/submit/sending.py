"""Sending: proposals become units, and planned attempts become jobs, each written to the ledger before it is sent."""

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from wirecell_ml.submit.backend import Refused, Unavailable
from wirecell_ml.submit.job import Batch, Resources, pieces
from wirecell_ml.submit.ledger import Attempt, Unit
from wirecell_ml.submit.session import Session
from wirecell_ml.submit.states import UNIT_ENDS, AttemptState, JobState, UnitState

log = logging.getLogger(__name__)

FEWEST_WAITING = 4  # units that wait in a queue before any has started, where later proposals learn from results
LARGEST_BACKOFF_S = 300.0
AT_ONCE = 500  # proposals in one transaction


def ask_queue(session: Session, at_once: bool = False) -> None:
    """Ask the batch system about every job that matters, if it is time to, and end those that matter no more."""
    picture = session.picture
    if not at_once and time.time() < picture.queue.asked_at + session.order.site.policy.poll_s:
        return
    tokens = {attempt.token for attempt in picture.out() if attempt.token}
    picture.queue.ask(session.backend, tokens | picture.leftover)
    if not picture.queue.silence:
        cancel_leftovers(session, tokens)


def cancel_leftovers(session: Session, wanted: set[str]) -> None:
    """End jobs of attempts that have ended: requeued by the batch system, or taken for lost while they lived."""
    picture = session.picture
    waiting = {token for token, state in picture.queue.jobs.items() if state in (JobState.WAITING, JobState.HELD)}
    running = {token for token, state in picture.queue.jobs.items() if state is JobState.RUNNING}
    picture.leftover &= waiting | running
    try:
        session.backend.cancel((picture.leftover & (waiting | picture.given_up)) - wanted)
    except (Unavailable, Refused) as error:
        log.warning("could not cancel jobs that are not needed any more: %s", error)


def propose(session: Session) -> bool:
    """Add as many units as there is room for; return whether there were any."""
    picture = session.picture
    number = min(room(session) - len(picture.planned()), session.order.units - len(picture.units), AT_ONCE)
    units: list[Unit] = []
    while len(units) < number and not picture.exhausted:
        unit = next_unit(session, len(picture.units) + len(units))
        picture.exhausted = unit is None
        if unit:
            units.append(unit)
    if units:
        add(session, units)
    return bool(units)


def room(session: Session) -> int:
    """Return how many jobs more may be sent now."""
    picture = session.picture
    if time.time() < picture.send_after:
        return 0
    out = picture.out()
    free = session.backend.room(session.order.site.resources, len(out))
    if not session.source.learns:
        return free
    running = sum(attempt.state is AttemptState.RUNNING for attempt in out)
    return min(free, max(FEWEST_WAITING, running) - (len(out) - running))


def next_unit(session: Session, number: int) -> Unit | None:
    """Return a unit with the next proposal, or None where there are no more."""
    proposal = session.source.ask()
    if proposal is None:
        return None
    asked, params = proposal
    assert asked == number, f"proposal {asked} for unit {number}"
    key = session.work.key(params, number)
    twin = session.picture.first_of.setdefault(key, number)
    return Unit(number, key, params, twin_of=None if twin == number else twin, why="proposed")


def add(session: Session, units: Sequence[Unit]) -> None:
    """Write proposed units into the ledger, each with its first attempt; one whose work is done ends at once."""
    picture = session.picture
    everyone = [*picture.units, *units]
    memory_gb = session.order.site.resources.memory_gb
    attempts = [session.next_attempt(unit, memory_gb, 0.0, "first") for unit in units if unit.twin_of is None]
    done = [(unit, everyone[unit.twin_of]) for unit in units if unit.twin_of is not None]
    with session.writer.transaction() as transaction:
        transaction.add_units(units)
        for attempt in attempts:
            transaction.add_attempt(attempt)
        for unit, twin in done:
            if twin.state in UNIT_ENDS:
                values = {"ended": time.time(), "result": twin.result, "progress": twin.progress}
                transaction.move_unit(unit, twin.state, f"the same work as unit {twin.number}: {twin.why}", **values)
    picture.units.extend(units)
    for unit in units:
        picture.add_unit(unit)
    for attempt in attempts:
        picture.add_attempt(attempt)
    session.end_units([unit for unit in units if unit.state in UNIT_ENDS])


def send(session: Session) -> bool:
    """Send the attempts whose time has come, as far as there is room; return whether there were any."""
    ready = [attempt for attempt in session.picture.planned() if attempt.not_before <= time.time()]
    if not ready or time.time() < session.picture.send_after:
        return False
    free = session.backend.room(session.order.site.resources, len(session.picture.out()))
    by_memory: dict[float, list[Attempt]] = defaultdict(list)
    for attempt in ready[: max(0, free)]:
        by_memory[attempt.memory_gb].append(attempt)
    largest = min(session.order.site.array_limit, session.picture.at_once or session.order.site.array_limit)
    batches = [(memory_gb, some) for memory_gb, attempts in by_memory.items() for some in pieces(attempts, largest)]
    for memory_gb, some in batches:
        send_batch(session, some, replace(session.order.site.resources, memory_gb=memory_gb))
        if session.picture.refusal:
            break
    return bool(batches)


def send_batch(session: Session, attempts: Sequence[Attempt], resources: Resources) -> None:
    """Send attempts as one batch; the ledger is told before, so that no crash can hide a job, and after."""
    picture, order = session.picture, session.order
    boxes = [order.box(attempt.number) for attempt in attempts]
    for box, attempt in zip(boxes, attempts, strict=True):
        session.work.write(box, picture.units[attempt.number].params, attempt.number)
        if box.stopped() == "stopped":
            box.allow()
        box.raise_fence(attempt.attempt)
    commands = [session.work.command(box, attempt.attempt) for box, attempt in zip(boxes, attempts, strict=True)]
    batch = Batch.of(order.study, commands, resources, order.folder / "jobs")
    with session.writer.transaction() as transaction:
        for attempt, job in zip(attempts, batch.jobs, strict=True):
            unit = picture.units[attempt.number]
            values = {"token": job.token, "submitted": time.time()}
            transaction.move_attempt(attempt, AttemptState.SUBMITTING, f"as {job.token}", **values)
            if unit.state is UnitState.PROPOSED:
                transaction.move_unit(unit, UnitState.QUEUED, f"to {order.site.name}")
    state, why = hand_over(session, batch)
    with session.writer.transaction() as transaction:
        for attempt in attempts:
            token = {"token": None} if state is AttemptState.PLANNED else {}
            transaction.move_attempt(attempt, state, why, **token)


def hand_over(session: Session, batch: Batch) -> tuple[AttemptState, str]:
    """Give a batch to the batch system; return what that makes of its attempts, and why."""
    picture, policy = session.picture, session.order.site.policy
    try:
        session.backend.submit(batch)
    except Refused as error:
        state, why = AttemptState.PLANNED, f"refused: {error}"
        picture.at_once = max(1, len(batch.jobs) // 2)  # a limit on jobs may be what it is
    except Unavailable as error:
        state, why = AttemptState.AMBIGUOUS, f"no answer: {error}"
    else:
        picture.backoff_s, picture.refusal, picture.at_once = 0.0, "", None
        return AttemptState.SUBMITTED, f"taken by {session.order.site.name}"
    log.warning("%s: %s", session.order.site.name, why)
    picture.refusal = why
    picture.backoff_s = min(LARGEST_BACKOFF_S, max(policy.backoff_s, 2 * picture.backoff_s))
    picture.send_after = time.time() + picture.backoff_s
    return state, why
