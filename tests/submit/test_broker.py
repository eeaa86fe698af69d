"""The broker: where units go, which are taken back, and why, from what it is told and nothing else."""

import json
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirecell_ml.submit.broker.broker import Broker
from wirecell_ml.submit.broker.past import Past, Place, Queued, Wanted, Weights
from wirecell_ml.submit.job import Resources
from wirecell_ml.submit.site import Cost, Policy, Site
from wirecell_ml.submit.states import AttemptState

A = AttemptState
NOW = 36000.0


def site(name: str, **changes: Any) -> Site:
    """Return a site that asks for nothing unusual."""
    return Site(name=name, kind="slurm", resources=Resources(cores=1), policy=Policy(poll_s=60), **changes)


SITES = {name: site(name) for name in ("fast", "slow")}


def places(sites: dict[str, Site] | None = None, **changes: dict[str, Any]) -> dict[str, Place]:
    """Return sites that have room and nothing of ours, apart from the changes."""
    sites = sites or SITES
    return {
        name: replace(Place(of, room=100, waiting=0, running=0), **changes.get(name, {})) for name, of in sites.items()
    }


def ran(name: str, run_s: float, number: int = 20, state: AttemptState = A.SUCCEEDED, wait_s: float = 10) -> list[Past]:
    """Return attempts that began one after the other in the last hours."""
    begins = [NOW - 1000 - 100.0 * n - run_s for n in range(number)]
    return [Past(name, begin - wait_s, begin, begin + run_s, state, run_s) for begin in begins]


def wanted(number: int, **changes: Any) -> list[Wanted]:
    """Return first attempts at so many units."""
    return [Wanted(n, 1, 4.0, **changes) for n in range(number)]


def taught(*past: Past, sites: dict[str, Site] | None = None, weights: Weights | None = None) -> Broker:
    """Return a broker that has learned from these attempts."""
    broker = Broker(sites or SITES, weights=weights)
    broker.learn(past, NOW)
    return broker


def chosen(broker: Broker, number: int, at: dict[str, Place], left: int | None = None, **changes: Any) -> Counter[str]:
    """Return how many units go to each site; those that wait at the driver are under ""."""
    choices = broker.assign(wanted(number, **changes), at, number if left is None else left, NOW)
    return Counter(choice.site if choice else "" for choice in choices)


BOTH = [*ran("fast", 600), *ran("slow", 6000)]


def test_one_site_takes_all_that_it_has_room_for() -> None:
    broker = Broker({"fast": SITES["fast"]})
    choices = broker.assign(wanted(5), {"fast": Place(SITES["fast"], 3, 0, 0)}, 5, NOW)
    assert [choice and (choice.site, choice.why) for choice in choices] == [("fast", "the only site")] * 3 + [None] * 2
    assert broker.withdraw([Queued("t", 0, 1, "fast", 0.0, 4.0)], {}, 0, NOW) == []


def test_sites_that_nobody_knows_are_all_tried() -> None:
    assert min(chosen(Broker(SITES), 40, places()).values()) >= 10


def test_the_last_unit_goes_where_it_ends_first() -> None:
    busy = places(fast={"running": 4}, slow={"running": 0})
    assert chosen(taught(*BOTH), 1, busy) == {"fast": 1}


def test_near_the_end_a_unit_waits_for_the_fast_site() -> None:
    full = places(fast={"room": 0, "running": 4}, slow={"running": 4})
    assert chosen(taught(*BOTH), 3, full) == {"": 3}


def test_with_much_left_the_slow_site_works_too() -> None:
    some = places(fast={"running": 4, "room": 900}, slow={"running": 4, "room": 900})
    found = chosen(taught(*BOTH), 200, some, left=2000)
    assert found["slow"] > 0
    assert found["fast"] > found["slow"]


def test_no_more_than_there_is_room_for() -> None:
    assert chosen(Broker(SITES), 50, places(fast={"room": 2}, slow={"room": 3})) == {"fast": 2, "slow": 3, "": 45}


def test_a_site_that_does_not_answer_gets_nothing() -> None:
    assert set(chosen(taught(*BOTH), 4, places(fast={"trouble": "no answer"}))) <= {"slow", ""}


def test_a_site_that_only_fails_gets_nothing_and_loses_its_queue() -> None:
    failing = [Past("fast", NOW - 100, NOW - 90, NOW - 80 + n, A.FAILED_INFRA, 10) for n in range(8)]
    broker = taught(*BOTH, *failing)
    assert "fast" not in chosen(broker, 10, places())
    found = broker.withdraw([Queued("t1", 7, 1, "fast", NOW - 50, 4.0)], places(fast={"waiting": 1}), 0, NOW)
    assert [token for token, _ in found] == ["t1"]
    assert "in a row" in found[0][1]


def test_a_site_on_trial_gets_one_unit() -> None:
    failing = [Past("fast", NOW - 1500, NOW - 1490, NOW - 1480 + n, A.FAILED_INFRA, 10) for n in range(4)]
    broker = taught(*ran("slow", 6000), *failing)
    assert chosen(broker, 30, places(), left=3000)["fast"] == 1
    assert chosen(broker, 30, places(fast={"running": 1}), left=3000)["fast"] == 0


def test_a_site_that_cannot_hold_a_unit_is_barred() -> None:
    found = chosen(taught(*BOTH), 4, places(), barred=frozenset({"fast"}))
    assert found["slow"] > 0
    assert "fast" not in found


