"""Prediction: frame files in, frames of the charge inside the network's ROIs out, as DNNROIFinding writes them."""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from wirecell_ml import displays
from wirecell_ml.data.archive import read_events as read_archive
from wirecell_ml.data.archive import write_archive
from wirecell_ml.data.container import SUFFIXES as ARCHIVES
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.hdf5 import write_frame
from wirecell_ml.data.readers import find_frame_files, read_events, stem
from wirecell_ml.deploy import torchscript
from wirecell_ml.deploy.card import Card, read_card
from wirecell_ml.deploy.exporting import MODEL, check_digest
from wirecell_ml.deploy.finding import Found
from wirecell_ml.deploy.replay import Choices, rows, run_plane, tags_of
from wirecell_ml.errors import ConfigError, DataError, RunError, suggest
from wirecell_ml.models import zoo

log = logging.getLogger(__name__)

FORMATS = tuple(suffix.removeprefix(".") for suffix in (*ARCHIVES, ".h5"))
RECORD = "predict.json"


@dataclass(frozen=True)
class Predictor:
    """A model, and how it is run."""

    forward: Callable[[Tensor], Tensor]
    card: Card
    chosen: Choices
    pictures: bool

    @property
    def outtag(self) -> str:
        """Tag of the frames that come out."""
        return f"{self.card.outtag}{self.chosen.apa}"

    def record(self) -> dict[str, Any]:
        """Return what decides the result, to tell one prediction from another."""
        return {"model": self.card.name, "sha256": self.card.model.get("sha256")} | asdict(self.chosen)


def predict_files(cfg: DictConfig) -> list[Path]:
    """Run a model over all events of some frame files and return the files that hold the result.

    Events that an earlier, interrupted call has done are not done again. Raises DataError or ConfigError for what is
    wrong with the model or the frames, after the events before it were written.
    """
    if cfg.format not in FORMATS:
        raise ConfigError(f"format: '{cfg.format}' is not known.{suggest(cfg.format, FORMATS)}")
    predictor, output = load_predictor(cfg), Path(cfg.output)
    files = find_frame_files([cfg.files] if isinstance(cfg.files, str) else list(cfg.files))
    done = open_record(output, predictor.record())
    results = []
    with progress_bar() as bar:
        work = bar.add_task("files", total=len(files), events=0)
        for path in files:
            target = output / f"{stem(path)}-{predictor.card.outtag}.{cfg.format}"
            if done.get(target.name) != identity(path) or not target.is_file():
                predict_file(
                    path, target, predictor, lambda: bar.update(work, events=bar.tasks[0].fields["events"] + 1)
                )
                done[target.name] = identity(path)
                write_record(output, predictor.record(), done)
            bar.advance(work)
            results.append(target)
    Console().print(f"{len(results)} files in {output}", soft_wrap=True)
    return results


def progress_bar() -> Progress:
    """Return a bar over the files that counts events, too."""
    console = Console(stderr=True)
    events = TextColumn("{task.fields[events]} events")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), events, TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def load_predictor(cfg: DictConfig) -> Predictor:
    """Return the model that a config names, with its card, and the choices that differ from the card's."""
    forward, card = load_model(cfg.model)
    if cfg.sort_chanids is not None and cfg.sort_chanids != card.sort_chanids:
        order = "ascending channel idents" if card.sort_chanids else "wire-attachment order"
        raise ConfigError(
            f"sort_chanids={str(cfg.sort_chanids).lower()}: '{card.name}' was trained on rows in {order}; in the other "
            "order it sees a flipped, re-joined image. Leave it out"
        )
    apa = card.apa if cfg.apa is None else cfg.apa
    chosen = Choices(
        apa=apa,
        charge_tag=cfg.charge_tag or f"{card.decon_charge_tag}{apa}",
        mask_thresh=card.mask_thresh if cfg.mask_thresh is None else cfg.mask_thresh,
        nchunks=cfg.nchunks,
        accept_zeros=cfg.zeros == "accept",
    )
    return Predictor(forward, card, chosen, cfg.pictures)


def load_model(model: str) -> tuple[Callable[[Tensor], Tensor], Card]:
    """Return a model and its card: an exported folder, the ``.ts`` in it, or the name of a published model."""
    path = Path(model)
    if not path.exists() and "/" not in model and path.suffix != ".ts":
        return zoo.load_published(model), read_card(zoo.published(model) / "card.json")
    file = path / MODEL if path.is_dir() else path
    card = read_card(file.parent / "card.json")
    module = torchscript.load(file)
    check_digest(file, card)
    return module, card


