"""How a study stands: counts, the best so far, the time that is left, and what it has cost, as a table."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from wirecell_ml.submit.job import Resources
from wirecell_ml.submit.ledger import Attempt, Unit
from wirecell_ml.submit.site import Cost, Site
from wirecell_ml.submit.states import UNIT_ENDS, UnitState
from wirecell_ml.submit.tally import site_tallies

ROWS = 12  # units shown
WIDTH = 40  # of the bar
NARROWEST = 8  # characters of an objective
STYLES = {
    UnitState.ACTIVE: "cyan",
    UnitState.DONE: "green",
    UnitState.PRUNED: "yellow",
    UnitState.FAILED: "red",
    UnitState.CANCELLED: "red",
}


@dataclass(frozen=True)
class Status:
    """How a study stands at one moment."""

    study: str
    sites: Mapping[str, Site]  # by name
    objectives: Mapping[str, str]
    budget: int
    units: Sequence[Unit]
    attempts: Sequence[Attempt]
    trouble: str = ""  # what keeps the driver from going on

    @property
    def counts(self) -> Counter[str]:
        """Units by state."""
        return Counter(str(unit.state) for unit in self.units)

    @property
    def ended(self) -> int:
        """Units that have ended."""
        return sum(unit.state in UNIT_ENDS for unit in self.units)

    @property
    def best(self) -> Unit | None:
        """Unit that is best at the first objective."""
        name, direction = next(iter(self.objectives.items()))
        done = [unit for unit in self.units if unit.state is UnitState.DONE and unit.result]
        sign = -1 if direction == "maximize" else 1
        return min(done, key=lambda unit: (sign * value_of(unit, name), unit.number), default=None)

    @property
    def run_seconds(self) -> float:
        """Wall-clock time of all attempts."""
        return sum(attempt.run_seconds for attempt in self.attempts)

    @property
    def core_hours(self) -> float:
        """CPU time of all attempts, hours."""
        return sum(attempt.core_seconds for attempt in self.attempts) / 3600

    @property
    def cost(self) -> float:
        """What the attempts have cost so far, in the currency of the sites."""
        return sum(price_of(attempt, self.sites) for attempt in self.attempts)

    @property
    def seconds_left(self) -> float | None:
        """How long the rest will take, if it goes on as so far; None before the first end."""
        ends = sorted(unit.ended for unit in self.units if unit.ended and unit.state in UNIT_ENDS)
        if not ends or self.ended >= self.budget:
            return None
        elapsed = max(ends[-1], time.time()) - min(unit.created for unit in self.units)
        return elapsed / len(ends) * (self.budget - len(ends))


def price(run_seconds: float, resources: Resources, cost: Cost) -> float:
    """Return what units of one size cost that ran for so long altogether."""
    return run_seconds / 3600 * (resources.cores * cost.core_hour + resources.gpus * cost.gpu_hour)


def price_of(attempt: Attempt, sites: Mapping[str, Site]) -> float:
    """Return what an attempt cost; nothing before it is at a site."""
    site = sites.get(attempt.site)
    return price(attempt.run_seconds, site.resources, site.cost) if site else 0.0


def currency(sites: Mapping[str, Site]) -> str:
    """Return the currency that sites count in."""
    return next((site.cost.currency for site in sites.values() if site.cost.currency), "")


def value_of(unit: Unit, metric: str) -> float:
    """Return a metric of a unit, NaN where it has none."""
    value = (unit.result or {}).get("metrics", {}).get(metric)
    return math.nan if value is None else float(value)


def headline(status: Status) -> Text:
    """Return the study in a few lines."""
    text = Text(f"{status.study} at {', '.join(status.sites)}: {status.ended}/{status.budget} ended ")
    for state in UnitState:
        if status.counts[state]:
            text.append("  ").append(f"{status.counts[state]} {state.lower()}", style=STYLES.get(state, ""))
    best = status.best
    if best:
        values = ", ".join(f"{name} {value_of(best, name):.4f}" for name in status.objectives)
        text.append(f"\nbest: trial {best.number}, {values}")
    text.append(f"\n{outlook(status)}spent {status.core_hours:.2f} core-hours")
    if status.cost:
        text.append(f", {status.cost:.2f} {currency(status.sites)}".rstrip())
    if status.trouble:
        text.append(f"\n{status.trouble}", style="bold red")
    return text


def outlook(status: Status) -> str:
    """Return how long the rest will take, nothing where there is no rest."""
    if status.ended >= status.budget:
        return ""
    left = status.seconds_left
    return "no estimate of the time left;  " if left is None else f"about {duration(left)} left;  "


def picture(status: Status) -> RenderableType:
    """Return bar, headline and the newest units."""
    bar = Table.grid()  # which, unlike a bar, ends its line
    bar.add_row(ProgressBar(total=max(1, status.budget), completed=status.ended, width=WIDTH))
    several = [site_table(status)] if len(status.sites) > 1 else []
    return Group(bar, headline(status), *several, unit_table(status))


def site_table(status: Status) -> Table:
    """Return what each site has and has done."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("site", no_wrap=True)
    for name in ("waiting", "running", "done", "not", "median wait", "median run", "core-hours"):
        table.add_column(name, justify="right")
    for tally in site_tallies(status.attempts, status.sites):
        times = [duration(seconds) if seconds is not None else "-" for seconds in (tally.wait_s, tally.run_s)]
        counts = [str(count) for count in (tally.waiting, tally.running, tally.done, tally.ended - tally.done)]
        table.add_row(tally.site, *counts, *times, f"{tally.core_seconds / 3600:.2f}")
    return table


