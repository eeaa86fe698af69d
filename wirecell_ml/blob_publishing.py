"""Publishing a network that tells real blobs from ghosts: its card, its page and the table of all such networks."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wirecell_ml import pages
from wirecell_ml.blob_report import COLUMNS, SCORES
from wirecell_ml.deploy import blob_export
from wirecell_ml.deploy.card import table
from wirecell_ml.deploy.source import load_trained, read_json
from wirecell_ml.deploy.torchscript import sha256
from wirecell_ml.evaluating import evaluate_entry

TITLE = "Telling real blobs from ghosts"
SHOWN_FIGURES = ("curves.png", "categories.png", "scores.png", "charge.png", "event-vertex.png", "training.png")
HEADINGS = ("precision", "recall", "F1", "ghosts removed", "charge kept", "average precision")
USAGE = """\
```python
from wirecell_ml import load_published

network = load_published("{name}")  # its SHA-256 is checked
logit, log_charge = network(blobs, activities, planes, pairs, neighbours)  # (blob,) each
```

`python -m wirecell_ml.export run={name}` writes its TorchScript and card.
"""
TEXT = """
Metrics are of test events that the network never saw, at its threshold, which was chosen on validation events; their
definitions are in each `metrics.json`. Times are of the first event of the sample, as TorchScript, on the CPU that
wrote this. "kept" is what Wire-Cell's own deghosting keeps, "full chain" that of its full chain, and the cut is on the
charge that Wire-Cell solved, at its best F1 on the events that are not measured.
"""


def describe(entry: Path, files: Any) -> None:
    """Measure a published network on its test events, export and check it, and write all that is said of it."""
    evaluate_entry(entry, files)
    with tempfile.TemporaryDirectory() as place:
        exported = blob_export.export(load_trained(str(entry)), Path(place) / "export")
        card = json.loads((exported / "card.json").read_text())
    card["model"] = {"weights_sha256": sha256(entry / "weights.safetensors"), "torch": card["model"]["torch"]}
    (entry / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    (entry / "README.md").write_text(page(entry))


def page(entry: Path) -> str:
    """Return the page of a published network."""
    card, metrics = read_json(entry / "card.json"), read_json(entry / "metrics.json")
    assert card
    assert metrics
    text = (
        f"## Metrics\n\n{len(metrics['events'])} {metrics['split']} events that it never saw: {metrics['real']:,} real "
        f"blobs and {metrics['blobs'] - metrics['real']:,} ghosts.\n"
    )
    about = [blob_export.markdown(card), text, table(("finder", *HEADINGS), finder_rows(metrics)), "", matched(metrics)]
    meanings = [f"- {name}: {held['text']}" for name, held in metrics["definitions"].items()]
    return pages.page(entry, "\n".join([*about, "", charges(metrics), "", *meanings]), SHOWN_FIGURES)


def finder_rows(metrics: dict[str, Any], name: str = "network") -> list[tuple[str, ...]]:
    """Return a row of metrics for each finder, the network first, under its ``name``."""
    return [(name if finder == "network" else finder, *numbers(metrics, finder)) for finder in metrics["finders"]]


def numbers(metrics: dict[str, Any], finder: str) -> tuple[str, ...]:
    """Return the numbers of one finder, for a table."""
    score = metrics["average_precision"].get(SCORES.get(finder))
    return (
        *(f"{metrics['finders'][finder][name]:.4f}" for name in COLUMNS),
        "" if score is None else f"{score:.4f}",
    )


def matched(metrics: dict[str, Any]) -> str:
    """Return what the network does at the working point of each other finder."""
    head = ("at the working point of", "F1", "ghosts removed, with as much charge", "charge kept, with as many ghosts")
    rows = [(name, *(f"{value:.4f}" for value in held.values())) for name, held in metrics["matched"].items()]
    return f"The network, its threshold moved:\n\n{table(head, rows)}"


def charges(metrics: dict[str, Any]) -> str:
    """Return how well the charge of real blobs is known."""
    head = ("charge", "median error", "mean error, weighted with charge", "sum over the blobs kept, bias")
    rows = [
        (name, *(f"{held[key]:.4f}" for key in ("charge_error_median", "charge_error_mean", "sum_bias")))
        for name, held in metrics["charge"].items()
    ]
    return table(head, rows)


def overview(folder: Path, names: Sequence[str]) -> str:
    """Return how the networks are used, and how they compare."""
    head = ("model", "network", "parameters", "time", *HEADINGS)
    rows, others = [], {}
    for name in names:
        card, metrics = read_json(folder / name / "card.json") or {}, read_json(folder / name / "metrics.json") or {}
        about = (f"[{name}]({name}/README.md)", f"`{card['network']}`", f"{card['parameters']:,}", time_of(card))
        rows.append((*about, *numbers(metrics, "network")))
        for finder in metrics["finders"]:
            if finder != "network":
                others[finder, *numbers(metrics, finder)] = len(metrics["events"])
    rows += [(f"{finder}, {events} events", "", "", "", *values) for (finder, *values), events in others.items()]
    return "\n".join([USAGE.format(name=names[0]), TEXT, table(head, rows), ""])


def time_of(card: dict[str, Any]) -> str:
    """Return the seconds that an event took when the model was checked."""
    return str(next(one["seen"] for one in card["checks"] if one["rule"] == "threads"))
