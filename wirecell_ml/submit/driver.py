"""The driver of a study: proposes units, sends them, reads what they write, and sees that each ends exactly once.

It may die at any moment: what it knows is in the ledger, what the units did is in their mailbox, and the next driver
goes on from both. Its picture of them in memory is thrown away whenever the ledger or a disk did not answer.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from wirecell_ml.submit import asking, following, sending, settling
from wirecell_ml.submit.backend import make_backend
from wirecell_ml.submit.broker.broker import Broker
from wirecell_ml.submit.broker.past import Past
from wirecell_ml.submit.database import LedgerUnavailable
from wirecell_ml.submit.ledger import Ledger
from wirecell_ml.submit.memory import read_profiles
from wirecell_ml.submit.picture import Picture, read_picture
from wirecell_ml.submit.post import make_post
from wirecell_ml.submit.session import Order, Session, Source, Work

log = logging.getLogger(__name__)

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 1.0  # between two looks into the mailbox
BEAT_S = 10.0  # between two signs of life of the driver
AWAY_S = 2.0  # before a ledger or a disk that did not answer is tried again


class Driver:
    """Drives one study to its end."""

    def __init__(
        self,
        order: Order,
        ledger: Ledger,
        work: Work,
        make_source: Callable[[], Source],
        memory: Sequence[Past] = (),
    ) -> None:
        self.order, self.ledger, self.work, self.make_source, self.memory = order, ledger, work, make_source, memory
        sites = {**order.retired, **order.sites}
        self.backends = {name: make_backend(site) for name, site in sites.items()}
        self.posts = {name: make_post(site) for name, site in sites.items()}
        self.pool = ThreadPoolExecutor(len(sites), thread_name_prefix="site")
        self.watchers: list[Callable[[Picture], None]] = []
        self.epoch: int | None = None  # that this driver has had before; None: it has not begun

    def run(self) -> bool:
        """Drive the study until every unit has ended, or the user stops it; return whether every unit has ended.

        Raises Superseded if another driver takes over. A ledger or a disk that is away is waited for.
        """
        while True:
            try:
                return self.drive()
            except (LedgerUnavailable, OSError) as error:
                log.warning("%s. Nothing is lost; trying again", error)
                time.sleep(AWAY_S)

    def drive(self) -> bool:
        """Drive the study from where the ledger has it."""
        session = self.begin()
        beat_at, pause = time.time(), SHORTEST_PAUSE_S
        while not over(session):
            pause = SHORTEST_PAUSE_S if step(session) else min(LONGEST_PAUSE_S, 1.5 * pause)
            if time.time() > beat_at + BEAT_S:
                session.writer.beat()
                beat_at = time.time()
            session.writer.trouble = session.picture.trouble
            for watch in self.watchers:
                watch(session.picture)
            time.sleep(pause)
        asking.ask_sites(session, at_once=True)  # nothing of this study shall wait in a queue
        session.writer.leave()
        return not session.picture.open_units and len(session.picture.units) >= session.budget()

    def begin(self) -> Session:
        """Take the study over."""
        writer = self.ledger.take(self.order.study, self.epoch)
        self.epoch = writer.epoch
        picture, source = read_picture(self.ledger, self.order.study), self.make_source()
        source.restore(picture.units)
        session = Session(
            order=self.order,
            backends=self.backends,
            posts=self.posts,
            broker=Broker(self.order.sites, read_profiles(self.order.sites)),
            memory=self.memory,
            work=self.work,
            source=source,
            writer=writer,
            picture=picture,
            pool=self.pool,
        )
        for attempt in picture.past:
            if attempt.number in picture.open_units:
                session.tell(attempt)  # which an earlier driver may not have come to
        return session


def over(session: Session) -> bool:
    """Return whether there is nothing left to do."""
    if session.order.stopping():
        return not session.picture.out()
    return len(session.picture.units) >= session.budget() and not session.picture.open_units


def step(session: Session) -> bool:
    """Look at everything once and act on it; return whether anything happened."""
    asking.ask_sites(session)
    sending.withdraw(session)
    happened = settling.settle(session)
    following.follow(session)
    stop = session.order.stopping()
    if stop == "checkpoint":
        for attempt in session.picture.out():
            session.stop(attempt, "stopped")
    if stop:
        return happened
    proposed = sending.propose(session)
    return sending.send(session) or proposed or happened
