"""Ordering: what is checked before anything is queued, and how a study is written down."""

import json
import logging
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from wirecell_ml.composing import Bases, Container, as_yaml, compose, configs
from wirecell_ml.errors import ConfigError, RunError, SubmitError, suggest
from wirecell_ml.schema import checked
from wirecell_ml.submit.arguments import Arguments
from wirecell_ml.submit.backend import Refused, Unavailable, make_backend
from wirecell_ml.submit.job import Batch
from wirecell_ml.submit.payload import code_files, digest, modules_of, snapshot
from wirecell_ml.submit.post import make_post
from wirecell_ml.submit.site import SETTINGS, Site, check_site
from wirecell_ml.submit.study import Study, TrainingWork, open_study

log = logging.getLogger(__name__)

TRAIN = "wirecell_ml.train"
TEXTS = ("sweep=", "ledger=", "folder=")  # settings taken as they are typed: Hydra's grammar would read them
WORDS = {  # settings that are one of a few words
    "trial_seed": ("same", "own"),
    "driver": ("detached", "foreground", "job"),
    "how": ("checkpoint", "finish"),
}
MAY_CHANGE = ("sampler", "pruner")  # when a study is ordered again


def compose_settings(name: str, arguments: Arguments) -> DictConfig:
    """Return our own settings as the user gave them; raises ConfigError for a word that a setting does not know."""
    arguments = at_site(arguments, chosen[0]) if (chosen := chosen_sites(arguments)) else arguments
    typed = [word.partition("=") for word in arguments.own if word.startswith(TEXTS)]
    texts = {setting: None if text == "null" else text for setting, _, text in typed}
    with configs():
        words = [word for word in arguments.own if not word.startswith(TEXTS)]
        settings = compose(name, words, arguments.config_dirs)
        keep_open(settings, arguments)
    settings.merge_with(texts)
    check_words(settings)
    return settings


def keep_open(settings: DictConfig, arguments: Arguments) -> None:
    """Put ??? where the site file has it and the user gave nothing: Hydra takes the default of the setting instead."""
    chosen = chosen_sites(arguments)
    as_written = compose(None, [f"+site={chosen[0]}"], arguments.config_dirs) if chosen else OmegaConf.create()
    for name in OmegaConf.missing_keys(as_written):
        block = OmegaConf.select(settings, name.rpartition(".")[0])
        if block is not None and OmegaConf.select(settings, name) is None:  # site.container=null leaves nothing open
            OmegaConf.update(settings, name, "???")


def check_words(settings: DictConfig) -> None:
    """Raise ConfigError for a word that a setting does not know."""
    for name, known in WORDS.items():
        if name in settings and settings[name] not in known:
            raise ConfigError(f"{name}: '{settings[name]}' is not known.{suggest(settings[name], known)}")


def chosen_sites(arguments: Arguments) -> list[str]:
    """Return the names in ``site=[a,b]`` or ``site=a``, nothing where the user leaves the site to the default."""
    texts = [word.partition("=")[2] for word in arguments.own if word.startswith("site=")]
    return [name.strip() for name in texts[-1].strip("[]").split(",") if name.strip()] if texts else []


def at_site(arguments: Arguments, name: str) -> Arguments:
    """Return what the user typed as if ``name`` were the only site; site.NAME.setting=… is for that one alone."""
    own = []
    for word in arguments.own:
        plus, rest = ("+", word[1:]) if word.startswith("+") else ("", word)
        others = [one for one in chosen_sites(arguments) if rest.startswith(f"site.{one}.")]
        if others == [name]:
            own.append(plus + without(name, rest))
        elif not others:
            own.append(f"site={name}" if rest.startswith("site=") else word)
    return replace(arguments, own=tuple(own))


def without(name: str, word: str) -> str:
    """Return a word for the site ``name`` without that name; in site.aws.queue= for a site aws it is none."""
    begin = f"site.{name}."
    setting = re.split(r"[.=]", word.removeprefix(begin), maxsplit=1)[0]
    below = {one.name for one in fields(SETTINGS[name])} if name in SETTINGS else set()
    return word if setting in below else word.replace(begin, "site.", 1)


def compose_sites(entry: str, arguments: Arguments) -> list[DictConfig]:
    """Return the settings of each site that the user chose; raises ConfigError for two of one name."""
    names = chosen_sites(arguments)
    found = [compose_settings(entry, at_site(arguments, name)).site for name in names]
    found = found or [compose_settings(entry, arguments).site]
    called = [str(node.get("name")) for node in found]
    twice = {name for name in called if called.count(name) > 1}
    if twice:
        raise ConfigError(f"site=[{','.join(names)}]: two sites are named '{min(twice)}'. Each needs a name of its own")
    return found


def read_sites(nodes: Sequence[DictConfig]) -> list[Site]:
    """Return sites, checked; raises ConfigError where their prices cannot be compared."""
    sites = [read_site(node) for node in nodes]
    currencies = {site.cost.currency: site.name for site in sites if site.cost.core_hour or site.cost.gpu_hour}
    if len(currencies) > 1:
        said = ", ".join(f"{name} in '{currency}'" for currency, name in currencies.items())
        raise ConfigError(f"site.cost.currency: one study counts in one currency, and here is {said}. Convert one")
    return sites


def read_site(node: DictConfig) -> Site:
    """Return a site, checked; raises ConfigError for one that leaves something to be filled in."""
    missing = OmegaConf.missing_keys(node)
    if missing:
        raise ConfigError(f"site: no value for {', '.join(sorted(missing))}. docs/sites.md says what belongs there")
    site = OmegaConf.to_object(node)
    assert isinstance(site, Site)
    check_site(site)
    return site


