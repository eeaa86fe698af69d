"""What can go wrong on Slurm, done to a real one: after each fault every trial has ended exactly once."""

import os
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.cluster import Cluster, runner
from tests.driving import LONG_S, at_work, attempts, driven, epochs_done, follows, long, starts, token_of
from tests.sweeping import check_exactly_once, driver_process, record_fault, wait_for
from wirecell_ml.submit.study import Study

KILLS = 20


def has_taken_over(study: Study, pid: int) -> None:
    """Wait until a process is the driver of a study."""
    ledger = study.ledger()
    wait_for(lambda: (ledger.driver(study.name) or {}).get("pid") == pid)


def settle(slurm: Cluster, study: Study, trials: int) -> dict[str, int]:
    """Return the counts of a study whose trials have each ended once, and of which nothing is left in the queue."""
    wait_for(lambda: not slurm.live(study), LONG_S)
    return check_exactly_once(study, trials)


def test_driver_killed_at_random_moments(slurm: Cluster, tmp_path: Path) -> None:
    study = slurm.order(tmp_path, "killed", "trials=60", "site.in_flight=4", *long(5, 0.1))
    moments = random.Random(4)  # noqa: S311
    for _ in range(KILLS):
        with driver_process(study, "takeover=true") as driver:
            has_taken_over(study, driver.pid)
            time.sleep(moments.uniform(0, 0.5))
            assert driver.poll() is None, "the sweep was over before all kills"
            driver.send_signal(signal.SIGKILL)
    with driven(study):
        pass
    counts = settle(slurm, study, 60)
    assert len(slurm.jobs("killed-")) >= counts["attempts"]
    record_fault("driver killed on Slurm", f"SIGKILL at {KILLS} random moments of a sweep", counts)


def test_job_requeued(slurm: Cluster, tmp_path: Path) -> None:
    study = slurm.order(tmp_path, "requeued", "trials=2", *long(30, 0.1))
    with driven(study):
        at_work(study, 0)
        slurm.ask("scontrol", "requeue", slurm.job_id(token_of(study, 0)))
    counts = settle(slurm, study, 2)
    assert counts == {"trials": 2, "attempts": 2, "done": 2, "lost": 0, "doubled": 0}
    assert starts(study, 0) == 2
    assert epochs_done(study, 0) == list(range(1, 31)), "it went on from its checkpoint"
    record_fault("job requeued", "scontrol requeue of a running job", counts)


def test_jobs_pre_empted(slurm: Cluster, tmp_path: Path) -> None:
    """In mid-work; finished inside the grace, seen by the driver; and finished while there was no driver."""
    middle = slurm.order(tmp_path, "middle", "trials=2", *long(40, 0.1))
    seen = slurm.order(tmp_path, "seen", "trials=2", "program=hurried_unit", "site.in_flight=1")
    unseen = slurm.order(tmp_path, "unseen", "trials=1", "program=hurried_unit")
    with driver_process(unseen):
        at_work(unseen, 0)
    with driven(middle, seen):
        at_work(middle, 0, 1)
        at_work(seen, 0)
        slurm.pre_empt_all()
    assert [starts(middle, number) for number in range(2)] == [2, 2], "the same token was started again"
    assert [epochs_done(middle, number) for number in range(2)] == [list(range(1, 41))] * 2, "from its checkpoint"
    check_once_though_requeued(slurm, middle, seen, unseen)


def check_once_though_requeued(slurm: Cluster, middle: Study, seen: Study, unseen: Study) -> None:
    """Assert that what Slurm starts again after its end ends no second time."""
    counts = settle(slurm, middle, 2)
    assert counts["attempts"] == 2
    record_fault("job pre-empted in mid-work", "an urgent job takes its place", counts)

    counts = settle(slurm, seen, 2)
    assert counts["attempts"] == 2
    assert hurried(seen)
    assert slurm.jobs("seen-")[token_of(seen, 0)] == "CANCELLED", "the driver took the requeued job away"
    record_fault("job pre-empted after it finished", "inside the grace; requeued by Slurm, cancelled by us", counts)

    wait_for(lambda: slurm.jobs("unseen-")[token_of(unseen, 0)] == "COMPLETED", LONG_S)
    assert slurm.restarts(token_of(unseen, 0)) == 1
    assert starts(unseen, 0) == 1, "started again, the runner found a result and trained nothing"
    with driven(unseen):
        pass
    counts = settle(slurm, unseen, 1)
    assert counts["attempts"] == 1
    assert hurried(unseen)
    record_fault("job pre-empted after it finished", "inside the grace, no driver; Slurm ran it again", counts)