def unit_table(status: Status) -> Table:
    """Return the units that run, and those that ended last; where it is narrow, what is cut is the last column."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("attempt", justify="right", no_wrap=True)
    for name in status.objectives:
        table.add_column(name, justify="right", no_wrap=True, min_width=NARROWEST)
    table.add_column("epochs", justify="right", no_wrap=True)
    table.add_column(cut("parameters or reason"))
    tries = Counter(attempt.number for attempt in status.attempts)
    for unit in newest(status.units):
        state = Text(unit.state.lower(), style=STYLES.get(unit.state, ""))
        values = [value_shown(unit, name, rank == 0) for rank, name in enumerate(status.objectives)]
        table.add_row(str(unit.number), state, str(tries[unit.number]), *values, epochs(unit), cut(about(unit)))
    return table


def cut(text: str) -> Text:
    """Return a line that ends with an ellipsis where there is no room for all of it."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def newest(units: Sequence[Unit]) -> list[Unit]:
    """Return the units to show: those that run, those that wait, and then those that ended last."""
    open_units = [unit for unit in units if unit.state not in UNIT_ENDS]
    ended = [unit for unit in units if unit.state in UNIT_ENDS]
    open_units.sort(key=lambda unit: (unit.state is not UnitState.ACTIVE, unit.number))
    ended.sort(key=lambda unit: (unit.ended or 0.0, unit.number), reverse=True)
    return [*open_units[:ROWS], *ended[: max(3, ROWS - len(open_units))]]


def value_shown(unit: Unit, metric: str, first: bool) -> Text:
    """Return a metric of a unit, a dash where it has none; the ``first`` objective is known while it learns."""
    value = value_of(unit, metric)
    if not math.isnan(value):
        return Text(f"{value:.4f}")
    if first and unit.progress:
        return Text(f"{unit.progress[max(unit.progress, key=int)]:.4f}", style="dim")
    return Text("-")


def epochs(unit: Unit) -> str:
    """Return how many epochs a unit has reported."""
    return str(max(map(int, unit.progress))) if unit.progress else "-"


def about(unit: Unit) -> str:
    """Return what is worth knowing of a unit in a line."""
    if unit.state in (UnitState.FAILED, UnitState.CANCELLED):
        return " ".join(unit.why.split())
    return "  ".join(f"{name.rpartition('.')[2]}={shown(value)}" for name, value in unit.params.items())


def shown(value: object) -> str:
    """Return a parameter in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Return a time for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
