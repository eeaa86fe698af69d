"""A study at several sites at once: each trial ends once, wherever it runs, and whatever happens to a site."""

import signal
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.cluster import Cluster
from tests.condor_pool import Pool, private_pool
from tests.driving import LONG_S, driven
from tests.sweeping import check_exactly_once, drive, driver_of, order, record_fault, wait_for
from wirecell_ml.errors import ConfigError
from wirecell_ml.hpo import verbs
from wirecell_ml.hpo.reporting import write_report
from wirecell_ml.submit.arguments import Arguments, parse
from wirecell_ml.submit.local import RUNNER
from wirecell_ml.submit.ordering import at_site, chosen_sites, compose_sites, read_sites
from wirecell_ml.submit.study import Study, there

TRIALS = 24
OWN = ("site", "trials")


def typed(*words: str) -> Arguments:
    """Return what a user typed."""
    return parse(words, ["start"], "start", OWN)


def two_sites(slurm: Cluster, folder: Path, *settings: str) -> Study:
    """Write a study of units that take their time, on this machine and on Slurm."""
    own = [f"site.slurm_local.environment.SLURM_CONF={slurm.conf}", "site.slurm_local.policy.lease_s=20"]
    own += ["site.resources.cores=1", "site.slurm_local.in_flight=4", f"trials={TRIALS}"]
    own += ["+site.environment.DUMMY_EPOCHS='20'", "+site.environment.DUMMY_EPOCH_S='0.05'"]
    return order(folder, *own, *settings, name="two", site="[local,slurm_local]")


def ends_at(study: Study) -> Counter[str]:
    """Return how many attempts with a result each site has had."""
    return Counter(one.site for one in study.ledger().attempts(study.name) if one.state == "SUCCEEDED")


def chosen_first(study: Study) -> str:
    """Return where the first attempt at the first trial was."""
    return study.ledger().attempts(study.name)[0].site


def kill_runners(tokens: set[str]) -> None:
    """Kill the processes of jobs, as the loss of their nodes does."""
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if RUNNER in words and words[-1] in tokens:
            process.kill()


def test_sites_are_chosen_in_a_list() -> None:
    assert chosen_sites(typed("site=[local, slurm_local]")) == ["local", "slurm_local"]
    assert chosen_sites(typed("site=local")) == ["local"]
    assert chosen_sites(typed("trials=3")) == []


def test_a_setting_is_for_all_sites_or_for_one() -> None:
    given = typed("site=[local,slurm_local]", "site.resources.cores=2", "site.slurm_local.in_flight=3")
    assert at_site(given, "local").own == ("site=local", "site.resources.cores=2")
    assert at_site(given, "slurm_local").own == ("site=slurm_local", "site.resources.cores=2", "site.in_flight=3")
    nodes = compose_sites("hpo", given)
    assert [(node.name, node.resources.cores, node.in_flight) for node in nodes] == [
        ("local", 2, None),
        ("slurm_local", 2, 3),
    ]


def test_a_site_may_be_named_as_its_kind() -> None:
    region, mine, cores = "site.aws.region=eu", "site.aws.in_flight=3", "site.aws.resources.cores=2"
    given = typed("site=[local,aws]", region, mine, cores)
    assert at_site(given, "aws").own == ("site=aws", region, "site.in_flight=3", "site.resources.cores=2")
    assert at_site(given, "local").own == ("site=local",)


def test_what_is_set_to_nothing_need_not_be_filled_in() -> None:
    own = ("site=aws", "site.name=cloud", "site.aws.region=eu", "site.aws.queue=q", "site.container=null")
    [site] = read_sites(compose_sites("hpo", typed(*own)))
    assert site.container is None


def test_two_sites_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="two sites are named 'local'"):
        compose_sites("hpo", typed("site=[local,local]"))


def test_prices_in_two_currencies_are_refused() -> None:
    euros, dollars = (
        [f"site.{name}.cost.core_hour=1", f"site.{name}.cost.currency={currency}"]
        for name, currency in (("local", "EUR"), ("slurm_local", "USD"))
    )
    nodes = compose_sites("hpo", typed("site=[local,slurm_local]", *euros, *dollars))
    with pytest.raises(ConfigError, match="one study counts in one currency, and here is local in 'EUR', slurm_local"):
        read_sites(nodes)


def test_a_site_has_the_data_at_a_path_of_its_own() -> None:
    config = {"data": {"files": ["/data/roi/1.h5", "/data/roi2/1.h5"], "cache": "/data/roi"}, "seed": 1}
    assert there(config, {"/data/roi": "/cvmfs/roi", "/data": "/mnt"}) == {
        "data": {"files": ["/cvmfs/roi/1.h5", "/mnt/roi2/1.h5"], "cache": "/cvmfs/roi"},
        "seed": 1,
    }