def hurried(study: Study) -> bool:
    """Return whether the first unit was told to end and finished instead."""
    result = study.order().box(0).result()
    return bool(result and result["metrics"]["hurried"])


def test_jobs_out_of_time(slurm: Cluster, tmp_path: Path) -> None:
    """Two that do not begin together: Slurm looks every 30 s, and its signal is lost on a job that just begins."""
    settings = ("trials=1", "site.resources.minutes=1", "site.signal_s=60", *long(70, 0.5))
    first, second = (slurm.order(tmp_path, name, *settings) for name in ("late", "later"))
    with driven(first):
        at_work(first, 0)
        with driven(second):
            pass
    both = [settle(slurm, study, 1) for study in (first, second)]
    counts = {name: sum(one[name] for one in both) for name in both[0]}
    assert counts["done"] == 2
    assert epochs_done(first, 0) == epochs_done(second, 0) == list(range(1, 71)), "they went on from their checkpoints"
    states = {str(attempt.state) for study in (first, second) for attempt in attempts(study, 0)}
    assert states == {"PREEMPTED", "SUCCEEDED"}
    record_fault("job out of time", "USR1 before its minute is over", counts)


def test_worker_killed(slurm: Cluster, tmp_path: Path) -> None:
    study = slurm.order(tmp_path, "workers", "trials=2", *long(20, 0.1))
    with driven(study):
        at_work(study, 0)
        runner(token_of(study, 0)).kill()
    counts = settle(slurm, study, 2)
    assert [str(attempt.state) for attempt in attempts(study, 0)] == ["LOST", "SUCCEEDED"]
    assert counts["done"] == 2
    record_fault("worker killed on Slurm", "SIGKILL of a runner", counts)


def test_worker_stopped_past_its_lease(slurm: Cluster, tmp_path: Path) -> None:
    study = slurm.order(tmp_path, "sleepers", "trials=2", "site.policy.lease_s=3", *long(20, 0.1))
    with driven(study):
        at_work(study, 0)
        sleeper = runner(token_of(study, 0))
        sleeper.suspend()
        wait_for(lambda: study.order().box(0).result() is not None, LONG_S)
    first = study.order().box(0).result()
    with suppress(psutil.NoSuchProcess):  # Slurm wakes it, too, since the driver gave its job up
        sleeper.resume()
    wait_for(lambda: not sleeper.is_running(), LONG_S)
    counts = settle(slurm, study, 2)
    assert study.order().box(0).result() == first, "woken, it wrote no second result"
    assert first
    assert first["attempt"] in (1, 2), "Slurm may wake it while its successor is at work: who is first counts"
    record_fault("worker stopped past its lease on Slurm", "SIGSTOP of a runner, SIGCONT after its successor", counts)


def test_node_lost_while_the_processes_live_on(slurm: Cluster, tmp_path: Path) -> None:
    """Of one, slurmstepd dies, too, so that nothing can end it; another one finishes while its node is lost."""
    study = slurm.order(
        tmp_path, "lostnode", "trials=3", "program=hurried_unit", "+site.environment.DUMMY_EPOCH_S='900'"
    )
    tokens = {}
    with driven(study):
        at_work(study, 0, 1, 2)
        tokens = {number: token_of(study, number) for number in range(3)}
        zombies = {number: runner(token) for number, token in tokens.items()}
        slurm.signal("slurmd", signal.SIGKILL)
        psutil.Process(zombies[0].ppid()).kill()
        wait_for(lambda: all(slurm.jobs("lostnode-")[token] == "PENDING" for token in tokens.values()), LONG_S)
        assert all(zombie.is_running() for zombie in zombies.values()), "their node is lost, and they work on"
        zombies[2].terminate()
        wait_for(lambda: slurm.jobs("lostnode-")[tokens[2]] == "CANCELLED", LONG_S)
        slurm.start("slurmd")
        wait_for(lambda: starts(study, 0) == starts(study, 1) == 2, LONG_S)
        wait_for(lambda: not any(zombie.is_running() for zombie in zombies.values()), LONG_S)
        for number in (0, 1):
            runner(tokens[number], but=zombies[number]).terminate()
    counts = settle(slurm, study, 3)
    assert counts == {"trials": 3, "attempts": 3, "done": 3, "lost": 0, "doubled": 0}
    assert starts(study, 2) == 1
    for number in (0, 1):
        assert not (study.order().box(number).attempt(1) / "run-1" / "summary.json").exists()
    record_fault("node lost while the process lives on", "SIGKILL of slurmd and of a slurmstepd", counts)


