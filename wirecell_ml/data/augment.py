"""Augmentations: changes of an image that could have happened in the detector."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Augmentation:
    """Random changes of one image and its target; a setting of 0 switches one off."""

    flip_channels: float  # probability to reverse the channel axis: a track that leans the other way
    shift_slices: int  # largest shift in time, slices; what comes in from outside the readout is empty
    gain: float  # largest relative change of all waveforms
    noise: float  # rms of Gaussian noise added to the waveforms, electrons per tick
    dead_channels: float  # share of channels that go silent: no waveform, no flag, and no ROI to find

    def __call__(self, inputs: Tensor, target: Tensor, dice: Generator) -> tuple[Tensor, Tensor]:
        """Return ``inputs`` (tag, channel, slice), electrons per tick, and ``target`` (channel, slice), both changed.

        The first tag is the waveform; the others are flags, which keep their values.
        """
        inputs = inputs.clone()
        if uniform(dice) < self.flip_channels:
            inputs, target = inputs.flip(1), target.flip(0)
        if self.shift_slices:
            shift = int(torch.randint(-self.shift_slices, self.shift_slices + 1, (), generator=dice))
            inputs, target = shifted(inputs, shift), shifted(target, shift)
        if self.gain:
            inputs[0] *= 1 + self.gain * (2 * uniform(dice) - 1)
        if self.noise:
            inputs[0] += self.noise * torch.randn(inputs[0].shape, generator=dice)
        if self.dead_channels:
            alive = torch.rand(len(target), 1, generator=dice) >= self.dead_channels
            inputs, target = inputs * alive, target * alive
        return inputs, target


def uniform(dice: Generator) -> float:
    """Return a random number between 0 and 1."""
    return float(torch.rand((), generator=dice))


def shifted(image: Tensor, slices: int) -> Tensor:
    """Return ``image`` moved by ``slices`` along its last axis, zeros where nothing is known."""
    moved = image.roll(slices, dims=-1)
    unknown = slice(None, slices) if slices > 0 else slice(max(image.shape[-1] + slices, 0), None)
    moved[..., unknown] = 0
    return moved


def random_window(shape: tuple[int, int], crop: tuple[int, int] | None, dice: Generator) -> tuple[slice, slice]:
    """Return where a random (channel, slice) window of size ``crop`` lies in an image of ``shape``."""
    if crop is None:
        return slice(None), slice(None)
    starts = [
        int(torch.randint(0, max(size - part, 0) + 1, (), generator=dice))
        for size, part in zip(shape, crop, strict=True)
    ]
    first, second = (slice(start, start + part) for start, part in zip(starts, crop, strict=True))
    return first, second
