"""What can go wrong with a mailbox of messages, done to a real iDDS: after each fault every trial has ended once."""

import json
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.driving import LONG_S, at_work, driven, ended, long, silent, states, token_of, trouble
from tests.idds_server import Server, running_server, write_token
from tests.sweeping import check_exactly_once, driver_process, order, record_fault, wait_for
from wirecell_ml.submit.carrier import __name__ as CARRIER
from wirecell_ml.submit.idds import Service
from wirecell_ml.submit.messages import END, message, place, place_of
from wirecell_ml.submit.study import Study


@pytest.fixture(scope="module")
def server() -> Server:
    return running_server()


@pytest.fixture(autouse=True)
def login(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let drivers and workers speak with the server; the token is in a file."""
    for name, value in server.environment(tmp_path / "token").items():
        monkeypatch.setenv(name, value)


def study_of(server: Server, folder: Path, name: str, *settings: str) -> Study:
    """Write a study of dummy units, three at once, that speak by messages alone."""
    calm = ("site.policy.heartbeat_s=0.5", "site.policy.lease_s=60", "site.in_flight=3")
    return order(folder, f"site.mailbox={server.mailbox}", *calm, *settings, name=name)


def carrier_of(token: str) -> psutil.Process:
    """Return the worker of a token."""
    [found] = [one for one in psutil.process_iter(["cmdline"]) if {CARRIER, token} <= set(one.info["cmdline"] or [])]
    return found


def kill(worker: psutil.Process) -> None:
    """End a worker and all that it has started, as a lost node does."""
    for one in [worker, *worker.children(recursive=True)]:
        one.kill()


def test_service_down(server: Server, tmp_path: Path) -> None:
    study = study_of(server, tmp_path, "down", "trials=3", *long(60, 0.1))
    with driven(study):
        for _ in range(2):
            at_work(study, 0)
            with server.down():
                wait_for(lambda: silent(study), LONG_S)
    counts = check_exactly_once(study, 3)
    assert counts["attempts"] == counts["done"] == 3, "the letters were kept until it was back"
    record_fault("message service down", "iDDS is stopped twice during a sweep, and comes back", counts)


def test_token_expired(server: Server, tmp_path: Path) -> None:
    study = study_of(server, tmp_path, "expired", "trials=3", *long(60, 0.1))
    with driven(study):
        at_work(study, 0)
        write_token(tmp_path / "token", server.token(-1))
        wait_for(lambda: silent(study), LONG_S)
        said = trouble(study)
        write_token(tmp_path / "token", server.token())
    counts = check_exactly_once(study, 3)
    assert counts["attempts"] == counts["done"] == 3
    assert "Put a token in OIDC_AUTH_ID_TOKEN" in said
    record_fault("token of the message service expired", "of driver and workers, and is renewed later", counts)


def test_worker_lost(server: Server, tmp_path: Path) -> None:
    study = study_of(server, tmp_path, "lost", "trials=3", "site.policy.lease_s=5", *long(30, 0.1))
    with driven(study):
        at_work(study, 0)
        kill(carrier_of(token_of(study, 0)))
    counts = check_exactly_once(study, 3)
    assert counts["done"] == 3
    assert states(study, 0)[-1] == "SUCCEEDED"
    assert len(states(study, 0)) == 2
    record_fault("worker lost, messages", "carrier, runner and training are killed", counts)


def test_job_started_twice(server: Server, tmp_path: Path) -> None:
    study = study_of(server, tmp_path, "twice", "trials=3", *long(60, 0.1))
    with driven(study):
        at_work(study, 0)
        first = carrier_of(token_of(study, 0))
        again = subprocess.Popen(first.cmdline(), env=first.environ(), cwd=tmp_path, stderr=subprocess.DEVNULL)
        wait_for(lambda: study.order().box(0).newest_run(1) == 2, LONG_S)
        wait_for(lambda: ended(first), LONG_S)
        assert study.order().box(0).result() is None, "the first has ended, and nothing counts yet"
        assert again.wait(LONG_S) == 0
    counts = check_exactly_once(study, 3)
    assert counts["done"] == 3
    record_fault("job started twice, messages", "the same job runs again beside itself", counts)


def test_worker_evicted(server: Server, tmp_path: Path) -> None:
    study = study_of(server, tmp_path, "evicted", "trials=3", *long(30, 0.1))
    with driven(study):
        at_work(study, 0)
        carrier_of(token_of(study, 0)).send_signal(signal.SIGTERM)
        wait_for(lambda: states(study, 0)[0] == "PREEMPTED", LONG_S)
    counts = check_exactly_once(study, 3)
    assert counts["done"] == 3
    assert states(study, 0) == ["PREEMPTED", "SUCCEEDED"]
    record_fault("worker evicted, messages", "SIGTERM to the job; its note comes as a letter", counts)


def test_driver_killed(server: Server, tmp_path: Path) -> None:
    study = study_of(server, tmp_path, "driver", "trials=6", *long(20, 0.1))
    for number in (0, 3):
        with driver_process(study) as driver:
            at_work(study, number)
            assert driver.poll() is None
    with driven(study):
        pass
    counts = check_exactly_once(study, 6)
    assert counts["attempts"] == counts["done"] == 6
    record_fault("driver killed, messages", "SIGKILL twice; the next driver finds the letters of its workers", counts)


def test_every_letter_again_and_backwards(server: Server, tmp_path: Path) -> None:
    study = study_of(server, tmp_path, "again", "trials=3", *long(20, 0.1))
    service = Service(server.mailbox)
    with driven(study):
        at_work(study, 0)
        token = token_of(study, 0)
        batch = token.rpartition("-")[0]
        wait_for(lambda: study.order().box(0).result() is not None, LONG_S)
        all_of_it = service.get(*place(batch, None, "null"))
        service.post(all_of_it[::-1], *place_of(token, END))
        service.post(all_of_it[::-1], *place_of(token, service.minute()))
    counts = check_exactly_once(study, 3)
    assert counts["attempts"] == counts["done"] == 3
    epochs = [json.loads(line)["epoch"] for line in study.order().box(0).progress(1).read_text().splitlines()]
    assert epochs == list(range(1, 21))
    record_fault("letters twice and in disorder", "all messages of a batch are posted again, newest first", counts)


def test_forged_letters(server: Server, tmp_path: Path) -> None:
    study = study_of(server, tmp_path, "forged", "trials=3", *long(30, 0.1))
    service = Service(server.mailbox)
    with driven(study):
        at_work(study, 0)
        token = token_of(study, 0)
        for body in ("[" * 5000, "x" * 2_000_000, '{"token": "../../etc/passwd"}', json.dumps({"token": token})):
            service.post([message(token, body)] * 3, *place_of(token, END))
        service.post([{"headers": {"channel": "asyncresult", "token": [token]}, "body": {}}], *place_of(token, END))
    counts = check_exactly_once(study, 3)
    assert counts["attempts"] == counts["done"] == 3
    record_fault("forged letters, messages", "deep, huge, of other names, incomplete, of wrong types", counts)
