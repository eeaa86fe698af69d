"""Write a trained network as a folder that a Wire-Cell job can use, once it has passed the contract check.

  python -m wirecell_ml.export run=runs/roinet_sample/DATE          a run: model.ts, card, jsonnet, Triton config
  python -m wirecell_ml.export run=roinet_pdsp                      a published model
  python -m wirecell_ml.export run=… output=~/wct/roi onnx=true     elsewhere, and as ONNX, too
  python -m wirecell_ml.export check=model.ts card=card.json        check any TorchScript file, also a stranger's

The check says of each rule of the contract with Wire-Cell's C++ whether it holds, and what C++ would do if not.
Settings, with their meanings, are in configs/deploy/export.yaml; it has no groups.
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from wirecell_ml import schema
from wirecell_ml.cli import run, task
from wirecell_ml.errors import ConfigError
from wirecell_ml.paths import shipped


def export(cfg: DictConfig) -> None:
    """Export a run, or check a TorchScript file."""
    from wirecell_ml.deploy import exporting  # here, since --help and --cfg need no torch

    cfg = schema.checked(cfg, schema.ExportSettings)
    if (cfg.run is None) == (cfg.check is None):
        raise ConfigError("give run=… to export a run, or check=… to check a TorchScript file")
    if cfg.check is not None:
        exporting.check_model(Path(cfg.check), Path(cfg.card) if cfg.card else None)
        return
    options = exporting.Options(cfg.onnx, tuple(cfg.accept))
    exporting.export_run(cfg.run, Path(cfg.output).expanduser() if cfg.output else None, options)


main = hydra.main(version_base="1.3", config_path=str(shipped("configs") / "deploy"), config_name="export")(
    task(export)
)

if __name__ == "__main__":
    run(main, groups=())
