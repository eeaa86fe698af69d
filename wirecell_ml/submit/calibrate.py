"""The calibration of a site: one unit is sent there that measures how fast a training runs, and a profile is kept.

  python -m wirecell_ml.submit calibrate site=slurm_local site.resources.cores=8 experiment=dnnroi_unet_pdsp

What comes back is not trusted more than any result: numbers are checked, and texts are cut.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from rich.console import Console

from wirecell_ml.composing import Bases, Container
from wirecell_ml.errors import ConfigError, SubmitError
from wirecell_ml.provenance import digest
from wirecell_ml.submit import running
from wirecell_ml.submit.arguments import Arguments, first_name
from wirecell_ml.submit.broker.speeds import Profile, Step, write_profile
from wirecell_ml.submit.following import new_lines
from wirecell_ml.submit.listed import Listed
from wirecell_ml.submit.mailbox import printable
from wirecell_ml.submit.memory import PROFILES
from wirecell_ml.submit.ordering import (
    TRAIN,
    check_places,
    compose_settings,
    compose_sites,
    read_sites,
    rehearse,
    training_work,
    write_study,
)
from wirecell_ml.submit.profiles import show
from wirecell_ml.submit.scaling import fit_scaling
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.study import Study

PROGRAM = "wirecell_ml.calibration"
OWN = ("site", "folder", "output", "seconds")
MOST_STEPS = 1000  # in one profile
LONGEST_S, LARGEST = 1e6, 10_000  # of a step; of batch, threads and GPUs
PARTS = ("model", "task", "optimizer", "data")  # of a config, that its speed depends on
ELSEWHERE = ("files", "cache", "split", "seed")  # of data, that it does not
DIGEST_CHARACTERS = 12


@dataclass
class CalibrateSettings:
    """Everything that ``configs/calibrate.yaml`` holds."""

    site: Site = field(default_factory=Site)
    folder: str = "sweeps"
    output: str | None = None
    seconds: float = 10.0


ConfigStore.instance().store(name="calibrate_schema", node=CalibrateSettings)


def calibrate(arguments: Arguments) -> None:
    """Measure a training at each site that the command line names, and write the profiles."""
    words = (*arguments.own, *arguments.training)
    own = tuple(word for word in words if first_name(word) in OWN)
    arguments = replace(arguments, own=own, training=tuple(word for word in words if word not in own))
    settings = compose_settings("calibrate", arguments)
    sites = read_sites(compose_sites("calibrate", arguments))
    if settings.output and len(sites) > 1:
        raise ConfigError(f"output={settings.output} is one file, and here are {len(sites)} sites. Leave it out")
    if not 0 < settings.seconds <= LONGEST_S:
        raise ConfigError(f"seconds={settings.seconds:g}: a way to train is measured for more than 0 s")
    bases = Bases.composed({}, ["trainer.progress=false", *arguments.training], arguments.config_dirs)
    rehearse(list(bases.configs.values()), [], TRAIN)
    check_places(sites)
    folder = Path(settings.folder).expanduser().absolute()
    for site in sites:
        profile = measure(site, bases, folder, settings.seconds)
        path = Path(settings.output or PROFILES / f"{site.name}.yaml").expanduser()
        write_profile(profile, path)
        show(profile)
        Console().print(f"written to {path}", highlight=False, soft_wrap=True)


def measure(site: Site, bases: Bases, folder: Path, seconds: float) -> Profile:
    """Return what a unit at a site measures; raises SubmitError where it ends without a measurement."""
    study = order(site, bases, folder)
    params = {"cores": site.resources.cores, "gpus": site.resources.gpus, "seconds": seconds}
    work = training_work(study, bases, lambda _: {})
    if not running.run_here(study, work, lambda: Listed([params]), takeover=False):
        raise SubmitError(f"site {site.name}: the calibration was left before it ended, and no profile was written")
    ledger, box = study.ledger(), study.order().box(0)
    (unit,) = ledger.units(study.name)
    attempt = max((one.attempt for one in ledger.attempts(study.name)), default=1)
    facts, steps = read_lines(new_lines(box.progress(attempt), 0)[0])
    if unit.state != "DONE" or not facts or not steps:
        raise SubmitError(
            f"site {site.name}: the calibration ended {unit.state}: {unit.why}. What it said: "
            f"{box.progress(attempt).with_name('log.txt')}"
        )
    return profile_of(site.name, bases.flat({}), facts, steps, Path(study.held.code).name)


def order(site: Site, bases: Bases, folder: Path) -> Study:
    """Return the study of the one unit, written; it is sent again where it was interrupted, but not where it failed."""
    name = f"calibrate-{site.name.replace('_', '-').lower()[:12]}-{datetime.now():%m%d-%H%M%S}"
    once = replace(site, policy=replace(site.policy, failures=0))
    held = OmegaConf.create(
        {
            "study": name,
            "trials": 1,
            "objectives": {"measured": "maximize"},
            "program": PROGRAM,
            "ledger": None,
            "sites": [OmegaConf.structured(once)],
        }
    )
    return write_study(Study(folder / name, held), bases)


def profile_of(site: str, config: Container, facts: dict[str, Any], steps: Sequence[Step], code: str) -> Profile:
    """Return the profile of a site for the training of a flat config."""
    written = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "code": code, "prepare_s": facts["prepare_s"]}
    return Profile(
        site=site,
        model=model_digest(config),
        startup_s=facts["startup_s"],
        data_s=facts["data_s"],
        steps=tuple(steps),
        threads=fit_scaling(throughputs(steps, "threads")),
        gpus=fit_scaling(throughputs(steps, "gpus")),
        facts=facts["machine"] | written,
    )


def model_digest(config: Container) -> str:
    """Return the digest of all settings of a training that its speed depends on."""
    parts = {name: config[name] for name in PARTS}
    data = {name: value for name, value in parts["data"].items() if name not in ELSEWHERE}
    return digest(parts | {"data": data})[:DIGEST_CHARACTERS]


def throughputs(steps: Sequence[Step], workers: str) -> dict[int, float]:
    """Return samples per second by the number of GPUs, or of threads without GPUs, in the fastest precision.

    All are with the batch that was measured most often, which on several GPUs each of them has.
    """
    some = [step for step in steps if bool(step.gpus) == (workers == "gpus")]
    fastest = max(some, key=lambda step: step.samples_per_s, default=None)
    some = [step for step in some if fastest and step.precision == fastest.precision]
    shares = [step.batch // max(1, step.gpus) for step in some]
    usual = max(shares, key=shares.count, default=0)
    return {
        getattr(step, workers): step.samples_per_s for step, share in zip(some, shares, strict=True) if share == usual
    }


def read_lines(lines: Iterable[str]) -> tuple[dict[str, Any] | None, list[Step]]:
    """Return the facts, None without any, and the steps that lines of progress hold, less what cannot be."""
    facts: dict[str, Any] | None = None
    steps: list[Step] = []
    for line in lines:
        try:
            held = json.loads(line)
            if "facts" in held:
                facts = trusted_facts(held["facts"])
            if "step" in held and len(steps) < MOST_STEPS:
                steps.append(trusted_step(held["step"]))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            continue
    return facts, steps


def trusted_facts(held: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a machine in the form that a worker gives them; raises ValueError, KeyError or TypeError."""
    times = {name: number(held[name], LONGEST_S) for name in ("startup_s", "prepare_s", "data_s")}
    machine = {printable(str(name)): fact(value) for name, value in list(held["machine"].items())[:20]}
    return times | {"machine": {name: value for name, value in machine.items() if value is not None}}


def fact(value: object) -> str | float | None:
    """Return a fact as a number or a short text."""
    return number(value, 1e12) if isinstance(value, int | float) else None if value is None else printable(str(value))


def trusted_step(held: dict[str, Any]) -> Step:
    """Return a measured step in the form that a worker gives it; raises ValueError, KeyError or TypeError."""
    sizes = {name: int(number(held[name], LARGEST)) for name in ("batch", "threads", "gpus")}
    if sizes["batch"] < 1 or sizes["threads"] < 1 or held["precision"] not in ("32", "bf16"):
        raise ValueError("no step")
    seconds, memory_gb = number(held["seconds"], LONGEST_S), number(held["memory_gb"], LARGEST)
    if seconds == 0:
        raise ValueError("no step takes no time")
    return Step(**sizes, seconds=seconds, precision=held["precision"], memory_gb=round(memory_gb, 3))


def number(value: object, most: float) -> float:
    """Return a number from 0 to ``most``; raises ValueError for anything else."""
    if not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= most:
        raise ValueError("no number that can be")
    return value
