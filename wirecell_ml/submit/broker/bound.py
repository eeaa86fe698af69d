"""The clairvoyant bound: a time, and a sum of time and money, that no policy can beat in a given world.

Every unit ends with one try that succeeds, at one site s. Chance has fixed how the tries of u at s end, one after the
other, and a try that is cut short otherwise leaves its fate to the next: so before u succeeds at s, all the failures
that come first there have run their time. With them it takes slots of s for at least ``run[u, s]`` seconds of a node of
factor 1, and it ends no sooner than ``end[u, s]``: its shortest wait at s, this time on the fastest node, and the
leases of tries that were lost. Take a policy that is done by T, and let x[u, s] be 1 where unit u succeeds at s. Then

  (1) Σ_s x[u, s] = 1 for each u, and x[u, s] = 0 where end[u, s] > T;
  (2) Σ_u x[u, s] run[u, s] ≤ A_s(T), the integral until T of the slots that s can have at work, of which k do no more
      than its k fastest nodes. Where slots go away, units may run on. If k run at t, the shortest of them takes at most
      L_k, the k-th longest run time of all units on the slowest node; so the last of them began after t − L_k, when the
      others ran already, and found k slots. Hence k units at work at t take that there were k slots at some time from
      t − L_k to t. Where slots that go away end units, L_k is 0.
  (3) Σ_u x[u, s] flight[u, s] ≤ n_s (T + one poll), where a unit waits and runs for at least ``flight`` before it has
      succeeded, and s takes n_s units at once, those that wait included. A driver sends, and hears of an end, at its
      polls only: ``flight`` is a whole number of them.

Tries that fail elsewhere, later waits, polls and what is not yet known only make this harder. Relax x ≥ 0 to fractions,
and move (2) into the objective with prices q_s ≥ 0, and (3) likewise: the money is at least

  D(T) = Σ_u min over s allowed by (1) of (cost[u, s] + q_s run[u, s]) − Σ_s q_s A_s(T)

for any q whatsoever, by weak duality: a bad q makes the bound weaker, never wrong. With all costs 0 a D(T) above 0 says
that no policy is done by T. The bound on time is the largest T that some q excludes; the bound on time plus money is
the least, over steps of T, of the begin of a step plus w times D at its end, since D falls with T.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.submit.broker.scenarios import HORIZON_H, Scenario
from wirecell_ml.submit.broker.world import Truth, make_world

Floats = NDArray[np.float64]

BISECTIONS, ASCENTS = 30, 240  # steps of T, and of the prices for each T
SCARCE, FLIGHT_PRICE = 2.0, 0.1  # units through places in flight, beside those through slots, that may be too few
GRID = 60  # steps of T for time plus money


@dataclass(frozen=True)
class Capacity:
    """The slots that one site can have at work, as the integral over time."""

    times: Floats
    integral: Floats

    def until(self, seconds: float) -> float:
        """Return the slot-seconds until then."""
        return float(np.interp(seconds, self.times, self.integral))


@dataclass(frozen=True)
class Instance:
    """A world as the bound sees it: matrices of units and sites."""

    takes_s: Floats  # (2, unit, site): in slots, on a node of factor 1, and in flight; failures included
    end_s: Floats  # (unit, site): soonest
    cost: Floats  # (unit, site)
    capacities: Sequence[Capacity]
    in_flight: Floats  # (site,)
    poll_s: float

    @cached_property
    def first_prices(self) -> Floats:
        """Prices to begin with, of shape (2, site), where slots cost 1."""
        most = np.array([(np.diff(of.integral) / np.diff(of.times).clip(1e-9)).max() for of in self.capacities])
        in_slots_s, in_flight_s = np.median(self.takes_s, axis=1)
        scarce = self.in_flight / in_flight_s < SCARCE * most / in_slots_s
        return np.array([np.ones(len(most)), np.where(scarce, FLIGHT_PRICE, 0.0)])

    def room_s(self, seconds: float) -> Floats:
        """Return the seconds in slots, and in flight, that there are until then, of shape (2, site)."""
        return np.array(
            [[capacity.until(seconds) for capacity in self.capacities], self.in_flight * (seconds + self.poll_s)]
        )


def make_instance(scenario: Scenario) -> Instance:
    """Return the world of a scenario as the bound sees it."""
    truths = list(make_world(scenario).values())
    whole = np.array([[truth.whole_s(unit) for truth in truths] for unit in range(scenario.units)])
    even_s, slot_s, lasting_s = whole[:, :, 0], whole[:, :, 1], whole[:, :, 2]
    prices = np.array([truth.day.hourly_price for truth in truths])
    starts_s = np.stack([truth.first_starts_s(scenario.start_h) for truth in truths], axis=1)
    capacities = [capacity(truth, float(starts_s[:, index].min())) for index, truth in enumerate(truths)]
    poll_s = scenario.poll_s
    flight_s = slot_s + np.stack([truth.least_wait_s(poll_s) for truth in truths], axis=1)
    flight_s = poll_s * np.ceil(flight_s / poll_s - 1e-9)
    in_flight = np.array([truth.day.in_flight for truth in truths], float)
    takes_s = np.stack([even_s, flight_s])
    return Instance(takes_s, starts_s + lasting_s, slot_s / 3600 * prices, capacities, in_flight, poll_s)


def capacity(truth: Truth, first: float) -> Capacity:
    """Return the most that a site can have at work, where nothing starts before ``first``."""
    begins = np.array([time for time, _ in truth.changes])
    broken = [(3600 * one.from_h, 3600 * one.to_h) for one in truth.day.outages if one.kind == "broken"]
    edges = np.unique(np.concatenate([begins, *[np.array(span) for span in broken]]))
    slots = np.array([truth.changes[int(np.searchsorted(begins, time, side="right")) - 1][1] for time in edges], float)
    slots = np.minimum(slots, truth.day.in_flight)
    for since, until in broken:  # what starts then does not succeed
        slots[(edges >= since) & (edges < until)] = 0.0
    levels = range(1, int(slots.max(initial=0.0)) + 1)
    longest = truth.day.staging_s + np.sort(truth.work_s)[::-1] / truth.slowest
    fastest = np.sort(truth.nodes)[::-1]
    overs_s = np.zeros(len(levels)) if truth.day.preemptible else longest
    steps: dict[float, float] = defaultdict(float)
    for level, factor, over_s in zip(levels, fastest, overs_s, strict=False):
        for since, until in spans(edges, slots >= level, float(over_s)):
            steps[max(first, since)] += factor
            steps[max(first, until)] -= factor
    times = np.array([first, *sorted(steps), 3600 * HORIZON_H])
    at_work = np.cumsum([0, *(steps[time] for time in sorted(steps))])
    return Capacity(times, np.concatenate([[0.0], np.cumsum(np.diff(times) * at_work)]))


def spans(edges: Floats, is_open: NDArray[np.bool_], over_s: float) -> list[tuple[float, float]]:
    """Return the times at which a slot is open or was so ``over_s`` before, as intervals that do not touch."""
    found: list[tuple[float, float]] = []
    ends = [*edges[1:], 3600 * HORIZON_H]
    for since, until in [(float(edges[i]), float(ends[i])) for i in np.flatnonzero(is_open)]:
        if found and since <= found[-1][1]:
            found[-1] = (found[-1][0], until + over_s)
        else:
            found.append((since, until + over_s))
    return [(since, min(until, 3600 * HORIZON_H)) for since, until in found]


def ascent(instance: Instance, seconds: float, prices: Floats) -> Iterator[float]:
    """Yield D for prices that rise, by a factor, where there is too much to do."""
    room_s = instance.room_s(seconds)
    for step in range(ASCENTS):
        value, used_s = least_cost(instance, seconds, prices)
        yield value - float((prices * room_s).sum())
        slope = (used_s - room_s) / np.maximum(1.0, room_s)
        prices = prices * np.exp(0.5 / (1 + step / 10) * np.clip(slope, -1, 1))


def least_cost(instance: Instance, seconds: float, prices: Floats) -> tuple[float, Floats]:
    """Return what all units cost at least at these prices, and the seconds that they then take, of shape (2, site)."""
    priced = instance.cost + (prices[:, None, :] * instance.takes_s).sum(axis=0)
    priced[instance.end_s > seconds] = np.inf
    chosen = priced.argmin(axis=1)
    everyone = np.arange(len(chosen))
    used_s = [np.bincount(chosen, of[everyone, chosen], minlength=priced.shape[1]) for of in instance.takes_s]
    return float(priced[everyone, chosen].sum()), np.array(used_s)


def excluded(instance: Instance, seconds: float) -> bool:
    """Return whether some prices show that no policy is done by then."""
    if (instance.end_s.min(axis=1) > seconds).any():
        return True
    free = replace(instance, cost=np.zeros_like(instance.cost))
    prices = instance.first_prices / np.median(instance.takes_s, axis=1)
    return any(value > 1e-9 * len(instance.cost) for value in ascent(free, seconds, prices))


def bound_s(instance: Instance) -> float:
    """Return a time that no policy beats."""
    low, high = 0.0, 3600 * HORIZON_H
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if excluded(instance, middle) else (low, middle)
    return low


def bound_with_money_s(instance: Instance, seconds_per_currency: float) -> float:
    """Return a sum of time and money, counted in seconds, that no policy beats."""
    soonest = bound_s(instance)
    if not seconds_per_currency:
        return soonest
    cheapest = float(instance.cost.min(axis=1).sum())
    steps = np.geomspace(soonest, 3600 * HORIZON_H, GRID)
    sums = [begin + seconds_per_currency * max(cheapest, dearest(instance, end)) for begin, end in pairwise(steps)]
    return float(min(sums))


def dearest(instance: Instance, seconds: float) -> float:
    """Return the largest D that was found: money that a policy which is done by then has to pay at least."""
    typical = float(np.median(instance.cost.max(axis=1) / instance.takes_s[0].max(axis=1)))
    return max(0.0, *ascent(instance, seconds, instance.first_prices * max(1e-12, typical)))
