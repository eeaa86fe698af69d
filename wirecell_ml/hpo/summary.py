"""The summary of a study: what its report shows."""

from dataclasses import dataclass, field
from typing import Any

from wirecell_ml.hpo.trial import Trial
from wirecell_ml.submit.tally import Tally


@dataclass(frozen=True)
class StudySummary:
    """A study and all its trials, at one moment."""

    name: str
    objectives: dict[str, str]  # name → "maximize" or "minimize"; the first is what trials are pruned by
    trials: list[Trial]
    budget: int  # trials
    space: dict[str, dict[str, Any]]  # parameter → kind ("choices", "whole" or "real"), log, and any choices
    currency: str = ""
    began: float = 0.0  # seconds since the epoch
    ended: float = 0.0
    tallies: tuple[Tally, ...] = ()  # of each site where its trials could run
    settings: dict[str, str] = field(default_factory=dict)  # sampler, pruner, site, seed, digest of the code, …
