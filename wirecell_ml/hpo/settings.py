"""The settings of a study, with their types; ``configs/hpo.yaml`` says what each means."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.submit.site import Site


@dataclass
class HpoSettings:
    """Everything that ``configs/hpo.yaml`` holds."""

    study: str | None = None
    trials: int = 50
    search: Any = MISSING  # objectives, sweep, first
    sweep: str | None = None
    objectives: Any = None
    sampler: Any = MISSING
    pruner: Any = MISSING
    site: Site = field(default_factory=Site)
    trial_seed: str = "same"
    program: str = "wirecell_ml.train"
    each: list[str] = field(default_factory=list)
    folder: str = "sweeps"
    ledger: str | None = None
    driver: str = "foreground"
    dry_run: bool = False
    takeover: bool = False


WORDS = {"trial_seed": ("same", "own"), "driver": ("detached", "foreground", "job")}


def check_words(settings: Any) -> None:
    """Raise ConfigError for a word that a setting does not know, or a budget of nothing."""
    for name, known in WORDS.items():
        if name in settings and settings[name] not in known:
            raise ConfigError(f"{name}: '{settings[name]}' is not known.{suggest(settings[name], known)}")
    if settings.trials < 1:
        raise ConfigError(f"trials={settings.trials}: a study has at least one trial")


ConfigStore.instance().store(name="hpo_schema", node=HpoSettings)
