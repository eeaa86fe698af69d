"""Memory: what the broker learns from, the attempts of this user's studies and the measured profiles of the sites."""

import time
from collections.abc import Iterable
from pathlib import Path

from wirecell_ml.errors import RunError
from wirecell_ml.submit.broker.past import Past
from wirecell_ml.submit.broker.speeds import Profile, read_profile
from wirecell_ml.submit.database import LedgerUnavailable
from wirecell_ml.submit.ledger import Attempt
from wirecell_ml.submit.study import Study, open_study

PROFILES = Path("~/.config/wirecell_ml/profiles")  # NAME.yaml of each site that was calibrated
STUDIES = 10  # the newest ones that are looked into
DAYS = 30  # for which a wait in a queue tells something


def past_of(attempt: Attempt, mine: bool = True) -> Past:
    """Return what there is to learn from an attempt that was submitted."""
    assert attempt.submitted is not None
    return Past(
        attempt.site, attempt.submitted, attempt.started, attempt.ended, attempt.state, attempt.run_seconds, mine
    )


def other_studies(study: Study) -> list[Past]:
    """Return the attempts of the newest other studies in the folder of a study; a ledger that is away tells nothing."""
    others = [path.parent for path in study.folder.parent.glob("*/study.yaml") if path.parent != study.folder]
    newest = sorted(others, key=lambda folder: (folder / "study.yaml").stat().st_mtime, reverse=True)[:STUDIES]
    return [past_of(attempt, mine=False) for folder in newest for attempt in lately(folder)]


def lately(folder: Path) -> list[Attempt]:
    """Return the attempts of a study that were submitted within the last days."""
    try:
        attempts = open_study(folder.name, folder.parent).ledger().attempts(folder.name)
    except (LedgerUnavailable, RunError):
        return []
    return [one for one in attempts if one.submitted and one.submitted > time.time() - 86400 * DAYS]


def read_profiles(sites: Iterable[str]) -> dict[str, Profile]:
    """Return the profiles of sites, nothing unless all were calibrated with the same model: speeds are compared."""
    paths = {name: (PROFILES / f"{name}.yaml").expanduser() for name in sites}
    if not all(path.exists() for path in paths.values()):
        return {}
    profiles = {name: read_profile(path) for name, path in paths.items()}
    return profiles if len({profile.model for profile in profiles.values()}) == 1 else {}
