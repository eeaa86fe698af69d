"""Model cards: everything a Wire-Cell job must set for a model, and everything a reader should know before it does."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from wirecell_ml.build import fits
from wirecell_ml.errors import DataError, suggest

FORMAT = 1
MISSING: Any = "???"  # a field that a card must give


@dataclass
class Card:
    """What ``card.json`` holds; tags are without the number of the anode, which a job appends."""

    format: int = FORMAT
    name: str = MISSING
    network: str = MISSING  # class
    parameters: int = MISSING
    detector: str = MISSING
    planes: list[str] = MISSING  # it was trained for
    plane_numbers: dict[str, int] = MISSING  # of all planes of the detector, as Wire-Cell counts them
    plane_channels: dict[str, list[int]] = MISSING  # first and past-the-last channel, counted within the anode
    channels_per_apa: int = MISSING
    apa: int = MISSING  # anode that it was trained on
    tick_ns: float = MISSING
    intags: list[str] = MISSING  # waveforms, in the order of the network's input channels
    decon_charge_tag: str = "decon_charge"
    outtag: str = "dnnsp"
    tick_per_slice: int = MISSING
    tick_pad_multiple: int = MISSING  # ticks; larger ones are the network's own business, it pads and crops
    chan_pad_multiple: int = 1  # channels, idem
    input_scale: float = MISSING  # that C++ multiplies the waveforms by, electrons per tick
    input_offset: float = 0.0
    scale_inside: list[float] = MISSING  # that the model divides each tag by
    mask_thresh: float = MISSING
    sort_chanids: bool = MISSING  # rows are channels in ascending order of their idents
    model: dict[str, Any] = field(default_factory=dict)  # file, sha256, bytes, torch
    training: dict[str, Any] = field(default_factory=dict)  # commit, digests of config and data, version, when
    metrics: dict[str, Any] = field(default_factory=dict)  # on held-out events, with the definition of each
    contract: list[dict[str, Any]] = field(default_factory=list)  # what came of each rule
    replay: dict[str, Any] = field(default_factory=dict)  # what DNNROIFinding finds with it in the shipped event
    limits: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write ``card.json`` and ``card.md``."""
        (folder / "card.json").write_text(json.dumps(asdict(self), indent=1) + "\n")
        (folder / "card.md").write_text(markdown(self))


def read_card(path: Path) -> Card:
    """Return the card in ``path``; raises DataError where it is none, and ConfigError where a field is wrong."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; python -m wirecell_ml.export writes the card beside the model")
    try:
        held = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{path}: no JSON ({error}); a card is written by python -m wirecell_ml.export") from error
    if not isinstance(held, dict) or held.get("format") != FORMAT:
        raise DataError(f"{path}: no model card of format {FORMAT}, which this version of wirecell_ml reads")
    kinds = get_type_hints(Card)
    for name, value in held.items():
        if name not in kinds:
            raise DataError(f"{path}: a card has no field '{name}'.{suggest(name, kinds)}")
        check_kind(path, name, value, kinds[name])
    card = Card(**held)
    missing = [name for name, value in vars(card).items() if value == MISSING]
    if missing:
        raise DataError(f"{path}: no value for {', '.join(missing)}; export the model again")
    strange = [plane for plane in card.planes if plane not in card.plane_channels]
    if strange:
        raise DataError(f"{path}: plane_channels lacks plane {strange[0]}.{suggest(strange[0], card.plane_channels)}")
    return card


def check_kind(path: Path, name: str, value: Any, kind: Any) -> None:
    """Raise DataError where a field is not of its type; no field is interpolated, a card may be a stranger's."""
    right = fits(value, kind)
    if get_origin(kind) is dict:
        right = isinstance(value, dict) and all(fits(one, get_args(kind)[1]) for one in value.values())
    if not right:
        raise DataError(f"{path}: {name} is {value!r}, which is no {getattr(kind, '__name__', kind)}")


def markdown(card: Card) -> str:
    """Return a card as Markdown for people."""
    parts = [introduction(card), settings_table(card), metrics_table(card), contract_table(card), replay_table(card)]
    limits = "## Limits\n\n" + "\n".join(f"- {limit}" for limit in card.limits)
    return "\n\n".join([part for part in parts if part] + [limits, origin(card)]) + "\n"


