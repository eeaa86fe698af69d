"""Measure a trained network; one that finds ROIs, always beside the traditional ROI finding on the same events.

  python -m wirecell_ml.evaluate run=runs/roinet_sample/DATE                       its test events
  python -m wirecell_ml.evaluate run=runs/… split=validation                       or others
  python -m wirecell_ml.evaluate run=runs/… matching=published                     as arXiv:2007.12743 counted
  python -m wirecell_ml.evaluate run=runs/… threshold=0.3 figures=false            at another threshold
  python -m wirecell_ml.evaluate run=runs/… files=/other/files output=elsewhere    on data the run never saw

Settings are in configs/evaluate.yaml and in this group, whose file says what every setting means:
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from wirecell_ml import schema
from wirecell_ml.cli import run, task
from wirecell_ml.paths import shipped


def evaluate(cfg: DictConfig) -> None:
    """Evaluate the best checkpoint of a run: metrics.json, a table and figures."""
    from wirecell_ml.evaluating import evaluate_run  # here, since --help and --cfg need no torch

    cfg = schema.checked(cfg, schema.EvaluateSettings)
    evaluate_run(Path(cfg.run), cfg, files=cfg.files, output=Path(cfg.output) if cfg.output else None)


main = hydra.main(version_base="1.3", config_path=str(shipped("configs")), config_name="evaluate")(task(evaluate))

if __name__ == "__main__":
    run(main, groups=("evaluation",))
