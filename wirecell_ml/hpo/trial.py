"""Trials: the points of a study, and how each ended."""

from dataclasses import dataclass, field

Scalar = bool | int | float | str | None
Params = dict[str, Scalar]  # override name → value; a list among choices is its text, "[12,24]"

ENDED = ("DONE", "PRUNED", "FAILED", "CANCELLED")


@dataclass(frozen=True)
class Stay:
    """One attempt at a trial: where it was, and why there. Times are seconds since 1970."""

    site: str
    submitted: float
    started: float | None  # when its runner was first heard of
    ended: float | None
    state: str  # of the attempt
    why: str  # the broker's reason for the site


@dataclass(frozen=True)
class Trial:
    """One point of a search space, and what is known of it so far."""

    number: int
    params: Params
    state: str  # PROPOSED, QUEUED, ACTIVE, DONE, PRUNED, FAILED or CANCELLED
    values: dict[str, float] = field(default_factory=dict)  # by objective, once DONE
    progress: dict[int, float] = field(default_factory=dict)  # epoch → first objective, as it was learning
    metrics: dict[str, float] = field(default_factory=dict)  # everything else that the training reported
    attempts: int = 0
    site: str | None = None
    twin_of: int | None = None  # number of the trial with the same configuration whose result this one shares
    began: float | None = None  # seconds since the epoch, when its first attempt was submitted
    ended: float | None = None
    run_seconds: float = 0.0  # wall-clock time of all its attempts
    core_seconds: float = 0.0  # CPU time that all its attempts used
    cost: float = 0.0  # in the currency of the site: cores and GPUs, times hours, times their price
    why: str = ""  # the reason of its last transition
    stays: tuple[Stay, ...] = ()  # its attempts that were submitted, in their order
