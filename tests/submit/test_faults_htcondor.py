"""What can go wrong in an HTCondor pool, done to a real one: after each fault every trial has ended exactly once."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster import runner
from tests.condor_pool import Pool
from tests.driving import LONG_S, at_work, attempts, driven, follows, long, sent, starts, token_of, went_on
from tests.sweeping import check_exactly_once, driver_process, record_fault, wait_for
from wirecell_ml.submit.backend import make_backend
from wirecell_ml.submit.htcondor import backend
from wirecell_ml.submit.study import Study

CARRIED = ("site.mailbox=transfer", f"site.python={sys.executable}")  # no machine sees the folder of the study


def settle(pool: Pool, study: Study, trials: int) -> dict[str, int]:
    """Return the counts of a study whose trials have each ended once, and of which nothing is left in the queue."""
    wait_for(lambda: not pool.jobs(f"{study.name}-"), LONG_S)
    return check_exactly_once(study, trials)


@pytest.mark.parametrize("mailbox", [(), CARRIED], ids=["shared", "carried"])
def test_jobs_evicted(pool: Pool, tmp_path: Path, mailbox: tuple[str, ...]) -> None:
    name = "carried" if mailbox else "shared"
    study = pool.order(tmp_path, f"evicted-{name}", "trials=2", *mailbox, *long(40, 0.1))
    with driven(study):
        at_work(study, 0)
        pool.ask("condor_vacate_job", pool.job_id(token_of(study, 0)))
    counts = settle(pool, study, 2)
    assert counts == {"trials": 2, "attempts": 2, "done": 2, "lost": 0, "doubled": 0}
    assert starts(study, 0) == 2, "the same token was started again"
    assert went_on(study, 0), "from its checkpoint"
    record_fault(f"job evicted, {name} mailbox", "condor_vacate_job", counts)


def test_guard_of_a_job_killed(pool: Pool, tmp_path: Path) -> None:
    """HTCondor starts the same token again, and the process of the first start must not work on."""
    study = pool.order(tmp_path, "unguarded", "trials=2", *long(40, 0.1))
    with driven(study):
        at_work(study, 0)
        first = runner(token_of(study, 0))
        pool.guard(first).kill()
        wait_for(lambda: starts(study, 0) == 2, LONG_S)
        wait_for(lambda: not first.is_running(), LONG_S)
    counts = settle(pool, study, 2)
    assert counts == {"trials": 2, "attempts": 2, "done": 2, "lost": 0, "doubled": 0}
    record_fault("starter killed", "SIGKILL of the condor_starter of a running job", counts)


def test_started_twice(pool: Pool, tmp_path: Path) -> None:
    """A second machine runs the script of a job while the first still does, as after a lost connection."""
    study = pool.order(tmp_path, "twice", "trials=2", *long(40, 0.1))
    with driven(study):
        at_work(study, 0)
        token = token_of(study, 0)
        first = runner(token)
        batch, _, index = token.rpartition("-")
        second = subprocess.Popen([study.folder / "jobs" / f"{batch}.sh", index])
        wait_for(lambda: not first.is_running(), LONG_S)
        assert second.wait(LONG_S) == 0
    counts = settle(pool, study, 2)
    assert counts == {"trials": 2, "attempts": 2, "done": 2, "lost": 0, "doubled": 0}
    assert starts(study, 0) == 2
    assert not (study.order().box(0).attempt(1) / "run-1" / "summary.json").exists(), "the first one stopped"
    record_fault("job started twice", "its script runs a second time while the first start lives", counts)


def test_job_removed_by_hand(pool: Pool, tmp_path: Path) -> None:
    study = pool.order(tmp_path, "removed", "trials=2", *long(40, 0.1))
    with driven(study):
        at_work(study, 0)
        pool.ask("condor_rm", pool.job_id(token_of(study, 0)))
    counts = settle(pool, study, 2)
    assert [str(attempt.state) for attempt in attempts(study, 0)] == ["PREEMPTED", "SUCCEEDED"]
    assert went_on(study, 0)
    record_fault("job removed by hand", "condor_rm of a running job", counts)


def test_machine_lost(pool: Pool, tmp_path: Path) -> None:
    study = pool.order(tmp_path, "lostmachine", "trials=2", *long(40, 0.1))
    with driven(study):
        at_work(study, 0, 1)
        pool.daemon("condor_startd").kill()
        for _ in range(15):
            print(pool.jobs("lostmachine-")[0]["JobStatus"] if pool.jobs("lostmachine-") else None, [p.name() for p in pool.daemons()], starts(study, 0))
            time.sleep(1)
    counts = settle(pool, study, 2)
    assert counts["done"] == 2
    record_fault("machine lost", "SIGKILL of condor_startd, which comes back", counts)


def test_queue_away(pool: Pool, tmp_path: Path) -> None:
    study = pool.order(tmp_path, "away", "trials=4", "site.in_flight=2", *long(20, 0.1))
    with driven(study):
        at_work(study, 0, 1)
        with pool.without("schedd"):
            wait_for(lambda: study.order().box(0).result() is not None, LONG_S)
    counts = settle(pool, study, 4)
    print(counts, [ (a.number,a.attempt,a.state,a.why) for n in range(4) for a in attempts(study, n)])
    record_fault("queue away", "condor_off of the schedd while jobs run", counts)
