"""Neural networks for liquid-argon TPC data written by the Wire-Cell Toolkit."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__version__ = "0.1.0"


def load_published(name: str) -> "nn.Module":
    """Return the published network ``name``, ready to use: see ``wirecell_ml.models.zoo.load_published``."""
    from wirecell_ml.models.zoo import load_published  # here, since torch takes seconds

    return load_published(name)
