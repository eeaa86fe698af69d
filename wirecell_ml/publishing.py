"""Publishing: a run becomes an entry of the zoo, and all entries are measured, described and compared again."""

import re
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from safetensors.torch import save_file

from wirecell_ml import curves
from wirecell_ml.build import locate
from wirecell_ml.deploy.torchscript import sha256
from wirecell_ml.errors import ConfigError, RunError, suggest
from wirecell_ml.evaluating import module_of
from wirecell_ml.models import zoo
from wirecell_ml.resuming import load_checkpoint
from wirecell_ml.schema import checked, load_flat
from wirecell_ml.training import build_task

# By task of ours, the module whose ``describe(entry, files)`` measures an entry on its events and writes its page, and
# whose ``overview(folder, names)`` returns, under its ``TITLE``, the section of the zoo's README on its entries.
PUBLISHINGS = {
    "RoiTask": "wirecell_ml.roi_publishing",
    "BlobTask": "wirecell_ml.blob_publishing",
}
NETWORK = "model."  # what the weights of the network begin with among those of the task
HEADING = """\
# The zoo

Published networks. Each folder holds a flat config, split, weights, metrics, figures and a card; the code is in
`wirecell_ml/models`. This file is written by `python -m wirecell_ml.publish`.
"""


def publish(
    files: Any, folder: Path, run: Path | None = None, name: str | None = None, only: Sequence[str] | None = None
) -> None:
    """Publish a run, if one is given, and write every card, metric, figure and table of the zoo in ``folder`` again.

    ``files`` are the events of the trainings, in whatever place they are here. Entries whose events are others stay as
    they are where ``only`` names the rest.
    """
    new = {name or run.name} if run else set()
    known = new | {path.parent.name for path in folder.glob("*/weights.safetensors")}
    if not known:
        raise RunError(f"{folder}: no published model here yet. Publish one with run=… name=…")
    for one in only or ():
        if one not in known:
            raise ConfigError(f"only: no published model '{one}'.{suggest(one, known)}")
    if run:
        add_run(run, folder, name or run.name)
    for one in sorted(known if only is None else only):
        Console().rule(one)
        publishing_of(folder / one / "config.yaml").describe(folder / one, files)
    write_index(folder, sorted(known))
    (folder / "README.md").write_text(overview(folder, sorted(known)))
    Console().print(f"zoo: {folder / 'README.md'}", soft_wrap=True)


def publishing_of(config: Path) -> ModuleType:
    """Return the module that publishes networks of the task of a flat config; raises RunError where there is none."""
    task = load_flat(config).task
    module = module_of(locate(task), PUBLISHINGS)
    if module is None:
        known = ", ".join(PUBLISHINGS)
        raise RunError(f"{config}: nothing here publishes networks of {task._target_}. Known here: {known}")
    return module


def add_run(run: Path, folder: Path, name: str) -> None:
    """Copy what makes a run into a published folder; raises RunError where the run has not ended."""
    if not re.fullmatch(r"[\w.-]+", name):
        raise ConfigError(f"name: '{name}' must be letters, digits, '_', '-' and '.'")
    config, checkpoint = run / ".hydra" / "config.yaml", run / "best.ckpt"
    for path in (config, checkpoint, run / "split.json", run / "provenance.json"):
        if not path.is_file():
            raise RunError(f"run={run}: {path} is missing. Give the directory of a training that has ended")
    publishing_of(config)
    held, task = load_checkpoint(checkpoint)["state_dict"], build_task(checked(load_flat(config)))
    entry = folder / name
    entry.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(config, entry / "config.yaml")
    for file in ("split.json", "provenance.json"):
        shutil.copyfile(run / file, entry / file)
    weights = {k.removeprefix(NETWORK): v.contiguous() for k, v in held.items() if k.startswith(NETWORK)}
    save_file(weights, entry / "weights.safetensors")
    curves.write_curves(entry / "training.csv", curves.read_log(run), task.metrics)


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
    """Return the README of the zoo: what is there, and how the networks of each task compare."""
    entries = defaultdict(list)
    for name in names:
        entries[publishing_of(folder / name / "config.yaml")].append(name)
    order = list(PUBLISHINGS.values())
    modules = sorted(entries, key=lambda module: order.index(module.__name__))
    sections = [module.overview(folder, entries[module]) for module in modules]
    if len(sections) > 1:
        sections = [f"## {module.TITLE}\n\n{text}" for module, text in zip(modules, sections, strict=True)]
    return "\n".join([HEADING, *sections])
