"""From Wire-Cell files to batches."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wirecell_ml.data.augment import Augmentation
    from wirecell_ml.data.blob_data import BlobData
    from wirecell_ml.data.datamodule import RoiData
    from wirecell_ml.data.event_data import EventData, SplitSettings
    from wirecell_ml.data.point_data import BlobPoints, ClusPoints
    from wirecell_ml.data.point_sample import Near, Overlay
    from wirecell_ml.data.readers import open  # noqa: A004  (as it is called: wirecell_ml.data.open)

__all__ = [
    "Augmentation",
    "BlobData",
    "BlobPoints",
    "ClusPoints",
    "EventData",
    "Near",
    "Overlay",
    "RoiData",
    "SplitSettings",
    "open",
]

HOMES = {  # loaded when they are asked for, since torch and Lightning take seconds
    "Augmentation": "augment",
    "BlobData": "blob_data",
    "BlobPoints": "point_data",
    "ClusPoints": "point_data",
    "EventData": "event_data",
    "Near": "point_sample",
    "Overlay": "point_sample",
    "RoiData": "datamodule",
    "SplitSettings": "event_data",
    "open": "readers",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
