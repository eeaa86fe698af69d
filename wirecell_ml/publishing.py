"""Publishing: a run becomes an entry of the zoo, and all entries are measured, described and compared again."""

import csv
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from safetensors.torch import save_file

from wirecell_ml import figures, report
from wirecell_ml.build import build
from wirecell_ml.data import RoiData
from wirecell_ml.deploy.card import Card, markdown, read_card, table
from wirecell_ml.deploy.exporting import Options, export_run
from wirecell_ml.deploy.source import read_json
from wirecell_ml.deploy.torchscript import sha256
from wirecell_ml.errors import ConfigError, RunError
from wirecell_ml.evaluation import Evaluator, evaluate, make_evaluator
from wirecell_ml.models import zoo
from wirecell_ml.schema import checked, load_flat
from wirecell_ml.training import build_task, load_checkpoint

log = logging.getLogger(__name__)

CURVES = ("train/loss", "val/loss", "val/dice", "val/efficiency", "val/purity")
SHOWN_FIGURES = ("angle.png", "purity.png", "categories.png", "training.png")
HEADING = """\
# The zoo

Published networks. Each folder holds a flat config, split, weights, metrics, figures and a card; the code is in
`wirecell_ml/models`. This file is written by `python -m wirecell_ml.publish`.

```python
from wirecell_ml import load_published

finder = load_published("{name}")  # its SHA-256 is checked
probability = finder(images)  # (1, {tags}, channel, slice), electrons per tick -> (1, 1, channel, slice)
```

`python -m wirecell_ml.export run={name}` writes its TorchScript, card and jsonnet for Wire-Cell,
`python -m wirecell_ml.predict model={name} files=…` runs it.
"""


def publish(files: Any, folder: Path, run: Path | None = None, name: str | None = None) -> None:
    """Publish a run, if one is given, and write every card, metric, figure and table of the zoo in ``folder`` again.

    ``files`` are the events of the trainings, in whatever place they are here.
    """
    if run is not None:
        add_run(run, folder, name or run.name)
    names = sorted(path.parent.name for path in folder.glob("*/weights.safetensors"))
    if not names:
        raise RunError(f"{folder}: no published model here yet. Publish one with run=… name=…")
    for one in names:
        Console().rule(one)
        describe(folder / one, files)
    write_index(folder, names)
    (folder / "README.md").write_text(overview(folder, names))
    Console().print(f"zoo: {folder / 'README.md'}", soft_wrap=True)


def add_run(run: Path, folder: Path, name: str) -> None:
    """Copy what makes a run into a published folder; raises RunError where the run has not ended."""
    if not re.fullmatch(r"[\w.-]+", name):
        raise ConfigError(f"name: '{name}' must be letters, digits, '_', '-' and '.'")
    config, checkpoint = run / ".hydra" / "config.yaml", run / "best.ckpt"
    for path in (config, checkpoint, run / "split.json", run / "provenance.json"):
        if not path.is_file():
            raise RunError(f"run={run}: {path} is missing. Give the directory of a training that has ended")
    entry = folder / name
    entry.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(config, entry / "config.yaml")
    for file in ("split.json", "provenance.json"):
        shutil.copyfile(run / file, entry / file)
    weights = {k.removeprefix("model."): v for k, v in load_checkpoint(checkpoint)["state_dict"].items()}
    save_file({k: v.contiguous() for k, v in weights.items()}, entry / "weights.safetensors")
    write_curves(entry / "training.csv", report.read_log(run))


