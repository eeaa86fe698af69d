"""Export: a trained network becomes a folder that a Wire-Cell job can use, after it has passed the contract check."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import Progress

from wirecell_ml import __version__
from wirecell_ml.deploy import blob_export, torchscript
from wirecell_ml.deploy.card import Card, read_card
from wirecell_ml.deploy.contract import CHECKS, check_contract
from wirecell_ml.deploy.folders import whole_folder
from wirecell_ml.deploy.replay import replay_shipped
from wirecell_ml.deploy.rules import RULES, Outcome, Size, Subject
from wirecell_ml.deploy.snippets import jsonnet, triton_config
from wirecell_ml.deploy.source import Source, load_trained, roi_source
from wirecell_ml.errors import ConfigError, DataError, RunError, suggest
from wirecell_ml.models import RoiFinder
from wirecell_ml.paths import shipped
from wirecell_ml.provenance import git_commit
from wirecell_ml.schema import Detector, load_flat

log = logging.getLogger(__name__)

MODEL = "model.ts"
BLOBS = "wirecell_ml.models.BlobTask"  # whose networks find no ROIs
SLICES_OF_OTHERS = 600  # where a detector's config gives no readout_ticks


@dataclass(frozen=True)
class Options:
    """What may be chosen of an export."""

    onnx: bool = False  # write model.onnx, too
    accept: tuple[str, ...] = ()  # rules that may be broken; the card says so

    def __post_init__(self) -> None:
        unknown = [rule for rule in self.accept if rule not in RULES]
        if unknown:
            raise ConfigError(f"accept: there is no rule '{unknown[0]}'.{suggest(unknown[0], RULES)}")


def export_run(run: str, output: Path | None, options: Options) -> Path:
    """Write the folder of a run or a published model and return it.

    Raises RunError, and leaves no folder, where the model breaks the contract with Wire-Cell.
    """
    trained = load_trained(run)
    folder = output or (Path(run) / "export" if Path(run).is_dir() else Path("exports") / trained.name)
    if trained.cfg.task._target_ == BLOBS:
        if options != Options():
            raise ConfigError(f"run={run}: onnx and accept are for networks that find ROIs")
        return blob_export.export(trained, folder)
    return write_export(roi_source(trained), folder, options)


def write_export(source: Source, folder: Path, options: Options) -> Path:
    """Write model, card, jsonnet and Triton config of a trained network to ``folder``, all or nothing."""
    with whole_folder(folder, source.name) as unfinished:
        fill_export(source, unfinished, options)
    Console().print(f"model, card and jsonnet: {folder}", soft_wrap=True)
    return folder


def fill_export(source: Source, folder: Path, options: Options) -> None:
    """Write everything about a trained network; raises RunError where it breaks the contract."""
    digest = torchscript.save(torchscript.compiled(source.finder), folder / MODEL)
    card = describe(source, digest, (folder / MODEL).stat().st_size)
    module = torchscript.load(folder / MODEL)
    outcomes = report(subject_of(module, card, source.finder))
    refuse_broken(outcomes, source.name, options.accept)
    card.contract = [{"rule": one.rule, "passed": one.passed, "seen": one.seen} for one in outcomes]
    card.replay = replay_shipped(module, card)
    card.write(folder)
    (folder / "dnnroi.jsonnet").write_text(jsonnet(card))
    (folder / "config.pbtxt").write_text(triton_config(card))
    if options.onnx:
        write_onnx(source.finder, card, folder / "model.onnx")


def check_model(model: Path, card_path: Path | None) -> None:
    """Check any TorchScript file against the contract, as its card describes it, and print every rule.

    Raises DataError where the file is no TorchScript or the card is of another file, RunError where a rule is broken.
    """
    module = torchscript.load(model)
    card = read_card(card_path or model.parent / "card.json")
    check_digest(model, card)
    refuse_broken(report(subject_of(module, card)), str(model))


def check_digest(model: Path, card: Card) -> None:
    """Raise DataError where the card names the SHA-256 of another file; a card written by hand may name none."""
    wanted = card.model.get("sha256")
    if wanted and torchscript.sha256(model) != wanted:
        raise DataError(
            f"{model}: not the file that its card '{card.name}' describes, the SHA-256 differs. Export again, or give "
            "the card of this file with card=…"
        )


def refuse_broken(outcomes: Sequence[Outcome], name: str, accept: Sequence[str] = ()) -> None:
    """Raise RunError where a rule is broken that is not accepted as broken."""
    bad = [outcome.rule for outcome in outcomes if outcome.passed is False and outcome.rule not in accept]
    if bad:
        raise RunError(f"{name} breaks the contract with Wire-Cell: {', '.join(bad)}. What was seen is above")


def report(subject: Subject) -> list[Outcome]:
    """Check every rule, print a line for each, and return the outcomes."""
    outcomes = []
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        work = progress.add_task("checking", total=len(CHECKS) + len(subject.sizes))
        for outcome in check_contract(subject, advance=lambda: progress.advance(work)):
            outcomes.append(outcome)
            progress.console.file.flush()
            sys.stdout.write(outcome.line() + "\n")
    return outcomes


def subject_of(module: Any, card: Card, trained: RoiFinder | None = None) -> Subject:
    """Return a model as its card describes it, to be checked with the planes of every detector that we know."""
    sizes = plane_sizes(card.tick_per_slice)
    own = [size for size in sizes if size.whose == f"{card.detector} {card.planes[0]}"]
    first, end = card.plane_channels[card.planes[0]]
    plane = own[0] if own else Size(end - first, SLICES_OF_OTHERS, f"{card.detector} {card.planes[0]}")
    return Subject(module, len(card.intags), plane, with_odd(sizes, plane), card.input_scale, card.mask_thresh, trained)


def plane_sizes(tick_per_slice: int) -> list[Size]:
    """Return the image size of every plane of every detector in ``configs/detector``."""
    sizes = []
    for path in sorted((shipped("configs") / "detector").glob("*.yaml")):
        detector = load_flat(path)
        ticks = detector.get("readout_ticks") or SLICES_OF_OTHERS * tick_per_slice
        for plane, (first, end) in detector.planes.items():
            sizes.append(Size(end - first, -(-ticks // tick_per_slice), f"{path.stem} {plane}"))
    return sizes


def with_odd(sizes: Sequence[Size], plane: Size) -> list[Size]:
    """Return each size once, small to large, with an odd one, a single slice and a single channel beside ``plane``."""
    odd = Size(plane.channels - 1 + plane.channels % 2, plane.slices - 1 + plane.slices % 2, "odd")
    edges = [odd, Size(plane.channels, 1, "one slice"), Size(1, plane.slices, "one channel")]
    unique = {(size.channels, size.slices): size for size in reversed([*edges, *sizes])}
    return sorted(unique.values(), key=lambda size: size.channels * size.slices)


def describe(source: Source, digest: str, num_bytes: int) -> Card:
    """Return the card of a trained network, without what the check and the replay will find."""
    cfg, detector = source.cfg, source.cfg.detector
    return Card(
        name=source.name,
        network=type(source.finder.network).__name__,
        parameters=sum(weight.numel() for weight in source.finder.parameters()),
        detector=detector.name,
        planes=list(cfg.data.planes),
        plane_numbers={plane: number for number, plane in enumerate(detector.planes)},
        plane_channels={plane: list(span) for plane, span in detector.planes.items()},
        channels_per_apa=detector.channels_per_apa,
        apa=detector.apa,
        tick_ns=detector.tick_ns,
        intags=[stem(tag, detector) for tag in cfg.data.tags],
        tick_per_slice=cfg.data.tick_per_slice,
        tick_pad_multiple=cfg.data.tick_per_slice,
        input_scale=1.0,
        scale_inside=list(map(float, cfg.data.scale)),
        mask_thresh=float(cfg.task.threshold),
        sort_chanids=source.sort_chanids,
        model={"file": MODEL, "sha256": digest, "bytes": num_bytes, "torch": version("torch")},
        training=training(source),
        metrics=held_out(source.metrics),
        limits=limits(source),
    )


def stem(tag: str, detector: Detector | DictConfig) -> str:
    """Return a tag without the number of the anode at its end."""
    return tag.removesuffix(str(detector.apa))


def training(source: Source) -> dict[str, Any]:
    """Return what was trained, with what, on what."""
    names = {"commit": "commit", "config_digest": "config_digest", "data_digest": "data_digest", "written": "trained"}
    known = {ours: source.provenance[theirs] for theirs, ours in names.items() if theirs in source.provenance}
    adopted: dict[str, Any] = source.provenance.get("adopted", {})
    return known | adopted | {"exported_by": f"wirecell_ml {__version__}, commit {git_commit()}"}


def held_out(metrics: dict[str, Any] | None) -> dict[str, Any]:
    """Return the metrics that a card shows, with their definitions."""
    if metrics is None:
        return {}
    return {
        "split": metrics["split"],
        "events": len(metrics["events"]),
        "threshold": metrics["threshold"],
        "matching": metrics["matching"],
        "truth_threshold_electrons_per_tick": metrics["truth_threshold_electrons_per_tick"],
        "planes": metrics["planes"],
        "definitions": metrics["definitions"],
    }


def limits(source: Source) -> list[str]:
    """Return where the model was not tried."""
    cfg, planes = source.cfg, " and ".join(source.cfg.data.planes)
    found = [
        f"trained and measured on anode {cfg.detector.apa} of {cfg.detector.name}, planes {planes}, only",
        f"slices of {cfg.data.tick_per_slice} ticks of {cfg.detector.tick_ns:g} ns; other ticks make other images",
        f"libtorch older than {version('torch')} may not read the file",
        "the charge is read off the deconvolution inside the ROIs, less a straight baseline, as DNNROIFinding does it",
    ]
    return (
        found
        if source.metrics
        else [*found, "no metrics of events that it never saw: run wirecell_ml.evaluate, export again"]
    )


def write_onnx(finder: RoiFinder, card: Card, path: Path) -> None:
    """Write the network as ONNX, of any size; raises ConfigError where the packages for it are not installed."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"onnx=true wants packages that are not installed: pip install 'wirecell_ml[onnx]' ({error})"
        ) from error
    image = torch.zeros(1, len(card.intags), 64, 96)
    sizes = {0: "batch", 2: "channel", 3: "slice"}
    torch.onnx.export(
        finder,
        (image,),
        str(path),
        input_names=["images"],
        output_names=["probability"],
        dynamic_shapes={"images": dict.fromkeys(sizes, torch.export.Dim.DYNAMIC)},
        dynamo=True,
        verbose=False,
    )
