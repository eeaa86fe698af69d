"""What is written of a study: the report, the winner's config, and a copy for optuna-dashboard."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from wirecell_ml.composing import as_yaml
from wirecell_ml.errors import RunError
from wirecell_ml.hpo import ordering
from wirecell_ml.hpo.trials import Contest, read_trials
from wirecell_ml.submit.status import currency
from wirecell_ml.submit.study import Study
from wirecell_ml.submit.tally import site_tallies

ORDERED = (
    "study",
    "created",
    "trials",
    "objectives",
    "search",
    "sampler",
    "pruner",
    "overrides",
    "trial_seed",
    "program",
)


def write_report(study: Study, folder: Path | None = None) -> None:
    """Write page, pictures and table of a study, its best experiment, and its mirror for optuna-dashboard."""
    from wirecell_ml.hpo import report as pages
    from wirecell_ml.hpo.source import OptunaSource

    folder = folder or study.folder / "report"
    trials = read_trials(study)
    summary = pages.StudySummary(
        name=study.name,
        objectives=study.objectives,
        trials=trials,
        budget=int(study.held.trials),
        space={p.name: described(p.distribution) for p in ordering.space_of(study).parameters},
        currency=currency(study.sites),
        began=min((trial.began or 0.0 for trial in trials), default=0.0),
        ended=max((trial.ended or 0.0 for trial in trials), default=0.0),
        tallies=tuple(site_tallies(study.ledger().attempts(study.name), {**study.sites, **study.retired})),
        settings=settings_shown(study),
    )
    page = pages.write_report(folder, summary)
    source = ordering.make_source(study)
    assert isinstance(source, OptunaSource)
    source.restore(study.ledger().units(study.name))
    source.proposer.mirror(f"sqlite:///{folder / 'optuna.sqlite3'}", study.name)
    Console().print(f"report: {page}", highlight=False, soft_wrap=True)
    OmegaConf.save(ordered(study), folder / "study.yaml")
    if any(trial.state == "DONE" for trial in trials):
        write_best(study, folder / "best.yaml")


def described(distribution: Any) -> dict[str, Any]:
    """Return what the report wants to know of a distribution."""
    kind = {"Choices": "choices", "Whole": "whole", "Real": "real"}[type(distribution).__name__]
    if kind == "choices":
        return {"kind": kind, "log": False, "choices": list(distribution.options)}
    return {"kind": kind, "log": distribution.log, "low": distribution.low, "high": distribution.high}


def settings_shown(study: Study) -> dict[str, str]:
    """Return the settings of a study that a reader of its report wants to know."""
    held, sizes = study.held, {name: site.resources for name, site in study.sites.items()}
    return {
        "sampler": ", ".join(f"{name} {value}" for name, value in held.sampler.items() if value is not None),
        "pruner": ", ".join(f"{name} {value}" for name, value in held.pruner.items() if value is not None),
        "site": ", ".join(f"{name} ({site.kind})" for name, site in study.sites.items()),
        "one unit": "; ".join(
            dict.fromkeys(f"{size.cores} cores, {size.memory_gb:g} GB, {size.gpus} GPUs" for size in sizes.values())
        ),
        "training": " ".join(held.overrides) or "as configs/train.yaml has it",
        "seeds": held.trial_seed,
        "code": Path(held.code).name,
        "created": held.created,
    }


def ordered(study: Study) -> DictConfig:
    """Return what was ordered, less what only this machine knows."""
    kept = {str(name): value for name, value in study.held.items() if name in ORDERED}
    return OmegaConf.create(kept | {"sites": list(study.sites), "code": Path(study.held.code).name})


def write_best(study: Study, path: Path) -> None:
    """Write the flat config of the best trial, as ``wirecell_ml.train`` takes it."""
    from wirecell_ml.hpo import ranking

    winner = ranking.best(Contest(study.objectives, read_trials(study)))
    if winner is None:
        raise RunError(f"study {study.name}: no trial is done yet. Look at: hpo status study={study.name}")
    config = ordering.work_of(study, "whole").config(winner.params, winner.number)
    values = ", ".join(f"{name} {winner.values[name]:.4f}" for name in study.objectives)
    path.parent.mkdir(parents=True, exist_ok=True)
    command = f"python -m wirecell_ml.train --config-path {path.parent} --config-name {path.stem}"
    about = "python -m wirecell_ml.train --config-path FOLDER --config-name " + path.stem
    path.write_text(f"# trial {winner.number} of study {study.name}: {values}\n# {about}\n{as_yaml(config)}")
    Console().print(f"best: trial {winner.number}, {values}\ntrain it with: {command}", highlight=False, soft_wrap=True)
