"""Pictures of frames: a row for each tag, a column for each plane, channels to the right and time upwards."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TABLEAU_COLORS, Colormap, ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wirecell_ml.data.detectors import Detector, Planes, planes_of, runs_of
from wirecell_ml.data.facts import unit_of
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.picture_text import drawn
from wirecell_ml.data.spread import spread

SMALLEST, LARGEST = 1e-30, 1e30  # ends of any scale of colours; what is larger is blank
LONGEST_US = 1e12  # what is later or longer is drawn as if it began at 0, a column a microsecond
MOST_PANELS = 6  # planes side by side; a frame of more is drawn in one
MOST_BINS = (560, 460)  # of a panel, (channel, tick): fewer than it has pixels
BLANK = "#ececec"  # where there is no channel
LABELS = ListedColormap(["white", *TABLEAU_COLORS.values()])
MASKED, MASK_ALPHA = ListedColormap(["white", "#5aae61"]), 0.45
NO_MASK = np.zeros((0, 3), np.int32)
NATIVE: dict[str, Any] = {"origin": "lower", "aspect": "auto", "interpolation": "nearest"}
PANEL_IN = (5.6, 4.0)
NOISE_TO_LIMIT = 8.0  # colour limits of waveforms with noise, in its rms
CHARGE = mpl.colormaps["magma_r"].with_extremes(under="white", bad=BLANK)

Image = NDArray[Any]
Masks = Mapping[str, NDArray[np.int32]]


def size_in(frames: Mapping[str, Frame], detector: Detector | None) -> tuple[float, float]:
    """Return width and height of the picture of some frames, in inches."""
    columns = max((len(panels_of(frame, detector)) for frame in frames.values()), default=1)
    return PANEL_IN[0] * columns + 0.6, PANEL_IN[1] * len(frames) + 0.8


def draw_frames(figure: Figure, frames: Mapping[str, Frame], masks: Masks, detector: Detector | None) -> None:
    """Draw every frame, masked channels shaded."""
    panels = {tag: panels_of(frame, detector) for tag, frame in frames.items()}
    columns = max(len(planes) for planes in panels.values())
    grid = figure.subplots(len(frames), columns, squeeze=False)
    for (tag, frame), row in zip(frames.items(), grid, strict=True):
        shown = shown_of(tag, frame)
        for axes, (plane, ends) in zip(row, panels[tag].items(), strict=False):
            draw_panel(axes, shown, ends)
            shade(axes, frame, masks, ends)
            axes.set_title(drawn(tag) if tag != "*" else "all traces", loc="left")
            axes.set_title(plane, loc="right")
        for axes in row[len(panels[tag]) :]:
            axes.set_axis_off()


def panels_of(frame: Frame, detector: Detector | None) -> Planes:
    """Return what is drawn side by side: the planes, else the runs of channels, else all channels."""
    channels = frame.channels
    planes = planes_of(channels, detector)
    if not planes:
        planes = {f"{first}–{end - 1}": (first, end) for first, end in runs_of(channels)}
    whole = {"": (int(channels.min()), int(channels.max()) + 1)} if len(channels) else {}
    return planes if 0 < len(planes) <= MOST_PANELS else whole


@dataclass(frozen=True)
class Shown:
    """A frame as it is drawn, with its colours."""

    frame: Frame
    image: Image  # (channel, tick), as the samples, or what is left of them without a pedestal
    unit: str
    shades: Colormap
    norm: Normalize


def shown_of(tag: str, frame: Frame) -> Shown:
    """Return how a frame is best seen: waveforms red and blue, charge dark on white."""
    values = spread(frame.samples)
    unit, image = unit_of(tag, frame, values), frame.samples
    if unit == "ADC":
        pedestal = np.median(image, axis=1, keepdims=True) if image.size else 0.0
        image, unit = image - np.float32(pedestal), "ADC counts above the channel's median"
    if unit == "electrons" and (values.highest or 0) > 0 and (values.lowest or 0) >= 0:
        return Shown(frame, image, "electrons per tick", CHARGE, charge_norm(image))
    if unit in ("flag", "probability"):
        return Shown(frame, image, unit, mpl.colormaps["Blues"], Normalize(0, max(values.highest or 1, 1e-9)))
    if unit == "label":
        return Shown(frame, image, unit, LABELS, Normalize(-0.5, LABELS.N - 0.5))
    limit = bipolar_limit(image)
    unit = "electrons per tick" if unit == "electrons" else unit
    return Shown(frame, image, unit, mpl.colormaps["RdBu_r"], Normalize(-limit, limit))


def charge_norm(image: Image) -> LogNorm:
    """Return a logarithmic scale from the small to nearly the largest charge."""
    charge = image[(image > 0) & (image < LARGEST)]
    if not charge.size:
        return LogNorm(1, 10)
    low, high = np.percentile(charge, [10, 99.5])
    start = max(float(low), float(high) / 300, SMALLEST)
    return LogNorm(start, max(float(high), 1.01 * start))


def bipolar_limit(image: Image) -> float:
    """Return where the colours of a waveform end: well above its noise, and not above most signals."""
    size = np.abs(image[(image != 0) & (np.abs(image) < LARGEST)])
    if not size.size:
        return 1.0
    noise, high = np.percentile(size, [68, 99.8])
    return max(float(np.clip(high, NOISE_TO_LIMIT * noise, 4 * NOISE_TO_LIMIT * noise)), SMALLEST)


def draw_panel(axes: Axes, shown: Shown, ends: tuple[int, int]) -> None:
    """Draw the channels of a frame from ``ends[0]`` to ``ends[1]``, excluded."""
    inside = (shown.frame.channels >= ends[0]) & (shown.frame.channels < ends[1])
    pooled = with_zero_white(pool(shown.image[inside], shown.frame.channels[inside], ends), shown.norm)
    picture = axes.imshow(
        pooled.T,
        extent=extent_of(shown.frame, ends),
        cmap=shown.shades.with_extremes(bad=BLANK),
        norm=shown.norm,
        **NATIVE,
    )
    axes.grid(visible=False)
    axes.set(xlabel="channel", ylabel="time [µs]")
    bar = axes.figure.colorbar(picture, ax=axes, pad=0.02, aspect=30, label=shown.unit)
    bar.outline.set_visible(False)


def with_zero_white(image: Image, norm: Normalize) -> Image:
    """Return an image whose zeros are below the scale, so that they are white even where it is logarithmic."""
    if not isinstance(norm, LogNorm):
        return image
    assert norm.vmin
    return np.where(image == 0, np.float32(norm.vmin / 2), image)


def extent_of(frame: Frame, ends: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the edges of a panel: channels to the left and right, microseconds below and above."""
    start, length = frame.start_ns / 1000, frame.samples.shape[1] * frame.period_ns / 1000
    if not abs(start) < LONGEST_US or not 0 < length < LONGEST_US:
        start, length = 0.0, float(frame.samples.shape[1])
    return ends[0] - 0.5, ends[1] - 0.5, start, start + length


