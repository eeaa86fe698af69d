"""What can go wrong where a store lies between driver and workers: every trial ends exactly once all the same."""

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.driving import LONG_S, attempts, box, driven, ended, epochs, states
from tests.object_store import Door, make_bucket, object_store, refusing, who_we_are
from tests.sweeping import check_exactly_once, drive, driver_process, order, record_fault, wait_for
from wirecell_ml.submit import local
from wirecell_ml.submit.carrier import __name__ as CARRIER
from wirecell_ml.submit.study import Study

PATIENT = ("site.policy.lease_s=15", "site.policy.grace_s=10", "site.in_flight=2")


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let units run side by side whatever else this machine does."""
    monkeypatch.setattr(local, "num_cores", lambda: 64)


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainings last until something happens to them."""
    monkeypatch.setenv("DUMMY_EPOCHS", "100000")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with object_store() as address:
        yield address


@pytest.fixture
def door(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """The way that driver and workers take to the object store."""
    door = Door(int(server.rpartition(":")[2]))
    for name, value in who_we_are(door.address).items():
        monkeypatch.setenv(name, value)
    yield door
    door.close()


def in_folder(tmp_path: Path, trials: int, *settings: str) -> Study:
    """Write a study whose units are carried by a folder."""
    mailbox = f"site.mailbox=file://{tmp_path}/store"
    return order(tmp_path, f"trials={trials}", mailbox, *PATIENT, *settings, site="local_store")


def in_bucket(tmp_path: Path, server: str, trials: int, *settings: str) -> Study:
    """Write a study whose units are carried by the object store."""
    mailbox = f"site.mailbox=s3://{make_bucket(server)}/of/mine"
    return order(tmp_path, f"trials={trials}", mailbox, *PATIENT, *settings, site="local_store")


def worker(study: Study, attempt: int = 1, number: int = 0) -> psutil.Process:
    """Return the carrier of an attempt, once its training has been heard to go on."""
    wait_for(lambda: len(epochs(study, attempt, number)) > 0, LONG_S)
    found = len(epochs(study, attempt, number))
    wait_for(lambda: len(epochs(study, attempt, number)) > found + 1, LONG_S)
    [one] = [one for one in attempts(study, number) if one.attempt == attempt]
    [process] = [process for process in psutil.process_iter() if is_carrier(process, str(one.token))]
    return process


def is_carrier(process: psutil.Process, token: str) -> bool:
    """Return whether a process carries the attempt with a token."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return CARRIER in words and words[-1] == token


@pytest.mark.usefixtures("door")
def test_a_study_through_an_object_store(tmp_path: Path, server: str) -> None:
    study = in_bucket(tmp_path, server, 4)
    assert drive(study)
    assert check_exactly_once(study, 4)["attempts"] == 4
    assert all((box(study, number).attempt(1) / "run-1" / "log.txt").exists() for number in range(4))


@pytest.mark.usefixtures("endless")
def test_a_carrier_is_killed_and_the_next_attempt_goes_on_from_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = in_folder(tmp_path, 1)
    with driven(study):
        worker(study).terminate()
        victim = worker(study, attempt=2)
        saved = len(epochs(study))
        monkeypatch.setenv("DUMMY_EPOCHS", str(saved + 5))
        victim.kill()
    counts = check_exactly_once(study, 1)
    assert states(study) == ["PREEMPTED", "LOST", "SUCCEEDED"]
    assert epochs(study, 3) == list(range(1, saved + 6))
    record_fault("worker of a store killed", "SIGKILL of carrier, and so of runner and training", counts)


@pytest.mark.usefixtures("endless")
def test_the_store_is_away_for_a_while_and_nothing_is_lost(
    tmp_path: Path, server: str, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = in_bucket(tmp_path, server, 4)
    with driven(study):
        first, second = worker(study), worker(study, number=1)
        [training] = second.children()[0].children()
        monkeypatch.setenv("DUMMY_EPOCHS", "3")
        with door.closed(20):  # longer than a lease
            training.terminate()
        first.terminate()
    counts = check_exactly_once(study, 4)
    assert "LOST" not in states(study) + states(study, 1)
    assert states(study, 1) == ["PREEMPTED", "SUCCEEDED"], "its last letter came when the store was back"
    record_fault("store away", "no connection for longer than a lease, while units ran and ended", counts)


EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"


@pytest.mark.usefixtures("endless")
def test_a_login_runs_out_and_is_renewed(
    tmp_path: Path, server: str, door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    study = in_bucket(tmp_path, server, 3)
    there = door.port
    with driven(study), refusing(EXPIRED, {}) as nobody:
        worker(study)
        monkeypatch.setenv("DUMMY_EPOCHS", "3")
        door.leads_to(nobody)
        wait_for(lambda: "ExpiredToken" in caplog.text or "expired" in said(study), LONG_S)
        door.leads_to(there)
        for number in (0, 1):
            worker(study, number=number).terminate()
    counts = check_exactly_once(study, 3)
    assert {*states(study), *states(study, 1)} == {"PREEMPTED", "SUCCEEDED"}
    record_fault("login of a store expired", "403 ExpiredToken to driver and workers for a while", counts)


def said(study: Study) -> str:
    """Return what the driver says of its trouble."""
    return json.dumps(study.ledger().driver(study.name))


@pytest.mark.usefixtures("endless")
def test_a_job_is_started_twice_and_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = in_folder(tmp_path, 1)
    with driven(study):
        first = worker(study)
        monkeypatch.setenv("DUMMY_EPOCHS", "4")
        again = subprocess.Popen(first.cmdline())
        assert again.wait(LONG_S) == 0
        wait_for(lambda: ended(first), LONG_S)
    counts = check_exactly_once(study, 1)
    assert box(study).newest_run(1) == 2
    assert states(study) == ["SUCCEEDED"]
    record_fault("duplicate start with a store", "the command of a running carrier started again", counts)


@pytest.mark.usefixtures("door")
def test_two_starts_of_a_job_both_have_a_result_and_one_counts(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUMMY_EPOCHS", "300")
    study = in_bucket(tmp_path, server, 1, "site.policy.lease_s=100")
    with driven(study):
        first = worker(study)
        [training] = first.children()[0].children()
        first.send_signal(signal.SIGSTOP)
        wait_for(lambda: ended(training), LONG_S)
        again = subprocess.Popen(first.cmdline())
        assert again.wait(LONG_S) == 0
        first.send_signal(signal.SIGCONT)
        wait_for(lambda: ended(first), LONG_S)
    counts = check_exactly_once(study, 1)
    assert states(study) == ["SUCCEEDED"]
    assert (box(study).result() or {})["metrics"]["pid"] != training.pid
    record_fault("two results in a store", "two starts committed; If-None-Match let the first one count", counts)


@pytest.mark.usefixtures("endless")
def test_a_study_is_stopped_and_goes_on_from_the_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = in_folder(tmp_path, 2)
    with ThreadPoolExecutor(1) as pool:
        end = pool.submit(drive, study)
        for number in (0, 1):
            worker(study, number=number)
        study.stop("checkpoint")
        assert not end.result(LONG_S)
    done = [len(epochs(study, number=number)) for number in (0, 1)]
    monkeypatch.setenv("DUMMY_EPOCHS", str(max(done) + 2))
    study.go_on()
    assert drive(study)
    counts = check_exactly_once(study, 2)
    for number in (0, 1):
        assert states(study, number) == ["CANCELLED", "SUCCEEDED"]
        assert epochs(study, 2, number) == list(range(1, max(done) + 3))
    record_fault("study stopped with a store", "stop, then resume: from the checkpoints in the store", counts)


def test_all_in_the_store_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUMMY_EPOCHS", "40")
    study = in_folder(tmp_path, 3)
    with driven(study):
        worker(study)
        shutil.rmtree(tmp_path / "store")
    counts = check_exactly_once(study, 3)
    record_fault("store emptied", "all objects removed while units ran", counts)


def test_a_driver_is_killed_at_random_moments(tmp_path: Path) -> None:
    study = in_folder(tmp_path, 8, "site.policy.lease_s=30")
    for wanted in (1, 2, 4):
        with driver_process(study):
            wait_for(partial(has_results, study, wanted), LONG_S)
    assert drive(study)
    counts = check_exactly_once(study, 8)
    assert counts["attempts"] == 8
    record_fault("driver of a store killed", "SIGKILL each time a result has come", counts)


def has_results(study: Study, number: int) -> bool:
    """Return whether so many results have come."""
    return len(list(study.folder.glob("units/*/result.json"))) >= number
