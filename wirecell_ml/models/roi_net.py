"""RoiNet: a small ROI finder made for production on CPUs."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from wirecell_ml.models.blocks import Norm, conv_norm_relu, pad_small, pad_to_multiple


class RoiNet(nn.Module):
    """A U-Net that works on 2×2 patches: 550,044 parameters for 3 input tags and widths 24, 48, 96, 128.

    Full resolution costs a U-Net most of its time. Here the four pixels of a patch become features of one, so no
    convolution ever runs at full resolution; the head gives four logits per patch, one for each of its pixels.
    Skips are added, not concatenated, which halves the convolutions on the way up.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], norm: Norm) -> None:
        super().__init__()
        steps = list(zip(widths, widths[1:], strict=False))
        self.stem = conv_norm_relu(4 * in_channels, widths[0], norm)
        self.encoders = nn.ModuleList(conv_norm_relu(width, width, norm) for width in widths)
        self.downs = nn.ModuleList(conv_norm_relu(a, b, norm, stride=2) for a, b in steps)
        self.ups = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in reversed(steps))
        self.decoders = nn.ModuleList(conv_norm_relu(width, width, norm) for width in reversed(widths[:-1]))
        self.head = nn.Conv2d(widths[0], 4, 1)
        self.multiple = 2 ** len(widths)
        self.margin = 4  # slices of zeros after an image, at least, as in the training: without, noise there looks true

    def forward(self, x: Tensor) -> Tensor:  # (batch, tag, channel, tick)
        """Return the logit of "signal here", (batch, 1, channel, tick)."""
        channels, ticks = x.shape[-2:]
        x = pad_to_multiple(F.pad(pad_small(x, self.multiple), [0, self.margin]), self.multiple)
        x = F.pixel_unshuffle(x, 2)  # (batch, 4 tag, channel / 2, tick / 2)
        x = self.stem(x)
        skips: list[Tensor] = []
        for encoder, down in zip(self.encoders, self.downs, strict=False):  # there is one encoder more
            skips.append(encoder(x))
            x = down(skips[-1])
        x = self.encoders[-1](x)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            x = F.interpolate(up(x), scale_factor=2.0, mode="nearest")
            x = decoder(x + skips.pop())
        return F.pixel_shuffle(self.head(x), 2)[..., :channels, :ticks]
