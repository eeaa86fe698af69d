"""Train a network on Wire-Cell data, then evaluate it on events it never saw.

  python -m wirecell_ml.train                                      RoiNet on the shipped sample
  python -m wirecell_ml.train data.files=/path/to/my/files         on your g4-rec-*.h5 and g4-tru-*.h5
  python -m wirecell_ml.train model=unet trainer.max_epochs=20     another network, for longer
  python -m wirecell_ml.train data.augmentation.noise=0            without one augmentation
  python -m wirecell_ml.train experiment=dnnroi_unet_pdsp          a published configuration
  python -m wirecell_ml.train resume=runs/roinet_sample/DATE       go on where a run stopped
  python -m wirecell_ml.train --config-dir ~/my_configs model=mine your own network; or data=, task= of your own, too
  python -m wirecell_ml.train -m optimizer.lr=1e-3,1e-2            one training for each value
  python -m wirecell_ml.train --cfg job                            show every setting and stop

Groups of settings, each a folder of configs/ whose files say what every setting means (choose with group=option):
"""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from wirecell_ml import schema
from wirecell_ml.cli import run, task
from wirecell_ml.paths import shipped

GROUPS = (
    *("data", "detector", "evaluation", "experiment", "logger"),
    *("model", "optimizer", "scheduler", "task", "trainer"),
)


def train(cfg: DictConfig) -> float:
    """Train one network, evaluate it, and return the monitored metric."""
    from wirecell_ml import evaluating, resuming, training  # here, since --help and --cfg need no torch

    directory = Path(cfg.resume or HydraConfig.get().runtime.output_dir)
    if cfg.resume:
        cfg = resuming.continued(directory, HydraConfig.get().overrides.task)
    cfg = schema.checked(cfg)
    fit = training.prepare(cfg, directory)
    best = fit.start()
    if fit.trainer.is_global_zero:
        fit.summarize(latency=cfg.latency)
        if cfg.evaluate:
            evaluating.evaluate_trained(fit.task, directory, cfg.evaluation)
    return best


main = hydra.main(version_base="1.3", config_path=str(shipped("configs")), config_name="train")(task(train))

if __name__ == "__main__":
    run(main, GROUPS)
