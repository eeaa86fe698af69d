"""Publishing a network that finds ROIs: its card, its page and the tables of all such networks."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wirecell_ml import pages
from wirecell_ml.deploy.card import Card, markdown, read_card, table
from wirecell_ml.deploy.exporting import Options, export_run
from wirecell_ml.deploy.source import read_json
from wirecell_ml.deploy.torchscript import sha256
from wirecell_ml.evaluating import evaluate_entry

TITLE = "Finding ROIs"
SHOWN_FIGURES = ("angle.png", "purity.png", "categories.png", "training.png")
USAGE = """\
```python
from wirecell_ml import load_published

finder = load_published("{name}")  # its SHA-256 is checked
probability = finder(images)  # (1, {tags}, channel, slice), electrons per tick -> (1, 1, channel, slice)
```

`python -m wirecell_ml.export run={name}` writes its TorchScript, card and jsonnet for Wire-Cell,
`python -m wirecell_ml.predict model={name} files=…` runs it.
"""


def describe(entry: Path, files: Any) -> None:
    """Measure a published network on its test events, export and check it, and write all that is said of it."""
    evaluate_entry(entry, files)
    for name in repetitive([path.name for path in (entry / "figures").iterdir()]):
        (entry / "figures" / name).unlink()
    with tempfile.TemporaryDirectory() as place:
        exported = export_run(str(entry), Path(place) / "export", Options())
        shutil.copyfile(exported / "dnnroi.jsonnet", entry / "dnnroi.jsonnet")
        card = read_card(exported / "card.json")
    card.model = {"weights_sha256": sha256(entry / "weights.safetensors"), "torch": card.model["torch"]}
    (entry / "card.json").write_text(json.dumps(asdict(card), indent=1) + "\n")
    (entry / "README.md").write_text(page(entry))


def repetitive(names: Sequence[str]) -> set[str]:
    """Return the pictures of events that say little more: close-ups, and planes other than the last."""
    events = [name for name in names if name.startswith(("event-", "close-up-"))]
    last = max((name.rpartition("-")[2] for name in events), default="")
    return {name for name in events if not name.startswith("event-") or not name.endswith(f"-{last}")}


def page(entry: Path) -> str:
    """Return the page of a published network."""
    return pages.page(entry, markdown(read_card(entry / "card.json")), SHOWN_FIGURES)


def overview(folder: Path, names: Sequence[str]) -> str:
    """Return how the networks are used, and how they compare."""
    cards = {name: read_card(folder / name / "card.json") for name in names}
    metrics = {name: read_json(folder / name / "metrics.json") or {} for name in names}
    usage = USAGE.format(name=names[0], tags=len(cards[names[0]].intags))
    return "\n".join([usage, comparison(cards, metrics), steep(metrics)])


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