def pool(samples: Image, channels: NDArray[np.int32], ends: tuple[int, int]) -> Image:
    """Return (channel bin, tick bin), in each bin the sample that is farthest from 0, NaN where there is no channel.

    So a track one channel wide is still seen where a pixel of the picture holds many.
    """
    num_rows, num_columns = bins_of(samples.shape[1], ends)
    pooled = np.full((num_rows, num_columns), np.nan, np.float32)
    order = np.argsort(channels, kind="stable")
    rows = (channels[order].astype(np.int64) - ends[0]) * num_rows // (ends[1] - ends[0])
    firsts = np.arange(num_columns) * samples.shape[1] // max(1, num_columns)
    for bin_ in np.unique(rows) if num_columns else []:
        block = samples[order[rows == bin_]].astype(np.float32)
        high = np.maximum.reduceat(block.max(axis=0), firsts)
        low = np.minimum.reduceat(block.min(axis=0), firsts)
        pooled[bin_] = np.where(high >= -low, high, low)
    return np.where(np.abs(pooled) < LARGEST, pooled, np.float32(np.nan))


def bins_of(num_ticks: int, ends: tuple[int, int]) -> tuple[int, int]:
    """Return how many bins a panel has, (channel, tick)."""
    return min(MOST_BINS[0], ends[1] - ends[0]), min(MOST_BINS[1], num_ticks)


def shade(axes: Axes, frame: Frame, masks: Masks, ends: tuple[int, int]) -> None:
    """Shade the masked channels and ticks."""
    num_ticks = frame.samples.shape[1]
    rows = np.concatenate(
        [mask[(mask[:, 0] >= ends[0]) & (mask[:, 0] < ends[1])] for mask in masks.values()] or [NO_MASK]
    )
    if not len(rows) or not num_ticks:
        return
    num_rows, num_columns = bins_of(num_ticks, ends)
    bins = (rows[:, 0].astype(np.int64) - ends[0]) * num_rows // (ends[1] - ends[0])
    first, end = (np.clip(rows[:, i].astype(np.int64) - frame.tbin, 0, num_ticks) for i in (1, 2))
    steps = np.zeros((num_rows, num_columns + 1), np.int64)
    np.add.at(steps, (bins, first * num_columns // num_ticks), 1)
    np.add.at(steps, (bins, -(-end * num_columns // num_ticks)), -1)
    masked = np.cumsum(steps, axis=1)[:, :-1] > 0
    axes.imshow(masked.T, alpha=masked.T * MASK_ALPHA, extent=extent_of(frame, ends), cmap=MASKED, **NATIVE)
    axes.text(
        0.01,
        0.01,
        f"shaded: masked ({drawn(', '.join(masks))})",
        transform=axes.transAxes,
        color="#1b7837",
        fontsize=10,
    )
