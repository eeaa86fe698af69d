"""Mailboxes as messages of a real iDDS server: what is sent arrives, in whatever order and however often it comes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.carried import Elsewhere
from tests.idds_server import ORGANISATION, Server, running_server, write_token
from tests.sweeping import check_exactly_once, drive, order, wait_for
from wirecell_ml.errors import SubmitError
from wirecell_ml.hpo.trials import read_trials
from wirecell_ml.paths import PACKAGE
from wirecell_ml.submit.backend import Expired
from wirecell_ml.submit.idds import Service
from wirecell_ml.submit.job import Batch, Resources
from wirecell_ml.submit.letters import Distrusted, write_letter
from wirecell_ml.submit.mailbox import UnitBox
from wirecell_ml.submit.messages import (
    END,
    MessageCourier,
    Messages,
    fetch_parcel,
    message,
    place,
    place_of,
)
from wirecell_ml.submit.parcel import Entry
from wirecell_ml.submit.site import PandaSettings, Policy, Site


@pytest.fixture(scope="module")
def server() -> Server:
    return running_server()


@pytest.fixture
def login(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What lets this process, and those that it starts, speak with the server."""
    login = server.environment(tmp_path / "token")
    for name, value in login.items():
        monkeypatch.setenv(name, value)
    return login


@pytest.fixture
def site(server: Server, login: dict[str, str]) -> Site:
    policy = Policy(heartbeat_s=0.2, lease_s=600)
    return Site(name="far", kind="local", mailbox=server.mailbox, environment=dict(login), policy=policy)


@pytest.fixture
def elsewhere(tmp_path: Path, site: Site) -> Iterator[Elsewhere]:
    found = Elsewhere(tmp_path, site)
    yield found
    found.close()


@pytest.fixture
def pair(elsewhere: Elsewhere, server: Server) -> tuple[str, MessageCourier]:
    """A token whose attempt the driver knows, and the courier of its worker."""
    elsewhere.pack()
    (token,) = elsewhere.addresses
    return token, courier_of(server, token)


def courier_of(server: Server, token: str) -> MessageCourier:
    return MessageCourier(server.mailbox, Entry(token, (), "000007", 1, None))


def letter(elsewhere: Elsewhere, token: str, number: int, epochs: int, run: int = 1, **change: Any) -> bytes:
    """Return the letter that a worker would write after so many epochs."""
    far = elsewhere.folder / "far"
    box = UnitBox(far)
    (box.attempt(1) / f"run-{run}").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"epoch": epoch, "metrics": {"val/dice": 0.1}}) for epoch in range(1, epochs + 1)]
    (box.attempt(1) / f"run-{run}" / "progress.jsonl").write_text("".join(f"{line}\n" for line in lines))
    text = json.loads(write_letter(box, 1, run, token, number)) | change
    return json.dumps(text).encode()


def result_of(token: str, dice: float) -> dict[str, Any]:
    times = {"seconds": 1.0, "core_seconds": 1.0, "ended": 1.0}
    return {"end": "done", "metrics": {"val/dice": dice}, "attempt": 1, "token": token} | times


def test_a_preview_is_what_is_submitted_but_for_the_digest_of_its_parcel(elsewhere: Elsewhere) -> None:
    packed = elsewhere.pack()
    batch = Batch.of("far-study", [["true"]], Resources(), elsewhere.study / "jobs")
    [shown] = elsewhere.post.preview(batch).jobs
    assert shown.command[:-2] == packed[:-2]
    assert shown.command[-2] == f"{packed[-2].rpartition('/')[0]}/SHA256.tar.gz"


def test_a_unit_runs_where_it_shares_nothing_with_the_driver(elsewhere: Elsewhere) -> None:
    assert elsewhere.start().wait() == 0
    elsewhere.collect()
    assert elsewhere.result()["metrics"]["val/dice"] == pytest.approx(0.75)
    assert elsewhere.epochs() == [1, 2, 3]
    assert elsewhere.box.beat(1) is not None


def test_progress_arrives_while_a_unit_runs_and_a_stop_mark_reaches_it(elsewhere: Elsewhere) -> None:
    worker = elsewhere.start(DUMMY_EPOCHS="600", DUMMY_EPOCH_S="0.1")
    wait_for(lambda: len(elsewhere.epochs()) >= 2)
    elsewhere.box.stop("pruned")
    [(token, address)] = elsewhere.addresses.items()
    elsewhere.post.tell(token, address)
    assert worker.wait() == 0
    elsewhere.collect()
    assert elsewhere.result()["end"] == "pruned"


def test_a_fence_ends_the_attempt_before(elsewhere: Elsewhere) -> None:
    first = elsewhere.start(DUMMY_EPOCHS="600", DUMMY_EPOCH_S="0.1")
    wait_for(lambda: len(elsewhere.epochs()) >= 1)
    [(token, address)] = elsewhere.addresses.items()
    second = elsewhere.start(attempt=2)
    elsewhere.post.tell(token, address)
    assert first.wait() == second.wait() == 0
    elsewhere.collect()
    assert elsewhere.result()["attempt"] == 2


