"""Importances: how much each parameter decided whether a trial was among the best, by PED-ANOVA."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import StudyDirection

from wirecell_ml.hpo.ranking import finite
from wirecell_ml.hpo.summary import StudySummary
from wirecell_ml.hpo.trial import Scalar, Trial

FEWEST_TRIALS = 10
# PED-ANOVA compares the best share with all. Its usual tenth is six trials of 60: so few rank noise above the truth.
BEST_SHARE = 1 / 3


def importances(study: StudySummary, objective: str) -> dict[str, float]:
    """Return the share of each parameter, the largest first; nothing where there are too few trials to tell."""
    trials = [trial for trial in study.trials if finite(trial, objective) and trial.twin_of is None]
    if len(trials) < FEWEST_TRIALS or not any(trial.params for trial in trials):
        return {}
    with _quiet():
        mirror = _mirror(study, objective, trials)
        return get_param_importances(mirror, evaluator=PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE))


def _mirror(study: StudySummary, objective: str, trials: list[Trial]) -> optuna.Study:
    """Return an Optuna study in memory that holds ``trials`` and one objective."""
    mirror = optuna.create_study(direction=StudyDirection[study.objectives[objective].upper()])
    names = {name: None for trial in trials for name in trial.params}
    distributions = {name: _distribution(study.space.get(name, {}), name, trials) for name in names}
    for trial in trials:
        params = {name: _plain(value, distributions[name]) for name, value in trial.params.items()}
        own = {name: distributions[name] for name in params}
        mirror.add_trial(optuna.create_trial(params=params, distributions=own, value=trial.values[objective]))
    return mirror


def _distribution(space: dict[str, Any], name: str, trials: list[Trial]) -> BaseDistribution:
    """Return the range of one parameter, as far as the trials went."""
    seen = [trial.params[name] for trial in trials if name in trial.params]
    numbers = [value for value in seen if isinstance(value, int | float) and not isinstance(value, bool)]
    if space.get("kind") not in ("whole", "real") or len(numbers) < len(seen):
        return CategoricalDistribution(list(dict.fromkeys(str(value) for value in seen)))
    low, high = min(numbers), max(numbers)
    log = bool(space.get("log")) and low > 0
    if space["kind"] == "whole":
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)


def _plain(value: Scalar, distribution: BaseDistribution) -> Scalar:
    return str(value) if isinstance(distribution, CategoricalDistribution) else value


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from announcing the study in memory, and from warning of what the report says itself."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in ("Some regimes for parameter", "Target and region quantiles select the same"):
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        optuna.logging.set_verbosity(level)
