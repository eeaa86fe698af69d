"""Evaluating a run of any task: its best network, its data, and the module that knows what to measure of them."""

import importlib
import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console

from wirecell_ml import curves, figures
from wirecell_ml.data import EventData
from wirecell_ml.data.split import PARTS
from wirecell_ml.errors import DataError, RunError
from wirecell_ml.models import Task
from wirecell_ml.models.zoo import load_weights
from wirecell_ml.resuming import load_checkpoint
from wirecell_ml.schema import checked, load_flat
from wirecell_ml.training import build_data, build_task

log = logging.getLogger(__name__)

# By task of ours, the module whose ``evaluate(task, data, settings, cfg, name, folder)`` measures ``task`` on the
# events of ``data`` that ``settings`` name, writes metrics.json, table.txt and figures, and returns the metrics.
EVALUATIONS = {
    "RoiTask": "wirecell_ml.evaluation",
    "BlobTask": "wirecell_ml.blob_evaluation",
    "PointTask": "wirecell_ml.point_evaluation",
}


def module_of(task: Any, modules: Mapping[str, str]) -> ModuleType | None:
    """Return which of the ``modules``, by task of ours, is for the class ``task`` or for what it inherits from."""
    ours = (one.__name__ for one in getattr(task, "__mro__", ()) if one.__module__.startswith("wirecell_ml."))
    name = next((modules[one] for one in ours if one in modules), None)
    return importlib.import_module(name) if name else None


def evaluate_trained(task: Task, directory: Path, settings: DictConfig) -> None:
    """Evaluate the run that has just trained ``task``; say so where nothing here measures such a task."""
    if module_of(type(task), EVALUATIONS):
        evaluate_run(directory, settings)
    else:
        log.info("there is no evaluation for %s; what it logged is in %s", type(task).__name__, directory)


def evaluate_run(
    directory: Path, settings: DictConfig, files: Any = None, output: Path | None = None
) -> dict[str, Any]:
    """Evaluate the best checkpoint of a run, write ``metrics.json`` and figures, print a table; return the metrics.

    ``files`` are other data than the run's own, all of whose events are then measured. Raises RunError where there is
    no run, or no evaluation for its task.
    """
    path, split = directory / ".hydra" / "config.yaml", directory / "split.json"
    if not path.is_file():
        raise RunError(f"run={directory}: no run here, {path} is missing. Give the directory that the training wrote")
    cfg = checked(load_flat(path))
    task = build_task(cfg)
    task.load_state_dict(load_checkpoint(directory / "best.ckpt")["state_dict"])
    data = build_data(cfg, files)
    if files is None:
        data.use_split(split)
    else:
        data.test_on_all(split)
    folder = output or directory / "evaluation"
    metrics = measure(task, data, settings, cfg, directory.name, folder)
    if settings.figures:
        draw_curves(folder / "training.png", curves.read_log(directory), task, cfg)
    Console().print(f"metrics and figures: {folder}")
    return metrics


def evaluate_entry(entry: Path, files: Any) -> dict[str, Any]:
    """Evaluate a published network on its own events, wherever their ``files`` are here; return the metrics.

    Writes ``metrics.json``, ``table.txt`` and, in place of those before, ``figures`` to the folder of the ``entry``.
    """
    cfg = checked(load_flat(entry / "config.yaml"))
    task, data = build_task(cfg), build_data(cfg, files)
    task.model.load_state_dict(load_weights(entry / "weights.safetensors", task.model))
    data.use_split(entry / "split.json")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "figures"
        metrics = measure(task, data, cfg.evaluation, cfg, entry.name, folder)
        draw_curves(folder / "training.png", curves.read_curves(entry / "training.csv"), task, cfg)
        for file in ("metrics.json", "table.txt"):
            shutil.move(folder / file, entry / file)
        shutil.rmtree(entry / "figures", ignore_errors=True)
        shutil.copytree(folder, entry / "figures")
    return metrics


def measure(
    task: Task, data: EventData[Any, Any], settings: DictConfig, cfg: DictConfig, name: str, folder: Path
) -> dict[str, Any]:
    """Measure a trained network on data whose split is chosen, and return the metrics; ``name`` is what they call it.

    ``cfg`` is the config that it was trained with. Raises RunError where nothing here measures such a task.
    """
    module = module_of(type(task), EVALUATIONS)
    if module is None:
        known = ", ".join(EVALUATIONS)
        raise RunError(f"{name}: there is no evaluation for {type(task).__name__}. Known here: {known}")
    data.prepare_data()
    data.setup()
    if not data.selected(settings.split):
        raise DataError(f"split={settings.split}: the run has no such events. Known here: {', '.join(PARTS)}")
    folder.mkdir(parents=True, exist_ok=True)
    on_device = task.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    metrics: dict[str, Any] = module.evaluate(on_device, data, settings, cfg, name, folder)
    return metrics


def draw_curves(path: Path, rows: list[dict[str, str]], task: Task, cfg: DictConfig) -> None:
    """Draw the loss of a training beside the metric that chose its best epoch, or the first one if a loss did that."""
    others = [name for name in task.metrics if not name.endswith("/loss")]
    if others and cfg.monitor not in others:
        figures.training_curves(path, rows, others[0], "max")
    else:
        figures.training_curves(path, rows, cfg.monitor, cfg.monitor_mode)
