"""One site at work in a simulation: what waits and runs there, and what of it the driver knows."""

import heapq
from collections import Counter, deque
from dataclasses import dataclass, field

from wirecell_ml.submit.broker.broker import NEWEST
from wirecell_ml.submit.broker.past import Past
from wirecell_ml.submit.broker.scenarios import SiteDay, hourly
from wirecell_ml.submit.broker.world import Truth
from wirecell_ml.submit.states import AttemptState


@dataclass(eq=False)
class Try:
    """One attempt at a unit."""

    unit: int
    number: int  # of all attempts at the unit, from 1
    site: str
    submitted: float
    started: float | None = None
    ended: float | None = None
    node: int | None = None
    kind: str = ""  # how it ended
    past: Past = field(init=False)  # as the driver knows it

    def __post_init__(self) -> None:
        self.past = Past(self.site, self.submitted, None, None, AttemptState.SUBMITTED)

    @property
    def token(self) -> str:
        """Its name."""
        return f"{self.unit}-{self.number}"


@dataclass
class Ground:
    """A site at work."""

    truth: Truth
    slots: int = 0
    queue: list[tuple[float, int, Try]] = field(default_factory=list)  # that may start, the longest waiting first
    running: dict[Try, None] = field(default_factory=dict)  # in the order of their starts
    free: list[int] = field(init=False)  # nodes with nothing on them
    known: dict[Try, None] = field(default_factory=dict)  # open, as the driver knows them
    at_work: int = 0  # of these, started
    met: Counter[int] = field(default_factory=Counter)  # unit → tries here that ended by chance
    ended: deque[Past] = field(default_factory=lambda: deque(maxlen=NEWEST))
    withdrawn: deque[Past] = field(default_factory=lambda: deque(maxlen=NEWEST))

    def __post_init__(self) -> None:
        self.free = list(range(len(self.truth.nodes)))

    def leave(self, one: Try) -> None:
        """Free the node of a try."""
        del self.running[one]
        assert one.node is not None
        heapq.heappush(self.free, one.node)

    def trouble(self, now: float) -> str:
        """Return the kind of outage at a moment, "" for none."""
        for outage in self.truth.day.outages:
            if outage.from_h <= now / 3600 < outage.to_h:
                return outage.kind
        return ""


def typical_wait_s(day: SiteDay, hour: float) -> float:
    """Return the median wait at an hour of the day."""
    if day.waits_s:
        return sorted(day.waits_s)[len(day.waits_s) // 2]
    return hourly(day.wait_s, hour)


def backlog_s(ground: Ground) -> float:
    """Return how long those take that stand before the next in a queue."""
    if len(ground.running) < ground.slots:
        return 0.0
    return (len(ground.queue) + 1) * ground.truth.typical_run_s / max(1, ground.slots)
