"""The trials of a study, read from its ledger."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from wirecell_ml.hpo.trial import Stay, Trial
from wirecell_ml.submit.ledger import Attempt, Unit
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.status import price_of
from wirecell_ml.submit.study import Study


@dataclass(frozen=True)
class Contest:
    """Trials, and what makes one better than another."""

    objectives: Mapping[str, str]
    trials: Sequence[Trial]


def read_trials(study: Study) -> list[Trial]:
    """Return all trials of a study, with what their attempts took."""
    ledger = study.ledger()
    attempts: dict[int, list[Attempt]] = defaultdict(list)
    for attempt in ledger.attempts(study.name):
        attempts[attempt.number].append(attempt)
    sites = {**study.retired, **study.sites}
    return [with_attempts(trial_of(unit), attempts[unit.number], sites) for unit in ledger.units(study.name)]


def with_attempts(trial: Trial, attempts: Sequence[Attempt], sites: Mapping[str, Site]) -> Trial:
    """Return a trial with the time and the cost of its attempts."""
    return replace(
        trial,
        attempts=len(attempts),
        site=attempts[-1].site if attempts else None,
        began=min((attempt.submitted for attempt in attempts if attempt.submitted), default=None),
        run_seconds=sum(attempt.run_seconds for attempt in attempts),
        stays=tuple(stay_of(attempt) for attempt in attempts if attempt.submitted and attempt.site),
        core_seconds=sum(attempt.core_seconds for attempt in attempts),
        cost=sum(price_of(attempt, sites) for attempt in attempts),
    )


def stay_of(attempt: Attempt) -> Stay:
    """Return where an attempt was, and why there."""
    assert attempt.submitted is not None
    why = str((attempt.choice or {}).get("why", ""))
    return Stay(attempt.site, attempt.submitted, attempt.started, attempt.ended, str(attempt.state), why)


def trial_of(unit: Unit) -> Trial:
    """Return the trial that a unit runs."""
    metrics = {
        name: float(value) for name, value in (unit.result or {}).get("metrics", {}).items() if value is not None
    }
    return Trial(
        number=unit.number,
        params=unit.params,
        state=str(unit.state),
        values=metrics if unit.state == "DONE" else {},
        progress={int(epoch): value for epoch, value in unit.progress.items()},
        metrics=metrics,
        twin_of=unit.twin_of,
        ended=unit.ended,
        why=unit.why,
    )
