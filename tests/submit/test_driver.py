"""A study driven to its end by units that take no time."""

from pathlib import Path

from tests.sweeping import check_exactly_once, drive, order


def test_every_trial_of_a_study_ends_once(tmp_path: Path) -> None:
    study = order(tmp_path, "trials=8")
    assert drive(study)
    assert check_exactly_once(study, 8) == {"trials": 8, "attempts": 8, "done": 8, "lost": 0, "doubled": 0}
