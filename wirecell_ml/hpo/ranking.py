"""Rankings: which trials of a study are the best, and since when."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from wirecell_ml.hpo.trial import Trial


class Contest(Protocol):
    """Trials, and what makes one better than another."""

    @property
    def objectives(self) -> Mapping[str, str]:
        """Return "maximize" or "minimize" by name of the objective."""

    @property
    def trials(self) -> Sequence[Trial]:
        """Return the trials in any order."""


def best(study: Contest) -> Trial | None:
    """Return the best trial; with several objectives, the one of the Pareto front that is best at the first."""
    return next(iter(ranked(study)), None)


def best_trials(study: Contest, count: int) -> list[Trial]:
    """Return the ``count`` best trials, or fewer where there are no more."""
    return ranked(study)[:count]


def ranked(study: Contest) -> list[Trial]:
    """Return the trials from best to worst; with several objectives, only the Pareto front."""
    if len(study.objectives) > 1:
        return pareto_front(study)
    return sorted(_contestants(study), key=lambda trial: (losses(study, trial), trial.number))


def pareto_front(study: Contest) -> list[Trial]:
    """Return the trials that no other dominates, from best to worst in the first objective."""
    front: list[Trial] = []
    # In this order a trial can only be dominated by one before it, and then by one of the front.
    for trial in sorted(_contestants(study), key=lambda trial: (losses(study, trial), trial.number)):
        if not any(dominates(losses(study, other), losses(study, trial)) for other in front):
            front.append(trial)
    return front


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Say whether the losses of ``one`` are nowhere larger and somewhere smaller."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def running_best(study: Contest) -> dict[str, list[tuple[int, float]]]:
    """Return, by objective, (number of a trial, best value until then) for each trial that is done."""
    return {name: _running_best(study, name, direction) for name, direction in study.objectives.items()}


def losses(study: Contest, trial: Trial) -> tuple[float, ...]:
    """Return the values of a trial, turned so that less is better."""
    return tuple(_sign(direction) * trial.values[name] for name, direction in study.objectives.items())


def finite(trial: Trial, objective: str) -> bool:
    """Say whether a trial is done and has a number for ``objective``."""
    return trial.state == "DONE" and math.isfinite(trial.values.get(objective, math.nan))


def _contestants(study: Contest) -> list[Trial]:
    """Return the trials with a result of their own in every objective."""
    return [
        trial
        for trial in study.trials
        if trial.twin_of is None and all(finite(trial, objective) for objective in study.objectives)
    ]


def _running_best(study: Contest, objective: str, direction: str) -> list[tuple[int, float]]:
    record, points = math.inf, []
    for trial in sorted(study.trials, key=lambda trial: trial.number):
        if finite(trial, objective):
            record = min(record, _sign(direction) * trial.values[objective])
            points.append((trial.number, _sign(direction) * record))
    return points


def _sign(direction: str) -> int:
    return -1 if direction == "maximize" else 1
