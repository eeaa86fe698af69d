"""From Wire-Cell files to batches."""

from wirecell_ml.data.augment import Augmentation
from wirecell_ml.data.datamodule import RoiData, SplitSettings

__all__ = ["Augmentation", "RoiData", "SplitSettings"]