def test_both_sites_do_their_part_and_the_report_says_where_and_why(
    slurm: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = two_sites(slurm, tmp_path)
    assert drive(study)
    check_exactly_once(study, TRIALS)
    assert set(ends_at(study)) == {"local", "slurm_local"}
    chosen = [one.choice for one in study.ledger().attempts(study.name)]
    assert all(choice and set(choice["sites"]) <= {"local", "slurm_local"} and choice["why"] for choice in chosen)
    write_report(study)
    page = (study.folder / "report" / "report.html").read_text()
    assert "Where the trials ran" in page
    assert "why there" in page
    capsys.readouterr()
    verbs.why(
        parse([f"study={study.name}", f"folder={tmp_path}", "trial=0"], ["why"], "why", ("study", "folder", "trial"))
    )
    said = capsys.readouterr().out
    assert f"attempt 1 at {chosen_first(study)}" in said
    assert "known then" in said


def test_a_site_is_killed_half_way(slurm: Cluster, tmp_path: Path) -> None:
    study = two_sites(slurm, tmp_path, "site.slurm_local.policy.silence_minutes=0.05", "site.local.in_flight=1")
    with driven(study):
        wait_for(lambda: sum(ends_at(study).values()) >= TRIALS // 3 and bool(slurm.live(study)), LONG_S)
        there_now = slurm.live(study)
        slurm.signal("slurmctld", signal.SIGKILL)
        slurm.signal("slurmd", signal.SIGKILL)
        kill_runners(there_now)
    try:
        counts = check_exactly_once(study, TRIALS)
        assert counts["done"] == TRIALS
        lost = [one for one in study.ledger().attempts(study.name) if one.state == "LOST"]
        assert lost
        assert {one.site for one in lost} == {"slurm_local"}
        record_fault("one of two sites killed", "SIGKILL to slurmctld, slurmd and all its units, for good", counts)
    finally:
        slurm.start("slurmctld")
        slurm.start("slurmd")
        wait_for(lambda: not slurm.live(study), LONG_S)


def test_one_of_three_sites_is_killed_half_way(slurm: Cluster, tmp_path: Path) -> None:
    with private_pool() as pool:
        study = three_sites(slurm, pool, tmp_path)
        with driven(study):
            wait_for(lambda: sum(ends_at(study).values()) >= 20 and runs_at(study, "htcondor_local"), LONG_S)
            pool.kill()
    counts = check_exactly_once(study, 40)
    assert counts["done"] == 40
    assert set(ends_at(study)) == {"local", "slurm_local", "htcondor_local"}
    assert {one.site for one in study.ledger().attempts(study.name) if one.state == "LOST"} == {"htcondor_local"}
    write_report(study)
    page = (study.folder / "report" / "report.html").read_text()
    assert all(f"{site}: done in about" in page for site in study.sites)
    record_fault("one of three sites killed", "SIGKILL to all of HTCondor, with its jobs, for good", counts)


def runs_at(study: Study, site: str) -> bool:
    """Return whether a site runs something of a study."""
    return any(one.site == site and one.state == "RUNNING" for one in study.ledger().attempts(study.name, True))


def three_sites(slurm: Cluster, pool: Pool, folder: Path) -> Study:
    """Write a study of 40 units on this machine, on Slurm and on HTCondor."""
    own = [f"site.slurm_local.environment.SLURM_CONF={slurm.conf}", "site.policy.lease_s=20", "trials=40"]
    own += [f"site.htcondor_local.environment.{name}='{value}'" for name, value in pool.environment.items()]
    own += ["site.htcondor_local.policy.silence_minutes=0.05", "site.htcondor_local.policy.lease_s=6"]
    own += ["site.resources.cores=1", "site.local.in_flight=2", "site.slurm_local.in_flight=4"]
    own += ["+site.environment.DUMMY_EPOCHS='20'", "+site.environment.DUMMY_EPOCH_S='0.1'"]
    return order(folder, *own, name="three", site="[local,slurm_local,htcondor_local]")


def test_a_silent_site_keeps_no_other_waiting(slurm: Cluster, tmp_path: Path) -> None:
    study = two_sites(slurm, tmp_path, "trials=6", "site.slurm_local.policy.silence_minutes=0.05")
    slurm.signal("slurmctld", signal.SIGSTOP)  # its commands hang, where they would fail at once without it
    try:
        assert drive(study)
        check_exactly_once(study, 6)
        assert ends_at(study) == {"local": 6}
    finally:
        slurm.signal("slurmctld", signal.SIGCONT)
        wait_for(slurm.answers)


def test_a_study_that_moves_keeps_what_runs_where_it_was(slurm: Cluster, tmp_path: Path) -> None:
    own = [f"site.environment.SLURM_CONF={slurm.conf}", "site.policy.lease_s=20", "trials=3", "site.resources.cores=1"]
    slow = ["+site.environment.DUMMY_EPOCHS='60'", "+site.environment.DUMMY_EPOCH_S='0.1'"]
    study = order(tmp_path, *own, *slow, site="slurm_local")
    driver = driver_of(study)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(driver.run)
        wait_for(lambda: "RUNNING" in slurm.jobs("dummies-").values(), LONG_S)
        study.stop("finish")
        moved = order(tmp_path, "trials=3", site="local")
        first.result(LONG_S)
    moved.go_on()
    assert moved.sites.keys() == {"local"}
    assert moved.retired.keys() == {"slurm_local"}
    assert drive(moved)
    check_exactly_once(moved, 3)


def test_a_ledger_of_an_older_version_gets_its_new_columns(tmp_path: Path) -> None:
    study = order(tmp_path, "trials=1")
    with closing(sqlite3.connect(study.folder / "ledger.sqlite")) as database, database:
        for column in ("started", "choice"):
            database.execute(f"ALTER TABLE attempt DROP COLUMN {column}")
        database.execute("UPDATE wirecell_ml_ledger SET version = 1")
    assert drive(study)
    [attempt] = study.ledger().attempts(study.name)
    assert attempt.started is not None
    assert attempt.choice == {"why": "the only site"}
