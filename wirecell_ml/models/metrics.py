"""What is measured of ROI finding. Every number has a definition with a version, which is stored beside it."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.errors import ConfigError

Matching = Literal["exact", "published"]
Mask = NDArray[np.bool_]  # (channel, slice)

FINDERS = ("network", "traditional")  # what finds ROIs

DEFINITIONS: Mapping[str, Mapping[str, str | int]] = {
    "pixel_efficiency": {"version": 1, "text": "found and true pixels / true pixels"},
    "pixel_purity": {"version": 1, "text": "found and true pixels / found pixels"},
    "pixel_dice": {"version": 1, "text": "2 x found and true pixels / (found pixels + true pixels)"},
    "roi_efficiency": {"version": 1, "text": "true ROIs with at least one found pixel in their window / true ROIs"},
    "roi_purity": {"version": 1, "text": "found ROIs with at least one true pixel in their window / found ROIs"},
    "charge_bias": {
        "version": 1,
        "text": "charge in the ROIs / all true charge - 1. Network: the waveform in its ROIs, negative samples counted "
        "as 0; the baseline that DNNROIFinding takes off each ROI needs every tick, and is not taken off. "
        "Traditional: its own charge",
    },
    "charge_inside": {"version": 1, "text": "true charge inside the ROIs / all true charge"},
    "steep": {
        "version": 1,
        "text": "counted on the channels where a true track with theta_xz above 80 degrees has a true pixel",
    },
    "roi": {"version": 1, "text": "a maximal run of pixels above threshold along one channel"},
    "matching_exact": {
        "version": 1,
        "text": "the window of a ROI is the ROI; pixels and ROIs of all images are pooled",
    },
    "matching_published": {
        "version": 1,
        "text": "as arXiv:2007.12743 measured: the window is the ROI moved back by one slice, a ROI that touches "
        "the last slice does not count, ratios are averaged over images, and a ratio with nothing below counts as 0",
    },
}


@dataclass(frozen=True)
class Counts:
    """Pixels and ROIs counted in one image, or in several together."""

    pixels_both: float = 0  # found and true
    pixels_found: float = 0
    pixels_true: float = 0
    rois_true_seen: float = 0  # true ROIs in whose window something was found
    rois_true: float = 0
    rois_found_real: float = 0  # found ROIs in whose window something is true
    rois_found: float = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def ratios(self) -> dict[str, float]:
        """Return efficiency, purity and Dice of pixels, and efficiency and purity of ROIs; 0 where there is nothing."""
        return {
            "pixel_efficiency": ratio(self.pixels_both, self.pixels_true),
            "pixel_purity": ratio(self.pixels_both, self.pixels_found),
            "pixel_dice": ratio(2 * self.pixels_both, self.pixels_found + self.pixels_true),
            "roi_efficiency": ratio(self.rois_true_seen, self.rois_true),
            "roi_purity": ratio(self.rois_found_real, self.rois_found),
        }


class Rois(NamedTuple):
    """Runs of true pixels along the slices of a mask."""

    channels: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]  # included


def ratio(part: float, whole: float) -> float:
    """Return ``part / whole``, 0 where there is no whole."""
    return float(part / whole) if whole else 0.0


def find_rois(mask: Mask) -> Rois:
    """Return the ROIs of ``mask``: maximal runs of true pixels along one channel."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    channels, first = np.nonzero(edges == 1)
    return Rois(channels, first, np.nonzero(edges == -1)[1] - 1)


def count(found: Mask, true: Mask, matching: Matching = "exact") -> Counts:
    """Return the pixels and ROIs of one image, ``found`` against ``true``, masks in (channel, slice)."""
    seen, rois_true = matched(true, found, matching)
    real, rois_found = matched(found, true, matching)
    both, num_found, num_true = (int(np.count_nonzero(mask)) for mask in (found & true, found, true))
    return Counts(both, num_found, num_true, seen, rois_true, real, rois_found)


def matched(mask: Mask, other: Mask, matching: Matching) -> tuple[int, int]:
    """Return how many ROIs of ``mask`` have a pixel of ``other`` in their window, and how many ROIs there are."""
    rois = find_rois(mask)
    first, last = window(rois, matching)
    before = np.pad(np.cumsum(other, axis=1, dtype=np.int32), ((0, 0), (1, 0)))  # pixels before each slice
    hit = before[rois.channels, last + 1] > before[rois.channels, first]
    if matching == "published":
        hit = hit[rois.last < mask.shape[1] - 1]
    return int(hit.sum()), len(hit)


def window(rois: Rois, matching: Matching) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and last slice in which a pixel of the other mask matches a ROI."""
    if matching == "exact":
        return rois.first, rois.last
    if matching == "published":
        return np.maximum(rois.first - 1, 0), rois.last - 1
    raise ConfigError(f"matching: '{matching}' is not known. Known here: exact, published")


def summarize(images: list[Counts], matching: Matching) -> dict[str, float]:
    """Return the ratios of some images: pooled, or averaged over images as published."""
    if matching == "exact" or not images:
        return sum(images, Counts()).ratios()
    each = [image.ratios() for image in images]
    return {name: float(np.mean([one[name] for one in each])) for name in each[0]}


def roi_charge(waveform: NDArray[np.float32], mask: Mask) -> float:
    """Return the sum of ``waveform`` (channel, slice), electrons per tick, inside ``mask``; negative samples as 0."""
    return float(np.clip(waveform[mask], 0, None).sum(dtype=np.float64))
