"""Sending: proposals become units, and planned attempts become jobs, each written to the ledger before it is sent."""

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from wirecell_ml.submit.backend import Refused, Unavailable
from wirecell_ml.submit.broker.past import Choice, Past, Place, Queued, Wanted
from wirecell_ml.submit.job import Batch, Resources, pieces
from wirecell_ml.submit.ledger import Attempt, Unit
from wirecell_ml.submit.memory import past_of
from wirecell_ml.submit.post import Address
from wirecell_ml.submit.session import AS_THE_SITE, Session, unsent
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.states import UNIT_ENDS, AttemptState, UnitState

log = logging.getLogger(__name__)

FEWEST_WAITING = 4  # units that wait in a queue before any has started, where later proposals learn from results
LARGEST_BACKOFF_S = 300.0
AT_ONCE = 500  # proposals in one transaction
WITHDRAW_S = 5.0  # between two looks at what waits too long


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
    """Return how many jobs more may be sent now, to all sites together."""
    picture = session.picture
    free = sum(place.room for place in places(session).values())
    if not session.source.learns:
        return free
    out = picture.out()
    running = sum(attempt.state is AttemptState.RUNNING for attempt in out)
    return min(free, max(FEWEST_WAITING, running) - (len(out) - running))


def places(session: Session) -> dict[str, Place]:
    """Return each site as it is now."""
    return {name: place(session, name, site) for name, site in session.order.sites.items()}


def place(session: Session, name: str, site: Site) -> Place:
    """Return a site as it is now; one that is being asked, or has refused jobs lately, has no room."""
    out, standing = session.picture.out(name), session.picture.sites[name]
    running = sum(attempt.state is AttemptState.RUNNING for attempt in out)
    closed = time.time() < standing.send_after or standing.asking is not None
    return Place(
        site=site,
        room=0 if closed else session.backends[name].room(site.resources, len(out)),
        waiting=len(out) - running,
        running=running,
        outlook_s=standing.outlook_s,
        trouble=standing.trouble,
    )


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
    attempts = [session.next_attempt(unit, AS_THE_SITE, 0.0, "first") for unit in units if unit.twin_of is None]
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
    """Send the attempts whose time has come where they suit best, old units first; return whether there were any."""
    now, picture = time.time(), session.picture
    ready = [attempt for attempt in picture.planned() if attempt.not_before <= now]
    ready.sort(key=lambda attempt: attempt.number)
    if not ready:
        return False
    session.broker.learn(past(session), now)
    wanted = [want(session, attempt) for attempt in ready]
    choices = session.broker.assign(wanted, places(session), left(session), now)
    together: dict[tuple[str, float], list[tuple[Attempt, Choice]]] = defaultdict(list)
    for attempt, choice in zip(ready, choices, strict=True):
        if choice:
            memory_gb = max(attempt.memory_gb, session.order.sites[choice.site].resources.memory_gb)
            together[choice.site, memory_gb].append((attempt, choice))
    for (name, memory_gb), chosen in together.items():
        send_to(session, name, memory_gb, chosen)
    return bool(together)


def withdraw(session: Session) -> None:
    """Mark the jobs that wait too long where they are, and would start sooner elsewhere."""
    picture, now = session.picture, time.time()
    if len(session.order.sites) == 1 or now < session.withdrawn_at + WITHDRAW_S:
        return
    session.withdrawn_at = now
    waiting = [attempt for attempt in picture.out() if attempt.state is AttemptState.SUBMITTED]
    session.broker.learn(past(session), now)
    queued = [queued_of(want(session, attempt), attempt) for attempt in waiting]
    picture.withdrawn = dict(session.broker.withdraw(queued, places(session), left(session), now))


def queued_of(wanted: Wanted, attempt: Attempt) -> Queued:
    """Return an attempt that waits at a site, for the broker."""
    assert attempt.token
    assert attempt.submitted is not None
    return Queued(
        attempt.token,
        attempt.number,
        attempt.attempt,
        attempt.site,
        attempt.submitted,
        wanted.memory_gb,
        wanted.avoid,
        wanted.barred,
    )


def want(session: Session, attempt: Attempt) -> Wanted:
    """Return what an attempt needs: rather not the sites where its unit came to nothing before."""
    avoid = frozenset(session.picture.unlucky.get(attempt.number, ()))
    barred = session.barred(attempt.memory_gb) if attempt.memory_gb else frozenset()
    return Wanted(attempt.number, attempt.attempt, attempt.memory_gb, avoid, barred)


