"""Ordering a study: everything that can be wrong with it is found before anything is queued."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

import wirecell_ml.hpo.settings  # noqa: F401  (registers the types of configs/hpo.yaml)
from wirecell_ml.cli import NO_GROUP
from wirecell_ml.composing import Bases, group_options
from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.hpo.space import Choices, Space, parse_sweep
from wirecell_ml.schema import TrainSettings
from wirecell_ml.submit.arguments import Arguments, first_name
from wirecell_ml.submit.ordering import (
    check_places,
    compose_settings,
    compose_sites,
    read_sites,
    rehearse,
    training_work,
    write_study,
)
from wirecell_ml.submit.session import Source
from wirecell_ml.submit.study import Study, TrainingWork, check_name, ledger_url


@dataclass(frozen=True)
class Draft:
    """A study that was checked and is not written yet."""

    study: Study
    space: Space
    bases: Bases
    whole: Bases  # the same trainings as a user would run them, evaluation and all


def read_settings(arguments: Arguments) -> DictConfig:
    """Return the settings of a study as the user gave them; raises ConfigError for a wrong one."""
    settings = compose_settings("hpo", arguments)
    if settings.trials < 1:
        raise ConfigError(f"trials={settings.trials}: a study has at least one trial")
    if settings.sweep is not None:
        settings.search = {"sweep": parse_sweep(settings.sweep), "objectives": settings.search.objectives, "first": []}
    unknown = set(settings.search) - {"objectives", "sweep", "first"}
    if unknown:
        raise ConfigError(
            f"search: no setting '{min(unknown)}'.{suggest(min(unknown), ('objectives', 'sweep', 'first'))}"
        )
    if settings.study is None:
        settings.study = f"{search_name(arguments)}-{datetime.now():%m%d-%H%M%S}"
    check_name(settings.study)
    return settings


def search_name(arguments: Arguments) -> str:
    """Return what a study is called after, where the user does not say."""
    chosen = [word.partition("=")[2] for word in arguments.own if word.startswith("search=")]
    swept = any(word.startswith("sweep=") for word in arguments.own)
    return ("sweep" if swept else chosen[-1] if chosen else "roinet").replace("_", "-")[:24]


def draft(settings: DictConfig, arguments: Arguments) -> Draft:
    """Return a checked study; raises ConfigError or SubmitError for whatever is wrong with it."""
    plain: Any = OmegaConf.to_container(settings.search)
    space = Space.from_settings(plain["sweep"], plain.get("first") or [])
    objectives = read_objectives(settings)
    check_sampling(space, objectives, settings)
    nodes = compose_sites("hpo", arguments)
    sites = read_sites(nodes)
    options = group_options(arguments.config_dirs)
    check_names(arguments, {*settings, *options, *(item.name for item in fields(TrainSettings))} - {NO_GROUP})
    swept = {
        p.name: [str(one) for one in p.distribution.options]
        for p in space.parameters
        if p.name in options and isinstance(p.distribution, Choices)
    }
    latency = ["latency=true"] if "latency_s" in objectives else []
    bases = Bases.composed(swept, [*settings.each, *latency, *arguments.training], arguments.config_dirs)
    whole = Bases.composed(swept, arguments.training, arguments.config_dirs)
    corners = [*space.first, *space.corners()]  # every option and every bound at least once
    rehearse([bases.flat(space.overrides(point)) for point in corners], list(objectives), settings.program)
    if not settings.dry_run:
        check_places(sites)
    held = OmegaConf.create(
        {
            "study": settings.study,
            "created": datetime.now().isoformat(timespec="seconds"),
            "trials": budget(space, settings),
            "objectives": objectives,
            "search": space.as_json(),
            "groups": list(swept),
            "sampler": settings.sampler,
            "pruner": settings.pruner,
            "overrides": list(arguments.training),
            "bases": bases.digest(),
            "trial_seed": settings.trial_seed,
            "program": settings.program,
            "ledger": settings.ledger,
            "sites": [OmegaConf.to_container(node, resolve=True) for node in nodes],
        }
    )
    folder = Path(settings.folder).expanduser().absolute() / settings.study
    ledger_url(settings.ledger, folder)
    return Draft(Study(folder, held), space, bases, whole)


def read_objectives(settings: DictConfig) -> dict[str, str]:
    """Return metric → direction; raises ConfigError for what is no such thing."""
    given = settings.search.get("objectives") if settings.objectives is None else settings.objectives
    if not isinstance(given, DictConfig):
        raise ConfigError(f"objectives={given}: write which way is better, as in {{val/dice: maximize}}")
    return {str(name): str(direction) for name, direction in given.items()}


def check_names(arguments: Arguments, known: Collection[str]) -> None:
    """Raise ConfigError for a setting that is neither ours nor the training's; the near name may be either's."""
    for word in arguments.training:
        name = first_name(word)
        if not word.startswith(("+", "~")) and name not in (*known, "hydra"):
            raise ConfigError(f"no setting '{name}'.{suggest(name, known)}")


def check_sampling(space: Space, objectives: Any, settings: DictConfig) -> None:
    """Raise ConfigError for a sampler or a pruner that cannot work with this space."""
    from wirecell_ml.hpo.proposer import Proposer  # here, since Optuna takes half a second

    Proposer(space, objectives, *sampling(settings), trials=settings.trials)


def sampling(settings: DictConfig) -> tuple[Any, Any]:
    """Return the settings of sampler and pruner, typed."""
    from wirecell_ml.hpo.samplers import PrunerSettings, SamplerSettings, read_settings

    plain: Any = OmegaConf.to_container(OmegaConf.create({name: settings[name] for name in ("sampler", "pruner")}))
    return (
        read_settings(SamplerSettings, plain["sampler"], "sampler"),
        read_settings(PrunerSettings, plain["pruner"], "pruner"),
    )


def budget(space: Space, settings: DictConfig) -> int:
    """Return how many trials there will be: as many as the user says, but never more than a grid has."""
    size = space.size() if settings.sampler.name == "grid" else None
    return int(settings.trials) if size is None else min(int(settings.trials), size)


def write(drafted: Draft) -> Study:
    """Write a study to its folder and into its ledger."""
    return write_study(drafted.study, drafted.bases, drafted.whole)


def work_of(study: Study, folder: str = "base") -> TrainingWork:
    """Return what the units of a study do, from the configs in ``folder``."""
    return work_from(study, Bases.load(study.folder / folder, list(study.held.groups)))


def work_from(study: Study, bases: Bases) -> TrainingWork:
    """Return what the units of a study do, from ``bases``."""
    plain: Any = OmegaConf.to_container(study.held.search)
    return training_work(study, bases, Space.from_json(plain).overrides)


def make_source(study: Study) -> Source:
    """Return a source of trials that knows nothing yet."""
    from wirecell_ml.hpo.proposer import Proposer
    from wirecell_ml.hpo.source import OptunaSource

    space = space_of(study)
    proposer = Proposer(space, study.objectives, *sampling(study.held), trials=int(study.held.trials))
    return OptunaSource(proposer, study.held.sampler.name)


def space_of(study: Study) -> Space:
    """Return the search space of a study."""
    plain: Any = OmegaConf.to_container(study.held.search)
    return Space.from_json(plain)