def test_a_unit_that_has_a_result_is_told_to_end(elsewhere: Elsewhere, pair: tuple[str, MessageCourier]) -> None:
    token, courier = pair
    assert courier.receive().fence == 0
    elsewhere.box.commit(result_of(token, 0.5))
    elsewhere.post.tell(token, elsewhere.addresses[token])
    assert courier.receive().fence == 2


def test_the_driver_says_a_thing_once(elsewhere: Elsewhere, pair: tuple[str, MessageCourier]) -> None:
    token, courier = pair
    for _ in range(3):
        elsewhere.post.tell(token, elsewhere.addresses[token])
    assert len(courier.words()) == 1


def test_starts_are_numbered_and_the_first_hears_of_the_second(
    server: Server, pair: tuple[str, MessageCourier]
) -> None:
    token, first = pair
    assert first.claim() == 1
    assert first.receive().start == 1
    assert courier_of(server, token).claim() == 2
    assert first.receive().start == 2


def test_letters_that_come_twice_or_in_another_order_change_nothing(
    elsewhere: Elsewhere, pair: tuple[str, MessageCourier]
) -> None:
    token, courier = pair
    for number, epochs in ((2, 2), (1, 1), (3, 3), (2, 2), (3, 3)):
        courier.send(letter(elsewhere, token, number, epochs))
    assert elsewhere.epochs() == [1, 2, 3]
    assert elsewhere.epochs() == [1, 2, 3]


def test_the_first_of_two_results_counts(elsewhere: Elsewhere, pair: tuple[str, MessageCourier]) -> None:
    token, courier = pair
    courier.send(letter(elsewhere, token, 5, 3, result=result_of(token, 0.7)))
    elsewhere.collect()
    courier.send(letter(elsewhere, token, 9, 3, run=2, result=result_of(token, 0.9)))
    elsewhere.collect()
    assert elsewhere.result()["metrics"] == {"val/dice": 0.7}


def test_a_new_driver_finds_the_ends_of_long_ago_and_the_newest_of_the_others(
    elsewhere: Elsewhere, pair: tuple[str, MessageCourier], site: Site
) -> None:
    token, courier = pair
    now = courier.service.minute()
    post(courier, letter(elsewhere, token, 7, 2), now - 5)
    elsewhere.post = Messages(site)
    assert elsewhere.epochs() == [1, 2]
    post(courier, letter(elsewhere, token, 8, 3, result=result_of(token, 0.7)), END)
    elsewhere.post = Messages(site)
    elsewhere.collect()
    assert elsewhere.result()["metrics"] == {"val/dice": 0.7}


def post(courier: MessageCourier, text: bytes, slot: object) -> None:
    """Post a letter as it would have been posted at another time."""
    courier.service.post([message(courier.token, text.decode())], *place_of(courier.token, slot))