def write_curves(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write the last logged value of each curve by epoch."""
    epochs: dict[str, dict[str, str]] = {}
    for row in rows:
        epochs.setdefault(row["epoch"], {}).update({k: row[k] for k in CURVES if row.get(k)})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", *CURVES])
        writer.writeheader()
        writer.writerows({"epoch": epoch} | values for epoch, values in epochs.items())


def describe(entry: Path, files: Any) -> None:
    """Measure a published model on its test events, export and check it, and write metrics, figures and card."""
    with tempfile.TemporaryDirectory() as place:
        measured = Path(place) / "measured"
        evaluate(load_evaluator(entry, files), entry.name, measured)
        figures.training_curves(measured / "training.png", read_curves(entry / "training.csv"))
        for file in ("metrics.json", "table.txt"):
            shutil.move(measured / file, entry / file)
        shutil.rmtree(entry / "figures", ignore_errors=True)
        shutil.copytree(measured, entry / "figures", ignore=repetitive)
        exported = export_run(str(entry), Path(place) / "export", Options())
        shutil.copyfile(exported / "dnnroi.jsonnet", entry / "dnnroi.jsonnet")
        card = read_card(exported / "card.json")
    card.model = {"weights_sha256": sha256(entry / "weights.safetensors"), "torch": card.model["torch"]}
    (entry / "card.json").write_text(json.dumps(asdict(card), indent=1) + "\n")
    (entry / "README.md").write_text(page(entry))


def repetitive(_: str, names: list[str]) -> set[str]:
    """Return the pictures of events that say little more: close-ups, and planes other than the last; for copytree."""
    events = [name for name in names if name.startswith(("event-", "close-up-"))]
    last = max((name.rpartition("-")[2] for name in events), default="")
    return {name for name in events if not name.startswith("event-") or not name.endswith(f"-{last}")}


def load_evaluator(entry: Path, files: Any) -> Evaluator:
    """Return a published network with its own events, wherever their files are here."""
    cfg = checked(load_flat(entry / "config.yaml"))
    cfg.data.files = files
    task = build_task(cfg)
    task.model.load_state_dict(zoo.load_weights(entry / "weights.safetensors", task.model))
    data: RoiData = build(cfg.data)
    data.use_split(entry / "split.json")
    data.prepare_data()
    data.setup()
    return make_evaluator(task, data, cfg.evaluation, cfg)


def read_curves(path: Path) -> list[dict[str, str]]:
    """Return the rows of a published training's curves, with steps for the figure."""
    return [row | {"step": row["epoch"]} for row in csv.DictReader(path.read_text().splitlines())]


def page(entry: Path) -> str:
    """Return the page of a published model: its card, its figures, how to train it again, and notes by hand if any."""
    drawn = [name for name in SHOWN_FIGURES if (entry / "figures" / name).is_file()]
    others = sorted(path.name for path in (entry / "figures").glob("*.png") if path.name not in drawn)
    pictures = "\n\n".join(f"![{Path(name).stem}](figures/{name})" for name in drawn)
    links = ", ".join(f"[{Path(name).stem}](figures/{name})" for name in others)
    again = (
        "## Again\n\n```sh\npython -m wirecell_ml.train --config-path "
        f"models/{entry.name} --config-name config data.files=FOLDER_OF_ITS_EVENTS\n```"
    )
    notes = (entry / "notes.md").read_text() if (entry / "notes.md").is_file() else ""
    card = markdown(read_card(entry / "card.json"))
    return "\n\n".join([card.rstrip(), "## Figures", pictures, f"Events: {links}", again, notes]).rstrip() + "\n"


def write_index(folder: Path, names: Sequence[str]) -> None:
    """Write the digests of every published model's files, which ``load_published`` checks."""
    entries = [
        "\n".join([f"[{name}]", *(f'"{file}" = "{sha256(folder / name / file)}"' for file in zoo.FILES)])
        for name in names
    ]
    (folder / "index.toml").write_text(
        "# Written by python -m wirecell_ml.publish: SHA-256\n\n" + "\n\n".join(entries) + "\n"
    )


def overview(folder: Path, names: Sequence[str]) -> str:
    """Return the README of the zoo: what is there, and how the networks compare."""
    cards = {name: read_card(folder / name / "card.json") for name in names}
    metrics = {name: read_json(folder / name / "metrics.json") or {} for name in names}
    first = names[0]
    parts = [HEADING.format(name=first, tags=len(cards[first].intags)), comparison(cards, metrics), steep(metrics)]
    return "\n".join(parts)


def comparison(cards: dict[str, Card], metrics: dict[str, Any]) -> str:
    """Return the table of all networks, by plane."""
    head = ("model", "network", "parameters", "time of a plane", "plane", "Dice", "ROI efficiency", "ROI purity")
    rows = [
        (
            f"[{name}]({name}/README.md)",
            f"`{card.network}`",
            f"{card.parameters:,}",
            latency(card),
            plane,
            *numbers(values),
        )
        for name, card in cards.items()
        for plane, values in finders(metrics[name]["planes"], "network")
    ]
    rows += traditional_rows(metrics)
    text = (
        "\nMetrics are of test events that the network never saw, at its threshold; their definitions are in each "
        "`metrics.json`.\nTimes are of one plane of 800 channels and 6000 ticks, as TorchScript, on the CPU that wrote "
        "this.\n"
    )
    return f"{text}\n{table(head, rows)}\n"


def latency(card: Card) -> str:
    """Return the seconds that a plane took when the model was checked."""
    return str(next(one["seen"] for one in card.contract if one["rule"] == "threads"))


def finders(planes: dict[str, Any], finder: str) -> list[tuple[str, dict[str, float]]]:
    """Return the metrics of one finder by plane, all planes together left out."""
    return [(plane, values[finder]) for plane, values in planes.items() if plane != "all" and finder in values]


def numbers(values: dict[str, float]) -> tuple[str, ...]:
    """Return the three metrics of the tables."""
    return tuple(f"{values[name]:.3f}" for name in ("pixel_dice", "roi_efficiency", "roi_purity"))


def traditional_rows(metrics: dict[str, Any], part: str = "planes") -> list[tuple[str, ...]]:
    """Return the rows of the traditional ROIs, once for each set of events."""
    seen: dict[tuple[str, ...], int] = {}
    for held in metrics.values():
        for plane, values in finders(held[part], "traditional"):
            seen.setdefault((plane, *numbers(values)), len(held["events"]))
    blank = ("", "", "") if part == "planes" else ()
    return [(f"traditional, {events} events", *blank, *row) for row, events in seen.items()]


def steep(metrics: dict[str, Any]) -> str:
    """Return the table at θxz > 80°, on the channels of such tracks."""
    rows = [
        (f"[{name}]({name}/README.md)", plane, *numbers(values))
        for name, held in metrics.items()
        for plane, values in finders(held.get("steep", {}), "network")
    ]
    rows += traditional_rows({name: held for name, held in metrics.items() if held.get("steep")}, "steep")
    head = ("model", "plane", "Dice", "ROI efficiency", "ROI purity")
    return f"On the channels of tracks at θxz > 80°, nearly along the drift:\n\n{table(head, rows)}\n"
