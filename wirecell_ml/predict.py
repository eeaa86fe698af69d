"""Run a model over frame files as Wire-Cell's DNNROIFinding would, and write the frames that it would write.

  python -m wirecell_ml.predict model=RUN/export files=frames.npz              frames-dnnsp.npz in predictions/
  python -m wirecell_ml.predict model=roinet_pdsp files='run7/*.tar.bz2' output=run7-roi
  python -m wirecell_ml.predict model=… files=… apa=3                          another anode of the same detector
  python -m wirecell_ml.predict model=… files=… pictures=true                  a PNG of each plane, too

The same call again goes on where an interrupted one stopped. Planes without a network (W) are left out.
Settings, with their meanings, are in configs/deploy/predict.yaml; it has no groups.
"""

import hydra
from omegaconf import DictConfig

from wirecell_ml import schema
from wirecell_ml.cli import run, task
from wirecell_ml.paths import shipped


def predict(cfg: DictConfig) -> None:
    """Write the charge inside the network's ROIs."""
    from wirecell_ml.deploy.prediction import predict_files  # here, since --help and --cfg need no torch

    predict_files(schema.checked(cfg, schema.PredictSettings))


main = hydra.main(version_base="1.3", config_path=str(shipped("configs") / "deploy"), config_name="predict")(
    task(predict)
)

if __name__ == "__main__":
    run(main, groups=())
