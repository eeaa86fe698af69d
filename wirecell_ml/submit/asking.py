"""Asking: what each site says of the jobs that it has, and the end of those that are needed no more.

Sites are asked side by side: one that is silent, whose commands take their half minute to give up, delays no other.
"""

import logging
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from wirecell_ml.submit.backend import Backend, Refused, Unavailable
from wirecell_ml.submit.job import Resources
from wirecell_ml.submit.picture import Answer, Standing
from wirecell_ml.submit.post import Address, Post
from wirecell_ml.submit.session import Session
from wirecell_ml.submit.states import UNIT_ENDS, JobState

log = logging.getLogger(__name__)

ANSWER_S = 1.0  # that a driver waits for answers; those that take longer are taken in later
OUTLOOK_S = 60.0  # between two questions when a job would start
WAITING = (JobState.WAITING, JobState.HELD)
LIVE = (*WAITING, JobState.RUNNING)
ENDED = (JobState.ENDED, JobState.OUT_OF_MEMORY, JobState.HELD)


def ask_sites(session: Session, at_once: bool = False) -> None:
    """Ask each site about every job that matters, if it is time to, and end the jobs that matter no more.

    ``at_once``: ask all, and wait for all answers.
    """
    standings = {name: session.picture.sites[name] for name in session.backends}
    if at_once:
        take_answers(session, standings, None)
    for name, standing in standings.items():
        due = time.time() >= standing.queue.asked_at + session.order.site(name).policy.poll_s
        if standing.asking is None and (due or at_once):
            standing.queue.asked_at = time.time()
            standing.asking = session.pool.submit(question(session, name, standing))
    take_answers(session, standings, None if at_once else ANSWER_S)


def question(session: Session, name: str, standing: Standing) -> "partial[Answer]":
    """Return the question to a site, which may be asked in another thread."""
    picture = session.picture
    attempts = [one for one in [*picture.out(name), *standing.leftover.values()] if one.token]
    awaited = [one for one in attempts if picture.units[one.number].state not in UNIT_ENDS]
    curious = len(session.order.sites) > 1 and time.time() > standing.outlook_at + OUTLOOK_S
    asked = Question(
        tokens=frozenset(str(one.token) for one in attempts),
        addresses={str(one.token): session.address(one) for one in awaited},
        untold=dict(standing.untold),
        known=frozenset(standing.fetched),
        folder=session.order.folder / "jobs",
        size=session.order.site(name).resources if curious and picture.planned() else None,
    )
    return partial(ask, session.backends[name], session.posts[name], asked)


@dataclass(frozen=True)
class Question:
    """What a site is asked."""

    tokens: frozenset[str]  # of all jobs that matter
    addresses: Mapping[str, Address]  # by token, of those that may yet write something
    untold: Mapping[str, Address]  # attempts whose workers are told of fence and stop mark on this occasion
    known: frozenset[str]  # tokens of ended jobs of which all is known
    folder: Path  # where what they printed belongs
    size: Resources | None  # when would one of this size start? None: no matter


def ask(backend: Backend, post: Post, asked: Question) -> Answer:
    """Return what a site answers."""
    asked_at = time.time()
    try:
        jobs = backend.states(asked.tokens) if asked.tokens else {}
        for token, address in asked.untold.items():
            post.tell(token, address)
        post.collect(asked.addresses)
        ended = [token for token, state in jobs.items() if state in ENDED and token not in asked.known]
        fetched = ended if bring_words(backend, ended, asked.folder) else []
        said = {token: backend.explain(token) for token in ended if unheard(asked.addresses.get(token))}
        outlook_s = backend.outlook(asked.size) if asked.size else None
    except (Unavailable, Refused) as error:
        return Answer(asked_at, asked.tokens, silence=str(error) or "no answer")
    return Answer(asked_at, asked.tokens, jobs, said, frozenset(asked.untold), outlook_s, frozenset(fetched))


def bring_words(backend: Backend, ended: Collection[str], folder: Path) -> bool:
    """Bring what ended jobs have printed; return whether it came: a site without it is not silent, and asked again."""
    try:
        backend.fetch(ended, folder)
    except (Unavailable, Refused) as error:
        log.info("what jobs have printed does not come: %s", error)
        return False
    return True


def unheard(address: Address | None) -> bool:
    """Return whether the runner of an attempt has never been heard of."""
    return address is not None and address.box.beat(address.attempt) is None


def take_answers(session: Session, standings: Mapping[str, Standing], patience_s: float | None) -> None:
    """Take in the answers that come within ``patience_s`` seconds; all of them where it is None."""
    asked: list[Future[Answer]] = [standing.asking for standing in standings.values() if standing.asking]
    wait(asked, patience_s)
    for name, standing in standings.items():
        if standing.asking and standing.asking.done():
            answer, standing.asking = standing.asking.result(), None
            standing.queue.take(answer)
            if not answer.silence:
                heed(session, name, standing, answer)


def heed(session: Session, name: str, standing: Standing, answer: Answer) -> None:
    """Do what an answer asks for."""
    standing.said |= answer.said
    standing.fetched |= answer.fetched
    standing.untold = {token: address for token, address in standing.untold.items() if token not in answer.told}
    if answer.outlook_s is not None:
        standing.outlook_s, standing.outlook_at = answer.outlook_s, answer.asked_at
    cancel_leftovers(session, name, standing)


def cancel_leftovers(session: Session, name: str, standing: Standing) -> None:
    """End jobs of attempts that have ended: requeued by the batch system, or taken for lost while they lived."""
    jobs = standing.queue.jobs
    standing.leftover = {token: one for token, one in standing.leftover.items() if jobs.get(token) in LIVE}
    wanted = {attempt.token for attempt in session.picture.out(name)}
    ended = [t for t in standing.leftover if jobs[t] in WAITING or t in session.picture.given_up]
    try:
        session.backends[name].cancel([token for token in ended if token not in wanted])
    except (Unavailable, Refused) as error:
        log.warning("%s: could not cancel jobs that are not needed any more: %s", name, error)
