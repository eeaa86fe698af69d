"""Samplers and pruners by name, and what each of them can work with."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import optuna
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.hpo.space import Choices, Distribution, Space, Whole

DIRECTIONS = ("maximize", "minimize")
CMA_GENERATION = "cma:generation"  # where Optuna notes that CMA-ES chose a trial
Settings = TypeVar("Settings", "SamplerSettings", "PrunerSettings")
WARM_START = 10  # results that CMA-ES wants, to begin around the best tenth of them


@dataclass
class SamplerSettings:
    """How points are chosen; ``configs/sampler`` says what each setting means."""

    name: str = "tpe"
    seed: int = 1
    startup_trials: int = 10  # random trials before it begins to learn
    population: int | None = None  # of cmaes and nsga2: trials of one generation; null: as Optuna decides


@dataclass
class PrunerSettings:
    """When a trial is stopped early; ``configs/pruner`` says what each setting means."""

    name: str = "none"
    startup_trials: int = 5  # trials that must be done before any is stopped
    warmup_epochs: int = 0  # median: epochs of each trial in which it is not stopped
    min_epochs: int = 1  # halving, hyperband: epochs before the first comparison
    max_epochs: int | None = None  # hyperband: epochs of a whole training
    reduction_factor: int = 3  # halving, hyperband: one in so many goes on after a comparison


def read_settings(kind: type[Settings], settings: Mapping[str, Any], place: str) -> Settings:
    """Return the settings of a YAML file, typed; raises ConfigError for an unknown one or one of the wrong type."""
    known = [item.name for item in fields(kind)]
    for name in settings:
        if name not in known:
            raise ConfigError(f"{place}: no setting '{name}'.{suggest(str(name), known)}")
    try:
        typed = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), dict(settings)))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{place}.{error.full_key}: {str(error).splitlines()[0]}") from error
    assert isinstance(typed, kind)
    return typed


def fresh_sampler(settings: SamplerSettings, seed: int, study: optuna.Study) -> BaseSampler:
    """Return a sampler that has drawn nothing yet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return SAMPLERS[settings.name](settings, seed % 2**32, study)


def random_sampler(_: SamplerSettings, seed: int, __: optuna.Study) -> BaseSampler:
    """Return the sampler that learns nothing; a grid is not sampled, and needs none."""
    return RandomSampler(seed=seed)


def tpe(settings: SamplerSettings, seed: int, _: optuna.Study) -> BaseSampler:
    """Return the tree-structured Parzen estimator, of all parameters that are there together."""
    return TPESampler(
        n_startup_trials=settings.startup_trials, seed=seed, multivariate=True, group=True, constant_liar=True
    )


def gp(settings: SamplerSettings, seed: int, _: optuna.Study) -> BaseSampler:
    """Return the Gaussian process; conditional parameters are random."""
    return GPSampler(n_startup_trials=settings.startup_trials, seed=seed, warn_independent_sampling=False)


def cmaes(settings: SamplerSettings, seed: int, study: optuna.Study) -> BaseSampler:
    """Return CMA-ES, which begins around the best of the trials that it did not choose; choices are random."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    others = [numbers_only(trial) for trial in trials if CMA_GENERATION not in trial.system_attrs]
    return CmaEsSampler(
        n_startup_trials=max(settings.startup_trials, 1),
        seed=seed,
        popsize=settings.population,
        source_trials=others if len(others) >= WARM_START else None,
        warn_independent_sampling=False,
    )


def nsga2(settings: SamplerSettings, seed: int, _: optuna.Study) -> BaseSampler:
    """Return NSGA-II, which breeds the next generation from the best of those before."""
    return NSGAIISampler(population_size=settings.population or 50, seed=seed)


SAMPLERS: dict[str, Callable[[SamplerSettings, int, optuna.Study], BaseSampler]] = {
    "cmaes": cmaes,
    "gp": gp,
    "grid": random_sampler,
    "nsga2": nsga2,
    "random": random_sampler,
    "tpe": tpe,
}
PRUNERS: dict[str, Callable[[PrunerSettings], BasePruner]] = {
    "halving": lambda of: SuccessiveHalvingPruner(of.min_epochs, of.reduction_factor),
    "hyperband": lambda of: HyperbandPruner(of.min_epochs, of.max_epochs or "auto", of.reduction_factor),
    "median": lambda of: MedianPruner(n_startup_trials=0, n_warmup_steps=of.warmup_epochs + 1),  # epochs count from 1
    "none": lambda _: NopPruner(),
}


def numbers_only(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial without what CMA-ES cannot vary."""
    varied = {name: d for name, d in trial.distributions.items() if is_varied_number(d)}
    return create_trial(
        value=trial.value, params={name: trial.params[name] for name in varied}, distributions=dict(varied)
    )


