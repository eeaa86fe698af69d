"""What can go wrong in an HTCondor pool, done to a real one: after each fault every trial has ended exactly once."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import runner
from tests.condor_pool import Pool
from tests.driving import LONG_S, at_work, attempts, driven, follows, long, sent, starts, token_of, went_on
from tests.sweeping import check_exactly_once, driver_process, record_fault, wait_for
from wirecell_ml.submit.backend import Expired, make_backend
from wirecell_ml.submit.htcondor import backend
from wirecell_ml.submit.study import Study

CARRIED = ("site.mailbox=transfer", f"site.python={sys.executable}")  # no machine sees the folder of the study

SHORT_LEASE = ("+site.htcondor.attributes.job_lease_duration='30'",)  # HTCondor hopes so long for a lost machine


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
    """HTCondor hopes for the machine to come back as long as its lease lasts; our lease is shorter."""
    study = pool.order(tmp_path, "lostmachine", "trials=2", "site.policy.lease_s=4", *SHORT_LEASE, *long(40, 0.1))
    with driven(study):
        at_work(study, 0)
        worker = runner(token_of(study, 0))
        for process in (pool.daemon("condor_startd"), pool.guard(worker), worker):
            process.kill()
        wait_for(lambda: "LOST" in follows(study, "RUNNING"), LONG_S)
    counts = settle(pool, study, 2)
    assert [str(attempt.state) for attempt in attempts(study, 0)] == ["LOST", "SUCCEEDED"]
    assert counts["done"] == 2
    record_fault("machine lost", "SIGKILL of condor_startd, of a condor_starter and of its job", counts)


def test_queue_away(pool: Pool, tmp_path: Path) -> None:
    study = pool.order(tmp_path, "away", "trials=4", "site.in_flight=2", *long(20, 0.1))
    with driven(study):
        at_work(study, 0, 1)
        with pool.without("schedd"):
            wait_for(lambda: study.order().box(0).result() is not None, LONG_S)
    counts = settle(pool, study, 4)
    assert counts == {"trials": 4, "attempts": 4, "done": 4, "lost": 0, "doubled": 0}
    record_fault("queue away", "condor_off of the schedd while jobs run", counts)


def hang_in_the_midst(pool: Pool, folder: Path) -> str:
    """Return the folder of a condor_submit at whose second call the schedd hangs."""
    schedd = pool.daemon("condor_schedd").pid
    moment = f"mkdir {folder}/first 2>/dev/null || ! mkdir {folder}/second 2>/dev/null || kill -STOP {schedd}"
    folder.mkdir()
    (folder / "condor_submit").write_text(f'#!/bin/bash\n{moment}\nexec {pool.folder / "bin" / "condor_submit"} "$@"\n')
    (folder / "condor_submit").chmod(0o700)
    return str(folder)


def test_queue_hangs_in_the_midst_of_a_submission(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "TIMEOUT_S", 5)
    path = f"{hang_in_the_midst(pool, tmp_path / 'bin')}:{pool.environment['PATH']}"
    study = pool.order(tmp_path, "hung", "trials=8", "site.in_flight=4", f"site.environment.PATH='{path}'")
    with driven(study):
        wait_for(lambda: "AMBIGUOUS" in follows(study, "SUBMITTING"), LONG_S)
        pool.daemon("condor_schedd").send_signal(signal.SIGCONT)
    counts = settle(pool, study, 8)
    assert counts == {"trials": 8, "attempts": 8, "done": 8, "lost": 0, "doubled": 0}
    assert follows(study, "AMBIGUOUS") == {"PLANNED"}, "the jobs never arrived"
    record_fault(
        "queue hangs during a submission", "SIGSTOP of the schedd, SIGCONT after condor_submit gave up", counts
    )


def test_files_that_cannot_be_brought(pool: Pool, tmp_path: Path) -> None:
    """The parcel is gone when the job starts: HTCondor holds the job, and another attempt brings another parcel."""
    study = pool.order(tmp_path, "held", "trials=1", *CARRIED)
    with driven(study):
        with pool.without("startd"):
            wait_for(lambda: sent(study, 0), LONG_S)
            (parcel,) = (study.folder / "jobs").glob("*.tar.gz")
            parcel.unlink()
        wait_for(lambda: "LOST" in follows(study, "SUBMITTED"), LONG_S)
    counts = settle(pool, study, 1)
    assert [str(attempt.state) for attempt in attempts(study, 0)] == ["LOST", "SUCCEEDED"]
    assert "its files cannot be brought to the machine" in attempts(study, 0)[0].why
    record_fault("job held", "its input file is gone; HTCondor holds it back", counts)


def test_no_machine_for_a_long_time(pool: Pool, tmp_path: Path) -> None:
    study = pool.order(tmp_path, "forever", "trials=2", "site.policy.queue_minutes=0.05")
    with driven(study), pool.without("startd"):
        wait_for(lambda: "CANCELLED" in follows(study, "SUBMITTED"), LONG_S)
    counts = settle(pool, study, 2)
    assert counts["done"] == 2
    record_fault("job waits for ever", "no machine in the pool; queue_minutes is over", counts)


def test_token_expired(pool: Pool, tmp_path: Path) -> None:
    """Nothing is sent, nothing is given up, and jobs that run go on, until the user has another token."""
    tokens = tmp_path / "tokens"
    tokens.mkdir(mode=0o700)
    ours = {"_CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS": "IDTOKENS", "_CONDOR_SEC_TOKEN_DIRECTORY": str(tokens)}
    own = [f"+site.environment.{name}='{value}'" for name, value in ours.items()]
    pool.give_token(tokens, lifetime_s=3600)
    study = pool.order(tmp_path, "expired", "trials=4", "site.in_flight=2", *own, *long(20, 0.1))
    with driven(study):
        at_work(study, 0, 1)
        pool.give_token(tokens, lifetime_s=1)
        wait_for(lambda: refused_login(study), LONG_S)
        wait_for(lambda: study.order().box(0).result() is not None, LONG_S)
        pool.give_token(tokens, lifetime_s=3600)
    counts = settle(pool, study, 4)
    assert counts == {"trials": 4, "attempts": 4, "done": 4, "lost": 0, "doubled": 0}
    record_fault("token of a pool expired", "an IDTOKEN that has expired, and another one later", counts)


def refused_login(study: Study) -> bool:
    """Return whether the queue takes our token no more."""
    try:
        make_backend(study.site).states(["nobody-0"])
    except Expired:
        return True
    return False


def test_driver_as_a_job(pool: Pool, tmp_path: Path) -> None:
    study = pool.order(tmp_path, "asjob", "trials=4")
    with driver_process(study, "driver=job") as sender:
        assert sender.wait(LONG_S) == 0
    wait_for(lambda: all((study.order().box(number).folder / "result.json").exists() for number in range(4)), LONG_S)
    counts = settle(pool, study, 4)
    assert counts["done"] == 4
    record_fault("driver as a job in a pool", "nothing: the driver itself is a job of the queue's machine", counts)
