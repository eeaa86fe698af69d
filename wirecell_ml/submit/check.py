"""The check of a site: three tiny units are sent there, and what they saw is shown."""

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wirecell_ml.composing import Bases
from wirecell_ml.errors import SubmitError
from wirecell_ml.submit import running
from wirecell_ml.submit.ledger import Ledger
from wirecell_ml.submit.listed import Listed
from wirecell_ml.submit.ordering import check_places, training_work, write_study
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.study import Study

PROBES = ("worker", "mailbox", "torch")


def check(site: Site, folder: Path) -> None:
    """Send three probes to a site and show what came back; raises SubmitError where one did not."""
    check_places([site])
    site.policy.preemptions, site.policy.failures = 0, 0
    study = probes(site, folder)
    began = time.time()
    work = training_work(study, Bases((), {(): {"seed": 1}}), lambda _: {})
    running.run_here(study, work, lambda: Listed([{"probe": name} for name in PROBES]), takeover=False)
    show(study, study.ledger(), began)


def probes(site: Site, folder: Path) -> Study:
    """Return the study of the three probes, written."""
    name = f"check-{site.name.replace('_', '-')[:18]}-{datetime.now():%m%d-%H%M%S}"
    held = OmegaConf.create(
        {
            "study": name,
            "trials": len(PROBES),
            "objectives": {"probed": "maximize"},
            "program": "wirecell_ml.submit.probe",
            "ledger": None,
            "sites": [OmegaConf.structured(site)],
        }
    )
    return write_study(Study(folder / name, held), Bases((), {(): {"seed": 1}}))


def show(study: Study, ledger: Ledger, began: float) -> None:
    """Print what works; raises SubmitError for the first probe that did not."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"site {study.site.name}", title_justify="left")
    for column in ("probe", "state", "what", "seen"):
        table.add_column(column)
    units = ledger.units(study.name)
    waits = {attempt.number: (attempt.submitted, attempt.ended) for attempt in ledger.attempts(study.name)}
    for unit in units:
        facts = facts_of(study, unit.number)
        submitted, ended = waits[unit.number]
        facts["sent to result"] = f"{(ended or time.time()) - (submitted or began):.1f} s"
        for row, (name, value) in enumerate(facts.items()):
            first = (str(unit.params["probe"]), unit.state.lower()) if row == 0 else ("", "")
            table.add_row(*first, name, Text(str(value)))
    Console().print(table)
    for unit in units:
        if unit.state != "DONE":
            raise SubmitError(
                f"site {study.site.name}: probe '{unit.params['probe']}' ended {unit.state}: {unit.why}. "
                f"Its files: {study.order().box(unit.number).folder}"
            )


def facts_of(study: Study, number: int) -> dict[str, Any]:
    """Return what a probe found, nothing if it found nothing."""
    box_of = study.order().box(number)
    path = box_of.attempt(1) / f"run-{box_of.newest_run(1)}" / "facts.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found