def left(session: Session) -> int:
    """Return how many units have not ended and are at no site, those that are yet to be proposed too."""
    picture = session.picture
    return session.budget() - len(picture.units) + len(picture.open_units) - len(picture.out())


def past(session: Session) -> Iterator[Past]:
    """Yield what there is to learn from: the attempts of this study, ended or not, and those of others before."""
    if len(session.order.sites) == 1:
        return
    yield from session.memory
    for one in [*session.picture.past, *session.picture.out()]:
        if one.submitted is not None:
            yield past_of(one)


def send_to(session: Session, name: str, memory_gb: float, chosen: Sequence[tuple[Attempt, Choice]]) -> None:
    """Send attempts to a site, in batches that it takes."""
    site, standing = session.order.sites[name], session.picture.sites[name]
    size = replace(site.resources, memory_gb=memory_gb)
    for some in pieces(chosen, min(site.array_limit, standing.at_once or site.array_limit)):
        send_batch(session, site, size, some)
        if standing.refusal:
            return


def send_batch(session: Session, site: Site, resources: Resources, chosen: Sequence[tuple[Attempt, Choice]]) -> None:
    """Send attempts as one batch; the ledger is told before, so that no crash can hide a job, and after."""
    picture, order = session.picture, session.order
    addresses = [session.address(attempt) for attempt, _ in chosen]
    for address, (attempt, _) in zip(addresses, chosen, strict=True):
        prepare(session, site, attempt, address)
    commands = [session.work.command(address.box, address.attempt, site) for address in addresses]
    batch = Batch.of(order.study, commands, resources, order.folder / "jobs")
    with session.writer.transaction() as transaction:
        for (attempt, choice), job in zip(chosen, batch.jobs, strict=True):
            unit = picture.units[attempt.number]
            values = {
                "token": job.token,
                "submitted": time.time(),
                "site": site.name,
                "choice": {"why": choice.why} | choice.inputs,
            }
            values["memory_gb"] = resources.memory_gb
            transaction.move_attempt(attempt, AttemptState.SUBMITTING, f"to {site.name}: {choice.why}", **values)
            if unit.state is UnitState.PROPOSED:
                transaction.move_unit(unit, UnitState.QUEUED, f"to {site.name}")
    state, why = hand_over(session, site, batch, addresses)
    with session.writer.transaction() as transaction:
        for attempt, _ in chosen:
            values = unsent(attempt, site) if state is AttemptState.PLANNED else {}
            transaction.move_attempt(attempt, state, why, **values)


def prepare(session: Session, site: Site, attempt: Attempt, address: Address) -> None:
    """Write what the runner of an attempt needs, and let no attempt before it go on."""
    session.work.write(address.box, session.picture.units[attempt.number].params, attempt.number, site)
    if address.box.stopped() == "stopped":
        address.box.allow()
    address.box.raise_fence(attempt.attempt)
    for standing in session.picture.sites.values():
        for before in standing.leftover.values():
            if before.number == attempt.number:
                session.tell(before)


def hand_over(session: Session, site: Site, batch: Batch, addresses: Sequence[Address]) -> tuple[AttemptState, str]:
    """Give a batch to the batch system; return what that makes of its attempts, and why."""
    standing, sent = session.picture.sites[site.name], False
    try:
        packed = session.posts[site.name].pack(batch, addresses)
        sent = True
        session.backends[site.name].submit(packed)
    except Refused as error:
        state, why = AttemptState.PLANNED, f"refused: {error}"
        standing.at_once = max(1, len(batch.jobs) // 2)  # a limit on jobs may be what it is
    except Unavailable as error:
        state = AttemptState.AMBIGUOUS if sent else AttemptState.PLANNED
        why = f"no answer: {error}" if sent else f"the mailbox does not answer: {error}"
    else:
        standing.backoff_s, standing.refusal, standing.at_once = 0.0, "", None
        return AttemptState.SUBMITTED, f"taken by {site.name}"
    log.warning("%s: %s", site.name, why)
    standing.refusal = why
    standing.backoff_s = min(LARGEST_BACKOFF_S, max(site.policy.backoff_s, 2 * standing.backoff_s))
    standing.send_after = time.time() + standing.backoff_s
    return state, why
