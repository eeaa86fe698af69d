"""The backend of PanDA keeps the promises, on the stand-in of panda_standin.py, or on a real server.

  make test-panda PANDA_URL=https://HOST:PORT PANDA_AUTH_VO=VO PANDA_QUEUE=QUEUE PANDA_WORKING_GROUP=GROUP

Its workers must see the folder of the tests.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.backend_contract import SLOW, SMALL, TELL, Contract, batch_of, tokens, units, written
from tests.panda_pilot import Pilots, pilots_of
from tests.panda_standin import Standin, standin_at
from tests.records import RECORDS, STUDY, check_record, read_site
from tests.sweeping import wait_for
from wirecell_ml.errors import SubmitError
from wirecell_ml.submit.backend import Expired, Refused, Unavailable, make_backend
from wirecell_ml.submit.job import Batch, Job
from wirecell_ml.submit.local import RUNNER
from wirecell_ml.submit.site import Container, PandaSettings, Site
from wirecell_ml.submit.states import JobState

REAL = os.environ.get("PANDA_URL", "")


@pytest.fixture(scope="module")
def standin() -> Iterator[Standin]:
    """A server that only the tests of this file use."""
    if REAL:
        pytest.skip("a test of the stand-in")
    with standin_at() as standin:
        yield standin


@pytest.fixture(scope="module")
def pilots(standin: Standin) -> Iterator[Pilots]:
    """Its pilots: three jobs at once."""
    with pilots_of(standin, 3) as pilots:
        yield pilots


@pytest.fixture
def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The stand-in as a site, for a user who is logged in; whatever was asked of it, a real server takes."""
    if REAL:
        yield real_site()
        return
    standin: Standin = request.getfixturevalue("standin")
    request.getfixturevalue("pilots")
    monkeypatch.setenv("PANDA_AUTH_ID_TOKEN", standin.issuer.mint())
    yield site_of(standin)
    assert standin.wrongs == []


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    """A server without pilots."""
    with standin_at() as standin:
        monkeypatch.setenv("PANDA_AUTH_ID_TOKEN", standin.issuer.mint())
        yield standin
        assert standin.wrongs == []


def site_of(standin: Standin) -> Site:
    """Return a stand-in as a site."""
    panda = PandaSettings(url=standin.address, vo="dune", queue="TEST_QUEUE", working_group="DUNE")
    return Site(name="grid", kind="panda", python=sys.executable, panda=panda)


def real_site() -> Site:
    """Return the server that the environment names, as panda-client is told it, as a site."""
    panda = PandaSettings(
        url=REAL,
        vo=os.environ["PANDA_AUTH_VO"],
        queue=os.environ["PANDA_QUEUE"],
        working_group=os.environ["PANDA_WORKING_GROUP"],
    )
    return Site(name="grid", kind="panda", python=sys.executable, panda=panda)


def sent(site: Site, folder: Path, number: int) -> Batch:
    """Return a batch of jobs that would sleep, sent."""
    batch = batch_of(folder, [["sleep", "600"]] * number)
    make_backend(site).submit(batch)
    return batch


class TestPanda(Contract):
    """The promises of every backend."""


def test_a_batch_is_one_task_found_by_its_name(idle: Standin, tmp_path: Path) -> None:
    batch = sent(site_of(idle), tmp_path, 3)
    task = idle.task(batch.name)
    wait_for(lambda: task.status == "running")
    assert list(idle.panda.tasks.values()) == [task]
    assert list(task.files) == tokens(batch)
    assert set(make_backend(site_of(idle)).states(tokens(batch)).values()) == {JobState.WAITING}


def test_a_batch_that_is_sent_twice_is_there_once(idle: Standin, tmp_path: Path) -> None:
    batch = sent(site_of(idle), tmp_path, 2)
    make_backend(site_of(idle)).submit(batch)
    wait_for(lambda: idle.task(batch.name).status == "running")
    make_backend(site_of(idle)).submit(batch)
    assert len(idle.panda.tasks) == 1
    assert len(idle.panda.jobs) == 2


def test_a_submission_whose_answer_is_lost_is_found_by_its_token(idle: Standin, tmp_path: Path) -> None:
    idle.panda.faults.lose_answers = 1
    batch = batch_of(tmp_path, [["true"]])
    backend = make_backend(site_of(idle))
    with pytest.raises(Unavailable, match="does not answer"):
        backend.submit(batch)
    wait_for(lambda: backend.states(tokens(batch)) == {tokens(batch)[0]: JobState.WAITING})


