"""U-ResNet: a U-Net of pre-activation residual blocks with strided convolutions, the family of arXiv:2510.24786."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wirecell_ml.models.blocks import Norm, norm_layer, pad_small, upsample_to


class UResNet(nn.Module):
    """Residual U-Net: 3,562,625 parameters for 3 input tags and widths 64, 128, 256, 256."""

    def __init__(self, in_channels: int, widths: Sequence[int], norm: Norm) -> None:
        super().__init__()
        self.stem = Stem(in_channels, widths[0], norm)
        self.downs = nn.ModuleList(Residual(a, b, 2, norm) for a, b in zip(widths, widths[1:], strict=False))
        up_widths = [max(width // 2, widths[0]) for width in reversed(widths[:-1])]
        self.ups = nn.ModuleList(
            Residual(skip + below, up, 1, norm)
            for skip, below, up in zip(reversed(widths[:-1]), [widths[-1], *up_widths], up_widths, strict=False)
        )
        self.head = nn.Conv2d(up_widths[-1], 1, 1)
        self.smallest = 2 ** (len(widths) - 1)

    def forward(self, x: Tensor) -> Tensor:  # (batch, tag, channel, tick)
        """Return the logit of "signal here", (batch, 1, channel, tick)."""
        channels, ticks = x.shape[-2:]
        x = self.stem(pad_small(x, self.smallest))
        skips: list[Tensor] = []
        for down in self.downs:
            skips.append(x)
            x = down(x)
        for up in self.ups:
            skip = skips.pop()
            x = up(torch.cat([skip, upsample_to(x, skip)], dim=1))
        x = self.head(x)
        return x[..., :channels, :ticks]


class Stem(nn.Module):
    """The first block: two convolutions beside a 1×1 shortcut."""

    def __init__(self, features_in: int, features_out: int, norm: Norm) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(features_in, features_out, 3, padding=1),
            norm_layer(norm, features_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(features_out, features_out, 3, padding=1),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(features_in, features_out, 1), norm_layer(norm, features_out))

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, features_out, channel, tick)."""
        y: Tensor = self.main(x) + self.shortcut(x)
        return y


class Residual(nn.Module):
    """Normalisation and ReLU before each of two convolutions, beside a 1×1 shortcut."""

    def __init__(self, features_in: int, features_out: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.main = nn.Sequential(
            norm_layer(norm, features_in),
            nn.ReLU(),
            nn.Conv2d(features_in, features_out, 3, stride, padding=1),
            norm_layer(norm, features_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(features_out, features_out, 3, padding=1),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(features_in, features_out, 1, stride), norm_layer(norm, features_out))

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, features_out, channel / stride, tick / stride)."""
        y: Tensor = self.main(x) + self.shortcut(x)
        return y
