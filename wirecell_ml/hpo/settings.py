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


@dataclass
class FollowUp:
    """The settings of the verbs about a study that there is; each verb has some of them."""

    study: str = MISSING
    folder: str = HpoSettings.folder
    driver: str = HpoSettings.driver
    takeover: bool = False
    trials: int | None = None  # null: as many as were ordered
    how: str = "finish"
    trial: int | None = None
    watch: bool = False
    output: str | None = None  # null: in the folder of the study


ConfigStore.instance().store(name="hpo_schema", node=HpoSettings)
