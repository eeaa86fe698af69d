"""Measure every published model again, and write its card, its figures and the table of the zoo; publish a run first.

  python -m wirecell_ml.publish files=/path/to/roi                                all of models/, again
  python -m wirecell_ml.publish files=/path/to/roi run=runs/mine/DATE name=mine   with a run of yours
  python -m wirecell_ml.publish files=… run=… name=mine zoo=~/my_zoo              in a zoo of your own
  python -m wirecell_ml.publish files=… "only=[mine,yours]"                       those of these events, again

Settings, with their meanings, are in configs/deploy/publish.yaml; it has no groups.
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from wirecell_ml import schema
from wirecell_ml.cli import run, task
from wirecell_ml.paths import shipped


def publish(cfg: DictConfig) -> None:
    """Write the zoo."""
    from wirecell_ml import publishing  # here, since --help and --cfg need no torch

    cfg = schema.checked(cfg, schema.PublishSettings)
    folder = Path(cfg.zoo).expanduser() if cfg.zoo else shipped("models")
    publishing.publish(cfg.files, folder, Path(cfg.run) if cfg.run else None, cfg.name, cfg.only)


main = hydra.main(version_base="1.3", config_path=str(shipped("configs") / "deploy"), config_name="publish")(
    task(publish)
)

if __name__ == "__main__":
    run(main, groups=())
