"""The simulation: a policy drives a study through a scenario, with the calls and the late knowledge of the real driver.

A try waits as long as the scheduler keeps it, then for a slot, then runs, and may fail. The driver looks every
``poll_s``: what happened since then it does not know.
"""

import heapq
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Protocol

from wirecell_ml.submit.broker.ground import Ground, Try, backlog_s, typical_wait_s
from wirecell_ml.submit.broker.past import Choice, Past, Place, Queued, Wanted
from wirecell_ml.submit.broker.scenarios import HORIZON_H, Scenario
from wirecell_ml.submit.broker.world import make_world
from wirecell_ml.submit.job import Resources
from wirecell_ml.submit.site import Cost, Policy, Site
from wirecell_ml.submit.states import AttemptState

A = AttemptState
BROKEN, CRASH_S = "broken", 20.0  # how a unit ends at a site that is broken, and when
KNOWN_AS = {
    "succeeded": A.SUCCEEDED,
    "crashed": A.FAILED_INFRA,
    BROKEN: A.FAILED_INFRA,
    "preempted": A.PREEMPTED,
    "lost": A.LOST,
}


class Choosing(Protocol):
    """What chooses sites: the broker, or a policy to compare it with."""

    def learn(self, past: Iterable[Past], now: float) -> None:
        """Replace what is known."""
        ...

    def assign(
        self, wanted: Sequence[Wanted], places: Mapping[str, Place], left: int, now: float
    ) -> Sequence[Choice | None]:
        """Return a site for each wanted attempt, or None."""
        ...

    def withdraw(
        self, queued: Sequence[Queued], places: Mapping[str, Place], left: int, now: float
    ) -> Sequence[tuple[str, str]]:
        """Return tokens of attempts to be taken out of queues, each with the reason."""
        ...


@dataclass
class Day:
    """How a study went."""

    seconds: float  # until the last unit had ended; infinite where it did not
    cost: float
    tries: list[Try]


