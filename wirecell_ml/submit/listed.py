"""Units that are known beforehand: one training, or the probes of a check."""

from collections.abc import Sequence
from typing import Any

from wirecell_ml.submit.ledger import Unit


class Listed:
    """A source of units from a list, which learns nothing."""

    learns = False

    def __init__(self, points: Sequence[dict[str, Any]]) -> None:
        self.points = points
        self.asked = 0

    def restore(self, units: Sequence[Unit]) -> None:
        """Go on after the units that there are."""
        self.asked = len(units)

    def ask(self) -> tuple[int, dict[str, Any]] | None:
        """Return the next of the list."""
        if self.asked >= len(self.points):
            return None
        self.asked += 1
        return self.asked - 1, self.points[self.asked - 1]

    def tell(self, unit: Unit) -> None:
        """Learn nothing."""

    def report(self, number: int, epoch: int, value: float) -> None:
        """Learn nothing."""

    def should_prune(self, number: int) -> bool:  # noqa: ARG002
        """Return that every unit is worth its time."""
        return False
