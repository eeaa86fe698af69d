"""Rehearse trainings: build everything, train nothing, write nothing, and say what they will report.

  python -m wirecell_ml.rehearse CONFIG.yaml [CONFIG2.yaml …]     flat configs, as a run directory keeps them

Prints a line of JSON: the names of the metrics that all of them report, and the parameters of each network.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from wirecell_ml.cli import explain, one_line
from wirecell_ml.data.event_data import Trial
from wirecell_ml.errors import ConfigError, WireCellMLError
from wirecell_ml.models import Task
from wirecell_ml.schema import checked, load_flat
from wirecell_ml.training import (
    build_data,
    build_task,
    check_config,
    check_monitor,
    count_parameters,
    quiet_lightning,
)

STEPS = 100  # that the schedule is told of


@dataclass(frozen=True)
class Rehearsal:
    """What is known of a training before it runs."""

    metrics: list[str]  # that it will report
    parameters: int


def main() -> None:
    """Rehearse the configs that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+", type=Path, metavar="CONFIG.yaml")
    quiet_lightning()
    with one_line():
        rehearsals = [rehearse(path) for path in parser.parse_args().configs]
        sys.stdout.write(json.dumps(together(rehearsals)) + "\n")


def together(rehearsals: list[Rehearsal]) -> dict[str, list[str] | list[int]]:
    """Return the metrics that all trainings report, in the order of the first, and the parameters of each."""
    shared = set.intersection(*(set(one.metrics) for one in rehearsals))
    return {
        "metrics": [name for name in rehearsals[0].metrics if name in shared],
        "parameters": [one.parameters for one in rehearsals],
    }


def rehearse(path: Path) -> Rehearsal:
    """Return what the training of a flat config will report; raises ConfigError, with its file, if it would not run."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file. Give the flat config of a training")
    try:
        return rehearse_config(checked(load_flat(path)))
    except (WireCellMLError, OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"{path}: {' '.join(explain(error).split())}") from error


def rehearse_config(cfg: DictConfig) -> Rehearsal:
    """Return what a training will report."""
    check_config(cfg)
    data = build_data(cfg)
    data.events()
    task = build_task(cfg)
    check_monitor(cfg, task)
    try_step(cfg, task, data.trial())
    try_optimizer(cfg, task)
    names = [*task.metrics, "parameters", *(["latency_s"] if cfg.latency else [])]
    return Rehearsal(names, count_parameters(task.model))


def try_step(cfg: DictConfig, task: Task, trial: Trial) -> None:
    """Raise ConfigError unless the network takes what the data give and the loss takes its answer."""
    try:
        with torch.inference_mode():
            task.eval().batch_loss(trial.batch)
    except Exception as error:  # whatever a stranger's network raises
        raise ConfigError(f"model: {cfg.model._target_} and the loss do not take {trial.text}: {error}") from error


def try_optimizer(cfg: DictConfig, task: Task) -> None:
    """Raise ConfigError unless optimizer and schedule can be made, as a learning rate below zero cannot."""
    try:
        task.make_scheduler(task.make_optimizer(params=task.parameters()), STEPS)
    except Exception as error:  # whatever a stranger's optimizer raises
        raise ConfigError(f"optimizer: {cfg.optimizer._target_} or the schedule cannot be made: {error}") from error


if __name__ == "__main__":
    main()
