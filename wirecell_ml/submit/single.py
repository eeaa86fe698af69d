"""One training as a job: a study of one unit."""

import sys
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from wirecell_ml import cli
from wirecell_ml.composing import Bases, as_yaml
from wirecell_ml.errors import ConfigError
from wirecell_ml.submit import running
from wirecell_ml.submit.arguments import Arguments
from wirecell_ml.submit.check import check
from wirecell_ml.submit.job import Batch
from wirecell_ml.submit.listed import Listed
from wirecell_ml.submit.ordering import (
    TRAIN,
    check_places,
    code_folder,
    compose_settings,
    compose_sites,
    read_sites,
    rehearse,
    rendered,
    training_work,
    write_study,
)
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.states import UnitState
from wirecell_ml.submit.study import Study, TrainingWork, check_name, ledger_url, open_study

FAILED = 1  # exit status of a job whose training failed


@dataclass
class SubmitSettings:
    """Everything that ``configs/submit.yaml`` holds."""

    study: str | None = None
    site: Site = field(default_factory=Site)
    folder: str = "sweeps"
    ledger: str | None = None
    driver: str = "foreground"
    dry_run: bool = False
    takeover: bool = False


ConfigStore.instance().store(name="submit_schema", node=SubmitSettings)


def start(arguments: Arguments) -> None:
    """Send one training to a site, and follow it."""
    settings = compose_settings("submit", arguments)
    if arguments.show:
        sys.stdout.write(OmegaConf.to_yaml(settings))
        return
    bases = Bases.composed({}, ["trainer.progress=false", *arguments.training], arguments.config_dirs)
    study = draft(settings, bases, arguments)
    if settings.dry_run:
        show_dry_run(study, bases)
        return
    running.check_free(study, settings.takeover)
    study = write_study(study, bases)
    study.go_on()
    drive(study, settings.driver, settings.takeover)


def draft(settings: DictConfig, bases: Bases, arguments: Arguments) -> Study:
    """Return a checked study of one training; raises ConfigError or SubmitError for whatever is wrong with it."""
    (config,) = bases.configs.values()
    called = str(config["name"]).replace("_", "-")[:22]
    name = settings.study or f"{called}-{datetime.now():%m%d-%H%M%S}"
    check_name(name)
    nodes = compose_sites("submit", arguments)
    sites = read_sites(nodes)
    rehearse([config], [config["monitor"]], TRAIN)
    if not settings.dry_run:
        check_places(sites)
    folder = Path(settings.folder).expanduser().absolute() / name
    ledger_url(settings.ledger, folder)
    held = {
        "study": name,
        "created": datetime.now().isoformat(timespec="seconds"),
        "trials": 1,
        "objectives": {config["monitor"]: "maximize" if config["monitor_mode"] == "max" else "minimize"},
        "overrides": list(arguments.training),
        "bases": bases.digest(),
        "program": TRAIN,
        "ledger": settings.ledger,
        "sites": [OmegaConf.to_container(node, resolve=True) for node in nodes],
    }
    return Study(folder, OmegaConf.create(held))


def work_of(study: Study, bases: Bases) -> TrainingWork:
    """Return what the one unit does."""
    return training_work(study, bases, lambda _: {})


def show_dry_run(study: Study, bases: Bases) -> None:
    """Print what would be sent; nothing is written."""
    study.held.code = str(code_folder(study, bases))
    work, order = work_of(study, bases), study.order()
    sys.stdout.write(f"# units/000000/config.yaml\n{as_yaml(work.config({}, 0))}\n")
    for name, site in order.sites.items():
        batch = Batch.of(study.name, [work.command(order.box(0), 1, site)], site.resources, order.folder / "jobs")
        sys.stdout.write(f"# sent to {name}\n{rendered(site, batch)}")


def drive(study: Study, how: str, takeover: bool) -> None:
    """Drive the job as the user wishes."""
    running.drive(study, "wirecell_ml.submit", how, takeover, lambda: drive_here(study, takeover))


def drive_here(study: Study, takeover: bool) -> None:
    """Drive the job in this process, and say where its run is; exit with 1 where it failed."""
    work = work_of(study, Bases.load(study.folder / "base", ()))
    if not running.run_here(study, work, lambda: Listed([{}]), takeover):
        return
    box, ledger = study.order().box(0), study.ledger()
    attempt = max(one.attempt for one in ledger.attempts(study.name))
    sys.stdout.write(f"run directory: {box.attempt(attempt) / f'run-{box.newest_run(attempt)}'}\n")
    (unit,) = ledger.units(study.name)
    if unit.state is not UnitState.DONE:
        cli.stop(f"the training {unit.state.lower()}: {unit.why}", FAILED)


def resume(arguments: Arguments) -> None:
    """Drive a job on."""
    settings, study = find(arguments)
    running.check_free(study, settings.takeover)
    study.go_on()
    drive(study, settings.driver, settings.takeover)


def drive_on(arguments: Arguments) -> None:
    """Drive a job on as it is: what a driver in the background runs."""
    settings, study = find(arguments)
    drive_here(study, settings.takeover)


def find(arguments: Arguments) -> tuple[DictConfig, Study]:
    """Return the settings, and the job that they name."""
    settings = compose_settings("submit", arguments)
    if settings.study is None:
        raise ConfigError(f"submit {arguments.verb}: which job? Write study=NAME")
    study = open_study(settings.study, Path(settings.folder).expanduser())
    if study.held.get("search"):
        raise ConfigError(f"study={study.name} is a sweep. Write: hpo {arguments.verb} study={study.name}")
    return settings, study


def check_site(arguments: Arguments) -> None:
    """Check a site."""
    settings = compose_settings("submit", arguments)
    if arguments.training:
        raise ConfigError(f"submit check: '{arguments.training[0]}' is of a training, and none is sent")
    for site in read_sites(compose_sites("submit", arguments)):
        check(site, Path(settings.folder).expanduser().absolute())
