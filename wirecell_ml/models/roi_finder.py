"""RoiFinder: a trained network as Wire-Cell runs it, from electrons to probabilities."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class RoiFinder(nn.Module):
    """A network between the scale of its inputs and the sigmoid of its output, both of which C++ leaves to the model.

    ``scale`` divides the waveform of each tag, in electrons per tick, as it did in the training.
    """

    scale: Tensor

    def __init__(self, network: nn.Module, scale: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("scale", torch.tensor(list(scale), dtype=torch.float32)[:, None, None])
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster on CPUs
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the probability of "signal here", (batch, 1, channel, slice), contiguous.

        ``images`` are (batch, tag, channel, slice), float32, of any size.
        """
        logits = self.network((images / self.scale).contiguous(memory_format=torch.channels_last))
        return logits.sigmoid().contiguous()  # type: ignore[no-any-return]
