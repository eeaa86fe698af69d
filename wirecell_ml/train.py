"""Train one network and evaluate it: ``python -m wirecell_ml.train [setting=value …]``."""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from wirecell_ml import schema
from wirecell_ml.cli import run, task
from wirecell_ml.paths import shipped


def train(cfg: DictConfig) -> float:
    """Train one network, evaluate it, and return the monitored metric."""
    from wirecell_ml import training  # here, since torch takes seconds that --help and --cfg need not wait for
    from wirecell_ml.evaluation import evaluate_run

    directory = Path(cfg.resume or HydraConfig.get().runtime.output_dir)
    if cfg.resume:
        cfg = training.continued(directory, HydraConfig.get().overrides.task)
    cfg = schema.checked(cfg)
    fit = training.prepare(cfg, directory)
    best = fit.start()
    if fit.trainer.is_global_zero:
        evaluate_run(directory, cfg.evaluation)
    return best


main = hydra.main(version_base="1.3", config_path=str(shipped("configs")), config_name="train")(task(train))

if __name__ == "__main__":
    run(main)
