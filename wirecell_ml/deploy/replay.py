"""Replay: a model and its card run as DNNROIFinding would run them, on the frames of any event."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from wirecell_ml.data.archive import read_events
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.planes import columns_to_ticks
from wirecell_ml.deploy.card import Card
from wirecell_ml.deploy.finding import Channels, Found, Settings, find
from wirecell_ml.errors import ConfigError, DataError, suggest
from wirecell_ml.models.metrics import find_rois
from wirecell_ml.paths import shipped
from wirecell_ml.schema import load_flat

SHIPPED_EVENT = "dnnroi/frames-dnnroi-input.tar.xz"  # in data/: what C++ was run on, ProtoDUNE-SP, anode 0, U and V


@dataclass(frozen=True)
class Choices:
    """What may be chosen when a model is run, besides what its card says."""

    apa: int
    charge_tag: str  # with the number of the anode
    mask_thresh: float
    nchunks: int = 1
    accept_zeros: bool = False  # take a tag that is zero throughout a plane, as Wire-Cell does


def choices(card: Card, apa: int | None = None) -> Choices:
    """Return the choices that the card makes."""
    number = card.apa if apa is None else apa
    return Choices(number, f"{card.decon_charge_tag}{number}", card.mask_thresh)


def tags_of(card: Card, chosen: Choices) -> list[str]:
    """Return the tags that the frames of an event must hold."""
    return [*(f"{tag}{chosen.apa}" for tag in card.intags), chosen.charge_tag]


def run_plane(
    frames: Mapping[str, Frame], plane: str, forward: Callable[[Tensor], Tensor], card: Card, chosen: Choices
) -> Found:
    """Return what DNNROIFinding makes of one plane of an event with this model.

    Raises DataError for waveforms that are missing, zero, of another detector, or of different ticks.
    """
    tags, channels = tags_of(card, chosen), rows(card, plane, chosen.apa)
    missing = [tag for tag in tags if tag not in frames]
    if missing:
        raise DataError(
            f"no waveforms tagged '{missing[0]}', which Wire-Cell would take as zeros.{suggest(missing[0], frames)}"
        )
    check_frames({tag: frames[tag] for tag in tags}, plane, channels, chosen)
    per_column = columns_to_ticks(frames[tags[0]].period_ns, card.tick_ns)
    if card.tick_per_slice % per_column:
        raise DataError(
            f"columns of {per_column} ticks make no slices of {card.tick_per_slice}, which '{card.name}' wants"
        )
    if card.tick_pad_multiple % card.tick_per_slice:
        raise DataError(
            f"tick_pad_multiple={card.tick_pad_multiple} of '{card.name}' makes no whole slices of its ticks"
        )
    if card.chan_pad_multiple != 1:
        raise DataError(
            f"'{card.name}' wants channels padded to {card.chan_pad_multiple}, which is not replayed; pad inside it"
        )
    settings = Settings(
        intags=tuple(tags[:-1]),
        decon_charge_tag=chosen.charge_tag,
        tick_per_slice=card.tick_per_slice // per_column,
        tick_pad_multiple=card.tick_pad_multiple // per_column,
        input_scale=card.input_scale,
        input_offset=card.input_offset,
        mask_thresh=chosen.mask_thresh,
        nchunks=chosen.nchunks,
    )
    return find(frames, channels, forward, settings)


def check_frames(frames: Mapping[str, Frame], plane: str, channels: Channels, chosen: Choices) -> None:
    """Raise DataError where waveforms do not belong together, are of other channels, or are all zero."""
    grids = {(frame.time_ns, frame.period_ns) for frame in frames.values()}
    if len(grids) > 1:
        raise DataError(
            f"tags {', '.join(frames)} differ in time or tick: {sorted(grids)} ns; they are not of one event"
        )
    for tag, frame in frames.items():
        held = np.isin(frame.channels, channels)
        if not held.any():
            raise DataError(
                f"'{tag}' holds channels {frame.channels.min()}..{frame.channels.max()}, none of plane {plane} of "
                f"anode {chosen.apa}, {channels.min()}..{channels.max()}. Set apa=…, or take the model of this detector"
            )
        if not chosen.accept_zeros and not frame.samples[held].any():
            raise DataError(
                f"'{tag}' is zero in all of plane {plane}, and a network makes nothing of that. Was debug output on in "
                "the signal-processing job? Set zeros=accept to go on as Wire-Cell does"
            )


def rows(card: Card, plane: str, apa: int) -> Channels:
    """Return the channel of each row of a plane's image, in the order that the model was trained with."""
    offset = apa * card.channels_per_apa
    if card.sort_chanids:
        first, end = card.plane_channels[plane]
        return np.arange(offset + first, offset + end, dtype=np.int32)
    return wire_order(card.detector, plane) + np.int32(offset)


def wire_order(detector: str, plane: str) -> Channels:
    """Return the channels of a plane in wire-attachment order, counted within the anode: C++'s order by default.

    Raises ConfigError where ``configs/detector`` does not say it.
    """
    path = shipped("configs") / "detector" / f"{detector}.yaml"
    order = load_flat(path).get("wire_order") if path.is_file() else None
    if not order or plane not in order:
        raise ConfigError(
            f"the wire-attachment order of plane {plane} of {detector} is not known; give it as wire_order in "
            f"configs/detector/{detector}.yaml, or train and run with sort_chanids"
        )
    runs = [
        np.arange(first, last + step, step) for first, last in order[plane] for step in [1 if last >= first else -1]
    ]
    return np.concatenate(runs).astype(np.int32)


def replay_shipped(forward: Callable[[Tensor], Tensor], card: Card) -> dict[str, Any]:
    """Return what DNNROIFinding finds with a model in the shipped event; nothing where that is of another detector."""
    chosen = choices(card)
    _, frames = next(read_events(shipped("data") / SHIPPED_EVENT))
    if card.detector != "protodune_sp" or not set(tags_of(card, chosen)) <= set(frames):
        return {}
    return {
        "file": SHIPPED_EVENT,
        "planes": {plane: summary(run_plane(frames, plane, forward, card, chosen)) for plane in card.planes},
    }


def summary(found: Found) -> dict[str, Any]:
    """Return the charge in electrons, the ROIs and the ticks with charge of one plane."""
    return {
        "charge": round(float(found.charge.sum(dtype=np.float64)), 1),
        "rois": len(find_rois(found.charge > 0).channels),
        "ticks": int(np.count_nonzero(found.charge)),
    }
