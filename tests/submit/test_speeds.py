"""Speeds: what is expected of a site from its own runs, from those of others, and from a calibration."""

from dataclasses import replace
from pathlib import Path

import pytest

from wirecell_ml.errors import ConfigError
from wirecell_ml.submit.broker.columns import Columns
from wirecell_ml.submit.broker.past import Past
from wirecell_ml.submit.broker.speeds import (
    Profile,
    Runs,
    Scaling,
    Step,
    most_at_once,
    read_profile,
    read_runs,
    write_profile,
)
from wirecell_ml.submit.job import Resources
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.states import AttemptState

A = AttemptState
SITES = {name: Site(name=name, kind="slurm", resources=Resources(cores=4)) for name in ("fast", "slow", "new")}
PROFILE = Profile("fast", "0a1b", 12.0, 0.01, (Step(8, 4, 0, 0.5),), Scaling(4.0, 0.1, 0.01))


def runs(site: str, seconds: float, number: int = 10, mine: bool = True) -> list[Past]:
    """Return attempts that succeeded after so many seconds."""
    return [Past(site, 0, 0, seconds, A.SUCCEEDED, seconds, mine) for _ in range(number)]


def learned(past: list[Past], profiles: dict[str, Profile] | None = None, now: float = 1e4) -> dict[str, Runs]:
    """Return what these attempts teach."""
    columns = {name: Columns.of([one for one in past if one.site == name]) for name in SITES}
    return read_runs(columns, SITES, profiles or {}, now)


def test_run_times_are_measured_at_each_site() -> None:
    found = learned([*runs("fast", 100), *runs("slow", 400)])
    assert found["fast"].quantile_s(0.5) == pytest.approx(100, rel=0.1)
    assert found["slow"].quantile_s(0.5) == pytest.approx(400, rel=0.1)
    assert (found["fast"].measured, found["new"].measured) == (10, 0)


def test_a_new_site_is_believed_to_be_like_the_others() -> None:
    assert learned([*runs("fast", 100), *runs("slow", 400)])["new"].quantile_s(0.5) == pytest.approx(200, rel=0.1)


def test_a_profile_says_what_a_new_site_will_take() -> None:
    profiles = {name: replace(PROFILE, steps=(Step(8, 4, 0, s),)) for name, s in {"fast": 0.5, "new": 2.0}.items()}
    assert learned(runs("fast", 100), profiles)["new"].quantile_s(0.5) == pytest.approx(400, rel=0.1)


def test_runs_that_go_on_make_a_site_slow_before_any_has_ended() -> None:
    going = [Past("slow", 0, 0, None, A.RUNNING) for _ in range(10)]
    assert learned([*runs("fast", 100), *going], now=1000)["slow"].quantile_s(0.5) > 1000


def test_run_times_of_other_studies_do_not_count() -> None:
    assert learned(runs("fast", 9, mine=False))["fast"].measured == 0


def test_the_scalability_law_has_its_peak_where_the_formula_has_it() -> None:
    law = Scaling(rate=2.0, contention=0.1, coherency=0.01)
    assert law.throughput(1) == 2.0
    best = max(range(1, 40), key=law.throughput)
    assert best == pytest.approx((0.9 / 0.01) ** 0.5, abs=1)


def test_a_measured_size_outweighs_the_law() -> None:
    assert PROFILE.samples_per_s(4, 0) == 16
    assert PROFILE.samples_per_s(2, 0) == Scaling(4.0, 0.1, 0.01).throughput(2)


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_profile(PROFILE, tmp_path / "p" / "fast.yaml")
    assert read_profile(tmp_path / "p" / "fast.yaml") == PROFILE


@pytest.mark.parametrize("text", ["[]", "site: a", "{site: a, sites: b}", "a: [", "{site: a, steps: [{x: 1}]}"])
def test_what_is_no_profile_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        read_profile(path)


def test_how_many_ran_at_once() -> None:
    past = [Past("s", 0, begin, end, A.SUCCEEDED) for begin, end in [(0, 10), (1, 9), (2, 3), (20, 30)]]
    columns = Columns.of([*past, Past("s", 0, None, None, A.SUBMITTED)])
    assert most_at_once(columns, 0) == 3
    assert most_at_once(columns, 15) == 1