def test_of_an_exhausted_task_what_never_ran_is_held(idle: Standin, tmp_path: Path) -> None:
    idle.panda.jobs_at_once = 0
    batch = sent(site_of(idle), tmp_path, 2)
    backend, task = make_backend(site_of(idle)), idle.task(batch.name)
    wait_for(lambda: task.status == "running")
    task.status, task.error = "exhausted", "no queue takes it"
    assert backend.states(tokens(batch)) == dict.fromkeys(tokens(batch), JobState.HELD)
    assert backend.explain(tokens(batch)[0]) == "task 1 exhausted, input ready: no queue takes it"
    backend.cancel(tokens(batch))
    wait_for(lambda: set(backend.states(tokens(batch)).values()) == {JobState.ENDED})


def test_of_a_task_that_failed_in_part_every_job_has_ended(site: Site, standin: Standin, tmp_path: Path) -> None:
    batch = batch_of(tmp_path, [["true"], ["false"]])
    backend = make_backend(site)
    backend.submit(batch)
    good, bad = tokens(batch)
    wait_for(lambda: set(backend.states(tokens(batch)).values()) == {JobState.ENDED}, 120)
    assert standin.task(batch.name).status == "finished"
    assert "finished" in backend.explain(good)
    assert "failed, pilot 1305: payload ended with" in backend.explain(bad)


def test_a_job_whose_memory_ran_out_says_so(site: Site, pilots: Pilots, tmp_path: Path) -> None:
    batch = batch_of(tmp_path, [["false"]])
    backend = make_backend(site)
    pilots.memory_short = True
    try:
        backend.submit(batch)
        wait_for(lambda: backend.states(tokens(batch)) == {tokens(batch)[0]: JobState.OUT_OF_MEMORY}, 120)
    finally:
        pilots.memory_short = False


def test_of_a_task_that_runs_in_part_each_job_has_its_own_state(site: Site, tmp_path: Path) -> None:
    _, batch = units(tmp_path, 6)
    backend = make_backend(replace(site, environment=SLOW))
    backend.submit(batch)
    states: dict[str, JobState] = {}

    def in_part() -> bool:
        states.update(backend.states(tokens(batch)))
        return list(states.values()).count(JobState.RUNNING) == 3

    wait_for(in_part, 120)
    waiting = [token for token, state in states.items() if state is JobState.WAITING]
    assert len(waiting) == 3
    backend.cancel(waiting[:1])
    wait_for(lambda: backend.states(waiting)[waiting[0]] is JobState.ENDED, 120)
    backend.cancel(tokens(batch))
    wait_for(lambda: set(backend.states(tokens(batch)).values()) == {JobState.ENDED}, 120)


def test_secrets_that_a_user_left_with_panda_are_variables_of_jobs_that_ask_for_them(
    site: Site, standin: Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standin.panda, "secrets", {"A_KEY": "that opens something"})
    assert site.panda
    for secrets, seen in ((False, None), (True, "that opens something")):
        tell = TELL.format("[os.environ.get('A_KEY')]")
        batch = batch_of(tmp_path, [[sys.executable, "-c", tell, str(tmp_path / str(secrets))]])
        backend = make_backend(replace(site, panda=replace(site.panda, secrets=secrets)))
        backend.submit(batch)
        assert written(tmp_path / str(secrets)) == [seen]
        assert "that opens" not in backend.render(batch)


def test_shell_lines_come_before_a_job(site: Site, tmp_path: Path) -> None:
    tell = [sys.executable, "-c", TELL.format("[os.environ['FLAVOUR'], sys.argv[2]]"), str(tmp_path / "0"), "a  b"]
    backend = make_backend(replace(site, setup=["flavour() { echo strange; }", "export FLAVOUR=$(flavour)"]))
    backend.submit(batch_of(tmp_path, [tell]))
    assert written(tmp_path / "0") == ["strange", "a  b"]


