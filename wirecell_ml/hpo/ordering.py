"""Ordering a study: everything that can be wrong with it is found before anything is queued."""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from wirecell_ml.composing import Bases, as_yaml, compose, configs, group_options
from wirecell_ml.errors import ConfigError, SubmitError, suggest
from wirecell_ml.hpo.settings import check_words
from wirecell_ml.hpo.space import Choices, Space, parse_sweep
from wirecell_ml.schema import checked
from wirecell_ml.submit.arguments import Arguments
from wirecell_ml.submit.backend import Refused, Unavailable, make_backend
from wirecell_ml.submit.payload import modules_of, snapshot
from wirecell_ml.submit.site import Site, check_site
from wirecell_ml.submit.study import Study, TrainingWork, check_name, ledger_url

TRAIN = "wirecell_ml.train"
TEXTS = ("sweep=", "ledger=", "folder=")  # taken as they are: Hydra's grammar would read them


@dataclass(frozen=True)
class Draft:
    """A study that was checked and is not written yet."""

    study: Study
    space: Space
    bases: Bases
    whole: Bases  # the same trainings as a user would run them, evaluation and all


def read_settings(arguments: Arguments) -> DictConfig:
    """Return the settings of a study as the user gave them; raises ConfigError for a wrong one."""
    texts = {word.partition("=")[0]: word.partition("=")[2] for word in arguments.own if word.startswith(TEXTS)}
    with configs():
        settings = compose("hpo", [word for word in arguments.own if not word.startswith(TEXTS)], arguments.config_dirs)
    settings.merge_with(texts)
    check_words(settings)
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
    objectives: Any = OmegaConf.to_container(settings.objectives or settings.search.objectives)
    check_sampling(space, objectives, settings)
    site = read_site(settings.site)
    options = group_options(arguments.config_dirs)
    swept = {
        p.name: [str(one) for one in p.distribution.options]
        for p in space.parameters
        if p.name in options and isinstance(p.distribution, Choices)
    }
    latency = ["latency=true"] if "latency_s" in objectives else []
    bases = Bases.composed(swept, [*settings.each, *latency, *arguments.training], arguments.config_dirs)
    whole = Bases.composed(swept, arguments.training, arguments.config_dirs)
    rehearse(bases, space, list(objectives), settings.program)
    check_place(site)
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
            "trial_seed": settings.trial_seed,
            "program": settings.program,
            "ledger": settings.ledger,
            "site": OmegaConf.to_container(settings.site, resolve=True),
        }
    )
    folder = Path(settings.folder).expanduser().absolute() / settings.study
    ledger_url(settings.ledger, folder)
    return Draft(Study(folder, held), space, bases, whole)


def check_sampling(space: Space, objectives: Any, settings: DictConfig) -> None:
    """Raise ConfigError for a sampler or a pruner that cannot work with this space."""
    from wirecell_ml.hpo.proposer import Proposer  # here, since Optuna takes half a second

    Proposer(space, objectives, *sampling(settings), trials=settings.trials)


def sampling(settings: DictConfig) -> tuple[Any, Any]:
    """Return the settings of sampler and pruner, typed."""
    from wirecell_ml.hpo.samplers import PrunerSettings, SamplerSettings

    kinds = (("sampler", SamplerSettings), ("pruner", PrunerSettings))
    return tuple(
        OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), settings[name])) for name, kind in kinds
    )  # type: ignore[return-value]


def budget(space: Space, settings: DictConfig) -> int:
    """Return how many trials there will be: as many as the user says, but never more than a grid has."""
    size = space.size() if settings.sampler.name == "grid" else None
    return int(settings.trials) if size is None else min(int(settings.trials), size)


def read_site(node: DictConfig) -> Site:
    """Return a site, checked; raises ConfigError for one that leaves something to be filled in."""
    missing = OmegaConf.missing_keys(node)
    if missing:
        raise ConfigError(f"site: no value for {', '.join(sorted(missing))}. docs/sites.md says what belongs there")
    site = OmegaConf.to_object(node)
    assert isinstance(site, Site)
    check_site(site)
    return site


def check_place(site: Site) -> None:
    """Raise SubmitError where the site cannot run one unit, or does not answer."""
    try:
        make_backend(site).check(site.resources)
    except (Unavailable, Refused) as error:
        raise SubmitError(f"site {site.name} does not answer, nothing was queued: {error}") from error


def rehearse(bases: Bases, space: Space, objectives: Sequence[str], program: str) -> None:
    """Compose and check a config for every option and every bound, and build each network once in a process of its own.

    Raises ConfigError for a setting that does not exist or cannot be, and for an objective that no training reports.
    """
    flats = [bases.flat(space.overrides(corner)) for corner in [*space.first, *space.corners()]]
    for flat in flats:
        checked(OmegaConf.create(flat))
    if program != TRAIN:
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.yaml" for number in range(len(flats))]
        for path, flat in zip(paths, flats, strict=True):
            path.write_text(as_yaml(flat))
        command = [sys.executable, "-m", "wirecell_ml.rehearse", *map(str, paths)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if ended.returncode:
        said = (ended.stderr.strip().splitlines() or ["the rehearsal of a training failed"])[-1]
        raise ConfigError(re.sub(rf"^error: ({re.escape(folder)}\S+: )?", "", said))
    reported = json.loads(ended.stdout.strip().splitlines()[-1])["metrics"]
    for objective in objectives:
        if objective not in reported:
            raise ConfigError(
                f"objectives: '{objective}' is not reported by the training.{suggest(objective, reported)}"
            )


def write(drafted: Draft) -> Study:
    """Write a study to its folder, code and all, and into its ledger."""
    study = drafted.study
    modules = {name for config in drafted.bases.configs.values() for name in modules_of(config)}
    modules.add(study.held.program.partition(".")[0])
    study.folder.mkdir(parents=True, exist_ok=True)
    study.held.code = str(snapshot(study.folder, modules - {"wirecell_ml"}))
    drafted.bases.save(study.folder / "base")
    drafted.whole.save(study.folder / "whole")
    study.ledger().create(study.name, study.digest())
    study.save()
    return study


def work_of(study: Study, folder: str = "base") -> TrainingWork:
    """Return what the units of a study do, from the configs in ``folder``."""
    return work_from(study, Bases.load(study.folder / folder, list(study.held.groups)))


def work_from(study: Study, bases: Bases) -> TrainingWork:
    """Return what the units of a study do, from ``bases``."""
    plain: Any = OmegaConf.to_container(study.held.search)
    site = study.site
    return TrainingWork(
        bases=bases,
        overrides_of=Space.from_json(plain).overrides,
        code=Path(study.held.code),
        python=site.python or sys.executable,
        program=study.held.program,
        heartbeat_s=site.policy.heartbeat_s,
        minutes=site.resources.minutes,
        data=study.held.get("data", ""),
        own_seeds=study.held.trial_seed == "own",
    )