def predict_file(path: Path, target: Path, predictor: Predictor, advance: Callable[[], None]) -> None:
    """Write the result of one file; each event is kept as it is done, and all are put together at the end."""
    parts = target.with_name(f".{target.name}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    number = 0
    for number, (ident, frames) in enumerate(read_events(path, tags_of(predictor.card, predictor.chosen)), 1):
        part = parts / f"{number:06}.npz"
        if not part.is_file():
            try:
                result = predict_event(ident, frames, predictor, target)
            except DataError as error:
                raise DataError(f"{path}: event {ident}: {error}") from None
            write_archive(part, [(ident, {predictor.outtag: result})])
        advance()
    if not number:
        raise DataError(f"{path}: no events")
    events = (event for part in sorted(parts.glob("*.npz")) for event in read_archive(part))
    write_events(target, events)
    shutil.rmtree(parts)


def predict_event(ident: int, frames: Mapping[str, Frame], predictor: Predictor, target: Path) -> Frame:
    """Return the charge of all planes of one event in one frame, channels ascending, from tick 0 on."""
    card, chosen = predictor.card, predictor.chosen
    found = {plane: run_plane(frames, plane, predictor.forward, card, chosen) for plane in card.planes}
    channels = {plane: rows(card, plane, chosen.apa) for plane in card.planes}
    first = frames[tags_of(card, chosen)[0]]
    if predictor.pictures:
        for plane in card.planes:
            picture = target.with_name(f"{target.name.partition('.')[0]}-{ident}-{plane}.png")
            draw(
                picture,
                found[plane],
                channels[plane],
                frames[chosen.charge_tag],
                f"event {ident}, plane {plane}",
                predictor,
            )
    every = np.concatenate(list(channels.values()))
    order = np.argsort(every)
    samples = np.concatenate([one.charge for one in found.values()])[order]
    return Frame(samples, every[order], first.time_ns, first.period_ns, 0, np.zeros(len(every)))


def draw(path: Path, found: Found, channels: Any, charge: Frame, title: str, predictor: Predictor) -> None:
    """Draw what went in, what the network says, and the charge that came out."""
    displays.finding_display(
        path,
        image=found.batch[0, 0] * (1 / predictor.card.input_scale),
        probability=found.probability,
        charge=found.charge,
        threshold=predictor.chosen.mask_thresh,
        title=f"{predictor.card.name}: {title}",
        channels=channels,
        start_us=charge.time_ns / 1000,
        tick_us=charge.period_ns / 1000,
    )


def write_events(target: Path, events: Iterator[tuple[int, Mapping[str, Frame]]]) -> None:
    """Write events to an archive or an HDF5 file, which appears whole."""
    if target.suffix != ".h5":
        write_archive(target, events)
        return
    unfinished = target.with_name(f"{target.name}.partial")
    unfinished.unlink(missing_ok=True)
    for ident, frames in events:
        for tag, frame in frames.items():
            write_frame(unfinished, ident, tag, frame)
    os.replace(unfinished, target)  # noqa: PTH105


def identity(path: Path) -> list[Any]:
    """Return what tells whether a file is still the one that was read."""
    status = path.stat()
    return [path.name, status.st_size, status.st_mtime_ns]


def open_record(output: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Return which results an output folder holds already; raises RunError where they are another model's."""
    path = output / RECORD
    if not path.is_file():
        output.mkdir(parents=True, exist_ok=True)
        write_record(output, record, {})
        return {}
    held = json.loads(path.read_text())
    different = [name for name, value in record.items() if held.get(name) != value]
    if different:
        name = different[0]
        raise RunError(
            f"{output}: holds the result of another prediction ({name}: {held.get(name)}, now {record[name]}). "
            "Choose another folder with output=…"
        )
    done: dict[str, Any] = held["done"]
    return done


def write_record(output: Path, record: dict[str, Any], done: dict[str, Any]) -> None:
    """Write which results an output folder holds, and of what; the file appears whole."""
    unfinished = output / f".{RECORD}.partial"
    unfinished.write_text(json.dumps(record | {"done": done}, indent=1) + "\n")
    os.replace(unfinished, output / RECORD)  # noqa: PTH105