def introduction(card: Card) -> str:
    """Return the heading of a card."""
    planes = " and ".join(card.planes)
    return (
        f"# {card.name}\n\n`{card.network}`, {card.parameters:,} parameters, finds ROIs in planes {planes} of "
        f"{card.detector} (trained on anode {card.apa})."
    )


def settings_table(card: Card) -> str:
    """Return what a DNNROIFinding node must set."""
    order = "ascending channel idents" if card.sort_chanids else "wire-attachment order"
    rows = [
        ("intags", ", ".join(f"{tag}N" for tag in card.intags), "in this order; N is the number of the anode"),
        ("decon_charge_tag", f"{card.decon_charge_tag}N", "the charge that is kept inside the ROIs"),
        ("outtag", f"{card.outtag}N", "tag of the result"),
        ("sort_chanids", str(card.sort_chanids).lower(), f"rows are in {order}, as in the training"),
        ("input_scale", f"{card.input_scale:g}", f"the model divides the tags by {brief(card.scale_inside)} itself"),
        ("input_offset", f"{card.input_offset:g}", ""),
        ("tick_per_slice", str(card.tick_per_slice), f"slices of {card.tick_per_slice * card.tick_ns / 1000:g} us"),
        ("tick_pad_multiple", str(card.tick_pad_multiple), "any number of slices goes: the model pads and crops"),
        ("chan_pad_multiple", str(card.chan_pad_multiple), "any number of channels goes"),
        ("mask_thresh", f"{card.mask_thresh:g}", "a pixel is ROI where the probability is above"),
    ]
    return "## What a job must set\n\n`dnnroi.jsonnet` sets all of it.\n\n" + table(
        ("DNNROIFinding", "value", ""), rows
    )


def brief(values: list[float]) -> str:
    """Return some numbers, as one if they are equal."""
    return f"{values[0]:g}" if len(set(values)) == 1 else ", ".join(f"{value:g}" for value in values)


def metrics_table(card: Card) -> str:
    """Return the metrics of each plane, network and traditional, and how each is defined."""
    if not card.metrics:
        return "## Metrics\n\nNone were measured on events that it never saw."
    planes = card.metrics["planes"]
    names = [name for name in next(iter(planes.values()))["network"] if name in card.metrics["definitions"]]
    rows = [
        (plane, finder, *(f"{values[name]:.4f}" for name in names))
        for plane, finders in planes.items()
        for finder, values in finders.items()
    ]
    meanings = "\n".join(
        f"- {name}: {text['text']}" for name, text in card.metrics["definitions"].items() if name in names
    )
    events = f"{card.metrics['events']} {card.metrics['split']} events"
    head = f"## Metrics\n\n{events} that it never saw, threshold {card.metrics['threshold']:g}."
    return f"{head}\n\n{table(('plane', 'finder', *names), rows)}\n\n{meanings}"


def contract_table(card: Card) -> str:
    """Return what came of each rule of the contract with C++."""
    rows = [(one["rule"], "holds" if one["passed"] else "**broken**", one["seen"]) for one in card.contract]
    return "## Contract with Wire-Cell's C++\n\n" + table(("rule", "", "seen"), rows)


def replay_table(card: Card) -> str:
    """Return what DNNROIFinding finds in the shipped event."""
    if not card.replay:
        return ""
    rows = [
        (plane, f"{found['charge']:.1f}", str(found["rois"]), str(found["ticks"]))
        for plane, found in card.replay["planes"].items()
    ]
    head = f"## Replay\n\nWhat `DNNROIFinding` finds with it in `{card.replay['file']}` of the wirecell_ml data:"
    return f"{head}\n\n{table(('plane', 'charge, electrons', 'ROIs', 'ticks with charge'), rows)}"


def origin(card: Card) -> str:
    """Return where the model comes from."""
    rows = [(name, f"`{value}`") for name, value in (card.model | card.training).items()]
    return "## Origin\n\n" + table(("", ""), rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