def in_the_midst(folder: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``what`` happen, once, when sbatch is called the second time."""
    real = shutil.which("sbatch")
    script = f"#!/bin/bash\nmkdir {folder}/first 2>/dev/null || ! mkdir {folder}/second 2>/dev/null || {what}\n"
    folder.mkdir()
    (folder / "sbatch").write_text(script + f'exec {real} "$@"\n')
    (folder / "sbatch").chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def ambiguous(study: Study) -> bool:
    """Return whether there was a submission whose fate was not known."""
    return "AMBIGUOUS" in follows(study, "SUBMITTING")


def test_controller_hangs_in_the_midst_of_a_submission(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = slurm.order(tmp_path, "hung", "trials=8", "site.in_flight=4")
    in_the_midst(tmp_path / "bin", f"kill -STOP $(<{slurm.pid_file('slurmctld')})", monkeypatch)
    with driven(study):
        wait_for(lambda: ambiguous(study), LONG_S)
        slurm.signal("slurmctld", signal.SIGCONT)
    counts = settle(slurm, study, 8)
    assert counts == {"trials": 8, "attempts": 8, "done": 8, "lost": 0, "doubled": 0}
    assert follows(study, "AMBIGUOUS") == {"SUBMITTED"}, "the jobs were there after all"
    assert len(slurm.jobs("hung-")) == 8, "and none was sent again"
    record_fault("slurmctld hangs during a submission", "SIGSTOP, SIGCONT after sbatch gave up", counts)


def mended(slurm: Cluster, study: Study, trials: int) -> bool:
    """Return whether all has ended; see to the node meanwhile.

    A controller that died gives the numbers of its last jobs away again, and then drains the node that knows them.
    """
    slurm.mend()
    return all((study.order().box(number).folder / "result.json").exists() for number in range(trials))


def test_controller_dies_in_the_midst_of_a_submission(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = slurm.order(tmp_path, "dead", "trials=8", "site.in_flight=4")
    in_the_midst(tmp_path / "bin", f"kill -KILL $(<{slurm.pid_file('slurmctld')})", monkeypatch)
    with driven(study):
        wait_for(lambda: ambiguous(study), LONG_S)
        slurm.start("slurmctld")
        wait_for(lambda: mended(slurm, study, 8), LONG_S)
    counts = settle(slurm, study, 8)
    assert counts["done"] == 8
    assert follows(study, "AMBIGUOUS") == {"PLANNED"}, "the jobs never arrived"
    record_fault("slurmctld dies during a submission", "SIGKILL, started again after sbatch gave up", counts)


def test_node_that_starts_nothing(slurm: Cluster, tmp_path: Path) -> None:
    study = slurm.order(tmp_path, "faultynode", "trials=2")
    with driven(study):
        with slurm.nothing_starts():
            wait_for(lambda: "LOST" in follows(study, "SUBMITTED"), LONG_S)
        wait_for(lambda: mended(slurm, study, 2), LONG_S)
    counts = settle(slurm, study, 2)
    assert counts["done"] == 2
    first = {attempt.token for attempt in study.ledger().attempts(study.name) if attempt.attempt == 1}
    states = {state for token, state in slurm.jobs("faultynode-").items() if token in first}
    assert "CANCELLED" in states, "what Slurm holds back does not wait for ever"
    record_fault("node that starts no job", "its spool folder is gone; Slurm holds the jobs back", counts)


def test_job_pending_for_ever(slurm: Cluster, tmp_path: Path) -> None:
    study = slurm.order(tmp_path, "pending", "trials=2", "site.policy.queue_minutes=0.1")
    with slurm.partition_down() as up, driven(study):
        wait_for(lambda: "CANCELLED" in follows(study, "SUBMITTED"), LONG_S)
        first = str(attempts(study, 0)[0].token)
        wait_for(lambda: first not in slurm.live(study), LONG_S)
        up()
    counts = settle(slurm, study, 2)
    assert counts["done"] == 2
    record_fault("job pending for ever on Slurm", "its partition is down; cancelled after queue_minutes", counts)


def test_driver_as_a_job(slurm: Cluster, tmp_path: Path) -> None:
    study = slurm.order(tmp_path, "asjob", "trials=6")
    with driver_process(study, "driver=job") as sender:
        assert sender.wait(LONG_S) == 0
    wait_for(lambda: list(slurm.jobs("asjob-driver-").values()) == ["COMPLETED"], LONG_S)
    counts = settle(slurm, study, 6)
    assert counts["done"] == 6
    record_fault("driver as a job", "nothing: the driver itself runs in Slurm", counts)
