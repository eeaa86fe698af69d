"""A study driven to its end by units that take no time."""

from pathlib import Path

import pytest

from tests.sweeping import check_exactly_once, drive, driver_of, order
from wirecell_ml.paths import PACKAGE
from wirecell_ml.submit.backend import Refused
from wirecell_ml.submit.job import Batch
from wirecell_ml.submit.ledger import Superseded


def test_every_trial_of_a_study_ends_once(tmp_path: Path) -> None:
    study = order(tmp_path, "trials=8")
    assert drive(study)
    assert check_exactly_once(study, 8) == {"trials": 8, "attempts": 8, "done": 8, "lost": 0, "doubled": 0}


def test_units_run_the_code_of_the_study_wherever_it_was_ordered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PACKAGE.parent)  # where a Python that is asked for wirecell_ml would find the one of now
    study = order(tmp_path, "trials=1")
    with (Path(study.held.code) / "wirecell_ml" / "submit" / "mailbox.py").open("a") as module:
        module.write("\nimport sys\nsys.stderr.write('the code of the study')\n")
    assert drive(study)
    said = "".join(path.read_text() for path in (study.folder / "jobs").glob("*.log"))
    assert "the code of the study" in said


def test_a_driver_that_was_superseded_does_not_take_the_study_back(tmp_path: Path) -> None:
    study = order(tmp_path, "trials=2")
    first, second = driver_of(study), driver_of(study)
    first.begin()
    second.begin()
    with pytest.raises(Superseded):
        first.begin()
    assert second.run()
    check_exactly_once(study, 2)


def test_a_refused_batch_is_sent_in_smaller_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = order(tmp_path, "trials=4", "site.policy.backoff_s=0.1")
    driver = driver_of(study)
    sizes: list[int] = []
    local = driver.backends["local"]
    send = local.submit

    def submit(batch: Batch) -> None:
        sizes.append(len(batch.jobs))
        if len(batch.jobs) > 1:
            raise Refused("at most one job at a time")
        send(batch)

    monkeypatch.setattr(local, "submit", submit)
    monkeypatch.setattr(local, "room", lambda _, out: 4 - out)
    assert driver.run()
    assert sizes[:3] == [4, 2, 1]
    check_exactly_once(study, 4)
