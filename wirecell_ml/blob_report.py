"""The table and the pictures of an evaluation on blobs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from wirecell_ml import blob_figures
from wirecell_ml.data.blob_sample import BlobEvent

if TYPE_CHECKING:
    from wirecell_ml.blob_evaluation import Cuts, Judged

COLUMNS = {  # of the table: the metric, and its heading
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "ghosts_removed": "ghosts\nremoved",
    "completeness": "charge\nkept",
}
SCORES = {"network": "network", "solved-charge cut": "solved charge"}  # the score that a finder cuts


def comparison(metrics: dict[str, Any]) -> Table:
    """Return the table that people look at first: every finder, and the network where it does as much as each."""
    ghosts = metrics["blobs"] - metrics["real"]
    title = f"{len(metrics['events'])} {metrics['split']} events, {metrics['real']:,} real blobs and {ghosts:,} ghosts"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("finder")
    for heading in (*COLUMNS.values(), "average\nprecision", "F1 of the network\nwith as much charge"):
        table.add_column(heading, justify="right")
    for name in reversed(list(metrics["finders"])):
        found, score = metrics["finders"][name], metrics["average_precision"].get(SCORES.get(name))
        matched = metrics["matched"].get(name, {}).get("f1_at_its_completeness")
        last = ["" if value is None else f"{value:.4f}" for value in (score, matched)]
        table.add_row(metrics["network"] if name == "network" else name, *(f"{found[c]:.4f}" for c in COLUMNS), *last)
    return table


def draw(
    folder: Path, metrics: dict[str, Any], blobs: "Judged", events: list[tuple[BlobEvent, "Judged"]], cuts: "Cuts"
) -> None:
    """Draw one event of each category, and the figures of all events."""
    drawn = set()
    for event, judged in events:
        if event.category in drawn:
            continue
        drawn.add(event.category)
        by = "full chain" if "full chain" in (masks := cuts.masks(judged)) else "kept"
        title, said = f"{event.category} event {event.ident}", "Wire-Cell, full chain" if by != "kept" else "Wire-Cell"
        path = folder / f"event-{event.category}.png"
        blob_figures.event_display(path, title, event.truth.position, judged.real, judged.score, masks[by], said)
    blob_figures.curves(folder / "curves.png", metrics["scan"], metrics["finders"])
    ghost_below = metrics["ghost_below_electrons"]
    blob_figures.scores(folder / "scores.png", blobs.score, blobs.real, blobs.charge, cuts.score, ghost_below)
    real = blobs.select(blobs.real)
    blob_figures.charges(folder / "charge.png", real.charge, {"network": real.found, "solved": real.solved})
    blob_figures.categories(folder / "categories.png", metrics["categories"])
