"""What the broker is told: attempts of the past, sites as they are now, and what is to be sent or waits."""

from dataclasses import dataclass, field
from typing import Any

from wirecell_ml.submit.site import Site
from wirecell_ml.submit.states import AttemptState


@dataclass(frozen=True)
class Past:
    """One attempt of this user, ended or not."""

    site: str
    submitted: float
    started: float | None
    ended: float | None
    state: AttemptState
    run_s: float = 0.0  # wall-clock time of the runner, of an attempt that ended
    mine: bool = True  # of this study: run times of another are those of other work, and only its waits count


@dataclass(frozen=True)
class Place:
    """A site as it is now."""

    site: Site
    room: int  # jobs that may be sent now
    waiting: int  # of this study, sent and not started
    running: int
    outlook_s: float | None = None  # the scheduler's word: seconds until such a job would start; None: it says nothing
    trouble: str = ""  # silence or refusal of the batch system, "" for none


@dataclass(frozen=True)
class Wanted:
    """An attempt that is to be sent."""

    number: int  # of the unit
    attempt: int
    memory_gb: float
    avoid: frozenset[str] = frozenset()  # sites where it failed before: taken only if there is no other
    barred: frozenset[str] = frozenset()  # sites that cannot hold it, as their check says


@dataclass(frozen=True)
class Queued:
    """An attempt that waits in the queue of a site."""

    token: str
    number: int
    attempt: int
    site: str
    submitted: float
    memory_gb: float
    avoid: frozenset[str] = frozenset()
    barred: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Choice:
    """Where an attempt goes, and why."""

    site: str
    inputs: dict[str, Any] = field(default_factory=dict)  # JSON: all numbers that the choice was made from
    why: str = ""


@dataclass(frozen=True)
class Weights:
    """What counts how much."""

    quantile: float = 0.75  # of waits and run times that a choice plans with
    hours_per_currency: float = 0.0  # hours of the study that a unit of currency is worth; 0: money is no matter
    budget: float | None = None  # currency that the study may spend; None: no limit