def test_a_thousand_jobs_are_one_task_and_two_questions(idle: Standin, tmp_path: Path) -> None:
    site = site_of(idle)
    batch = sent(site, tmp_path, 1000)
    wait_for(lambda: len(idle.panda.jobs) == 1000)
    backend = make_backend(site)
    backend.states(tokens(batch))
    idle.requests.clear()
    assert backend.states(tokens(batch)) == dict.fromkeys(tokens(batch), JobState.WAITING)
    assert idle.requests == ["task/get_details", "task/get_datasets_and_files"]


def test_a_task_that_nobody_wants_ends_as_a_whole(idle: Standin, tmp_path: Path) -> None:
    batch = sent(site_of(idle), tmp_path, 3)
    wait_for(lambda: idle.task(batch.name).status == "running")
    backend = make_backend(site_of(idle))
    backend.cancel(tokens(batch))
    wait_for(lambda: set(backend.states(tokens(batch)).values()) == {JobState.ENDED})
    assert idle.task(batch.name).status == "aborted"
    backend.cancel(tokens(batch))


def test_a_task_that_was_put_down_and_not_looked_at_waits(idle: Standin, tmp_path: Path) -> None:
    idle.panda.faults.asleep = True
    backend = make_backend(site_of(idle))
    batch = batch_of(tmp_path, [["true"]])
    backend.submit(batch)
    assert backend.states(tokens(batch)) == {tokens(batch)[0]: JobState.WAITING}
    assert "has not looked at it yet" in backend.explain(tokens(batch)[0])
    assert make_backend(site_of(idle)).states(tokens(batch)) == {}, "only its name is down, which nobody can ask for"


def test_a_broken_task_is_held_and_says_why(idle: Standin, tmp_path: Path) -> None:
    idle.panda.faults.refine_error = "no such transformation"
    batch = sent(site_of(idle), tmp_path, 2)
    backend = make_backend(site_of(idle))
    wait_for(lambda: backend.states(tokens(batch)) == dict.fromkeys(tokens(batch), JobState.HELD))
    assert backend.explain(tokens(batch)[0]) == "task 1 broken, input not there: no such transformation"


@pytest.mark.parametrize(
    "details", [None, [], {}, {"status": "running"}, {"statistics": 1, "status": 2, "PandaID": "x"}]
)
def test_an_answer_that_cannot_be_read_says_nothing_of_a_job(
    idle: Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, details: object
) -> None:
    batch = sent(site_of(idle), tmp_path, 1)
    wait_for(lambda: idle.task(batch.name).status == "running")
    monkeypatch.setattr(idle, "details", lambda **_: (True, "", details))
    with pytest.raises(Unavailable, match="not PanDA's"):
        make_backend(site_of(idle)).states(tokens(batch))


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_server_out_of_order_is_unavailable(idle: Standin, status: int) -> None:
    idle.panda.faults.broken = status
    with pytest.raises(Unavailable, match=f"answers {status}"):
        make_backend(site_of(idle)).states(["a-0000000000-0"])


def test_a_server_that_is_down_is_unavailable(idle: Standin, tmp_path: Path) -> None:
    idle.panda.faults.down = True
    backend = make_backend(site_of(idle))
    for ask in (
        lambda: backend.states(["a-0000000000-0"]),
        lambda: backend.cancel(["a-0000000000-0"]),
        lambda: backend.submit(batch_of(tmp_path, [["true"]])),
        lambda: backend.check(SMALL),
        lambda: backend.outlook(SMALL),
    ):
        with pytest.raises(Unavailable, match="does not answer") as caught:
            ask()
        assert not isinstance(caught.value, Expired)


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"groups": ("atlas",)}, "Not a member of the dune group"),
        ({"iss": "http://elsewhere"}, "Invalid issuer"),
        ({"aud": "another"}, "Audience doesn't match"),
    ],
)
def test_a_token_that_the_server_does_not_take_is_a_login_that_has_ended(
    idle: Standin, monkeypatch: pytest.MonkeyPatch, claims: dict[str, str], said: str
) -> None:
    token = idle.issuer.mint(**claims)  # type: ignore[arg-type]
    monkeypatch.setenv("PANDA_AUTH_ID_TOKEN", token)
    with pytest.raises(Expired, match=said) as caught:
        make_backend(site_of(idle)).states(["a-0000000000-0"])
    assert token not in str(caught.value)


