"""UNet++: a U-Net whose skips are themselves small U-Nets (arXiv:1807.10165), as in arXiv:2007.12743."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wirecell_ml.models.blocks import Norm, double_conv, pad_small, upsample_to


class NestedUNet(nn.Module):
    """UNet++: 9,163,329 parameters for 3 input tags and widths 32, 64, 128, 256, 512."""

    def __init__(self, in_channels: int, widths: Sequence[int], norm: Norm) -> None:
        super().__init__()
        self.backbone = nn.ModuleList(
            double_conv(a, b, norm) for a, b in zip([in_channels, *widths], widths, strict=False)
        )
        steps = list(enumerate(zip(widths, widths[1:], strict=False)))
        # columns[j - 1][i] makes node (i, j) from the j nodes left of it and the one below
        self.columns = nn.ModuleList(
            nn.ModuleList(
                double_conv(j * width + below, width, norm) for i, (width, below) in steps if i + j < len(widths)
            )
            for j in range(1, len(widths))
        )
        self.head = nn.Conv2d(widths[0], 1, 1)
        self.smallest = 2 ** (len(widths) - 1)

    def forward(self, x: Tensor) -> Tensor:  # (batch, tag, channel, tick)
        """Return the logit of "signal here", (batch, 1, channel, tick)."""
        channels, ticks = x.shape[-2:]
        x = pad_small(x, self.smallest)
        nodes: list[list[Tensor]] = []  # nodes[i][j], level i, the j-th from the left
        for block in self.backbone:
            x = block(F.max_pool2d(x, 2) if nodes else x)
            nodes.append([x])
        for j, column in enumerate(self.columns, 1):
            for i, block in enumerate(column):  # type: ignore[arg-type]
                up = upsample_to(nodes[i + 1][j - 1], nodes[i][0])
                nodes[i].append(block(torch.cat(nodes[i] + [up], dim=1)))
        x = self.head(nodes[0][-1])
        return x[..., :channels, :ticks]
