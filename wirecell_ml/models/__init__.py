"""Networks, and what trains and measures them."""

from wirecell_ml.models.losses import RoiLoss
from wirecell_ml.models.nested_unet import NestedUNet
from wirecell_ml.models.res_unet import UResNet
from wirecell_ml.models.roi_finder import RoiFinder
from wirecell_ml.models.roi_net import RoiNet
from wirecell_ml.models.schedules import constant, cosine, one_cycle
from wirecell_ml.models.tasks import RoiTask
from wirecell_ml.models.unet import UNet

__all__ = [
    "NestedUNet",
    "RoiFinder",
    "RoiLoss",
    "RoiNet",
    "RoiTask",
    "UNet",
    "UResNet",
    "constant",
    "cosine",
    "one_cycle",
]