def test_an_expired_token_is_not_even_sent(idle: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANDA_AUTH_ID_TOKEN", idle.issuer.mint(life_s=-60))
    with pytest.raises(Expired, match="has expired"):
        make_backend(site_of(idle)).states(["a-0000000000-0"])
    assert idle.requests == []


def test_a_sandbox_that_is_too_large_is_named_before_it_is_sent(idle: Standin, tmp_path: Path) -> None:
    batch = batch_of(tmp_path, [[os.urandom(2_000_000).hex()] for _ in range(8)])
    with pytest.raises(Refused, match=r"the sandbox of 8 jobs takes 1\d MB, and PanDA takes 10 MB"):
        make_backend(site_of(idle)).submit(batch)
    assert idle.requests == []


def test_what_is_sent_names_size_place_and_container(idle: Standin, tmp_path: Path) -> None:
    site = replace(site_of(idle), gpu_model="A100", container=Container(image="docker://example.org/ml@sha256:0123"))
    size = replace(SMALL, cores=4, memory_gb=6.0, gpus=1, minutes=90)
    task = json.loads(make_backend(site).render(batch_of(tmp_path, [["true"]], size)))["task"]
    assert (task["coreCount"], task["ramCount"], task["ramUnit"]) == (4, 1500, "MBPerCore")
    assert (task["walltime"], task["maxWalltime"]) == (5400, 2)
    assert json.loads(task["architecture"]) == {"gpu_spec": {"vendor": "nvidia", "model": ".*A100.*"}}
    assert task["container_name"] == "docker://example.org/ml@sha256:0123"
    assert (task["site"], task["workingGroup"], task["maxAttempt"]) == ("TEST_QUEUE", "DUNE", 1)


def test_a_container_that_can_change_is_refused(idle: Standin) -> None:
    site = replace(site_of(idle), container=Container(image="example.org/ml:latest"))
    with pytest.raises(SubmitError, match="Name it by digest"):
        make_backend(site).check(SMALL)


@pytest.mark.parametrize(
    ("queue", "said"),
    [
        ("TEST_QEUE", r"has no queue 'TEST_QEUE'. Did you mean 'TEST_QUEUE'\?"),
        ("CLOSED_QUEUE", "queue CLOSED_QUEUE of grid is not online"),
    ],
)
def test_a_queue_that_takes_nothing_is_named(idle: Standin, queue: str, said: str) -> None:
    site = site_of(idle)
    assert site.panda
    with pytest.raises(SubmitError, match=said):
        make_backend(replace(site, panda=replace(site.panda, queue=queue))).check(SMALL)


def test_the_outlook_is_what_waits_over_what_runs(idle: Standin, tmp_path: Path) -> None:
    batch = sent(site_of(idle), tmp_path, 6)
    wait_for(lambda: all(job.status == "activated" for job in idle.panda.jobs.values()) and len(idle.panda.jobs) == 6)
    backend = make_backend(site_of(idle))
    assert backend.outlook(SMALL) is None, "nothing runs, and nobody knows when it will"
    for token in tokens(batch)[:2]:
        idle.job(token).status = "running"
    assert backend.outlook(SMALL) == 60 * SMALL.minutes * 4 / 2


def test_nothing_is_refused_that_only_the_server_could_not_do(
    idle: Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle.panda, "submit", lambda _: (4, "failed to register task"))
    with pytest.raises(Unavailable, match="failed to register task"):
        make_backend(site_of(idle)).submit(batch_of(tmp_path, [["true"]]))
    monkeypatch.setattr(idle.panda, "submit", lambda _: (11, "failed to find parent"))
    with pytest.raises(Refused, match="failed to find parent"):
        make_backend(site_of(idle)).submit(batch_of(tmp_path, [["true"]]))


def test_what_is_sent_is_on_record(tmp_path: Path) -> None:
    site = read_site(RECORDS / "panda" / "site.yaml")
    start = ("python3", "-P", "-m", RUNNER)
    jobs = [Job(f"roinet-0a1b2c-{n}", (*start, f"{STUDY}/units/{n:06d}", "1", f"roinet-0a1b2c-{n}")) for n in range(2)]
    batch = Batch("roinet-0a1b2c", tuple(jobs), site.resources, STUDY / "jobs")
    check_record(site, RECORDS / "panda" / "task.json", tmp_path, batch)
