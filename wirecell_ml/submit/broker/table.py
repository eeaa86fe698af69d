"""The table of a simulation: how long each policy took and what it paid, beside what no policy can beat."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.submit.broker.bound import bound_with_money_s, make_instance
from wirecell_ml.submit.broker.policies import make_policy
from wirecell_ml.submit.broker.scenarios import Scenario, find_scenarios
from wirecell_ml.submit.broker.simulation import Simulation

SINGLE = "only:"  # what begins the name of the policy that sends all to one site
POLICIES = ("broker", "pull", "round robin", "random", "best single site")
GOOD = 1.3  # times the bound


@dataclass(frozen=True)
class Outcome:
    """What one policy made of one day."""

    policy: str
    hours: float  # until the last unit had ended; infinite where it did not
    cost: float
    loss: float  # hours, and what was paid as hours where money matters


@dataclass(frozen=True)
class Comparison:
    """One day under all policies."""

    scenario: str
    seed: int
    bound: float  # hours, money counted as the losses count it
    outcomes: tuple[Outcome, ...]

    def ratio(self, policy: str) -> float:
        """Return the loss of a policy over the bound."""
        return float(next(one.loss for one in self.outcomes if one.policy == policy) / self.bound)

    @property
    def ahead(self) -> bool:
        """Whether the broker did better than every fixed policy."""
        return self.ratio("broker") <= min(self.ratio(one.policy) for one in self.outcomes)


def simulate(names: Sequence[str], policies: Sequence[str], seeds: int, output: Path | None) -> None:
    """Replay days, print the table, and write JSON and pictures to ``output``; raises ConfigError."""
    for policy in policies:
        if policy not in POLICIES:
            raise ConfigError(f"policies: '{policy}' is not known.{suggest(policy, POLICIES)}")
    days = [replace(day, seed=day.seed + shift) for day in find_scenarios(list(names)) for shift in range(seeds)]
    comparisons = list(compared(days, tuple(policies) or POLICIES))
    console = Console()
    console.print(table(comparisons))
    console.print(verdict(comparisons), highlight=False)
    if output:
        output.mkdir(parents=True, exist_ok=True)
        (output / "days.json").write_text(json.dumps([asdict(one) for one in comparisons], indent=1) + "\n")
        from wirecell_ml.submit.broker.pictures import draw_day, draw_ratios

        draw_ratios(comparisons, output / "ratios.png")
        draw_day(days[0], output / f"{days[0].name}.png")
        console.print(f"written: {output}", highlight=False, soft_wrap=True)


def compared(days: Sequence[Scenario], policies: Sequence[str]) -> Iterator[Comparison]:
    """Yield the comparison of each day, as many at once as there are cores."""
    with Progress(console=Console(stderr=True), transient=True) as progress, ProcessPoolExecutor() as pool:
        done = pool.map(compare, days, [policies] * len(days))
        yield from progress.track(done, len(days), description="days")


def compare(day: Scenario, policies: Sequence[str]) -> Comparison:
    """Return one day under all policies."""
    wanted = [name for name in policies if name != "best single site"]
    outcomes = [outcome(day, name, name) for name in wanted]
    if "best single site" in policies:
        singles = [outcome(day, f"{SINGLE}{site}", "best single site") for site in day.sites]
        outcomes.append(min(singles, key=lambda one: one.loss))
    bound = bound_with_money_s(make_instance(day), 3600 * day.hours_per_currency) / 3600
    return Comparison(day.name, day.seed, bound, tuple(outcomes))


def outcome(day: Scenario, policy: str, called: str) -> Outcome:
    """Return what a policy makes of a day."""
    ended = Simulation(day, make_policy(policy, day)).run()
    hours = ended.seconds / 3600
    return Outcome(called, hours, float(ended.cost), float(hours + day.hours_per_currency * ended.cost))


def table(comparisons: Sequence[Comparison]) -> Table:
    """Return a row for each day: hours, cost, and the ratio to the bound of each policy."""
    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    rows.add_column("day", no_wrap=True)
    rows.add_column("bound, h", justify="right")
    for one in comparisons[0].outcomes:
        rows.add_column(f"{one.policy}\nh, cost, ratio", justify="right")
    for comparison in comparisons:
        cells = [f"{one.hours:.1f} {one.cost:.0f} {comparison.ratio(one.policy):.2f}" for one in comparison.outcomes]
        rows.add_row(comparison.scenario, f"{comparison.bound:.1f}", *cells)
    means = [f"{mean(one.ratio(name) for one in comparisons):.2f}" for name in names_of(comparisons)]
    rows.add_section()
    rows.add_row("geometric mean", "", *means)
    return rows


def verdict(comparisons: Sequence[Comparison]) -> str:
    """Return how often the broker was good and ahead."""
    if "broker" not in names_of(comparisons):
        return ""
    good = sum(one.ratio("broker") <= GOOD for one in comparisons)
    ahead = sum(one.ahead for one in comparisons)
    count = len(comparisons)
    return f"broker: within {GOOD} of the bound on {good} of {count} days, ahead of all others on {ahead} of {count}"


def names_of(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the policies that were compared."""
    return [one.policy for one in comparisons[0].outcomes]


def mean(values: Iterable[float]) -> float:
    """Return the geometric mean."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))