def test_what_is_asked_for_does_not_grow_with_the_age_of_a_study(
    elsewhere: Elsewhere, pair: tuple[str, MessageCourier], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, courier = pair
    asked: list[tuple[object, ...]] = []
    real = Service.get

    def counted(service: Service, *path: object) -> Any:
        asked.append(path)
        return real(service, *path)

    monkeypatch.setattr(Service, "get", counted)
    now = courier.service.minute()
    for age in range(500):
        if age % 100 == 50:
            post(courier, letter(elsewhere, token, 500 - age, 1), now - age)
    driver = Messages(site)
    driver.collect(elsewhere.addresses)
    silence = site.policy.lease_s / 60 + 1
    assert len(asked) == silence + 2, "the ends, and as many minutes as a unit may be silent, this one too"
    asked.clear()
    driver.collect(elsewhere.addresses)
    minutes = [path[-1] for path in asked]
    assert minutes[0] == END
    assert len(minutes) <= 4, "the minutes since the last time"
    asked.clear()
    driver.collect({})
    assert asked == [], "a batch without an open attempt is asked for no more"


def test_a_batch_has_a_number_that_no_request_has_and_every_store_can_hold() -> None:
    numbers = {place(f"study-{index:010x}", None, END)[1] for index in range(10_000)}
    assert len(numbers) > 9_990
    assert all(isinstance(number, int) and 10**11 <= number < 10**12 for number in numbers)


def test_the_client_of_idds_reads_our_messages(
    elsewhere: Elsewhere, server: Server, pair: tuple[str, MessageCourier]
) -> None:
    token, courier = pair
    text = letter(elsewhere, token, 1, 2, result=result_of(token, 0.7))
    courier.send(text)
    program = (
        "import json, os, sys; from idds.client.clientmanager import ClientManager; "
        "from idds.client.messageclient import MessageClient; "
        "auth = {'auth_type': 'oidc', 'oidc_token': os.environ['TOKEN'], 'vo': os.environ['VO']}; "
        "client = MessageClient(host=sys.argv[1], auth=auth); "
        "print(json.dumps(client.get_messages(request_id=int(sys.argv[2]), workload_id=int(sys.argv[3]), "
        "transform_id='null', internal_id=sys.argv[4])))"
    )
    _, request, job, _, slot = place_of(token, END)
    words = (server.url, str(request), str(job), str(slot))
    said = server.run(program, *words, TOKEN=server.token(), VO=ORGANISATION, PYTHONWARNINGS="ignore")
    [found] = json.loads(said.splitlines()[-1])
    assert found["headers"] == {"channel": "asyncresult", "token": token}
    assert json.loads(found["body"]) == json.loads(text)


@pytest.mark.parametrize(
    "found",
    [
        "text",
        {"headers": None},
        {"headers": {"channel": "asyncresult"}, "body": "{}"},
        {"headers": {"channel": "asyncresult", "token": "TOKEN"}, "body": {"number": 1}},
        {"headers": {"channel": "asyncresult", "token": "TOKEN"}, "body": "[" * 10_000},
        {"headers": {"channel": "asyncresult", "token": "TOKEN"}, "body": '{"token": "another-0"}'},
        {"headers": {"channel": "asyncresult", "token": "another-0123456789-0"}, "body": "{}"},
    ],
)
def test_what_others_write_there_stops_nobody(
    elsewhere: Elsewhere, pair: tuple[str, MessageCourier], found: Any
) -> None:
    token, courier = pair
    strange = json.loads(json.dumps(found).replace("TOKEN", token))
    ours = message(token, letter(elsewhere, token, 1, 2).decode())
    courier.service.post([ours, strange], *place_of(token, END))
    courier.service.post(
        [message(token, "[1]"), message(token, '{"fence": true, "stop": 7, "start": {}}')], *place_of(token, "word")
    )
    assert elsewhere.epochs() == [1, 2]
    assert (courier.receive().fence, courier.receive().stop, courier.receive().start) == (0, None, 0)


def test_a_parcel_that_somebody_has_changed_is_refused(elsewhere: Elsewhere, server: Server, tmp_path: Path) -> None:
    address = elsewhere.pack()[-2]
    (token,) = elsewhere.addresses
    assert fetch_parcel(address, token, tmp_path).attempt == 1
    Service(server.mailbox).ask("POST", ["cacher", address.rpartition("/")[2]], b"something else")
    with pytest.raises(Distrusted, match="somebody has changed this parcel"):
        fetch_parcel(address, token, tmp_path)


def test_no_token_is_in_what_is_sent_with_a_job(elsewhere: Elsewhere, login: dict[str, str]) -> None:
    secret = Path(login["OIDC_AUTH_TOKEN_FILE"]).read_text()
    command = elsewhere.pack()
    assert secret not in " ".join(command)
    assert not [
        path for path in elsewhere.study.rglob("*") if path.is_file() and secret in path.read_text(errors="replace")
    ]


def test_a_site_without_an_organisation_is_refused_before_anything_is_queued(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IDDS_VO", "PANDA_AUTH_VO"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SubmitError, match=r"no virtual organisation\. Set IDDS_VO"):
        Messages(Site(name="far", kind="local", mailbox=server.mailbox)).check()


def test_at_a_site_of_panda_its_login_serves(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANDA_CONFIG_ROOT", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(server.authority))
    asked = PandaSettings(url="https://panda.example.org", vo=ORGANISATION)
    far = {"OIDC_AUTH_TOKEN_FILE": "/where/workers/have/it"}
    site = Site(name="grid", kind="panda", mailbox=server.mailbox, panda=asked, environment=far)
    with pytest.raises(Expired, match="submit login site=grid"):
        Messages(site).check()
    write_token(tmp_path / ".token", json.dumps({"id_token": server.token()}))
    Messages(site).check()


def test_a_worker_needs_nothing_but_the_standard_library(server: Server) -> None:
    program = "import sys; sys.path.insert(0, sys.argv[1]); import wirecell_ml.submit.messages, importlib.util as found"
    known = "print([name for name in ('omegaconf', 'hydra', 'torch') if found.find_spec(name)])"
    assert server.run(f"{program}; {known}", str(PACKAGE.parent)).strip() == "[]"


def test_a_site_with_a_token_is_taken(site: Site) -> None:
    Messages(site).check()


def test_a_study_runs_by_messages_alone(tmp_path: Path, server: Server, login: dict[str, str]) -> None:
    words = [f"+site.environment.{name}={value}" for name, value in login.items()]
    study = order(tmp_path, "trials=6", f"site.mailbox={server.mailbox}", *words)
    assert drive(study)
    counts = check_exactly_once(study, 6)
    assert counts["attempts"] == counts["done"] == 6
    assert {len(trial.progress) for trial in read_trials(study)} == {3}
