"""Facts about the figures: what is drawn, and what is said where there is nothing to draw."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest
from numpy.typing import NDArray

from wirecell_ml import displays, figures
from wirecell_ml.paths import shipped

SMALLEST_BYTES, LARGEST_BYTES = 10_000, 400_000
MAGENTA = matplotlib.colors.to_rgb(displays.MISSED)


class Plane(NamedTuple):
    image: NDArray[np.float32]  # (channel, slice), all three
    traditional: NDArray[np.float32]
    truth: NDArray[np.float32]


@pytest.fixture(scope="module")
def plane_u() -> Plane:
    with h5py.File(shipped("data") / "g4-rec-0.h5") as rec, h5py.File(shipped("data") / "g4-tru-0.h5") as tru:
        event = min(rec, key=int)
        frames = rec[event]["frame_loose_lf0"], rec[event]["frame_gauss0"], tru[event]["frame_ductor0"]
        return Plane(*(frame[:, :800].T.astype(np.float32) for frame in frames))


def draw(path: Path, plane: Plane, window: displays.Window | None = None) -> None:
    """Draw ``plane`` as seen by a network that knows the truth."""
    displays.event_display(
        path,
        **plane._asdict(),
        probability=(plane.truth > 100).astype(np.float32),
        threshold=0.5,
        title="Event 0, plane U",
        channels=np.arange(len(plane.truth), dtype=np.int32),
        start_us=-250.0,
        slice_us=5.0,
        window=window,
    )


def share_of_magenta(path: Path, side: str) -> float:
    """Return the share of "missed" colour in the lower ``side`` panel, its colour bar left out."""
    pixels = matplotlib.image.imread(path)[..., :3]
    height, width, _ = pixels.shape
    left, right = {"left": (0.07, 0.44), "right": (0.55, 0.91)}[side]
    panel = pixels[int(0.55 * height) : int(0.93 * height), int(left * width) : int(right * width)]
    return float((np.abs(panel - MAGENTA) < 0.01).all(axis=-1).mean())


def is_picture(path: Path) -> bool:
    return SMALLEST_BYTES < path.stat().st_size < LARGEST_BYTES and float(np.std(matplotlib.image.imread(path))) > 0


def test_event_display_is_a_picture_small_enough_for_the_readme(tmp_path: Path, plane_u: Plane) -> None:
    draw(tmp_path / "new" / "event.png", plane_u)
    assert is_picture(tmp_path / "new" / "event.png")


def test_missed_pixels_are_magenta_and_only_where_they_were_missed(tmp_path: Path, plane_u: Plane) -> None:
    draw(tmp_path / "event.png", plane_u, displays.busiest_window(plane_u.truth > 100))
    assert share_of_magenta(tmp_path / "event.png", "left") > 0.001  # the traditional ROIs are not perfect
    assert share_of_magenta(tmp_path / "event.png", "right") == 0.0  # this network is the truth itself


def test_event_display_of_an_empty_plane_is_still_a_picture(tmp_path: Path) -> None:
    silence = np.zeros((40, 30), np.float32)
    draw(tmp_path / "event.png", Plane(silence, silence, silence))
    assert is_picture(tmp_path / "event.png")


def test_rows_in_any_channel_order_are_drawn_in_ascending_order(plane_u: Plane) -> None:
    values = plane_u.image
    channels = np.arange(len(values), dtype=np.int32)
    order = np.random.default_rng(1).permutation(len(values))
    np.testing.assert_array_equal(displays._in_order(values[order], channels[order]), values.T)


def test_busiest_window_holds_the_blob() -> None:
    mask = np.zeros((800, 600), bool)
    mask[700:720, 300:310] = True
    window = displays.busiest_window(mask)
    assert mask[window].sum() == mask.sum()
    assert mask[window].shape == (160, 120)


def test_busiest_window_of_a_small_plane_is_the_plane() -> None:
    mask = np.ones((30, 20), bool)
    assert mask[displays.busiest_window(mask)].shape == (30, 20)


def test_efficiency_against_angle_takes_an_empty_bin(tmp_path: Path) -> None:
    full = figures.AngleBin("U", 0.0, 60.0, 0.95, 0.01, 0.9, 0.02, 4000)
    empty = figures.AngleBin("U", 60.0, 90.0, np.nan, np.nan, np.nan, np.nan, 0)
    figures.efficiency_against_angle(tmp_path / "angle.png", [full, empty])
    assert is_picture(tmp_path / "angle.png")


def test_scan_returns_purity_then_efficiency_of_the_nearest_threshold() -> None:
    assert scan("pixel").at(0.52) == (0.8, 0.9)


def test_efficiency_against_purity_draws_a_panel_for_each_level(tmp_path: Path) -> None:
    figures.efficiency_against_purity(tmp_path / "one.png", [scan("pixel")])
    figures.efficiency_against_purity(tmp_path / "two.png", [scan("pixel"), scan("ROI")])
    one, two = (matplotlib.image.imread(tmp_path / f"{name}.png").shape[1] for name in ("one", "two"))
    assert two > one
    assert is_picture(tmp_path / "two.png")


def scan(level: str) -> figures.Scan:
    thresholds, efficiency, purity = np.array([[0.1, 0.5, 0.9], [0.95, 0.9, 0.8], [0.6, 0.8, 0.9]])
    return figures.Scan("U", level, thresholds, efficiency, purity, 0.5, 0.85, 0.75)


def test_training_curves_skip_what_a_row_leaves_blank(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"epoch": "0", "train/loss": "0.7", "val/loss": "", "val/dice": ""},
        {"epoch": "0", "train/loss": "", "val/loss": "0.6", "val/dice": "0.5"},
        {"epoch": "1", "train/loss": "0.5", "lr": "0.001"},
        {"epoch": "1", "val/loss": 0.4, "val/dice": 0.8},
    ]
    figures.training_curves(tmp_path / "training.png", rows, "val/dice", "max")
    assert is_picture(tmp_path / "training.png")


def test_metrics_by_category_draws_bars_in_both_colours(tmp_path: Path) -> None:
    rows = [figures.CategoryDice(name, plane, 0.9, 0.8) for plane in "UV" for name in ("cosmic", "shower")]
    figures.metrics_by_category(tmp_path / "category.png", rows)
    pixels = matplotlib.image.imread(tmp_path / "category.png")[..., :3]
    for color in (figures.NETWORK, figures.TRADITIONAL):
        assert (np.abs(pixels - matplotlib.colors.to_rgb(color)) < 0.01).all(axis=-1).mean() > 0.05


@pytest.mark.parametrize(
    "figure",
    [
        figures.efficiency_against_angle,
        figures.efficiency_against_purity,
        partial(figures.training_curves, metric="val/dice", mode="max"),
        figures.metrics_by_category,
    ],
)
def test_nothing_to_draw_is_said_in_the_picture(tmp_path: Path, figure: Callable[[Path, Sequence[Any]], None]) -> None:
    figure(tmp_path / "empty.png", [])
    assert matplotlib.image.imread(tmp_path / "empty.png").min() < 0.8  # the words "no data"
