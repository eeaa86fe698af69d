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

ROWS = 12  # units shown
WIDTH = 40  # of the bar


@dataclass(frozen=True)
class Status:
    """How a study stands at one moment."""

    study: str
    site: Site
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
        """What the attempts have cost so far, in the currency of the site."""
        return price(self.run_seconds, self.site.resources, self.site.cost)

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


def value_of(unit: Unit, metric: str) -> float:
    """Return a metric of a unit, NaN where it has none."""
    value = (unit.result or {}).get("metrics", {}).get(metric)
    return math.nan if value is None else float(value)


def headline(status: Status) -> Text:
    """Return the study in one or two lines."""
    counts = status.counts
    states = "  ".join(f"{counts[state]} {state.lower()}" for state in map(str, UnitState) if counts[state])
    lines = [f"{status.study} at {status.site.name}: {status.ended}/{status.budget} ended   {states}"]
    best = status.best
    if best:
        values = ", ".join(f"{name} {value_of(best, name):.4f}" for name in status.objectives)
        lines.append(f"best: trial {best.number}, {values}")
    left = status.seconds_left
    spent = f"{status.core_hours:.2f} core-hours"
    if status.cost:
        spent += f", {status.cost:.2f} {status.site.cost.currency}"
    lines.append(f"{'about ' + duration(left) + ' left' if left else 'no estimate of the time left'};  spent {spent}")
    text = Text("\n".join(lines))
    if status.trouble:
        text.append(f"\n{status.trouble}", style="bold red")
    return text


def picture(status: Status) -> RenderableType:
    """Return bar, headline and the newest units."""
    bar = ProgressBar(total=max(1, status.budget), completed=status.ended, width=WIDTH)
    return Group(bar, headline(status), unit_table(status))


def unit_table(status: Status) -> Table:
    """Return the units that run, and those that ended last."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("trial", "state", "attempt", *status.objectives, "epochs", "parameters or reason"):
        table.add_column(name, justify="left" if name in ("state", "parameters or reason") else "right", no_wrap=True)
    tries = Counter(attempt.number for attempt in status.attempts)
    running = [unit for unit in status.units if unit.state not in UNIT_ENDS]
    ended = sorted((unit for unit in status.units if unit.state in UNIT_ENDS), key=lambda unit: unit.ended or 0.0)
    for unit in [*running[:ROWS], *reversed(ended[-max(3, ROWS - len(running)) :])]:
        values = [f"{value_of(unit, name):.4f}" for name in status.objectives]
        table.add_row(str(unit.number), unit.state.lower(), str(tries[unit.number]), *values, epochs(unit), about(unit))
    return table


def epochs(unit: Unit) -> str:
    """Return how many epochs a unit has reported."""
    return str(max(map(int, unit.progress))) if unit.progress else "-"


def about(unit: Unit) -> str:
    """Return what is worth knowing of a unit in a line."""
    if unit.state in (UnitState.FAILED, UnitState.CANCELLED):
        return unit.why[:100]
    return "  ".join(f"{name.rpartition('.')[2]}={shown(value)}" for name, value in unit.params.items())[:100]


def shown(value: object) -> str:
    """Return a parameter in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Return a time for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
