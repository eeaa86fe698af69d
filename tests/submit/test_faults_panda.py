"""What can go wrong with PanDA, done to the stand-in: after each fault every trial has ended exactly once."""

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.driving import LONG_S, at_work, driven, epochs_done, follows, long, silent, states, token_of, trouble
from tests.panda_pilot import Pilots, pilots_of
from tests.panda_standin import Standin, standin_at
from tests.sweeping import check_exactly_once, driver_process, order, record_fault, wait_for
from wirecell_ml.submit.study import Study

KILLS = 10
TOKEN = "PANDA_AUTH_ID_TOKEN"  # noqa: S105


@pytest.fixture
def grid(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    """A server in which nobody minds what breaks; whatever was asked of it, a real one takes."""
    with standin_at() as standin:
        monkeypatch.setenv(TOKEN, standin.issuer.mint())
        yield standin
        assert standin.wrongs == []


@pytest.fixture
def pilots(grid: Standin) -> Iterator[Pilots]:
    with pilots_of(grid, 3) as pilots:
        yield pilots


def study_of(grid: Standin, folder: Path, name: str, *settings: str) -> Study:
    """Write a study of dummy units that runs there."""
    calm = "site.policy.lease_s=20"  # a machine that has much else to do stops no heart for so long
    return order(folder, f"site.panda.url={grid.address}", calm, *settings, name=name, site="panda_standin")


def settle(grid: Standin, study: Study, trials: int) -> dict[str, int]:
    """Return the counts of a study whose trials have each ended once, and of which no job is left."""
    wait_for(lambda: all(job.status in ("finished", "failed", "cancelled") for job in grid.panda.jobs.values()), LONG_S)
    return check_exactly_once(study, trials)


def test_nothing_goes_wrong(grid: Standin, pilots: Pilots, tmp_path: Path) -> None:
    study = study_of(grid, tmp_path, "calm", "trials=6")
    with driven(study):
        pass
    assert pilots.slots
    assert settle(grid, study, 6) == {"trials": 6, "attempts": 6, "done": 6, "lost": 0, "doubled": 0}


def test_workers_share_no_folder_with_the_driver(grid: Standin, pilots: Pilots, tmp_path: Path) -> None:
    mailbox = f"site.mailbox=file://{tmp_path / 'store'}"
    study = study_of(grid, tmp_path / "studies", "apart", "trials=4", mailbox, *long(20, 0.1))
    with driven(study):
        wait_for(lambda: study.order().box(0).newest_run(1) == 1, LONG_S)
        wait_for(lambda: study.order().box(0).progress(1).exists(), LONG_S)
        pilots.evict(token_of(study, 0))
    counts = settle(grid, study, 4)
    assert counts == {"trials": 4, "attempts": 5, "done": 4, "lost": 0, "doubled": 0}
    assert states(study, 0) == ["PREEMPTED", "SUCCEEDED"]
    record_fault("job evicted, PanDA, no shared folder", "SIGTERM to a carrier; results through a store", counts)


def test_worker_lost(grid: Standin, pilots: Pilots, tmp_path: Path) -> None:
    """PanDA notices as long afterwards as its own patience lasts; the lease has ended by then."""
    study = study_of(grid, tmp_path, "smoke", "trials=2", "site.policy.lease_s=8", *long(20, 0.1))
    with driven(study):
        at_work(study, 0, 1)
        pilots.lose(token_of(study, 0))
        wait_for(lambda: states(study, 0)[0] == "LOST", LONG_S)
        grid.panda.heartbeat_s = 2.0
    counts = settle(grid, study, 2)
    assert states(study, 0) == ["LOST", "SUCCEEDED"]
    assert counts["done"] == 2
    record_fault("worker lost, PanDA", "pilot and payload vanish; PanDA goes on saying that the job runs", counts)


def test_job_started_twice(grid: Standin, pilots: Pilots, tmp_path: Path) -> None:
    study = study_of(grid, tmp_path, "twice", "trials=2", "site.in_flight=2", *long(30, 0.1))
    with driven(study):
        at_work(study, 0, 1)
        grid.dispatch_again(token_of(study, 0))
        wait_for(lambda: study.order().box(0).newest_run(1) == 2, LONG_S)
    counts = settle(grid, study, 2)
    assert len([slot for slot in pilots.slots if slot.number == 1]) == 2, "two pilots had the same job"
    assert counts["done"] == 2
    assert states(study, 0)[-1] == "SUCCEEDED"
    first = study.order().box(0).attempt(1) / "run-1"
    assert not (first / "summary.json").exists(), "the first stopped when the second had begun"
    record_fault("job started twice, PanDA", "the same job is given to two pilots", counts)


@pytest.mark.parametrize("fault", ["down", "broken"])
def test_server_away(grid: Standin, pilots: Pilots, tmp_path: Path, fault: str) -> None:
    study = study_of(grid, tmp_path, f"away-{fault}", "trials=8", "site.in_flight=3", *long(5, 0.1))
    with driven(study):
        at_work(study, 0)
        setattr(grid.panda.faults, fault, 503)
        wait_for(lambda: silent(study), LONG_S)
        time.sleep(2)  # in which all that runs ends, and nothing can be sent
        setattr(grid.panda.faults, fault, 0)
    counts = settle(grid, study, 8)
    assert pilots.slots
    assert counts["done"] == 8
    assert {state for number in range(8) for state in states(study, number)} == {"SUCCEEDED"}
    what = {"down": "connections break off", "broken": "each answer is 503"}[fault]
    record_fault("PanDA server away", f"{what} while units run", counts)


def test_login_ends(grid: Standin, pilots: Pilots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of(grid, tmp_path, "login", "trials=6", "site.in_flight=3", *long(5, 0.1))
    with driven(study):
        at_work(study, 0)
        monkeypatch.setenv(TOKEN, grid.issuer.mint(life_s=-5))
        wait_for(lambda: silent(study), LONG_S)
        assert "token in the environment has expired" in trouble(study)
        monkeypatch.setenv(TOKEN, grid.issuer.mint(("atlas",)))
        wait_for(lambda: "takes our login no more" in trouble(study), LONG_S)
        monkeypatch.setenv(TOKEN, grid.issuer.mint())
    counts = settle(grid, study, 6)
    assert pilots.slots
    assert counts == {"trials": 6, "attempts": 6, "done": 6, "lost": 0, "doubled": 0}
    record_fault("login ends, PanDA", "the token expires, then one is not taken, then a good one", counts)


def test_task_broken(grid: Standin, pilots: Pilots, tmp_path: Path) -> None:
    study = study_of(grid, tmp_path, "broken", "trials=2")
    grid.panda.faults.refine_error = "no such transformation"
    with driven(study):
        wait_for(lambda: "LOST" in follows(study, "SUBMITTED"), LONG_S)
        grid.panda.faults.refine_error = None
    counts = settle(grid, study, 2)
    assert pilots.slots
    assert "broken" in {task.status for task in grid.panda.tasks.values()}
    assert counts["done"] == 2
    record_fault("task broken, PanDA", "JEDI refines no task for a while", counts)


def test_task_exhausted(grid: Standin, pilots: Pilots, tmp_path: Path) -> None:
    study = study_of(grid, tmp_path, "exhausted", "trials=2")
    grid.panda.jobs_at_once = 0
    with driven(study):
        wait_for(lambda: any(task.status == "running" for task in grid.panda.tasks.values()), LONG_S)
        with grid.panda.lock:
            for task in grid.panda.tasks.values():
                task.status = "exhausted"
            grid.panda.jobs_at_once = 100
    counts = settle(grid, study, 2)
    assert pilots.slots
    assert counts["done"] == 2
    assert states(study, 0) == ["LOST", "SUCCEEDED"]
    assert grid.panda.tasks[1].status == "aborted", "it does not wait for somebody to retry it"
    record_fault("task exhausted, PanDA", "JEDI gives up before it has made a job", counts)


def test_job_evicted(grid: Standin, pilots: Pilots, tmp_path: Path) -> None:
    study = study_of(grid, tmp_path, "evicted", "trials=2", *long(30, 0.1))
    with driven(study):
        at_work(study, 0, 1)
        pilots.evict(token_of(study, 0))
    counts = settle(grid, study, 2)
    assert states(study, 0) == ["PREEMPTED", "SUCCEEDED"]
    assert epochs_done(study, 0) == list(range(1, 31)), "it went on from its checkpoint"
    assert counts["done"] == 2
    record_fault("job evicted, PanDA", "SIGTERM from the batch system under the pilot", counts)


def test_pending_for_ever(grid: Standin, pilots: Pilots, tmp_path: Path) -> None:
    study = study_of(grid, tmp_path, "pending", "trials=2", "site.policy.queue_minutes=0.05")
    grid.panda.faults.never_activate = True
    with driven(study):
        wait_for(lambda: "CANCELLED" in follows(study, "SUBMITTED"), LONG_S)
        grid.panda.faults.never_activate = False
    counts = settle(grid, study, 2)
    assert pilots.slots
    assert counts["done"] == 2
    record_fault("jobs pending for ever, PanDA", "no job becomes activated for a while", counts)


def test_answer_to_a_submission_lost(grid: Standin, pilots: Pilots, tmp_path: Path) -> None:
    study = study_of(grid, tmp_path, "unheard", "trials=6", "site.in_flight=3")
    grid.panda.faults.lose_answers = 1
    with driven(study):
        wait_for(lambda: "AMBIGUOUS" in follows(study, "SUBMITTING"), LONG_S)
    counts = settle(grid, study, 6)
    assert pilots.slots
    assert follows(study, "AMBIGUOUS") == {"SUBMITTED"}, "the task was there after all"
    assert counts == {"trials": 6, "attempts": 6, "done": 6, "lost": 0, "doubled": 0}
    record_fault("answer to a submission lost, PanDA", "the connection breaks off after the task is there", counts)


def test_daemons_asleep(grid: Standin, pilots: Pilots, tmp_path: Path) -> None:
    study = study_of(grid, tmp_path, "asleep", "trials=3")
    grid.panda.faults.asleep = True
    with driven(study):
        wait_for(lambda: bool(grid.panda.tasks), LONG_S)
        time.sleep(3)  # longer than the grace: the task has only been put down
        grid.panda.faults.asleep = False
    counts = settle(grid, study, 3)
    assert pilots.slots
    assert counts == {"trials": 3, "attempts": 3, "done": 3, "lost": 0, "doubled": 0}
    record_fault("JEDI asleep", "a task is put down, and not looked at for longer than the grace", counts)


def test_driver_killed_at_random_moments(grid: Standin, pilots: Pilots, tmp_path: Path) -> None:
    study = study_of(grid, tmp_path, "killed", "trials=30", "site.in_flight=4", *long(5, 0.1))
    moments = random.Random(4)  # noqa: S311
    for _ in range(KILLS):
        with driver_process(study, "takeover=true") as driver:
            pid = driver.pid
            wait_for(lambda: (study.ledger().driver(study.name) or {}).get("pid") == pid, LONG_S)  # noqa: B023
            time.sleep(moments.uniform(0, 0.5))
            assert driver.poll() is None, "the sweep was over before all kills"
            driver.send_signal(signal.SIGKILL)
    with driven(study):
        pass
    counts = settle(grid, study, 30)
    assert pilots.slots
    record_fault("driver killed, PanDA", f"SIGKILL at {KILLS} random moments of a sweep", counts)
