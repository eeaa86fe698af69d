"""What it costs to find a good point: python -m tests.benchmarks.search_cost [STUDY BASELINE]

Reads trials.csv of two published studies in hpo/ of the same space, budget and training, and prints what each had
spent, trials in the order of their ends, when it first reached the best that the baseline has.
"""

import csv
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

HPO = Path(__file__).parents[2] / "hpo"
OBJECTIVE = "values_val/dice"
PUBLISHED = ("roinet_tpe_halving", "roinet_random")


@dataclass(frozen=True)
class Spent:
    """What a study had spent at some moment."""

    trials: int
    epochs: int
    core_seconds: float


def main() -> None:
    """Print the table."""
    names = sys.argv[1:] or PUBLISHED
    rows = {name: read(HPO / name / "trials.csv") for name in names}
    goal = max(float(row[OBJECTIVE]) for row in rows[names[1]] if row[OBJECTIVE])
    table = Table(title=f"until val/dice {goal:.4f}, the best of {names[1]}")
    for name in ("study", "trials", "epochs", "core-seconds", "of the baseline", "best of all", "core-seconds of all"):
        table.add_column(name, justify="left" if name == "study" else "right")
    reference = until(rows[names[1]], goal)
    assert reference
    for name in names:
        add_row(table, name, rows[name], goal, reference)
    Console().print(table)


def add_row(table: Table, name: str, rows: list[dict[str, str]], goal: float, reference: Spent) -> None:
    """Add a study to the table."""
    reached, total = until(rows, goal), until(rows, float("inf")) or spent(rows)
    best = max(float(row[OBJECTIVE]) for row in rows if row[OBJECTIVE])
    cells = ["-"] * 4
    if reached:
        share = reached.core_seconds / reference.core_seconds
        cells = [f"{reached.trials}", f"{reached.epochs}", f"{reached.core_seconds:.0f}", f"{share:.2f}×"]
    table.add_row(name, *cells, f"{best:.4f}", f"{total.core_seconds:.0f}")


def until(rows: list[dict[str, str]], goal: float) -> Spent | None:
    """Return what was spent when the first trial reached ``goal``, or None if none did."""
    for number, row in enumerate(rows):
        if row[OBJECTIVE] and float(row[OBJECTIVE]) >= goal:
            return spent(rows[: number + 1])
    return None


def spent(rows: list[dict[str, str]]) -> Spent:
    """Return what some trials took."""
    return Spent(len(rows), sum(int(row["epochs"]) for row in rows), sum(float(row["core_seconds"]) for row in rows))


def read(path: Path) -> list[dict[str, str]]:
    """Return the trials of a study that ended, in the order of their ends."""
    with path.open(newline="") as file:
        return sorted((row for row in csv.DictReader(file) if row["ended"]), key=lambda row: row["ended"])


if __name__ == "__main__":
    main()
