"""A study on disk: a folder that says all that was ordered, and where what happened is written down.

sweeps/NAME/study.yaml      what was ordered; never changed, but for the site of a resume
sweeps/NAME/base/           flat training configs that the trials begin with
sweeps/NAME/code/DIGEST/    the code that every unit runs
sweeps/NAME/ledger.sqlite   the ledger, unless it is elsewhere
sweeps/NAME/units/          the mailbox of each unit
sweeps/NAME/jobs/           what the batch system wrote
sweeps/NAME/driver.log      of a driver in the background
sweeps/NAME/stop            a wish to stop: "finish" or "checkpoint"
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from omegaconf import DictConfig, OmegaConf

from wirecell_ml.composing import Bases, as_yaml
from wirecell_ml.errors import ConfigError, RunError, suggest
from wirecell_ml.seeds import derive_seed
from wirecell_ml.submit.ledger import Ledger
from wirecell_ml.submit.local import RUNNER
from wirecell_ml.submit.mailbox import UnitBox
from wirecell_ml.submit.session import Order
from wirecell_ml.submit.site import Site

LEDGER_VARIABLE = "WIRECELL_ML_LEDGER"  # address of a ledger that holds a password
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,34}[a-z0-9])?")
KEY_CHARACTERS = 20


@dataclass(frozen=True)
class Study:
    """What was ordered."""

    folder: Path
    held: DictConfig  # study.yaml

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.folder.name

    @property
    def site(self) -> Site:
        """First of its sites, where its driver runs if that is a job."""
        return next(iter(self.sites.values()))

    @property
    def sites(self) -> dict[str, Site]:
        """Sites that its units run at, by name."""
        return named([self.held.site] if "site" in self.held else self.held.sites)  # one site: of an older version

    @property
    def retired(self) -> dict[str, Site]:
        """Sites that it had before, and that may still have jobs of it."""
        held = named(self.held.get("retired", []))
        return {name: site for name, site in held.items() if name not in self.sites}

    @property
    def objectives(self) -> dict[str, str]:
        """Metric → "maximize" or "minimize"; the first is followed while a unit learns."""
        return {str(name): str(direction) for name, direction in self.held.objectives.items()}

    def order(self) -> Order:
        """Return what a driver needs to know."""
        objectives = tuple(self.objectives)
        return Order(self.name, self.folder, int(self.held.trials), objectives, self.sites, self.retired)

    def ledger(self) -> Ledger:
        """Return the ledger of the study; raises LedgerUnavailable where it does not answer."""
        return Ledger(ledger_url(self.held.ledger, self.folder))

    def stop(self, how: str) -> None:
        """Ask the driver to stop, once running units have ended ("finish") or are checkpointed ("checkpoint")."""
        (self.folder / "stop").write_text(how)

    def go_on(self) -> None:
        """Take back the wish to stop."""
        (self.folder / "stop").unlink(missing_ok=True)

    def save(self) -> None:
        """Write study.yaml, whole or not at all."""
        written = self.folder / ".study.yaml"
        written.write_text(OmegaConf.to_yaml(self.held))
        written.replace(self.folder / "study.yaml")

    def digest(self) -> str:
        """Return the digest of what must not change while the study goes on."""
        fixed = {
            name: self.held[name]
            for name in ("search", "objectives", "bases", "program", "trial_seed")
            if name in self.held
        }
        plain = OmegaConf.to_container(OmegaConf.create(fixed))
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def named(held: Iterable[DictConfig]) -> dict[str, Site]:
    """Return sites from what is held of them."""
    sites = [OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Site), one)) for one in held]
    return {site.name: site for site in sites if isinstance(site, Site)}


def open_study(name: str, folder: Path) -> Study:
    """Return an existing study; raises RunError where there is none of that name."""
    path = folder / name / "study.yaml"
    if not path.is_file():
        known = [one.parent.name for one in folder.glob("*/study.yaml")]
        raise RunError(f"study={name}: no such study in {folder}.{suggest(name, known)}")
    held = OmegaConf.load(path)
    assert isinstance(held, DictConfig)
    return Study((folder / name).absolute(), held)


def check_name(name: str) -> None:
    """Raise ConfigError for a name that a job cannot have in every batch system."""
    if not NAME.fullmatch(name):
        near = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:36].strip("-") or "my-study"
        raise ConfigError(
            f"study='{name}': a name has at most 36 small letters, digits and hyphens, no hyphen at its ends. "
            f"Write study={near}"
        )


def ledger_url(given: str | None, folder: Path) -> str:
    """Return the address of the ledger: the one given, or that of the environment, or a file in the study's folder.

    Raises ConfigError for a password in a setting: settings are kept in files and seen by everyone on the machine.
    """
    url = os.environ.get(LEDGER_VARIABLE) if given == "environment" else given
    if given == "environment" and not url:
        raise ConfigError(f"ledger=environment: the variable {LEDGER_VARIABLE} holds no address. Set it")
    if url is None:
        return f"sqlite:///{(folder / 'ledger.sqlite').absolute()}"
    try:
        parts = sql.make_url(url)
    except (sql.exc.ArgumentError, ValueError) as error:
        raise ConfigError("ledger: no address of a database, such as postgresql://user@host/name") from error
    if given != "environment" and (parts.password or "password" in parts.query):
        raise ConfigError(
            f"ledger: a password in a setting is read by others. Put it in ~/.pgpass, or the whole address in the "
            f"variable {LEDGER_VARIABLE} and write ledger=environment"
        )
    return url


@dataclass(frozen=True)
class TrainingWork:
    """Units that each run one training on a flat config."""

    bases: Bases
    overrides_of: Any  # Params → {setting: value}
    code: Path
    program: str  # module that a unit runs: it takes a flat config, and leaves progress.jsonl and summary.json
    own_seeds: bool  # each trial has a seed of its own

    def config(self, params: dict[str, Any], number: int) -> dict[str, Any]:
        """Return the flat config of a trial."""
        config = self.bases.flat(self.overrides_of(params))
        if self.own_seeds:
            config["seed"] = derive_seed(int(config["seed"]), "trial", number) % 2**31
        return config

    def key(self, params: dict[str, Any], number: int) -> str:
        """Return the identity of the work: config, which names the data, parameters, and code."""
        identity = [self.config(params, number), params, self.code.name, self.program]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:KEY_CHARACTERS]

    def write(self, box: UnitBox, params: dict[str, Any], number: int, site: Site) -> None:
        """Write config, parameters and the way to start and to resume at a site."""
        module = ["{python}", "-P", "-m", self.program]  # -P: no code from where it happens to stand
        unit = {
            "start": [*module, "--config-path", "{unit}", "--config-name", "config", "hydra.run.dir='{run}'"],
            "resume": [*module, "resume='{run}'"],
            "heartbeat_s": site.policy.heartbeat_s,
            "minutes": site.resources.minutes,
            "kill_after_s": site.signal_s,
        }
        box.prepare(as_yaml(there(self.config(params, number), site.paths)), unit, params)

    def command(self, box: UnitBox, attempt: int, site: Site) -> Sequence[str]:
        """Return the command of the runner, which runs the code of the snapshot."""
        python = site.python or sys.executable
        return ["env", f"PYTHONPATH={self.code}", python, "-P", "-m", RUNNER, str(box.folder), str(attempt)]


def there(config: Any, paths: Mapping[str, str]) -> Any:
    """Return a config with the paths that begin with a key of ``paths`` as they are at a site."""
    if isinstance(config, dict):
        return {name: there(value, paths) for name, value in config.items()}
    if isinstance(config, list):
        return [there(value, paths) for value in config]
    if not isinstance(config, str):
        return config
    here = max((begin for begin in paths if is_below(config, begin)), key=len, default=None)
    return config if here is None else paths[here] + config[len(here) :]


def is_below(path: str, folder: str) -> bool:
    """Return whether a path is a folder or something in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
