"""Object stores and folders as mailboxes: what is asked for, what is brought, and what is said where it cannot be."""

import importlib.util
import json
import re
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.object_store import Door, make_bucket, object_store, who_we_are
from wirecell_ml.errors import ConfigError, SubmitError
from wirecell_ml.submit import objects as objects_module
from wirecell_ml.submit.backend import Expired, Unavailable
from wirecell_ml.submit.job import Batch, Resources
from wirecell_ml.submit.letters import write_letter
from wirecell_ml.submit.mailbox import LARGEST_BYTES, UnitBox
from wirecell_ml.submit.objects import Away, Objects, Stored, open_objects
from wirecell_ml.submit.parcel import Entry
from wirecell_ml.submit.post import Address, Shared, make_post
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.store import Store
from wirecell_ml.submit.store_worker import StoreCourier

SENDER = "s-a1b2c3-0"
RESULT = {"end": "done", "metrics": {"val/dice": 0.5}, "attempt": 1, "token": SENDER}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with object_store() as address:
        yield address


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a folder in a bucket of the test's own."""
    for name, value in who_we_are(server).items():
        monkeypatch.setenv(name, value)
    return f"s3://{make_bucket(server)}/of/mine"


@pytest.fixture(params=["file", "s3"])
def mailbox(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a mailbox of either kind."""
    return f"file://{tmp_path}/store" if request.param == "file" else str(request.getfixturevalue("bucket"))


@pytest.fixture
def objects(mailbox: str) -> Objects:
    return open_objects(mailbox, {})


def at(mailbox: str | None) -> Site:
    return Site(name="far", kind="local", mailbox=mailbox)


def sent(folder: Path, mailbox: str) -> tuple[Store, Address, StoreCourier]:
    """Return both ends of a unit that has been sent."""
    box = UnitBox(folder / "study" / "units" / "000007")
    box.prepare("", {"minutes": 5}, {})
    box.raise_fence(1)
    store, address = Store(at(mailbox)), Address(box, 1)
    batch = Batch.of("study", [["python", "-m", "unit"]], Resources(), folder / "study" / "jobs")
    [job] = store.pack(batch, [address]).jobs
    return store, address, StoreCourier(job.command[-2], Entry(SENDER, (), "000007", 1, None))


def test_a_preview_is_what_is_submitted_and_brings_nothing(mailbox: str, tmp_path: Path) -> None:
    store, address, _ = sent(tmp_path / "first", mailbox)
    batch = Batch.of("study", [["python", "-m", "unit"]], Resources(), tmp_path / "other" / "jobs")
    before = store.objects.find("other")
    [shown] = store.preview(batch).jobs
    assert (store.objects.find("other"), (tmp_path / "other").exists()) == (before, False)
    batch.folder.mkdir(parents=True)
    [job] = store.pack(batch, [address]).jobs
    assert shown.command[:-2] + shown.command[-1:] == job.command[:-2] + job.command[-1:]
    drawn = re.compile(r"other-[0-9a-f]{16}")
    assert drawn.sub("other", shown.command[-2]) == drawn.sub("other", job.command[-2])


# Objects


def test_objects_are_found_by_their_folder(objects: Objects) -> None:
    objects.write({"a/1": b"one", "a/b/2": b"", "ab/3": b"three"})
    assert {name: one.size for name, one in objects.find("a").items()} == {"a/1": 3, "a/b/2": 0}
    assert objects.find("nothing") == {}


def test_another_content_is_another_version(objects: Objects) -> None:
    objects.write({"a/1": b"one"})
    before = objects.find("a")
    assert objects.find("a") == before
    objects.write({"a/1": b"two"})
    assert objects.find("a") != before


def test_what_is_not_there_or_empty_is_read_as_such(objects: Objects) -> None:
    objects.write({"a/1": b"one", "a/2": bytes(2 * LARGEST_BYTES)})
    read = objects.read(["a/1", "a/2", "a/3"])
    assert read.keys() == {"a/1", "a/2"}
    assert read["a/1"] == b"one"
    assert len(read["a/2"]) == LARGEST_BYTES + 1, "no more than is needed to see that it is too large"
    assert objects.read([]) == {}


def test_of_eight_that_create_an_object_at_once_one_does(objects: Objects) -> None:
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda number: objects.create("units/7/result.json", b"%d" % number), range(8)))
    assert said.count(True) == 1
    assert objects.read(["units/7/result.json"]) == {"units/7/result.json": b"%d" % said.index(True)}


def test_objects_that_are_removed_are_gone_and_may_have_been(objects: Objects) -> None:
    objects.write({"a/1": b"one", "a/2": b"two"})
    objects.remove(["a/1"])
    objects.remove(["a/1"])
    objects.remove([])
    assert objects.find("a").keys() == {"a/2"}


def test_files_come_back_as_they_were(objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(bytes(range(256)) * 100_000)
    objects.upload(tmp_path / "here", "a/1")
    objects.download("a/1", tmp_path / "there")
    assert (tmp_path / "there").read_bytes() == (tmp_path / "here").read_bytes()
    with pytest.raises(FileNotFoundError):
        objects.download("a/2", tmp_path / "there")


def test_a_store_that_does_not_answer_is_away(bucket: str) -> None:
    door = Door()
    door.close()
    away = open_objects(bucket, {"AWS_ENDPOINT_URL": door.address})
    for use in (
        lambda: away.find("a"),
        lambda: away.read(["a"]),
        lambda: away.write({"a": b""}),
        lambda: away.create("a", b""),
        lambda: away.remove(["a"]),
    ):
        with pytest.raises(Away, match="connect"):
            use()


# Both ends


def test_what_the_driver_tells_is_heard(tmp_path: Path, mailbox: str) -> None:
    store, address, courier = sent(tmp_path, mailbox)
    assert courier.claim() == 1
    news = courier.receive()
    assert (news.fence, news.stop, news.start, news.result) == (0, None, 1, None)
    address.box.raise_fence(3)
    address.box.stop("pruned")
    store.tell(SENDER, address)
    news = courier.receive()
    assert (news.fence, news.stop) == (3, "pruned")
    address.box.commit(RESULT)
    store.tell(SENDER, address)
    assert courier.receive().result == address.box.result()


def test_a_later_attempt_is_packed_with_its_fence(tmp_path: Path, mailbox: str) -> None:
    store, address, courier = sent(tmp_path, mailbox)
    address.box.raise_fence(2)
    batch = Batch.of("study", [["python", "-m", "unit"]], Resources(), tmp_path / "study" / "jobs")
    store.pack(batch, [Address(address.box, 2)])
    assert courier.receive().fence == 2


def test_each_start_has_a_number_of_its_own(tmp_path: Path, mailbox: str) -> None:
    _, _, courier = sent(tmp_path, mailbox)
    another = StoreCourier(f"{courier_root(courier, mailbox)}/jobs/x.tar.gz", courier.entry)
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(lambda one: one.claim(), [courier, another])) == [1, 2]
    assert courier.receive().start == 2


def courier_root(courier: StoreCourier, mailbox: str) -> str:
    """Return the address of the study of a courier."""
    [study] = {name.partition("/")[0] for name in open_objects(mailbox, {}).find("")}
    assert courier.objects
    return f"{mailbox}/{study}"


def test_a_commit_whose_answer_was_lost_counts(tmp_path: Path, mailbox: str) -> None:
    _, _, courier = sent(tmp_path, mailbox)
    assert courier.commit(RESULT)
    assert courier.commit(RESULT)
    assert not courier.commit(RESULT | {"metrics": {"val/dice": 0.9}})


class Counted:
    """Objects that count what is asked of them."""

    def __init__(self, objects: Objects) -> None:
        self.objects, self.asked = objects, list[str]()

    def find(self, prefix: str) -> dict[str, Stored]:
        self.asked.append("find")
        return self.objects.find(prefix)

    def read(self, names: Collection[str]) -> dict[str, bytes]:
        self.asked.append(f"read {len(names)}")
        return self.objects.read(names)

    def write(self, texts: Mapping[str, bytes]) -> None:
        self.asked.append("write")
        self.objects.write(texts)

    def create(self, name: str, text: bytes) -> bool:
        return self.objects.create(name, text)

    def remove(self, names: Collection[str]) -> None:
        self.asked.append(f"remove {len(names)}")
        self.objects.remove(names)

    def upload(self, path: Path, name: str) -> None:
        self.objects.upload(path, name)

    def download(self, name: str, path: Path) -> None:
        self.objects.download(name, path)


def letter(folder: Path, token: str, number: int, **result: object) -> bytes:
    """Write a letter of a worker."""
    box = UnitBox(folder / token)
    (box.attempt(1) / "run-1").mkdir(parents=True, exist_ok=True)
    if result:
        box.commit(RESULT | {"token": token} | result)
    return write_letter(box, 1, 1, token, number)


def test_a_hundred_units_are_asked_for_with_one_request(tmp_path: Path, mailbox: str) -> None:
    store, address, courier = sent(tmp_path, mailbox)
    store.objects = counted = Counted(store.objects)
    boxes = {f"s-a1b2c3-{number}": UnitBox(address.box.folder.parent / f"{number:06d}") for number in range(100)}
    addresses = {token: Address(box, 1) for token, box in boxes.items()}
    write = {f"letters/{token}/1.json": letter(tmp_path, token, 1) for token in boxes}
    courier.objects.write(write)
    store.collect(addresses)
    assert counted.asked == ["find", "read 100", "remove 0"]
    store.collect(addresses)
    assert counted.asked[3:] == ["find", "read 0", "remove 0"]
    courier.objects.write({f"letters/{SENDER}/1.json": letter(tmp_path, SENDER, 2)})
    store.collect(addresses)
    assert counted.asked[6:] == ["find", "read 1", "remove 0"]


def test_what_has_been_taken_in_is_removed_and_a_restarted_driver_loses_nothing(tmp_path: Path, mailbox: str) -> None:
    store, address, courier = sent(tmp_path, mailbox)
    courier.claim()
    courier.send(letter(tmp_path, SENDER, 1))
    store.collect({SENDER: address})
    assert len(courier.objects.find("letters")) == 1
    courier.send(letter(tmp_path, SENDER, 2, seconds=3.0))
    (tmp_path / "files.tar.gz").write_bytes(b"not needed here")
    courier.deliver(tmp_path / "files.tar.gz", 1)
    Store(at(mailbox)).collect({SENDER: address})
    assert (address.box.result() or {})["seconds"] == 3.0
    assert courier.objects.find("letters") == {}


def test_studies_of_one_name_share_nothing(tmp_path: Path, mailbox: str) -> None:
    _, _, first = sent(tmp_path / "a", mailbox)
    _, address, second = sent(tmp_path / "b", mailbox)
    assert first.commit(RESULT)
    assert second.receive().result is None
    assert second.commit(RESULT)
    assert (address.box.folder.parents[1] / ".mailbox").read_text().startswith("study-")


def test_the_code_of_a_study_is_brought_once_and_again_where_it_is_gone(tmp_path: Path, mailbox: str) -> None:
    store, address, _ = sent(tmp_path, mailbox)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "COMMIT").write_text("x")
    words = [["env", f"PYTHONPATH={tmp_path}/code", "python", "-m", "unit"]]

    def code() -> list[str]:
        store.pack(Batch.of("study", words, Resources(), tmp_path / "study" / "jobs"), [address])
        return [name for name in open_objects(mailbox, {}).find("") if "/code/" in name]

    before = code()
    assert len(before) == 1
    assert code() == before
    open_objects(mailbox, {}).remove(before)
    assert code() == before


def test_what_would_be_sent_names_no_secret(tmp_path: Path, bucket: str) -> None:
    store, address, _ = sent(tmp_path, bucket)
    batch = Batch.of("study", [["python", "-m", "unit"]], Resources(), tmp_path / "study" / "jobs")
    [job] = store.pack(batch, [address]).jobs
    assert job.command[1:4] == ("-P", "-m", "wirecell_ml.submit.carrier")
    assert job.command[4].startswith(f"{bucket}/study-")
    assert job.command[5] == job.token == batch.jobs[0].token
    assert "tests" not in " ".join(job.command[4:])


# What is said


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("s4://bucket", r"site.mailbox: 's4' is not known. Did you mean 's3'\? Known here: file, gs, idds\+http"),
        ("bucket", "site.mailbox: 'bucket' is not known"),
        ("s3://key:secret@bucket/x", "an address holds no name, password or option"),
        ("s3://bucket/x?token=secret", "an address holds no name, password or option"),
        ("s3://", "site.mailbox=s3://: this leads nowhere. Write for example s3://bucket/folder"),
    ],
)
def test_an_address_that_cannot_be_is_an_error(address: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        make_post(at(address))
    assert "secret" not in str(error.value)


def test_without_a_mailbox_the_folder_is_shared() -> None:
    assert isinstance(make_post(at(None)), Shared)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        objects_module, "find_spec", lambda name: None if name == "s3fs" else importlib.util.find_spec(name)
    )
    with pytest.raises(ConfigError, match=r"s3:// needs the package s3fs. Type: pip install 'wirecell_ml\[s3\]'"):
        make_post(at("s3://bucket/x"))


def test_a_mailbox_that_can_be_written_and_read_is_taken(mailbox: str, objects: Objects) -> None:
    make_post(at(mailbox)).check()
    assert objects.find("") == {}


@pytest.mark.usefixtures("bucket")
def test_a_bucket_that_is_not_there_is_an_error() -> None:
    with pytest.raises(SubmitError, match=r"site\.mailbox=s3://no-such-bucket-at-all/x: no such bucket"):
        make_post(at("s3://no-such-bucket-at-all/x")).check()


def test_nobody_s_login_is_an_error(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SubmitError, match=r"credentials.* Name a login that may write there"):
        make_post(at(bucket)).check()


def test_a_profile_that_is_not_there_is_an_error(bucket: str, tmp_path: Path) -> None:
    site = Site(name="far", kind="local", mailbox=bucket, environment={"AWS_PROFILE": "nobody", "HOME": str(tmp_path)})
    with pytest.raises(SubmitError, match="nobody"):
        make_post(site).check()


def test_a_store_that_is_away_changes_nothing(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door()
    monkeypatch.setenv("AWS_ENDPOINT_URL", door.address)
    store, address, _ = sent(tmp_path, bucket)
    before = sorted(tmp_path.rglob("*"))
    door.close()
    for use in (
        store.check,
        lambda: store.collect({SENDER: address}),
        lambda: store.tell(SENDER, address),
    ):
        with pytest.raises(Unavailable, match=f"{bucket}: .*connect") as error:
            use()
        assert not isinstance(error.value, Expired)
    assert sorted(tmp_path.rglob("*")) == before


def test_marks_that_no_driver_writes_are_no_news(tmp_path: Path, mailbox: str) -> None:
    _, _, courier = sent(tmp_path, mailbox)
    for mark in (b"{", b"[]", b"x" * 2_000_000, json.dumps({"more": 1}).encode()):
        courier.objects.write({"units/000007/mark.json": mark})
        assert courier.receive().fence == 0
