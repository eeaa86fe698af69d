"""U-Net for ROI finding: arXiv:2007.12743 (JINST 16 P01036), and the variant of wirecell.dnn."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wirecell_ml.models.blocks import Norm, double_conv, pad_small, upsample_to


class UNet(nn.Module):
    """U-Net with bilinear up-sampling: 13,395,329 parameters for 3 input tags.

    ``widths`` are the features of each level down, ``up_widths`` those of each level up. The last of them is 64
    in the published network and 32 in wirecell.dnn's (13,330,593 parameters).
    """

    def __init__(self, in_channels: int, widths: Sequence[int], up_widths: Sequence[int], norm: Norm) -> None:
        super().__init__()
        if len(up_widths) != len(widths) - 1:
            raise ValueError(f"{len(widths)} widths want {len(widths) - 1} up_widths, but there are {len(up_widths)}")
        self.downs = nn.ModuleList(
            double_conv(a, b, norm) for a, b in zip([in_channels, *widths], widths, strict=False)
        )
        self.ups = nn.ModuleList(
            double_conv(skip + below, up, norm)
            for skip, below, up in zip(reversed(widths[:-1]), [widths[-1], *up_widths], up_widths, strict=False)
        )
        self.head = nn.Conv2d(up_widths[-1], 1, 1)
        self.smallest = 2 ** (len(widths) - 1)  # an image must survive every halving

    def forward(self, x: Tensor) -> Tensor:  # (batch, tag, channel, tick)
        """Return the logit of "signal here", (batch, 1, channel, tick)."""
        channels, ticks = x.shape[-2:]
        x = pad_small(x, self.smallest)
        skips: list[Tensor] = []
        for down in self.downs:
            x = down(F.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        skips.pop()
        for up in self.ups:
            skip = skips.pop()
            x = up(torch.cat([skip, upsample_to(x, skip)], dim=1))
        x = self.head(x)
        return x[..., :channels, :ticks]
