"""What can go wrong on AWS Batch, done to moto with machines of the tests' own: every trial ends exactly once."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.aws_batch import DEFINITION, QUEUE, REGION, aws_batch, waiting
from tests.cluster import runner
from tests.driving import (
    LONG_S,
    at_work,
    attempts,
    driven,
    ended,
    follows,
    long,
    silent,
    starts,
    states,
    token_of,
    trouble,
    went_on,
)
from tests.object_store import Door, refusing
from tests.sweeping import check_exactly_once, order, record_fault, wait_for
from wirecell_ml.submit.study import Study


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with aws_batch(machines=True) as address:
        yield address


@pytest.fixture
def door(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """The way that the driver takes to AWS."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    door = Door(int(moto.rpartition(":")[2]))
    yield door
    door.close()


def ordered(folder: Path, door: Door, name: str, *settings: str) -> Study:
    """Write a study whose units are jobs of AWS Batch that see its folder."""
    where = (f"site.aws.region={REGION}", f"site.aws.queue={QUEUE}", f"site.aws.definition={DEFINITION}")
    here = (f"site.aws.endpoint='{door.address}'", f"site.python={sys.executable}", "site.container=null")
    size = ("site.name=cloud", "site.resources.cores=1", "site.policy.lease_s=20")
    return order(folder, *where, *here, *size, *settings, name=name, site="aws")


def test_worker_lost(tmp_path: Path, door: Door) -> None:
    study = ordered(tmp_path, door, "lost", "trials=2", *long(30, 0.1))
    with driven(study):
        at_work(study, 0)
        runner(token_of(study, 0)).kill()
    counts = check_exactly_once(study, 2)
    assert states(study) == ["LOST", "SUCCEEDED"]
    assert counts == {"trials": 2, "attempts": 3, "done": 2, "lost": 0, "doubled": 0}
    record_fault("worker lost, AWS", "SIGKILL of a runner; Batch says FAILED", counts)


def test_machine_taken_back(tmp_path: Path, door: Door) -> None:
    study = ordered(tmp_path, door, "taken", "trials=2", *long(40, 0.1))
    with driven(study):
        at_work(study, 0)
        runner(token_of(study, 0)).terminate()
    counts = check_exactly_once(study, 2)
    assert states(study) == ["PREEMPTED", "SUCCEEDED"]
    assert went_on(study, 0), "from its checkpoint"
    record_fault("job evicted, AWS", "SIGTERM to a job, as where a spot machine is taken back", counts)


def test_job_started_twice(tmp_path: Path, door: Door) -> None:
    study = ordered(tmp_path, door, "twice", "trials=1", *long(60, 0.1))
    with driven(study):
        at_work(study, 0)
        first = runner(token_of(study, 0))
        again = subprocess.Popen(first.cmdline(), env=first.environ())
        wait_for(lambda: ended(first), LONG_S)
        assert again.wait(LONG_S) == 0
    counts = check_exactly_once(study, 1)
    assert counts == {"trials": 1, "attempts": 1, "done": 1, "lost": 0, "doubled": 0}
    assert starts(study, 0) == 2
    assert not (study.order().box(0).attempt(1) / "run-1" / "summary.json").exists(), "the first stopped"
    record_fault("job started twice, AWS", "the command of a running job is started again", counts)


def test_service_away(tmp_path: Path, door: Door) -> None:
    study = ordered(tmp_path, door, "away", "trials=6", "site.in_flight=2", *long(10, 0.1))
    with driven(study):
        at_work(study, 0, 1)
        with door.closed(3):
            wait_for(lambda: silent(study), LONG_S)
    counts = check_exactly_once(study, 6)
    assert counts == {"trials": 6, "attempts": 6, "done": 6, "lost": 0, "doubled": 0}
    record_fault("AWS Batch away", "no connection while units run and end", counts)


EXPIRED = b'{"message": "The security token included in the request is expired"}'


def test_login_expires(tmp_path: Path, door: Door) -> None:
    study = ordered(tmp_path, door, "expired", "trials=6", "site.in_flight=2", *long(10, 0.1))
    there = door.port
    with driven(study), refusing(EXPIRED, {"x-amzn-errortype": "ExpiredTokenException"}) as nobody:
        at_work(study, 0, 1)
        door.leads_to(nobody)
        wait_for(lambda: "aws sso login" in trouble(study), LONG_S)
        assert study.order().box(5).result() is None, "there was no work left"
        door.leads_to(there)
    counts = check_exactly_once(study, 6)
    assert counts == {"trials": 6, "attempts": 6, "done": 6, "lost": 0, "doubled": 0}
    record_fault("login expired, AWS", "403 ExpiredTokenException for a while, then a good one", counts)


def test_no_machine_for_ever(tmp_path: Path, door: Door) -> None:
    study = ordered(tmp_path, door, "pending", "trials=2", "site.policy.queue_minutes=0.1")
    with driven(study), waiting():
        wait_for(lambda: "CANCELLED" in follows(study, "SUBMITTED"), LONG_S)
    counts = check_exactly_once(study, 2)
    assert counts["done"] == 2
    assert [str(one.state) for one in attempts(study)][-1] == "SUCCEEDED"
    record_fault(
        "job pending for ever, AWS", "no machine takes jobs; cancelled after queue_minutes, sent again", counts
    )