def is_varied_number(distribution: BaseDistribution) -> bool:
    """Return whether CMA-ES can vary a parameter."""
    return not isinstance(distribution, CategoricalDistribution) and not distribution.single()


def translate(distribution: Distribution) -> BaseDistribution:
    """Return Optuna's word for a distribution."""
    if isinstance(distribution, Choices):
        return CategoricalDistribution(distribution.options)
    kind = IntDistribution if isinstance(distribution, Whole) else FloatDistribution
    return kind(distribution.low, distribution.high, log=distribution.log, step=distribution.step)  # type: ignore[arg-type]


def check(space: Space, objectives: Mapping[str, str], sampler: SamplerSettings, pruner: PrunerSettings) -> None:
    """Raise ConfigError for settings that do not go together."""
    check_objectives(objectives)
    check_sampler(space, objectives, sampler)
    check_pruner(objectives, pruner)


def check_objectives(objectives: Mapping[str, str]) -> None:
    """Raise ConfigError for objectives that say nothing, or not which way is better."""
    if not objectives:
        raise ConfigError("search.objectives is empty. Name what is to be best, as in val/dice: maximize")
    for name, direction in objectives.items():
        if direction not in DIRECTIONS:
            raise ConfigError(f"search.objectives.{name}: '{direction}' is not known.{suggest(direction, DIRECTIONS)}")


def check_sampler(space: Space, objectives: Mapping[str, str], sampler: SamplerSettings) -> None:
    """Raise ConfigError for a sampler that does not exist or cannot work on this space."""
    if sampler.name not in SAMPLERS:
        raise ConfigError(f"sampler.name: '{sampler.name}' is not known.{suggest(sampler.name, SAMPLERS)}")
    if sampler.startup_trials < 0:
        raise ConfigError(f"sampler.startup_trials: {sampler.startup_trials} is below 0")
    if sampler.population is not None and sampler.population < 2:
        raise ConfigError(f"sampler.population: {sampler.population} is no population. Give 2 or more, or null")
    if sampler.name == "grid":
        space.grid()
    if sampler.name == "cmaes":
        check_cmaes(space, objectives)


def check_cmaes(space: Space, objectives: Mapping[str, str]) -> None:
    """Raise ConfigError where Optuna's CMA-ES would quietly choose at random."""
    if len(objectives) > 1:
        raise ConfigError(
            f"sampler=cmaes knows one objective, not {', '.join(objectives)}. Take tpe, nsga2, gp or random"
        )
    numbers = [p for p in space.parameters if is_varied_number(translate(p.distribution))]
    if not numbers:
        raise ConfigError("sampler=cmaes varies numbers, and there are only choices here. Take tpe, random or grid")
    for parameter in numbers:
        if parameter.when:
            raise ConfigError(f"sampler=cmaes knows no 'when', which {parameter.place} has. Take tpe or random")


def check_pruner(objectives: Mapping[str, str], pruner: PrunerSettings) -> None:
    """Raise ConfigError for a pruner that does not exist or cannot compare."""
    if pruner.name not in PRUNERS:
        raise ConfigError(f"pruner.name: '{pruner.name}' is not known.{suggest(pruner.name, PRUNERS)}")
    if pruner.name == "none":
        return
    if len(objectives) > 1:
        raise ConfigError(f"pruner={pruner.name} compares by one objective, not {', '.join(objectives)}. Take none")
    for name, least in (("startup_trials", 0), ("warmup_epochs", 0), ("min_epochs", 1), ("reduction_factor", 2)):
        if getattr(pruner, name) < least:
            raise ConfigError(f"pruner.{name}: {getattr(pruner, name)} is below {least}")
    if pruner.name == "hyperband" and (pruner.max_epochs is None or pruner.max_epochs <= pruner.min_epochs):
        raise ConfigError(f"pruner.max_epochs: {pruner.max_epochs}, but hyperband wants more than pruner.min_epochs")
