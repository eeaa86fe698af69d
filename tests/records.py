"""Records of what is sent to a site: a batch of two trials, as submit/sites keeps it."""

from pathlib import Path

from omegaconf import OmegaConf

from wirecell_ml.paths import PACKAGE
from wirecell_ml.submit.backend import make_backend
from wirecell_ml.submit.job import Batch, Job
from wirecell_ml.submit.local import RUNNER
from wirecell_ml.submit.site import Site, check_site

RECORDS = PACKAGE.parent / "submit" / "sites"
STUDY = Path("/shared/sweeps/roinet")


def check_record(site: Site, record: Path, scratch: Path, batch: Batch | None = None) -> None:
    """Assert that a batch, by default two trials, is sent to a site as the record has it."""
    now = scratch / record.name
    now.write_text(make_backend(site).render(batch or two_trials(site)))
    accept = f"what is sent has changed. If that is meant, accept it: cp {now} {record}"
    assert now.read_text() == (record.read_text() if record.is_file() else ""), accept


def read_site(path: Path) -> Site:
    """Return the site that a file describes."""
    site = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Site), OmegaConf.load(path)))
    assert isinstance(site, Site)
    check_site(site)
    return site


def two_trials(site: Site) -> Batch:
    """Return the batch of the records: two trials of a study."""
    python = site.python or "/shared/venv/bin/python"
    start = ["env", f"PYTHONPATH={STUDY}/code/0123456789ab", python, "-P", "-m", RUNNER]
    jobs = [Job(f"roinet-0a1b2c-{n}", (*start, f"{STUDY}/units/{n:06d}", "1", f"roinet-0a1b2c-{n}")) for n in range(2)]
    return Batch("roinet-0a1b2c", tuple(jobs), site.resources, STUDY / "jobs")
