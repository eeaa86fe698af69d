"""Displays: planes of events as images, as PNG files."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, LogNorm
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from wirecell_ml.figures import NETWORK, TRADITIONAL, TRUTH, figure_at

MISSED, EXTRA, FOUND = "#e0218a", "#7fcdbb", TRUTH
NATIVE: dict[str, Any] = {"origin": "lower", "aspect": "auto", "interpolation": "nearest"}
NOISE_TO_LIMIT = 16.0  # colour limits of the input, in its noise rms

Window = tuple[slice, slice]  # (channel, slice)


def event_display(
    path: Path,
    *,
    image: NDArray[np.float32],  # (channel, slice), as are the next three
    truth: NDArray[np.float32],
    traditional: NDArray[np.float32],
    probability: NDArray[np.float32],
    threshold: float,
    title: str,
    channels: NDArray[np.int32],  # (channel,), in any order
    start_us: float,
    slice_us: float,
    true_charge: float = 100.0,  # electrons per tick that make a true pixel
    window: Window | None = None,
) -> None:
    """Draw one plane: its input, its truth, and how both ROI finders agree with the truth."""
    rows, slices = window or (slice(0, len(channels)), slice(0, image.shape[1]))
    shown = channels[rows]
    charge, true, roi, found = (
        _in_order(values[rows, slices], shown) for values in (image, truth, traditional != 0, probability > threshold)
    )
    noise = float(np.percentile(np.abs(image), 68))  # of the whole plane, so that a close-up keeps the scale
    start, stop, _ = slices.indices(image.shape[1])
    extent = (shown.min() - 0.5, shown.max() + 0.5, start_us + start * slice_us, start_us + stop * slice_us)
    with figure_at(path, 13.2, 10.2) as figure:
        figure.suptitle(title, fontsize=17)
        axes = figure.subplots(2, 2, sharex=True, sharey=True)
        pictures = [
            _draw_input(axes[0, 0], charge, noise),
            _draw_truth(axes[0, 1], true, true_charge),
            _draw_agreement(axes[1, 0], "Traditional ROI", TRADITIONAL, roi, true > true_charge),
            _draw_agreement(axes[1, 1], "Network ROI", NETWORK, found, true > true_charge),
        ]
        for picture in pictures:
            picture.set_extent(extent)
        for below, beside in zip(axes[1], axes[:, 0], strict=True):
            below.set_xlabel("channel")
            beside.set_ylabel("time [µs]")


def finding_display(
    path: Path,
    *,
    image: NDArray[np.float32],  # (channel, slice), electrons per tick, as is the next in shape
    probability: NDArray[np.float32],
    charge: NDArray[np.float32],  # (channel, tick), electrons per tick
    threshold: float,
    title: str,
    channels: NDArray[np.int32],  # (channel,), in any order
    start_us: float,
    tick_us: float,
) -> None:
    """Draw one plane as a network was run on it: its input, the probability of signal, the charge that was kept."""
    extent = (channels.min() - 0.5, channels.max() + 0.5, start_us, start_us + charge.shape[1] * tick_us)
    noise = float(np.percentile(np.abs(image), 68))
    with figure_at(path, 18.0, 6.2) as figure:
        figure.suptitle(title, fontsize=17)
        axes = figure.subplots(1, 3, sharex=True, sharey=True)
        pictures = [
            _draw_input(axes[0], _in_order(image, channels), noise),
            _draw_probability(axes[1], _in_order(probability, channels), threshold),
            _draw_charge(axes[2], _in_order(charge, channels)),
        ]
        for picture, below in zip(pictures, axes, strict=True):
            picture.set_extent(extent)
            below.set_xlabel("channel")
        axes[0].set_ylabel("time [µs]")


def busiest_window(mask: NDArray[np.bool_], channels: int = 160, slices: int = 120) -> Window:
    """Return the window with the most true pixels in ``mask``, for a close-up of an event."""
    last_row, last_column = (max(0, n - m) for n, m in zip(mask.shape, (channels, slices), strict=True))
    windows = [
        (slice(row, row + channels), slice(column, column + slices))
        for row in range(0, last_row + 1, max(1, channels // 4))
        for column in range(0, last_column + 1, max(1, slices // 4))
    ]
    return max(windows, key=lambda window: np.count_nonzero(mask[window]))


def _in_order(values: NDArray[Any], channels: NDArray[np.int32]) -> NDArray[Any]:
    """Return ``values`` as (slice, channel) by ascending channel number, gaps left at 0."""
    grid = np.zeros((channels.max() - channels.min() + 1, values.shape[1]), values.dtype)
    grid[channels - channels.min()] = values
    return grid.T


def _draw_input(axes: Axes, charge: NDArray[np.float32], noise: float) -> AxesImage:
    limit = max(1.0, NOISE_TO_LIMIT * noise) / 1000
    steps = mpl.colormaps["RdBu_r"].resampled(11)  # the white one in the middle holds most of the noise
    picture = axes.imshow(charge / 1000, cmap=steps, vmin=-limit, vmax=limit, **NATIVE)
    axes.set_title("Input", loc="left")
    _colorbar(axes, picture, "10³ electrons per tick", extend="both")
    return picture


def _draw_truth(axes: Axes, charge: NDArray[np.float32], lowest: float) -> AxesImage:
    highest = max(10 * lowest, float(np.percentile(charge, 99.9)))
    shades = LinearSegmentedColormap.from_list("truth", ["#d5d3e8", "#77739e", TRUTH]).with_extremes(under="white")
    picture = axes.imshow(charge / 1000, cmap=shades, norm=LogNorm(lowest / 1000, highest / 1000), **NATIVE)
    axes.set_title("Truth", loc="left", color=TRUTH)
    _colorbar(axes, picture, "10³ electrons per tick", extend="max")
    return picture


def _draw_probability(axes: Axes, probability: NDArray[np.float32], threshold: float) -> AxesImage:
    picture = axes.imshow(probability, cmap="Blues", vmin=0, vmax=1, **NATIVE)
    axes.set_title("Probability of signal", loc="left", color=NETWORK)
    bar = _colorbar(axes, picture, "")
    bar.ax.axhline(threshold, color=TRUTH, linewidth=1.5)
    return picture


def _draw_charge(axes: Axes, charge: NDArray[np.float32]) -> AxesImage:
    highest = float(np.percentile(charge[charge > 0], 99)) if (charge > 0).any() else 1.0
    shades = LinearSegmentedColormap.from_list("charge", ["#d5d3e8", "#77739e", TRUTH]).with_extremes(under="white")
    picture = axes.imshow(charge / 1000, cmap=shades, vmin=1e-6, vmax=highest / 1000, **NATIVE)
    axes.set_title(f"Charge in ROIs: {charge.sum(dtype=np.float64):.3g} electrons", loc="left")
    _colorbar(axes, picture, "10³ electrons per tick", extend="max")
    return picture


def _draw_agreement(axes: Axes, name: str, color: str, picked: NDArray[np.bool_], true: NDArray[np.bool_]) -> AxesImage:
    found = np.count_nonzero(picked & true)
    efficiency, purity = found / max(1, true.sum()), found / max(1, picked.sum())
    kinds = ListedColormap(["white", MISSED, EXTRA, FOUND])
    picture = axes.imshow(true + 2 * picked.astype(np.uint8), cmap=kinds, vmin=-0.5, vmax=3.5, **NATIVE)
    axes.set_title(name, loc="left", color=color)
    axes.set_title(f"efficiency {efficiency:.3f}   purity {purity:.3f}", loc="right", fontsize=13)
    bar = _colorbar(axes, picture, "")
    bar.ax.set_ylim(0.5, 3.5)
    bar.set_ticks([1, 2, 3], labels=["missed", "extra", "found"], rotation=90, va="center")
    bar.ax.tick_params(length=0)
    return picture


def _colorbar(axes: Axes, picture: AxesImage, label: str, extend: str = "neither") -> Colorbar:
    axes.grid(visible=False)
    bar = axes.figure.colorbar(picture, ax=axes, pad=0.02, aspect=30, label=label, extend=extend, format="%g")
    bar.outline.set_visible(False)
    return bar
