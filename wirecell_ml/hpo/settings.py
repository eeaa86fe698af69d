"""The settings of a study, with their types; ``configs/hpo.yaml`` says what each means."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

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


ConfigStore.instance().store(name="hpo_schema", node=HpoSettings)
