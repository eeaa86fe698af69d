"""The curves of a training: every logged step and epoch of a run, and the table by epoch that is published of them."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path


def read_log(directory: Path) -> list[dict[str, str]]:
    """Return the rows of a run's CSV logs; steps that were done again after a resume count once."""
    rows: dict[tuple[str, bool], dict[str, str]] = {}
    versions = defaultdict(list)
    for path in directory.glob("csv/version_*/metrics.csv"):
        versions[int(path.parent.name.removeprefix("version_"))].append(path)
    for version in sorted(versions):
        reader = csv.DictReader(versions[version][0].read_text().splitlines())
        validation = [name for name in reader.fieldnames or () if name.startswith("val/")]
        for row in reader:
            rows[row["step"], any(row.get(name) for name in validation)] = row
    return list(rows.values())


def write_curves(path: Path, rows: Sequence[dict[str, str]], names: Sequence[str]) -> None:
    """Write the last logged value of each curve of ``names`` by epoch."""
    epochs: dict[str, dict[str, str]] = {}
    for row in rows:
        epochs.setdefault(row["epoch"], {}).update({k: row[k] for k in names if row.get(k)})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", *names])
        writer.writeheader()
        writer.writerows({"epoch": epoch} | values for epoch, values in epochs.items())


def read_curves(path: Path) -> list[dict[str, str]]:
    """Return the rows of a published training's curves, with steps for the figure."""
    return [row | {"step": row["epoch"]} for row in csv.DictReader(path.read_text().splitlines())]