def test_a_unit_that_failed_somewhere_goes_elsewhere_if_that_costs_little() -> None:
    alike = [*ran("fast", 600), *ran("slow", 650)]
    assert chosen(taught(*alike), 1, places()) == {"fast": 1}
    assert chosen(taught(*alike), 1, places(), avoid=frozenset({"fast"})) == {"slow": 1}


def test_a_dear_site_is_used_only_where_its_time_is_worth_the_money() -> None:
    sites = {"fast": site("fast", cost=Cost(core_hour=1.0)), "slow": site("slow")}
    past = [*ran("fast", 600), *ran("slow", 900)]
    at = places(sites, fast={"running": 5}, slow={"running": 5})
    for hours, goes in [(0.0, True), (10.0, False)]:
        broker = taught(*past, sites=sites, weights=Weights(hours_per_currency=hours))
        assert ("fast" in chosen(broker, 40, at)) is goes


def test_a_budget_is_not_exceeded() -> None:
    sites = {"fast": site("fast", cost=Cost(core_hour=6.0)), "slow": site("slow", cost=Cost(core_hour=6.0))}
    past = [*ran("fast", 600), *ran("slow", 600)]  # 20 units at 1 each, twice
    for budget, sent in [(39.0, 0), (45.5, 5)]:
        broker = taught(*past, sites=sites, weights=Weights(budget=budget))
        assert 30 - chosen(broker, 30, places(sites))[""] == pytest.approx(sent, abs=1)


def test_a_unit_in_a_slow_queue_is_taken_back_at_the_end() -> None:
    at = places(fast={"running": 4}, slow={"waiting": 1, "running": 2})
    queued = [Queued("t9", 9, 1, "slow", NOW - 300, 4.0)]
    ((token, why),) = taught(*BOTH).withdraw(queued, at, 0, NOW)
    assert token == "t9"  # noqa: S105
    assert "slow" in why
    assert "fast" in why


def test_a_unit_stays_where_it_would_not_gain() -> None:
    at = places(fast={"waiting": 1, "running": 4}, slow={"running": 2})
    assert taught(*BOTH).withdraw([Queued("t9", 9, 1, "fast", NOW - 300, 4.0)], at, 0, NOW) == []


def test_what_was_taken_back_is_not_sent_there_again() -> None:
    at = places(fast={"running": 4}, slow={"waiting": 1, "running": 2})
    broker = taught(*BOTH)
    assert broker.withdraw([Queued("t9", 9, 1, "slow", NOW - 300, 4.0)], at, 0, NOW)
    assert set(chosen(broker, 1, places(fast={"running": 4}, slow={"running": 2}))) <= {"fast", ""}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_where_nothing_is_under_way_something_is_sent(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311
    ends = [A.SUCCEEDED, A.FAILED_INFRA, A.PREEMPTED, A.LOST]
    past = [
        replace(one, state=draw.choice(ends), run_s=draw.uniform(1, 9000))
        for one in (*BOTH, *ran("slow", 50, 6), *ran("fast", 9, 6))
        if draw.random() < 0.5
    ]
    broker = taught(*past, weights=Weights(hours_per_currency=draw.choice([0.0, 1.0])))
    at = places(fast={"room": draw.randint(1, 9), "outlook_s": draw.choice([None, 1e5])}, slow={"room": 1})
    healthy = [name for name, health in broker.health.items() if not health.closed_until]
    one = wanted(1, avoid=frozenset(draw.sample(["fast", "slow"], draw.randint(0, 2))))
    (choice,) = broker.assign(one, at, draw.choice([1, 1000]), NOW)
    assert (choice is not None) is bool(healthy)


def test_a_choice_says_why_and_holds_its_inputs_as_json() -> None:
    (choice,) = taught(*BOTH).assign(wanted(1), places(fast={"outlook_s": 120.0}), 1, NOW)
    assert choice
    assert choice.site == "fast"
    assert choice.why.startswith("fast: done in about")
    assert "scheduler" in choice.why
    assert "slow would take" in choice.why
    inputs = json.loads(json.dumps(choice.inputs))
    numbers = inputs["sites"]
    assert numbers["fast"]["done_s"] < numbers["slow"]["done_s"]
    assert numbers["fast"]["done_s"] <= inputs["horizon_s"]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60))
def test_a_restarted_broker_decides_alike_whatever_the_order_of_what_it_is_told(seed: int, number: int) -> None:
    draw = random.Random(seed)  # noqa: S311
    past = [one for one in BOTH if draw.random() < 0.7]
    past += [Past("slow", NOW - 900, None, None, A.SUBMITTED), Past("fast", NOW - 800, NOW - 700, None, A.RUNNING)]
    at = places(fast={"waiting": draw.randint(0, 9), "running": 1}, slow={"waiting": 1, "running": draw.randint(0, 5)})
    old = Broker(SITES)
    old.learn(ran("slow", 5), NOW - 10)  # of which nothing may remain
    old.assign(wanted(9), at, 9, NOW - 10)
    old.learn(past, NOW)
    new = Broker(SITES)
    draw.shuffle(past)
    new.learn(past, NOW)
    assert old.assign(wanted(number), at, number, NOW) == new.assign(wanted(number), at, number, NOW)
    queued = [Queued("t9", 9, 1, "slow", NOW - 900, 4.0)]
    assert old.withdraw(queued, at, number, NOW) == new.withdraw(queued, at, number, NOW)