class Simulation:
    """One study on its way through a scenario."""

    def __init__(self, scenario: Scenario, policy: Choosing, watch: Callable[[int], None] | None = None) -> None:
        self.scenario, self.policy, self.watch = scenario, policy, watch
        self.grounds = {name: Ground(truth) for name, truth in make_world(scenario).items()}
        self.sites = make_sites(scenario)
        self.events: list[tuple[float, int, Callable[[float], None]]] = []
        self.order = count()
        self.news: list[Try] = []  # that started or ended, and the driver does not know yet
        self.ready = list(range(scenario.units))  # units that are at no site, in their order
        self.made: dict[int, list[Try]] = {unit: [] for unit in range(scenario.units)}
        self.done = 0
        self.last_s = 0.0
        self.polls = 0
        for name, ground in self.grounds.items():
            for time, slots in ground.truth.changes:
                self.at(time, lambda now, name=name, slots=slots: self.change(name, slots, now))  # type: ignore[misc]

    def at(self, time: float, act: Callable[[float], None]) -> None:
        """Let something happen at a time."""
        heapq.heappush(self.events, (time, next(self.order), act))

    def run(self) -> Day:
        """Run the study to its end."""
        now = 0.0
        while self.done < self.scenario.units and now < 3600 * HORIZON_H:
            while self.events and self.events[0][0] <= now:
                time, _, act = heapq.heappop(self.events)
                act(time)
            self.poll(now)
            now += self.scenario.poll_s
        tries = [one for made in self.made.values() for one in made]
        complete = self.done == self.scenario.units
        return Day(self.last_s if complete else float("inf"), sum(self.cost(one) for one in tries), tries)

    def cost(self, one: Try) -> float:
        """Return what a try has cost."""
        if one.started is None:
            return 0.0
        seconds = (self.last_s if one.ended is None else one.ended) - one.started
        return max(0.0, seconds) / 3600 * self.grounds[one.site].truth.day.hourly_price

    # the sites

    def change(self, name: str, slots: int, now: float) -> None:
        """Give a site more or fewer slots."""
        ground = self.grounds[name]
        ground.slots = slots
        kind = ground.trouble(now)
        if kind == "dead" or ground.truth.day.preemptible:
            for one in list(reversed(ground.running))[: max(0, len(ground.running) - slots)]:
                self.end(one, "lost" if kind == "dead" else "preempted", now)
        self.start(ground, now)

    def start(self, ground: Ground, now: float) -> None:
        """Start what may start."""
        while ground.queue and len(ground.running) < ground.slots:
            one = heapq.heappop(ground.queue)[2]
            if one.ended is not None:
                continue  # it was taken back
            one.started, one.node = now, heapq.heappop(ground.free)
            ground.running[one] = None
            self.news.append(one)
            kind, seconds = ground.truth.end(one.unit, ground.met[one.unit], one.node)
            if ground.trouble(now) == "broken":
                kind, seconds = BROKEN, CRASH_S
            self.at(now + seconds, lambda time, one=one, kind=kind: self.meet(one, kind, time))  # type: ignore[misc]

    def meet(self, one: Try, kind: str, now: float) -> None:
        """Let a try end as it was to end, if it has not ended otherwise."""
        if one.ended is None:
            self.grounds[one.site].met[one.unit] += kind != BROKEN
            self.end(one, kind, now)

    def end(self, one: Try, kind: str, now: float) -> None:
        """End a try; a lost one is known to be lost after its lease."""
        one.ended, one.kind = now, kind
        ground = self.grounds[one.site]
        ground.leave(one)
        if kind == "lost":
            self.at(now + ground.truth.day.lease_s, lambda _: self.news.append(one))
        else:
            self.news.append(one)
        self.start(ground, now)

    def enter(self, one: Try, now: float) -> None:
        """Let a try wait for a slot only: the scheduler would start it."""
        ground = self.grounds[one.site]
        heapq.heappush(ground.queue, (now, next(self.order), one))
        self.start(ground, now)

    # the driver

    def poll(self, now: float) -> None:
        """Look at everything once, as the driver does, and act."""
        for one in dict.fromkeys(self.news):  # one that started and ended is told of once
            self.hear(one, now)
        self.news.clear()
        self.policy.learn(self.past(), now)
        places = self.places(now)
        for token, _ in self.policy.withdraw(self.queued(), places, len(self.ready), now):
            self.take_back(token, now)
        self.send(now)
        self.polls += 1
        if self.watch:
            self.watch(self.done)

    def past(self) -> Iterator[Past]:
        """Yield what the driver knows of all tries that matter."""
        for ground in self.grounds.values():
            yield from ground.ended
            yield from ground.withdrawn
            yield from (one.past for one in ground.known)

    def send(self, now: float) -> None:
        """Send the units that the policy finds a site for."""
        places = self.places(now)
        room = sum(place.room for place in places.values())
        wanted = [self.wanted(unit) for unit in islice(self.ready, room)]
        choices = self.policy.assign(wanted, places, len(self.ready), now) if wanted else []
        taken = {one.number: choice.site for one, choice in zip(wanted, choices, strict=True) if choice}
        for unit, site in taken.items():
            self.submit(unit, site, now)
        if taken:
            self.ready = [unit for unit in self.ready if unit not in taken]

    def hear(self, one: Try, now: float) -> None:
        """Learn that a try has started, or how it ended."""
        if one.kind == "withdrawn":
            return
        ground = self.grounds[one.site]
        if one.past.started is None:
            one.past = replace(one.past, started=now, state=A.RUNNING)
            ground.at_work += 1
        if one.ended is None or (one.kind == "lost" and now < one.ended + ground.truth.day.lease_s):
            return
        assert one.started is not None
        ground.known.pop(one)
        ground.at_work -= 1
        ended = max(one.ended, one.past.started or 0.0)
        one.past = replace(one.past, ended=ended, state=KNOWN_AS[one.kind], run_s=one.ended - one.started)
        ground.ended.append(one.past)
        if one.kind == "succeeded":
            self.done += 1
            self.last_s = max(self.last_s, one.ended)
        else:
            insort(self.ready, one.unit)

    def places(self, now: float) -> dict[str, Place]:
        """Return the sites as the driver sees them."""
        return {name: self.place(name, ground, now) for name, ground in self.grounds.items()}

    def place(self, name: str, ground: Ground, now: float) -> Place:
        """Return one site as the driver sees it."""
        silent = ground.trouble(now) in ("silent", "dead")
        room = 0 if silent else max(0, ground.truth.day.in_flight - len(ground.known))
        outlook_s = None if silent else self.outlook_s(ground, now)
        waiting = len(ground.known) - ground.at_work
        return Place(self.sites[name], room, waiting, ground.at_work, outlook_s, "no answer" if silent else "")

    def outlook_s(self, ground: Ground, now: float) -> float | None:
        """Return what the scheduler says of a unit that comes now: about right."""
        day = ground.truth.day
        if day.outlook_error is None:
            return None
        error = float(ground.truth.forecast_error[self.polls % len(ground.truth.forecast_error)])
        return error * max(typical_wait_s(day, self.hour(now)), backlog_s(ground))

    def hour(self, now: float) -> float:
        """Return the hour of the day."""
        return self.scenario.start_h + now / 3600

    def queued(self) -> list[Queued]:
        """Return the tries that wait, as far as the driver knows."""
        return [
            Queued(one.token, one.unit, one.number, name, one.submitted, 1.0, self.failed_at(one.unit))
            for name, ground in self.grounds.items()
            for one in ground.known
            if one.past.started is None
        ]

    def wanted(self, unit: int) -> Wanted:
        """Return the next attempt at a unit."""
        return Wanted(unit, len(self.made[unit]) + 1, 1.0, self.failed_at(unit))

    def failed_at(self, unit: int) -> frozenset[str]:
        """Return the sites where a unit crashed or was lost."""
        return frozenset(one.site for one in self.made[unit] if one.past.state in (A.FAILED_INFRA, A.LOST))

    def submit(self, unit: int, site: str, now: float) -> None:
        """Send a unit to a site."""
        ground = self.grounds[site]
        sent = sum(one.site == site for one in self.made[unit])
        one = Try(unit, len(self.made[unit]) + 1, site, now)
        self.made[unit].append(one)
        ground.known[one] = None
        self.at(now + ground.truth.wait_s(unit, sent, self.hour(now)), lambda time: self.enter(one, time))

    def take_back(self, token: str, now: float) -> None:
        """Take a try out of its queue, if it has not just started."""
        unit, _, number = token.partition("-")
        one = self.made[int(unit)][int(number) - 1]
        ground = self.grounds[one.site]
        if one.started is not None:
            return
        ground.known.pop(one)
        one.ended, one.kind = now, "withdrawn"
        one.past = replace(one.past, ended=now, state=A.CANCELLED)
        ground.withdrawn.append(one.past)
        insort(self.ready, one.unit)


def make_sites(scenario: Scenario) -> dict[str, Site]:
    """Return the sites of a scenario as their YAML would describe them."""
    return {
        name: Site(
            name=name,
            kind="slurm",
            resources=Resources(cores=1),
            in_flight=day.in_flight,
            policy=Policy(poll_s=scenario.poll_s, lease_s=day.lease_s),
            cost=Cost(core_hour=day.hourly_price),
        )
        for name, day in scenario.sites.items()
    }
