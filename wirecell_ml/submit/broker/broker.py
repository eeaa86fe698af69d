"""The broker: which site each unit goes to, decided from what is given and nothing else."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from wirecell_ml.submit.broker.columns import Columns
from wirecell_ml.submit.broker.health import Health, read_health
from wirecell_ml.submit.broker.horizon import horizon_s, worth_their_money
from wirecell_ml.submit.broker.past import Choice, Past, Place, Queued, Wanted, Weights
from wirecell_ml.submit.broker.reasons import left_out, why_here, why_leave, why_rests
from wirecell_ml.submit.broker.speeds import Profile, Runs, most_at_once, read_runs
from wirecell_ml.submit.broker.view import View
from wirecell_ml.submit.broker.waits import Waits, read_waits
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.status import price

NEWEST = 300  # attempts of a site that ended: older ones are forgotten
LATELY_S = 3 * 3600.0  # for so long it is remembered how many units ran at once
BOUND = 0.5  # part of the units that have not started which may wait in queues; the others wait for better knowledge
SHRINK = 0.75  # part of the waits of late that a queue of ours is let shrink to: too short a one could run dry
SOON = 10  # polls: a unit that starts later in its queue can be taken out later
MARGIN = 0.1  # by this part later than the whole study a unit must end to be taken out of a queue


class Broker:
    """Chooses among sites; what it knows comes from ``learn``, so a restarted driver decides alike."""

    def __init__(
        self, sites: Mapping[str, Site], profiles: Mapping[str, Profile] | None = None, weights: Weights | None = None
    ) -> None:
        self.sites, self.profiles, self.weights = sites, profiles or {}, weights or Weights()
        self.learn((), 0.0)

    def learn(self, past: Iterable[Past], now: float) -> None:
        """Replace what is known by what these attempts tell."""
        by_site: dict[str, list[Past]] = defaultdict(list)
        for one in past:
            by_site[one.site].append(one)
        recent = {name: Columns.of(by_site[name], NEWEST) for name in self.sites}
        self.waits: dict[str, Waits] = {name: read_waits(some, now) for name, some in recent.items()}
        self.runs: dict[str, Runs] = read_runs(recent, self.sites, self.profiles, now)
        self.health: dict[str, Health] = {name: read_health(some, now) for name, some in recent.items()}
        self.peaks = {name: most_at_once(some, now - LATELY_S) for name, some in recent.items()}
        self.spent = self.spendings(by_site, now) if self.weights.budget is not None else 0.0
        self.cache: dict[str, dict[tuple[float, float | None], float]] = defaultdict(dict)

    def spendings(self, past: Mapping[str, Sequence[Past]], now: float) -> float:
        """Return what this study has cost until now."""
        spent = 0.0
        for name, site in self.sites.items():
            mine = Columns.of([one for one in past[name] if one.mine and one.started is not None])
            spent += price(float(mine.lasted_s(now).sum()), site.resources, site.cost)
        return spent

    def assign(
        self, wanted: Sequence[Wanted], places: Mapping[str, Place], left: int, now: float
    ) -> list[Choice | None]:
        """Return a site for each wanted attempt, or None for one that better waits at the driver."""
        if len(self.sites) == 1:
            return only_site(wanted, next(iter(self.sites)), places)
        return Round(self, places, left, now).assign(wanted)

    def withdraw(
        self, queued: Sequence[Queued], places: Mapping[str, Place], left: int, now: float
    ) -> list[tuple[str, str]]:
        """Return tokens of attempts that wait in a queue and would end sooner elsewhere, each with the reason."""
        if len(self.sites) == 1 or not queued:
            return []
        return Round(self, places, left, now).withdraw(queued)

    def views(self, places: Mapping[str, Place], pool: int) -> dict[str, View]:
        """Return the sites as they are now."""
        part, guess = self.weights.quantile, max(1.0, BOUND * pool / len(places))
        return {
            name: View(
                *(name, place, self.waits[name], self.runs[name], self.health[name]),
                part=part,
                peak=self.peaks[name],
                guess=max(1.0, min(guess, place.room)),
                cache=self.cache[name],
            )
            for name, place in places.items()
        }


class Round:
    """One round of decisions, in which each takes account of those before."""

    def __init__(self, broker: Broker, places: Mapping[str, Place], left: int, now: float) -> None:
        self.weights, self.left, self.now = broker.weights, left, now
        self.pool = left + sum(place.waiting for place in places.values())
        self.views = broker.views(places, self.pool)
        self.budget = math.inf if broker.weights.budget is None else broker.weights.budget - broker.spent
        self.out = {name: left_out(view) for name, view in self.views.items()}
        usable = [view for name, view in self.views.items() if not self.out[name]]
        worth = worth_their_money(usable, 3600 * broker.weights.hours_per_currency)
        for view in usable:
            if view not in worth:
                self.out[view.name] = "is not worth its price"
        self.open = worth
        self.rates = sum(view.rate for view in self.open)
        self.horizon_s = horizon_s(self.open, self.pool) if self.open else 0.0

    def assign(self, wanted: Sequence[Wanted]) -> list[Choice | None]:
        """Return a site for each wanted attempt, or None."""
        choices: list[Choice | None] = []
        for one in wanted:
            choice = self.choose(one)
            choices.append(choice)
            if choice is None and not one.avoid and not one.barred:
                break  # nobody after it is better off
        return choices + [None] * (len(wanted) - len(choices))

    def choose(self, one: Wanted) -> Choice | None:
        """Return the site where an attempt ends first, None where a better place will be free in time."""
        allowed = [view for view in self.open if view.name not in one.barred]
        takers = [view for view in allowed if self.has_room(view)]
        if not takers:
            return None
        # to know a site again is worth one unit, where that does not make the study longer
        on_trial = [view for view in takers if view.health.on_trial and view.done_s(view.ahead) <= self.horizon_s]
        best = min(on_trial or takers, key=lambda view: (self.done_s(view, one.avoid), view.name))
        soonest_s = min(self.done_s(view, one.avoid) for view in allowed)
        if best not in on_trial and self.done_s(best, one.avoid) > max(self.horizon_s, soonest_s):
            return None
        choice = self.choice(best, one)
        best.sent += 1
        self.budget -= best.price
        return choice

    def done_s(self, view: View, avoid: frozenset[str]) -> float:
        """Return when an attempt would end; where it failed before, it is expected to run once more in vain."""
        return view.done_s(view.ahead) + (view.long_run_s if view.name in avoid else 0.0)

    def has_room(self, view: View) -> bool:
        """Return whether a site takes one more, and its queue has not had its share yet."""
        if view.sent >= view.place.room or (view.price and view.price > self.budget):
            return False
        if view.health.on_trial:
            return view.ahead + view.place.running < 1
        return view.ahead < self.depth(view)

    def depth(self, view: View) -> int:
        """Return how many units may wait at a site.

        No more than its share of half the pool, or of all of it where none has to wait. Where our units have all slots,
        of all of it too, but no more than start before a new one would get through the queue.
        """
        soon = 2 * view.place.site.policy.poll_s * view.rate
        share = self.pool * view.rate / self.rates
        if view.waits.full:
            most = min(share, view.rate * max(view.wait_s(), SHRINK * view.waits.lately_s))
        else:
            most = share if view.place.running and not view.place.waiting else BOUND * share
        return math.ceil(max(1.0, soon, most))

    def choice(self, best: View, one: Wanted) -> Choice:
        """Return the choice of a site with its inputs."""
        numbers = {view.name: view.numbers() for view in self.open}
        out = {name: reason for name, reason in self.out.items() if reason}
        inputs = {"sites": numbers, "left_out": out, "horizon_s": round(self.horizon_s), "left": self.left}
        return Choice(best.name, inputs, why_here(best, self.open, out, one))

    def withdraw(self, queued: Sequence[Queued]) -> list[tuple[str, str]]:
        """Return attempts that would end too late where they wait, the last in each queue first."""
        found = []
        for name in sorted(self.views) if self.open else ():
            ours = sorted((one for one in queued if one.site == name), key=lambda one: (one.submitted, one.token))
            found += self.leaving(self.views[name], ours)
        return found

    def leaving(self, here: View, ours: Sequence[Queued]) -> list[tuple[str, str]]:
        """Return the attempts that should leave one queue: all of a site that rests, else those beyond the horizon.

        While others wait at the driver for better sites, only those that are about to start have to be decided on.
        """
        if here.health.closed_until:
            return [(one.token, why_rests(here)) for one in ours]
        poll_s = here.place.site.policy.poll_s
        latest_s, soon_s = (1 + MARGIN) * self.horizon_s + 2 * poll_s, SOON * poll_s if self.left else math.inf
        found = []
        for position, one in enumerate(ours):
            waited_s = self.now - one.submitted
            stays_s = here.done_s(position, waited_s)
            if stays_s > latest_s and here.queue_s(position, waited_s) < soon_s:
                better = self.better(here, one, stays_s)
                if better:
                    found.append((one.token, why_leave(here, stays_s, better, self.horizon_s)))
                    better.sent += 1
        return found

    def better(self, here: View, one: Queued, stays_s: float) -> View | None:
        """Return another site where an attempt that waits would end clearly sooner, those at the driver sent first."""
        others = [view for view in self.open if view is not here and view.name not in one.barred]
        for view in others:
            view.sent = max(view.sent, math.ceil(self.left * view.rate / self.rates))
        best = min(others, key=lambda view: (self.done_s(view, one.avoid), view.name), default=None)
        return best if best and (1 + MARGIN) * self.done_s(best, one.avoid) < stays_s else None


def only_site(wanted: Sequence[Wanted], name: str, places: Mapping[str, Place]) -> list[Choice | None]:
    """Return the one site for as many attempts as it has room for."""
    free = places[name].room
    return [Choice(name, {}, "the only site") if rank < free else None for rank in range(len(wanted))]
