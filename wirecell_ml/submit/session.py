"""What the parts of a driver share: the order, the picture in memory, and the places that they write to."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from wirecell_ml.errors import SubmitError
from wirecell_ml.submit.backend import Backend, Refused, Unavailable
from wirecell_ml.submit.broker.broker import Broker
from wirecell_ml.submit.broker.past import Past
from wirecell_ml.submit.ledger import Attempt, Unit, Writer
from wirecell_ml.submit.mailbox import UnitBox
from wirecell_ml.submit.picture import Picture
from wirecell_ml.submit.post import Address, Post
from wirecell_ml.submit.site import Site

Params = dict[str, Any]
UNDECIDED = ""  # site of an attempt that is planned
AS_THE_SITE = 0.0  # memory of an attempt that needs no more than the site where it will be gives by itself


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

    def write(self, box: UnitBox, params: Params, number: int, site: Site) -> None:
        """Write everything that the runner needs at a site."""
        ...

    def command(self, box: UnitBox, attempt: int, site: Site) -> Sequence[str]:
        """Return the command of the runner at a site; its last word, the token, is added when it is sent."""
        ...


@dataclass(frozen=True)
class Order:
    """What is to be done, and where."""

    study: str
    folder: Path
    units: int  # the budget: how many shall end, however many attempts that takes
    objectives: Sequence[str]  # metrics that a result must have; the first is followed while it learns
    sites: Mapping[str, Site]  # by name
    retired: Mapping[str, Site]  # sites of before: what they have still counts, and nothing more is sent there

    def box(self, number: int) -> UnitBox:
        """Return the mailbox of a unit."""
        return UnitBox(self.folder / "units" / f"{number:06d}")

    def site(self, name: str) -> Site:
        """Return a site that attempts are at."""
        return self.sites[name] if name in self.sites else self.retired[name]

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
    backends: Mapping[str, Backend]  # by site, retired ones too
    posts: Mapping[str, Post]
    broker: Broker
    memory: Sequence[Past]  # attempts of other studies, which the broker learns from, too
    work: Work
    source: Source
    writer: Writer
    picture: Picture
    pool: Executor  # in which sites are asked, so that a silent one keeps no other waiting
    withdrawn_at: float = 0.0  # when it was last asked which jobs wait too long

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
        """Return the next attempt at a unit, planned but not yet in the ledger, its site still open."""
        number = self.picture.made[unit.number] + 1
        return Attempt(unit.number, number, UNDECIDED, memory_gb, not_before=time.time() + wait_s, why=why)

    def address(self, attempt: Attempt) -> Address:
        """Return where what an attempt writes belongs."""
        return Address(self.order.box(attempt.number), attempt.attempt)

    def obstacle_at(self, site: Site, memory_gb: float) -> str | None:
        """Return why a site cannot give a unit so much memory, or None."""
        try:
            self.backends[site.name].check(replace(site.resources, memory_gb=memory_gb))
        except SubmitError as error:
            return str(error)
        except (Unavailable, Refused):
            return None  # the submission itself will tell
        return None

    def barred(self, memory_gb: float) -> frozenset[str]:
        """Return the sites that have no machine with so much memory."""
        return frozenset(name for name, site in self.order.sites.items() if self.obstacle_at(site, memory_gb))

    def stop(self, attempt: Attempt, why: str) -> None:
        """Ask for a checkpoint and an end of what an attempt runs, since it was "pruned" or "stopped"."""
        self.order.box(attempt.number).stop(why)
        self.tell(attempt)

    def tell(self, attempt: Attempt) -> None:
        """Let the worker of an attempt see fence and stop mark, when its site is asked next."""
        if attempt.token:
            self.picture.sites[attempt.site].untold[attempt.token] = self.address(attempt)


def unsent(attempt: Attempt, site: Site) -> dict[str, Any]:
    """Return what an attempt is again that ``site`` has not taken: free to be sent anywhere."""
    more = attempt.memory_gb > site.resources.memory_gb
    return {"token": None, "site": UNDECIDED, "choice": None, "memory_gb": attempt.memory_gb if more else AS_THE_SITE}
