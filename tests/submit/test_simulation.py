"""The simulation: it is fair, nothing is lost in it, and no policy beats its bound."""

import json
from collections import defaultdict
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirecell_ml.errors import ConfigError
from wirecell_ml.submit.broker.bound import bound_s, bound_with_money_s, make_instance
from wirecell_ml.submit.broker.policies import make_policy
from wirecell_ml.submit.broker.recording import day_of
from wirecell_ml.submit.broker.scenarios import (
    OUTAGES,
    Outage,
    Scenario,
    SiteDay,
    as_yaml,
    find_scenarios,
    read_scenario,
)
from wirecell_ml.submit.broker.simulation import Simulation
from wirecell_ml.submit.broker.table import simulate
from wirecell_ml.submit.broker.world import make_world
from wirecell_ml.submit.ledger import Attempt
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.states import AttemptState

A = AttemptState
POLICIES = ("broker", "pull", "round robin", "random")
EVEN = SiteDay(spread=0.0, slots={0: 4}, wait_s={0: 1e-6}, wait_spread=0.0, outlook_error=None)


def day(sites: dict[str, SiteDay], units: int = 24, seed: int = 1, work_spread: float = 0.0) -> Scenario:
    """Return a small study."""
    return Scenario("small", "", seed, units, 600.0, work_spread, sites=sites)


def troubled(seed: int) -> Scenario:
    """Return a small study at two sites where everything goes wrong that can."""
    draw = np.random.default_rng(seed)
    sites = {
        name: SiteDay(
            speed=float(draw.uniform(0.3, 2)),
            slots={0: int(draw.integers(1, 6)), 10: int(draw.integers(1, 6))},
            wait_s={0: float(10 ** draw.uniform(0, 3.5))},
            drift=float(draw.choice([0.0, 0.4])),
            crashes=float(draw.uniform(0, 0.4)),
            losses=float(draw.uniform(0, 0.1)),
            preemptions_per_h=float(draw.choice([0.0, 0.5])),
            preemptible=bool(draw.integers(2)),
            outages=[Outage(0.5, 1.5, str(draw.choice(list(OUTAGES))))],
            hourly_price=float(draw.choice([0.0, 1.0])),
            in_flight=int(draw.integers(2, 30)),
        )
        for name in ("a", "b")
    }
    return replace(day(sites, units=16, seed=seed, work_spread=0.4), hours_per_currency=0.1)


@pytest.mark.parametrize("policy", [*POLICIES, "only:a"])
def test_every_unit_succeeds_once_and_tries_never_overlap(policy: str) -> None:
    scenario = troubled(5)
    tries = Simulation(scenario, make_policy(policy, scenario)).run().tries
    for unit in range(scenario.units):
        ours = sorted((one for one in tries if one.unit == unit), key=lambda one: one.number)
        assert [one.kind for one in ours].count("succeeded") == 1
        assert ours[-1].kind == "succeeded"
        for first, second in zip(ours, ours[1:], strict=False):
            assert first.ended is not None
            assert first.ended <= second.submitted


def test_no_more_run_than_there_are_slots() -> None:
    scenario = day({"a": EVEN}, units=30)
    tries = Simulation(scenario, make_policy("only:a", scenario)).run().tries
    begun = [one.started for one in tries if one.started is not None]
    assert max(sum(a.started <= t < a.ended for a in tries if a.started is not None and a.ended) for t in begun) == 4


def test_the_same_seed_gives_the_same_day() -> None:
    first, second = (Simulation(troubled(7), make_policy("broker", troubled(7))).run() for _ in range(2))
    assert (first.seconds, first.cost, len(first.tries)) == (second.seconds, second.cost, len(second.tries))


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(POLICIES))
def test_no_policy_beats_the_bound(seed: int, policy: str) -> None:
    scenario = troubled(seed)
    weight = 3600 * scenario.hours_per_currency
    ended = Simulation(scenario, make_policy(policy, scenario)).run()
    instance = make_instance(scenario)
    assert bound_s(instance) <= ended.seconds
    assert bound_with_money_s(instance, weight) <= ended.seconds + weight * ended.cost


def best_schedule_s(scenario: Scenario) -> float:
    """Return the shortest schedule of a tiny study whose slots do not change, by trying all of them."""
    truths = list(make_world(scenario).values())
    best = np.inf
    for sites in product(range(len(truths)), repeat=scenario.units):
        for order in permutations(range(scenario.units)):
            free = [[0.0] * truth.changes[0][1] for truth in truths]
            end = 0.0
            for unit in order:
                slots = free[sites[unit]]
                slot = slots.index(min(slots))
                wait_s = truths[sites[unit]].first_starts_s(scenario.start_h)[unit]
                slots[slot] = max(slots[slot], wait_s) + truths[sites[unit]].run_s(unit, slot)
                end = max(end, slots[slot])
            best = min(best, end)
    return float(best)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.floats(0.3, 2), st.integers(1, 2))
def test_the_bound_is_below_the_best_of_all_schedules(seed: int, units: int, speed: float, slots: int) -> None:
    sites = {"a": SiteDay(slots={0: 1}, wait_s={0: 30}), "b": SiteDay(speed=speed, slots={0: slots})}
    scenario = day(sites, units, seed, work_spread=0.5)
    bound, best = bound_s(make_instance(scenario)), best_schedule_s(scenario)
    assert bound <= best
    assert bound >= 0.4 * best


