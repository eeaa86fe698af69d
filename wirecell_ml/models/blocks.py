"""Blocks that several networks are made of; images are (batch, feature, channel, tick)."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Norm = Literal["batch", "instance"]


def norm_layer(norm: Norm, features: int) -> nn.Module:
    """Return a normalisation over the batch, or over each image by itself.

    The published DNN-ROI networks ran BatchNorm in training mode at batch size 1 even in production; that is
    ``instance``: the statistics of each image, with learned scale and offset.
    """
    if norm == "batch":
        return nn.BatchNorm2d(features)
    if norm == "instance":
        return nn.InstanceNorm2d(features, affine=True)
    raise ValueError(f"norm: '{norm}' is not known. Known here: batch, instance")


def conv_norm_relu(features_in: int, features_out: int, norm: Norm, stride: int = 1) -> nn.Sequential:
    """Return a 3×3 convolution without bias, its normalisation and a ReLU."""
    conv = nn.Conv2d(features_in, features_out, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, norm_layer(norm, features_out), nn.ReLU(inplace=True))


def double_conv(features_in: int, features_out: int, norm: Norm) -> nn.Sequential:
    """Return two 3×3 convolutions with bias, each with normalisation and ReLU: the block of the published U-Nets."""
    layers: list[nn.Module] = []
    for features in (features_in, features_out):
        conv = nn.Conv2d(features, features_out, 3, padding=1)
        layers += [conv, norm_layer(norm, features_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def upsample_to(x: Tensor, skip: Tensor) -> Tensor:
    """Return ``x`` doubled in size bilinearly, then zero-padded or cut on both sides to the size of ``skip``."""
    x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
    rows, columns = skip.shape[-2] - x.shape[-2], skip.shape[-1] - x.shape[-1]
    return F.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])


def pad_small(x: Tensor, smallest: int) -> Tensor:
    """Return ``x`` with zeros added at the end until it survives every halving with two pixels left to normalise."""
    return F.pad(x, [0, max(0, 2 * smallest - x.shape[-1]), 0, max(0, smallest - x.shape[-2])])


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Return ``x`` with zeros added at the end of both image axes up to a multiple of ``multiple``."""
    return F.pad(x, [0, -x.shape[-1] % multiple, 0, -x.shape[-2] % multiple])
