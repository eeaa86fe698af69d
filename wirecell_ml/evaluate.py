"""Measure a trained network on events it never saw: ``python -m wirecell_ml.evaluate run=RUN [setting=value …]``."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from wirecell_ml import schema
from wirecell_ml.cli import run, task
from wirecell_ml.paths import shipped


def evaluate(cfg: DictConfig) -> None:
    """Evaluate the best checkpoint of a run: metrics.json, a table and figures."""
    from wirecell_ml.evaluation import evaluate_run  # here, since --help and --cfg need no torch

    cfg = schema.checked(cfg, schema.EvaluateSettings)
    evaluate_run(Path(cfg.run), cfg, files=cfg.files, output=Path(cfg.output) if cfg.output else None)


main = hydra.main(version_base="1.3", config_path=str(shipped("configs")), config_name="evaluate")(task(evaluate))

if __name__ == "__main__":
    run(main)