def check_places(sites: Sequence[Site]) -> None:
    """Raise SubmitError where a site cannot run one unit, or none of them answers; one of several may be silent."""
    silent = {}
    for site in sites:
        try:
            make_backend(site).check(site.resources)
            make_post(site).check()
        except (Unavailable, Refused) as error:
            silent[site.name] = f"site {site.name} does not answer"
            log.warning("%s: %s", silent[site.name], error)
            reason = error
    if len(silent) == len(sites):
        raise SubmitError(f"{'; '.join(silent.values())}, nothing was queued: {reason}") from reason


def rendered(site: Site, batch: Batch) -> str:
    """Return what a site would be given for a batch; nothing is sent or written."""
    return make_backend(site).render(make_post(site).preview(batch))


def rehearse(flats: Sequence[Container], objectives: Sequence[str], program: str) -> None:
    """Check flat configs, and build their networks once in a process of its own, which may take its seconds.

    Raises ConfigError for a setting that cannot be, and for an objective that the training does not report.
    """
    for flat in flats:
        checked(OmegaConf.create(flat))
    if program != TRAIN:
        check_program(program)
        return
    reported = json.loads(rehearsal(flats))["metrics"]
    for objective in objectives:
        if objective not in reported:
            raise ConfigError(
                f"objectives: '{objective}' is not reported by the training.{suggest(objective, reported)}"
            )


def check_program(program: str) -> None:
    """Raise ConfigError for a program that no unit could start."""
    try:
        found = find_spec(program)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise ConfigError(f"program={program}: no such module. Install it, or put its folder on PYTHONPATH")


def rehearsal(flats: Sequence[Container]) -> str:
    """Return what ``python -m wirecell_ml.rehearse`` says of flat configs; raises ConfigError with its error."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.yaml" for number in range(len(flats))]
        for path, flat in zip(paths, flats, strict=True):
            path.write_text(as_yaml(flat))
        command = [sys.executable, "-m", "wirecell_ml.rehearse", *map(str, paths)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if ended.returncode:
        said = (ended.stderr.strip().splitlines() or ["the rehearsal of a training failed"])[-1]
        raise ConfigError(re.sub(rf"^error: ({re.escape(folder)}\S+: )?", "", said))
    return ended.stdout.strip().splitlines()[-1]


def write_study(study: Study, bases: Bases, whole: Bases | None = None) -> Study:
    """Write a study to its folder, code and all, and into its ledger; one that was ordered before goes on.

    ``whole`` are the same trainings as a user would run them. Raises RunError where the name is another study's.
    """
    if (study.folder / "study.yaml").exists():
        return ordered_again(study)
    modules = modules_needed(study, bases)
    list(code_files(modules))  # raises for what cannot be copied, before anything is written
    enroll(study)
    study.held.code = str(snapshot(study.folder, modules))
    bases.save(study.folder / "base")
    if whole:
        whole.save(study.folder / "whole")
    study.save()
    return study


def modules_needed(study: Study, bases: Bases) -> set[str]:
    """Return the modules of the user's own that must travel with the code."""
    targets = {name for config in bases.configs.values() for name in modules_of(config)}
    return (targets | {study.held.program.partition(".")[0]}) - {"wirecell_ml"}


def code_folder(study: Study, bases: Bases) -> Path:
    """Return where the code of a study will be; nothing is written."""
    return study.folder / "code" / digest(dict(code_files(modules_needed(study, bases))))


def enroll(study: Study) -> None:
    """Write a study into its ledger, and make its folder; a ledger that is elsewhere has to answer first."""
    if study.held.ledger is None:
        make_folder(study)
    study.ledger().create(study.name, f"{study.digest()} in {study.folder}")  # a ledger may serve many folders
    make_folder(study)


def make_folder(study: Study) -> None:
    """Make the folder of a study."""
    try:
        study.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"folder={study.folder.parent}: cannot write: {error.strerror}. Choose another place with folder=…"
        ) from error


def ordered_again(study: Study) -> Study:
    """Return the study of that name as it was ordered before, with the site and the budget of now."""
    before = open_study(study.name, study.folder.parent)
    if before.digest() != study.digest():
        raise RunError(
            f"study '{study.name}' exists with another space, objective or training. Choose another name with study=…, "
            f"or go on with it as it is: hpo resume study={study.name}"
        )
    if before.held.ledger != study.held.ledger:
        held, given = (one.held.ledger or "null" for one in (before, study))
        raise RunError(f"study '{study.name}' has ledger={held}, which cannot change to {given}. Write ledger={held}")
    lengthen(before, int(study.held.trials))
    for name in MAY_CHANGE:
        if name in study.held:
            before.held[name] = study.held[name]
    move(before, study.held.sites)
    before.save()
    return before


def move(study: Study, sites: Sequence[DictConfig]) -> None:
    """Let a study run at other sites; those that it had are kept for as long as they may have jobs of it."""
    study.held.retired = [OmegaConf.structured(site) for site in {**study.retired, **study.sites}.values()]
    study.held.sites = sites
    study.held.pop("site", None)


def lengthen(study: Study, trials: int) -> None:
    """Let a study have more trials than were ordered; raises ConfigError for fewer."""
    if trials < study.held.trials:
        raise ConfigError(f"trials={trials}: study {study.name} has {study.held.trials}, which can only become more")
    study.held.trials = trials


def training_work(study: Study, bases: Bases, overrides_of: Callable[[dict[str, Any]], dict[str, Any]]) -> TrainingWork:
    """Return what the units of a study do: trainings on ``bases``, with the settings that their parameters mean."""
    return TrainingWork(
        bases=bases,
        overrides_of=overrides_of,
        code=Path(study.held.code),
        program=study.held.program,
        own_seeds=study.held.get("trial_seed") == "own",
    )
