"""Resuming: the config that a run goes on with, and the checkpoint that it goes on from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from wirecell_ml.errors import ConfigError, RunError
from wirecell_ml.models import Task
from wirecell_ml.schema import load_flat

MAY_CHANGE = (  # in a resumed run
    "trainer.",
    "evaluation.",
    "data.files",
    "data.cache",
    "data.num_workers",
    "resume",
    "evaluate",
    "latency",
)


def continued(directory: Path, overrides: Sequence[str]) -> DictConfig:
    """Return the config of the run in ``directory``, changed by those ``overrides`` that may change in a resumed run.

    Raises RunError where there is no run, and ConfigError for an override that would make it another run.
    """
    path = directory / ".hydra" / "config.yaml"
    if not path.is_file():
        raise RunError(
            f"resume={directory}: no run here, {path} is missing. Give the directory that the training wrote"
        )
    cfg = load_flat(path)
    for override in overrides:
        name, _, value = override.lstrip("+").partition("=")
        if not name.startswith(MAY_CHANGE):
            raise ConfigError(
                f"resume goes on with the run's own settings, and '{override}' would make it another run. "
                f"Leave it out, or start a new run. These may change: {', '.join(MAY_CHANGE)}"
            )
        if name == "trainer.max_epochs" and cfg.scheduler._target_.endswith("one_cycle"):
            raise ConfigError(
                f"{override}: the one_cycle schedule of this run has its end; begin with scheduler=constant"
            )
        OmegaConf.update(cfg, name, OmegaConf.create(f"value: {value}").value)
    OmegaConf.save(OmegaConf.merge(cfg, {"resume": None}), path)
    return cfg


def last_checkpoint(cfg: DictConfig, task: Task) -> Path | None:
    """Return the checkpoint to go on from, if the run is resumed; raises RunError where it does not fit the network."""
    if not cfg.resume:
        return None
    path = Path(cfg.resume) / "last.ckpt"
    if not path.is_file():
        raise RunError(f"resume={cfg.resume}: no last.ckpt, the run ended before its first epoch did. Start a new run")
    held = load_checkpoint(path)["state_dict"]
    mine = task.state_dict()
    different = sorted(name for name in held.keys() | mine.keys() if shape(held, name) != shape(mine, name))
    if different:
        raise RunError(
            f"{path} is of another model than {type(task.model).__name__} as configured here: {len(different)} of its "
            f"weights differ, '{different[0]}' for one. Resume with the model that the run began with"
        )
    return path


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds, code excluded."""
    try:
        held: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RunError(f"{path}: not a checkpoint of ours, or damaged ({str(error).splitlines()[0]})") from error
    return held


def shape(weights: dict[str, torch.Tensor], name: str) -> torch.Size | None:
    """Return the shape of a weight, or None if there is no such weight."""
    return weights[name].shape if name in weights else None
