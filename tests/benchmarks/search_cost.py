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
RANKS = (1, 3, 5)  # of the baseline's trials: its best, which may be luck, and the next
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
    values = sorted((float(row[OBJECTIVE]) for row in rows[names[1]] if row[OBJECTIVE]), reverse=True)
    table = Table(title=f"core-seconds until a val/dice of {names[1]} was reached")
    for column in (
        "val/dice",
        "of the baseline",
        "study",
        "trials",
        "epochs",
        "core-s",
        "of the baseline's",
        "of all of it",
    ):
        table.add_column(column, justify="left" if column == "study" else "right")
    for rank in RANKS:
        reference = until(rows[names[1]], values[rank - 1])
        assert reference
        for name in names:
            found = until(rows[name], values[rank - 1])
            table.add_row(
                f"{values[rank - 1]:.4f}", f"no. {rank}", name, *cells(found, reference, spent(rows[names[1]]))
            )
        table.add_section()
    Console().print(table)


def cells(found: Spent | None, reference: Spent, whole: Spent) -> list[str]:
    """Return what a study had spent, and its share of what the baseline had, and of all that the baseline spent."""
    if found is None:
        return ["not reached", "", "", "", ""]
    shares = [f"{found.core_seconds / one.core_seconds:.2f}×" for one in (reference, whole)]
    return [f"{found.trials}", f"{found.epochs}", f"{found.core_seconds:.0f}", *shares]


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
