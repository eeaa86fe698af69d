"""Recording: a study that was, as a day that can be replayed: its work, and waits, speed and failures of its sites.

Only what our units met was seen: the slots are as many as ran at once, and the waits those of units that did not wait
for units of ours.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median

import numpy as np

from wirecell_ml.errors import RunError
from wirecell_ml.submit.broker.columns import Columns
from wirecell_ml.submit.broker.past import Past
from wirecell_ml.submit.broker.scenarios import Scenario, SiteDay, as_yaml
from wirecell_ml.submit.broker.survival import Floats
from wirecell_ml.submit.broker.waits import read_waits
from wirecell_ml.submit.ledger import Attempt, Ledger
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.states import AttemptState

A = AttemptState


def record(ledger: Ledger, study: str, sites: Mapping[str, Site], output: Path) -> None:
    """Write the day of a study to ``output``; raises RunError where no attempt has a result."""
    day = day_of(study, ledger.attempts(study), sites)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(f"# The study {study}, as it was\n{as_yaml(day)}")


def day_of(study: str, attempts: Sequence[Attempt], sites: Mapping[str, Site]) -> Scenario:
    """Return the day of a study: what each unit took on a site of speed 1, and what each site did with it."""
    done = {name: [one for one in attempts if one.site == name and one.state is A.SUCCEEDED] for name in sites}
    runs = {name: median(one.run_seconds for one in some) for name, some in done.items() if some}
    if not runs:
        raise RunError(f"study {study}: no attempt has a result yet, so there is nothing to record")
    typical = median(one.run_seconds for some in done.values() for one in some)
    began = min(one.submitted for one in attempts if one.submitted is not None)
    clock = datetime.fromtimestamp(began)
    works = [one.run_seconds * typical / runs[name] for name, some in done.items() for one in some]
    return Scenario(
        name=study,
        about=f"recorded from study {study}",
        units=len(works),
        work_s=round(typical, 2),
        works_s=[round(work, 2) for work in works],
        start_h=round(clock.hour + clock.minute / 60, 2),
        poll_s=min(site.policy.poll_s for site in sites.values()),
        sites={name: site_day(sites[name], typical / runs[name], at(attempts, name)) for name in runs},
    )


def at(attempts: Sequence[Attempt], site: str) -> list[Attempt]:
    """Return the attempts that were at a site."""
    return [one for one in attempts if one.site == site and one.submitted is not None]


def site_day(site: Site, speed: float, attempts: Sequence[Attempt]) -> SiteDay:
    """Return what a site did with the attempts that it had."""
    hours = max(sum(one.run_seconds for one in attempts) / 3600, 1e-9)
    number = {state: sum(one.state is state for one in attempts) for state in (A.FAILED_INFRA, A.LOST, A.PREEMPTED)}
    size, cost = site.resources, site.cost
    return SiteDay(
        speed=round(speed, 4),
        slots={0: most_at_once(attempts)},
        waits_s=[round(float(wait), 2) for wait in scheduler_waits_s(attempts)],
        crashes=round(number[A.FAILED_INFRA] / len(attempts), 4),
        losses=round(number[A.LOST] / len(attempts), 4),
        preemptions_per_h=round(number[A.PREEMPTED] / hours, 4),
        hourly_price=size.cores * cost.core_hour + size.gpus * cost.gpu_hour,
        in_flight=site.in_flight or 1000,
        lease_s=site.policy.lease_s,
        outlook_error=None,
    )


def scheduler_waits_s(attempts: Sequence[Attempt]) -> Floats:
    """Return the waits of units that the scheduler kept, or all where none is known to be such."""
    past = Columns.of([past_of(one) for one in attempts])
    waits = read_waits(past, float(past.left[np.isfinite(past.left)].max())).durations
    telling = waits.seconds[waits.over & (waits.weight > 0)]
    return telling if len(telling) else (past.started - past.submitted)[past.has_started]


def past_of(one: Attempt) -> Past:
    """Return an attempt as the broker learns from it."""
    assert one.submitted is not None
    return Past(one.site, one.submitted, one.started, one.ended, one.state, one.run_seconds)


def most_at_once(attempts: Sequence[Attempt]) -> int:
    """Return how many attempts ran at once at most, at least one."""
    spans = [(one.started, one.ended) for one in attempts if one.started and one.ended]
    return max((sum(a <= begin < b for a, b in spans) for begin, _ in spans), default=1)
