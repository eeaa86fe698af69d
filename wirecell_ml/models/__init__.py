"""Networks, and what trains and measures them."""

from wirecell_ml.models.blob_gnn import BlobGNN, BlobMLP
from wirecell_ml.models.blob_task import BlobTask
from wirecell_ml.models.losses import RoiLoss
from wirecell_ml.models.nested_unet import NestedUNet
from wirecell_ml.models.point_net import EdgeNet, PointNet
from wirecell_ml.models.point_task import PointTask
from wirecell_ml.models.res_unet import UResNet
from wirecell_ml.models.roi_finder import RoiFinder
from wirecell_ml.models.roi_net import RoiNet
from wirecell_ml.models.schedules import constant, cosine, one_cycle
from wirecell_ml.models.tasks import RoiTask, Task
from wirecell_ml.models.unet import UNet

__all__ = [
    "BlobGNN",
    "BlobMLP",
    "BlobTask",
    "EdgeNet",
    "NestedUNet",
    "PointNet",
    "PointTask",
    "RoiFinder",
    "RoiLoss",
    "RoiNet",
    "RoiTask",
    "Task",
    "UNet",
    "UResNet",
    "constant",
    "cosine",
    "one_cycle",
]
