"""Where a trained network is taken from: the directory of a run, a published folder, or a name of the zoo."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import nn

from wirecell_ml.errors import DataError, RunError, suggest
from wirecell_ml.models import RoiFinder, zoo
from wirecell_ml.paths import shipped
from wirecell_ml.resuming import load_checkpoint
from wirecell_ml.schema import checked, load_flat
from wirecell_ml.training import build_task


@dataclass(frozen=True)
class Source:
    """A trained network, and what is known of its training."""

    name: str
    cfg: DictConfig  # flat config of the training
    finder: RoiFinder
    metrics: dict[str, Any] | None  # of events it never saw
    provenance: dict[str, Any]
    sort_chanids: bool = True  # rows by channel ident, as our readers order them


@dataclass(frozen=True)
class Trained:
    """A trained network of any task, and what is known of its training."""

    name: str
    place: Path
    cfg: DictConfig  # flat config of the training
    network: nn.Module
    metrics: dict[str, Any] | None  # of events it never saw
    provenance: dict[str, Any]


def roi_source(trained: Trained) -> Source:
    """Return a trained network as Wire-Cell runs it; raises DataError where it finds no ROIs."""
    finder = zoo.roi_finder(trained.place, trained.cfg, trained.network)
    return Source(trained.name, trained.cfg, finder, trained.metrics, trained.provenance)


def load_trained(run: str) -> Trained:
    """Return the network of ``run``: a run directory, a published folder, or the name of a published model.

    Raises RunError where there is none.
    """
    directory = Path(run)
    if not directory.exists() and "/" not in run:
        return published_network(zoo.published(run))
    if (directory / "weights.safetensors").is_file():
        return published_network(directory)
    return run_network(directory)


def run_network(directory: Path) -> Trained:
    """Return the best checkpoint of a run."""
    path = directory / ".hydra" / "config.yaml"
    if not path.is_file():
        names = suggest(directory.name, zoo.read_index(shipped("models")))
        raise RunError(
            f"run={directory}: no run here, {path} is missing. Give the directory that the training wrote, or the name "
            f"of a published model.{names}"
        )
    cfg = checked(load_flat(path))
    task = build_task(cfg)
    task.load_state_dict(load_checkpoint(directory / "best.ckpt")["state_dict"])
    metrics = read_json(directory / "evaluation" / "metrics.json")
    return Trained(cfg.name, directory, cfg, task.model, metrics, read_json(directory / "provenance.json") or {})


def published_network(folder: Path) -> Trained:
    """Return the network of a published folder; one of the zoo must be what its index says."""
    index = zoo.read_index(folder.parent)
    if folder.name in index:
        zoo.check_digests(folder, index[folder.name])
    cfg, network = zoo.load_network(folder)
    provenance = read_json(folder / "provenance.json") or {}
    return Trained(folder.name, folder, checked(cfg), network, read_json(folder / "metrics.json"), provenance)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what a JSON file holds, None if there is none."""
    if not path.is_file():
        return None
    try:
        held: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{path}: no JSON ({error})") from error
    return held
