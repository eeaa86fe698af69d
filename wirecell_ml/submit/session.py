"""What the parts of a driver share: the order, the picture in memory, and the places that they write to."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from wirecell_ml.submit.backend import Backend
from wirecell_ml.submit.ledger import Attempt, Unit, Writer
from wirecell_ml.submit.mailbox import UnitBox
from wirecell_ml.submit.picture import Picture
from wirecell_ml.submit.site import Site

Params = dict[str, Any]


class Source(Protocol):
    """Where units come from, and who learns how they end."""

    learns: bool  # whether later proposals depend on earlier results

    def restore(self, units: Sequence[Unit]) -> None:
        """Take up the study where ``units``, in the order of their numbers, left it."""
        ...

    def ask(self) -> tuple[int, Params] | None:
        """Return number and parameters of the next unit, or None where there are no more."""
        ...

    def tell(self, unit: Unit) -> None:
        """Learn how a unit ended."""
        ...

    def report(self, number: int, epoch: int, value: float) -> None:
        """Learn how a unit is doing."""
        ...

    def should_prune(self, number: int) -> bool:
        """Return whether a unit is not worth its time."""
        ...


class Work(Protocol):
    """What the units of a study do."""

    def key(self, params: Params, number: int) -> str:
        """Return the identity of the work: equal keys give equal results."""
        ...

    def write(self, box: UnitBox, params: Params, number: int) -> None:
        """Write everything that the runner needs."""
        ...

    def command(self, box: UnitBox, attempt: int) -> Sequence[str]:
        """Return the command of the runner; its last word, the token, is added when it is sent."""
        ...


@dataclass(frozen=True)
class Order:
    """What is to be done, and where."""

    study: str
    folder: Path
    units: int  # the budget: how many shall end, however many attempts that takes
    objectives: Sequence[str]  # metrics that a result must have; the first is followed while it learns
    site: Site

    def box(self, number: int) -> UnitBox:
        """Return the mailbox of a unit."""
        return UnitBox(self.folder / "units" / f"{number:06d}")

    def stopping(self) -> str | None:
        """Return "finish" or "checkpoint" where the user stopped the study, else None."""
        try:
            return (self.folder / "stop").read_text().strip()
        except FileNotFoundError:
            return None


@dataclass
class Session:
    """One driver at work, from one read of the ledger until it ends or the ledger is away."""

    order: Order
    backend: Backend
    work: Work
    source: Source
    writer: Writer
    picture: Picture

    def budget(self) -> int:
        """Return how many units there will be."""
        return len(self.picture.units) if self.picture.exhausted else self.order.units

    def end_units(self, units: Sequence[Unit]) -> None:
        """Tell the source, once, that units have ended; they are in the ledger already."""
        for unit in units:
            self.picture.open_units.discard(unit.number)
            for epoch, value in unit.progress.items():  # the last of it came with the end
                self.source.report(unit.number, int(epoch), value)
            self.source.tell(unit)

    def next_attempt(self, unit: Unit, memory_gb: float, wait_s: float, why: str) -> Attempt:
        """Return the next attempt at a unit, planned but not yet in the ledger."""
        number = self.picture.made[unit.number] + 1
        return Attempt(unit.number, number, self.order.site.name, memory_gb, not_before=time.time() + wait_s, why=why)
