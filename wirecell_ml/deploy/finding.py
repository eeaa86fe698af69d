"""What DNNROIFinding does around a network, step by step (wire-cell-toolkit, pytorch/src/DNNROIFinding.cxx).

Images are (channel, tick) or (channel, slice), float32; charges are electrons per tick.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wirecell_ml.data.frame import Frame
from wirecell_ml.errors import DataError, suggest

Image = NDArray[np.float32]
Channels = NDArray[np.int32]


@dataclass(frozen=True)
class Settings:
    """The settings of one DNNROIFinding node, under their own names and with their own defaults."""

    intags: tuple[str, ...]  # waveforms, in the order of the network's input channels
    decon_charge_tag: str
    tick_per_slice: int = 10
    input_scale: float = 1 / 4000
    input_offset: float = 0.0
    output_scale: float = 1.0
    output_offset: float = 0.0
    mask_thresh: float = 0.5
    tick0: int = 0
    nticks: int = 6000  # taken where the frame has no ticks at all
    tick_pad_multiple: int = 0  # ticks; 0: tick_per_slice
    nchunks: int = 1
    save_negative_charge: bool = False


@dataclass(frozen=True)
class Found:
    """What went into the network, what came out, and the charge that is left of one plane."""

    batch: Image  # (1, tag, channel, slice)
    probability: Image  # (channel, slice)
    charge: Image  # (channel, tick)


def find(
    frames: Mapping[str, Frame], channels: Channels, forward: Callable[[Tensor], Tensor], settings: Settings
) -> Found:
    """Return what DNNROIFinding makes of one plane, whose rows are ``channels`` in this order.

    A tag without waveforms counts as zeros there, with a warning; here it is a DataError, like any tag that is missing.
    """
    for tag in (*settings.intags, settings.decon_charge_tag):
        if tag not in frames:
            raise DataError(f"no waveforms tagged '{tag}', which Wire-Cell would take as zeros.{suggest(tag, frames)}")
    used = [frames[tag] for tag in (*settings.intags, settings.decon_charge_tag)]
    input_ticks = count_ticks(used, settings)
    pad = settings.tick_pad_multiple or settings.tick_per_slice
    model_ticks = -(-input_ticks // pad) * pad
    dense = [fill(frame, channels, model_ticks, settings.tick0) for frame in used]
    batch = np.stack([downsample(scaled(image, settings), settings.tick_per_slice) for image in dense[:-1]])[None]
    probability = run_chunks(forward, batch, settings.nchunks)
    mask = np.repeat(probability > settings.mask_thresh, settings.tick_per_slice, axis=1)
    charge = subtract_baseline(np.where(mask, dense[-1], np.float32(0)))
    charge = charge * np.float32(settings.output_scale) + np.float32(settings.output_offset)
    if not settings.save_negative_charge:
        charge = np.maximum(charge, 0)
    return Found(batch, probability, charge[:, :input_ticks])


def count_ticks(frames: Sequence[Frame], settings: Settings) -> int:
    """Return the ticks from ``tick0`` to the end of the longest waveform; one far-out ROI makes the image longer."""
    last = max(frame.tbin + frame.samples.shape[1] for frame in frames) - settings.tick0
    return last if last > 0 else settings.nticks


def fill(frame: Frame, channels: Channels, ticks: int, tick0: int) -> Image:
    """Return the (channel, tick) image of a frame from ``tick0`` on, zero where it has no such channel or tick."""
    image = np.zeros((len(channels), ticks), np.float32)
    row_of = {int(channel): row for row, channel in enumerate(frame.channels)}
    pairs = [(row, row_of[int(channel)]) for row, channel in enumerate(channels) if int(channel) in row_of]
    if not pairs:
        return image
    rows, held = np.array(pairs).T
    start = frame.tbin - tick0
    samples = frame.samples[held, max(0, -start) : max(0, ticks - start)]
    image[rows, max(0, start) : max(0, start) + samples.shape[1]] = samples
    return image


def scaled(image: Image, settings: Settings) -> Image:
    """Return ``image`` as the network takes it; the offset goes on the padding, too."""
    return image * np.float32(settings.input_scale) + np.float32(settings.input_offset)


def downsample(image: Image, tick_per_slice: int) -> Image:
    """Return the mean of every ``tick_per_slice`` ticks."""
    return np.asarray(image.reshape(len(image), -1, tick_per_slice).mean(axis=2, dtype=np.float32))


def run_chunks(forward: Callable[[Tensor], Tensor], batch: Image, nchunks: int) -> Image:
    """Return the network's answer, (channel, slice), where the channels are given to it in ``nchunks`` pieces."""
    chunks = torch.from_numpy(batch).chunk(nchunks, dim=2)
    with torch.no_grad():
        answers = [forward(chunk.clone() if nchunks > 1 else chunk) for chunk in chunks]
    probability: Image = torch.cat(answers, dim=2)[0, 0].numpy()
    return probability


def subtract_baseline(image: Image) -> Image:
    """Return ``image`` less a straight line under each run of non-zero ticks, from its first value to its last.

    As in C++ (util/src/Array.cxx), a run of one tick and a run that touches the last tick come out as zeros.
    """
    edges = np.diff(np.pad(image != 0, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    channels, first = np.nonzero(edges == 1)
    last = np.nonzero(edges == -1)[1] - 1
    kept = (last > first) & (last < image.shape[1] - 1)
    channels, first, last = channels[kept], first[kept], last[kept]
    lengths = last - first + 1
    run = np.repeat(np.arange(len(first)), lengths)
    tick = np.arange(len(run)) - np.repeat(np.cumsum(lengths) - lengths, lengths)  # within its run
    start, end = image[channels, first], image[channels, last]
    line = start[run] + tick.astype(np.float32) * (end - start)[run] / (lengths - 1).astype(np.float32)[run]
    result = np.zeros_like(image)
    where = channels[run], first[run] + tick
    result[where] = image[where] - line
    return result
