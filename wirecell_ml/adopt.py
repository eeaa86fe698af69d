"""Export another project's DNN-ROI checkpoint for Wire-Cell, through the same contract check as our own networks.

  python -m wirecell_ml.adopt checkpoint=CP49.pth                          U-Net, U-ResNet or UNet++ of Pytorch-UNet
  python -m wirecell_ml.adopt checkpoint=model.pt norm=batch               wirecell.dnn, run with its stored statistics
  python -m wirecell_ml.adopt checkpoint=… detector=protodune_hd tick_per_slice=4 planes=[V]

Weights are read, code is not: a pickle that holds any is refused unopened. What was mapped onto what is printed.
Settings, with their meanings, are in configs/deploy/adopt.yaml; it has no groups.
"""

import hydra
from omegaconf import DictConfig

from wirecell_ml import schema
from wirecell_ml.cli import run, task
from wirecell_ml.paths import shipped


def adopt(cfg: DictConfig) -> None:
    """Export another project's checkpoint."""
    from wirecell_ml.deploy.adoption import adopt_checkpoint  # here, since --help and --cfg need no torch

    adopt_checkpoint(schema.checked(cfg, schema.AdoptSettings))


main = hydra.main(version_base="1.3", config_path=str(shipped("configs") / "deploy"), config_name="adopt")(task(adopt))

if __name__ == "__main__":
    run(main, groups=())