def test_the_bound_is_reached_where_all_is_even() -> None:
    scenario = day({"a": EVEN, "b": replace(EVEN, slots={0: 8})}, units=36)
    assert bound_s(make_instance(scenario)) == pytest.approx(3 * 600, rel=1e-3)


def test_a_place_in_flight_is_taken_while_a_unit_waits_and_the_bound_knows() -> None:
    scenario = day({"a": replace(EVEN, wait_s={0: 300}, in_flight=2)}, units=10)
    least_s, ended = bound_s(make_instance(scenario)), Simulation(scenario, make_policy("only:a", scenario)).run()
    assert 0.95 * 10 * (300 + 600) / 2 < least_s <= ended.seconds


def test_a_node_is_as_fast_for_every_unit() -> None:
    scenario = day({"a": replace(EVEN, spread=0.3)})
    runs: dict[int | None, set[float]] = defaultdict(set)
    for one in Simulation(scenario, make_policy("only:a", scenario)).run().tries:
        assert one.started is not None
        assert one.ended is not None
        runs[one.node].add(round(one.ended - one.started, 6))
    assert sorted(runs, key=str) == [0, 1, 2, 3]
    assert all(len(times) == 1 for times in runs.values())
    assert len({min(times) for times in runs.values()}) == 4


def test_slots_that_go_away_end_no_unit_and_the_bound_knows() -> None:
    scenario = replace(day({"a": replace(EVEN, slots={0: 1, 9: 4, 10: 1})}, units=8), work_s=3000.0, start_h=9.0)
    ended = Simulation(scenario, make_policy("only:a", scenario)).run()
    assert bound_s(make_instance(scenario)) <= ended.seconds


def test_the_broker_beats_what_learns_nothing_where_speeds_differ() -> None:
    sites = {"fast": replace(EVEN, slots={0: 10}), "slow": replace(EVEN, speed=0.1, slots={0: 10})}
    scenario = day(sites, units=300, work_spread=0.2)
    seconds = {name: Simulation(scenario, make_policy(name, scenario)).run().seconds for name in POLICIES}
    assert seconds["broker"] < min(seconds[name] for name in POLICIES if name != "broker")


def test_a_site_that_breaks_is_left_alone() -> None:
    broken = replace(EVEN, slots={0: 10}, outages=[Outage(0.2, 3.0, "broken")])
    scenario = day({"a": broken, "b": replace(EVEN, slots={0: 10})}, units=200)
    tries = {name: Simulation(scenario, make_policy(name, scenario)).run().tries for name in ("broker", "round robin")}
    wasted = {name: sum(one.kind == "broken" for one in some) for name, some in tries.items()}
    assert wasted["broker"] < 0.3 * wasted["round robin"]


def test_the_shipped_days_are_sound_and_described() -> None:
    days = find_scenarios([])
    assert len(days) >= 10
    assert all(one.about and len(one.sites) > 1 for one in days)
    assert len({one.seed for one in days}) == len(days)


def test_a_day_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = replace(troubled(3), name="again", about="all goes wrong")
    (tmp_path / "again.yaml").write_text(as_yaml(written))
    assert read_scenario(tmp_path / "again.yaml") == written


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sites: {a: {sped: 1}}", "sped"),
        ("sites: {}", "at least one site"),
        ("sites: {a: {outages: [{kind: ded}]}}", "Did you mean 'dead'"),
        ("sites: {a: {speed: 0}}", "above 0"),
        ("sites: [", "no scenario"),
        ("", "no scenario"),
    ],
)
def test_what_is_no_day_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_scenario(tmp_path / "bad.yaml")


def test_the_table_is_written_with_its_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(as_yaml(day({"a": EVEN, "b": replace(EVEN, speed=0.5)})))
    simulate([str(path)], [], 1, tmp_path / "out")
    assert "small" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "out" / "days.json").read_text())
    assert {one["policy"] for one in row["outcomes"]} == {*POLICIES, "best single site"}
    assert all(one["loss"] >= row["bound"] for one in row["outcomes"])
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".png"}


def test_a_policy_that_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'broker'"):
        simulate([], ["brokr"], 1, None)


def test_a_recorded_study_tells_of_work_speed_slots_and_failures() -> None:
    times: dict[str, Any] = {"submitted": 100.0, "started": 110.0, "ended": 210.0, "run_seconds": 100.0}
    fast = [Attempt(n, 1, "fast", 4.0, state=A.SUCCEEDED, **times) for n in range(8)]
    slow = [replace(one, number=one.number + 8, site="slow", ended=310.0, run_seconds=200.0) for one in fast]
    lost = replace(fast[0], attempt=2, state=A.LOST)
    recorded = day_of(
        "s", [*fast, *slow, lost], {name: Site(name=name, kind="slurm") for name in ("fast", "slow", "idle")}
    )
    assert recorded.units == 16
    assert set(recorded.sites) == {"fast", "slow"}
    assert recorded.sites["fast"].speed == 2 * recorded.sites["slow"].speed
    assert set(recorded.works_s or []) == {recorded.work_s}
    assert recorded.sites["slow"].slots == {0: 8}
    assert recorded.sites["fast"].losses == pytest.approx(1 / 9, abs=1e-3)
    assert recorded.sites["fast"].waits_s == [10.0] * 9
