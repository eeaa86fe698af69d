"""Hostile workers: whatever one writes, it is refused and logged, and the driver goes on with the others."""

import gzip
import io
import json
import logging
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.object_store import make_bucket, object_store, who_we_are
from wirecell_ml.submit import letters
from wirecell_ml.submit.following import new_lines
from wirecell_ml.submit.letters import Distrusted, accept, read_letter, refusals
from wirecell_ml.submit.mailbox import UnitBox
from wirecell_ml.submit.objects import Objects, open_objects
from wirecell_ml.submit.parcel import archive, is_kept, unpack
from wirecell_ml.submit.post import Address
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.store import Store

SENDER, OTHER = "s-a1b2c3-0", "s-a1b2c3-1"
PATH = "../../etc/passwd"
GOOD: dict[str, Any] = {
    "token": SENDER,
    "attempt": 1,
    "run": 1,
    "number": 3,
    "beat": 5.0,
    "skipped": 0,
    "progress": ['{"epoch": 1}'],
    "note": None,
    "result": None,
}
RESULT: dict[str, Any] = {
    "end": "done",
    "metrics": {"val/dice": 0.5},
    "attempt": 1,
    "token": SENDER,
    "seconds": 2.0,
    "core_seconds": 1.0,
    "ended": 3.0,
}
NOTE = {"kind": "crashed", "message": "so it was", "seconds": 2.0, "core_seconds": 1.0, "ended": 3.0}
SECRET = "root:x:0:0"  # noqa: S105  (what must not be told)


def said(**changes: Any) -> bytes:
    return json.dumps(GOOD | changes).encode()


def with_result(**changes: Any) -> bytes:
    return said(result=RESULT | changes)


HOSTILE = {
    "nothing": b"",
    "no JSON": b"{",
    "bytes": b"\xff\xfe\x00",
    "a list": b"[]",
    "a pickle": b"\x80\x04\x95\x00.",
    "too large": said(progress=["x" * 99_000] * 11),
    "deep": b"[" * 100_000,
    "deep in a field": said(note={"kind": "crashed", "message": "", "more": json.loads("[" * 50 + "]" * 50)}),
    "a key twice": said()[:-1] + b', "attempt": 2}',
    "a metric twice": with_result().replace(b'{"val/dice": 0.5}', b'{"val/dice": 0.5, "val/dice": 0.9}'),
    "a field more": said(more=1),
    "a field less": json.dumps({name: value for name, value in GOOD.items() if name != "note"}).encode(),
    "another token": said(token=OTHER),
    "a token that is a path": said(token=PATH),
    "a token that is a number": said(token=5),
    "another attempt": said(attempt=2),
    "attempt 0": said(attempt=0),
    "an attempt that is a path": said(attempt="../1"),
    "an attempt that is true": said(attempt=True),
    "an attempt that is 1.0": said(attempt=1.0),
    "run 0": said(run=0),
    "a run that is a path": said(run="1/../../.."),
    "a run far away": said(run=5000),
    "a run with too many digits": said().replace(b'"run": 1', b'"run": ' + b"9" * 4000),
    "a run with far too many digits": said().replace(b'"run": 1', b'"run": ' + b"9" * 40_000),
    "a negative number": said(number=-1),
    "a number that is a list": said(number=[1]),
    "a beat that is NaN": said(beat=float("nan")),
    "a beat that is infinite": said().replace(b"5.0", b"1e999"),
    "a beat after all time": said(beat=1e300),
    "skipped less than nothing": said(skipped=-5),
    "progress that is text": said(progress="x" * 100),
    "progress of objects": said(progress=[{"epoch": 1}]),
    "two lines in one": said(progress=['{"epoch": 1}\n{"epoch": 2}']),
    "a line too long": said(progress=["x" * 200_000]),
    "a note that is text": said(note="crashed"),
    "a note of another kind": said(note=NOTE | {"kind": "won"}),
    "a note whose kind is a list": said(note=NOTE | {"kind": ["crashed"]}),
    "a note without words": said(note={"kind": "crashed"}),
    "a note from before time": said(note=NOTE | {"seconds": -1e9}),
    "a result that is text": said(result="done"),
    "a result of another end": with_result(end="won"),
    "a result without metrics": with_result(metrics=None),
    "metrics that are a list": with_result(metrics=[0.5]),
    "a metric that is text": with_result(metrics={"val/dice": "0.5"}),
    "a metric that is true": with_result(metrics={"val/dice": True}),
    "a metric that is NaN": with_result(metrics={"val/dice": float("nan")}),
    "a metric that is a giant": with_result(metrics={"val/dice": 10**400}),
    "a result of another token": with_result(token=OTHER),
    "a result of a later attempt": with_result(attempt=2),
    "a result of nobody": with_result(token=None),
    "a result that took for ever": with_result(seconds=1e300),
}


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody have been refused before."""
    monkeypatch.setattr(letters, "refusals", refusals)
    refusals.clear()


@pytest.fixture
def address(tmp_path: Path) -> Address:
    box = UnitBox(tmp_path / "study" / "units" / "000007")
    box.prepare("", {}, {})
    box.raise_fence(1)
    return Address(box, 1)


def everything(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder, with their contents."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_letter_is_refused_and_logged_and_changes_nothing(
    tmp_path: Path, address: Address, caplog: pytest.LogCaptureFixture, text: bytes
) -> None:
    before = everything(tmp_path)
    assert not accept(text, SENDER, address)
    assert everything(tmp_path) == before
    [record] = caplog.records
    assert record.getMessage().startswith(f"{SENDER}: a letter of its worker was refused, since ")
    assert len(record.getMessage()) < 300
    assert refusals == {SENDER: 1}


def test_the_letters_that_the_hostile_ones_are_made_from_are_taken(address: Address) -> None:
    for number, text in enumerate((said(), with_result(), said(note=NOTE))):
        assert accept(text.replace(b'"number": 3', b'"number": %d' % number), SENDER, address)
    assert address.box.result() == RESULT
    assert address.box.note(1) == NOTE


def test_a_worker_that_goes_on_is_logged_once_and_counted(address: Address, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(50):
        accept(b"{", SENDER, address)
    accept(b"{", OTHER, address)
    assert len(caplog.records) == 2
    assert refusals == {SENDER: 50, OTHER: 1}


def test_a_result_of_an_attempt_that_is_over_is_refused(address: Address, caplog: pytest.LogCaptureFixture) -> None:
    address.box.raise_fence(2)
    assert not accept(with_result(), SENDER, address)
    assert address.box.result() is None
    assert "attempt 1 is over: attempt 2 may run now" in caplog.text


def test_a_worker_that_writes_without_end_fills_no_disk(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "LARGEST_PROGRESS", 500_000)
    for number in range(20):
        accept(said(number=number, skipped=number * 9, progress=["x" * 10_000] * 9), SENDER, address)
    assert address.box.progress(1).stat().st_size <= 500_000


def test_what_no_terminal_and_no_disk_would_take_is_taken_out(address: Address) -> None:
    note = NOTE | {"message": "\x1b[31m\0red\n\ud800" + "x" * 9000}
    assert accept(said(progress=["\ud800\u2028"], note=note), SENDER, address)
    message = (address.box.note(1) or {})["message"]
    assert message.isprintable()
    assert len(message) == 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(changes=st.dictionaries(st.sampled_from(sorted(GOOD)), JSON, max_size=3))
def test_no_letter_at_all_has_another_error_than_distrust(changes: dict[str, Any]) -> None:
    try:
        letter = read_letter(json.dumps(GOOD | changes).encode())
    except Distrusted:
        return
    assert isinstance(letter.run, int)
    assert letter.run >= 1


@given(text=st.binary(max_size=300))
def test_no_bytes_at_all_have_another_error_than_distrust(text: bytes) -> None:
    with pytest.raises(Distrusted):
        read_letter(text)


# Archives


def tar_of(*members: tuple[tarfile.TarInfo, bytes], kind: int = tarfile.USTAR_FORMAT) -> bytes:
    """Return a gzipped tar with these members."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz", format=kind) as tar:
        for info, contents in members:
            info.size = info.size or len(contents)
            tar.addfile(info, io.BytesIO(contents))
    return written.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    """Return a member of a tar."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, b"hostile" if kind == tarfile.REGTYPE else b""


def bomb() -> bytes:
    """Return a small archive of a file that is large."""
    info = tarfile.TarInfo("log.txt")
    info.size = 300_000_000
    return gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(info.size), 9)


def false_size(size: bytes) -> bytes:
    """Return an archive of a file that says another size than it has."""
    head = bytearray(tarfile.TarInfo("log.txt").tobuf(tarfile.USTAR_FORMAT))
    head[124:136] = size
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return gzip.compress(bytes(head) + bytes(1024))


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no archive": lambda: b"\x1f\x8b" + bytes(100),
    "torn": lambda: archive({"log.txt": os.urandom(100_000)})[:-50_000],
    "a changed byte": lambda: bytes(
        byte ^ (index == 400) for index, byte in enumerate(archive({"log.txt": os.urandom(9000)}))
    ),
    "an absolute name": lambda: tar_of(member("/hostile/log.txt")),
    "a name that climbs": lambda: tar_of(member("../../../log.txt")),
    "a name that climbs later": lambda: tar_of(member("figures/../../../log.txt")),
    "a name with a dot": lambda: tar_of(member("./log.txt")),
    "an empty name": lambda: tar_of(member("")),
    "a Windows name": lambda: tar_of(member("..\\log.txt")),
    "a symlink": lambda: tar_of(member("log.txt", tarfile.SYMTYPE, "/etc/passwd")),
    "a symlink and a file through it": lambda: tar_of(member("csv", tarfile.SYMTYPE, "/etc"), member("csv/log.txt")),
    "a hard link": lambda: tar_of(member("log.txt", tarfile.LNKTYPE, "/etc/passwd")),
    "a device": lambda: tar_of(member("log.txt", tarfile.CHRTYPE)),
    "a pipe": lambda: tar_of(member("log.txt", tarfile.FIFOTYPE)),
    "a folder": lambda: tar_of(member("csv", tarfile.DIRTYPE)),
    "a sparse file": lambda: tar_of(member("log.txt", tarfile.GNUTYPE_SPARSE)),
    "a long name of GNU": lambda: tar_of(member("x/" * 200 + "log.txt"), kind=tarfile.GNU_FORMAT),
    "a header of POSIX": lambda: tar_of(member("ν" * 150 + ".txt"), kind=tarfile.PAX_FORMAT),
    "two files of one name": lambda: tar_of(member("log.txt"), member("log.txt")),
    "a file that is a folder, too": lambda: tar_of(member("log.txt"), member("log.txt/log.txt")),
    "a bomb": bomb,
    "a size below zero": lambda: false_size(b"\xff" * 12),
    "a size beyond all disks": lambda: false_size(b"\x80" + b"\x7f" * 11),
    "more than it has": lambda: false_size(b"00000777777\0"),
    "a million files": lambda: archive({f"figures/{number}.txt": b"" for number in range(2000)}),
}


@pytest.mark.parametrize("make", ARCHIVES.values(), ids=ARCHIVES)
def test_a_hostile_archive_is_refused_and_nothing_of_it_is_written(tmp_path: Path, make: Callable[[], bytes]) -> None:
    run = tmp_path / "units" / "000007" / "attempt-1" / "run-1"
    with pytest.raises(Distrusted):
        unpack(io.BytesIO(make()), run, is_kept, 200_000_000, 500)
    assert [path for path in tmp_path.rglob("*") if path.is_file() or path.is_symlink()] == []
    assert not Path("/hostile").exists()


def test_of_an_archive_only_what_is_allowed_is_written(tmp_path: Path) -> None:
    names = ["log.txt", "progress.jsonl", "run.sh", ".bashrc", "heartbeat", "result.json", "last.ckpt", ".hydra/x.py"]
    packed = archive(dict.fromkeys(names, b"x"))
    assert unpack(io.BytesIO(packed), tmp_path / "run-1", is_kept, 1_000_000, 500) == ["log.txt", "result.json"]
    assert {path.name for path in (tmp_path / "run-1").iterdir()} == {"log.txt", "result.json"}


# Stores


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with object_store() as address:
        yield address


@pytest.fixture(params=["file", "s3"])
def mailbox(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a store that a hostile worker may write to."""
    if request.param == "file":
        return f"file://{tmp_path}/store"
    server = request.getfixturevalue("server")
    for name, value in who_we_are(server).items():
        monkeypatch.setenv(name, value)
    return f"s3://{make_bucket(server)}"


@pytest.fixture
def store(mailbox: str) -> Store:
    return Store(Site(name="far", kind="local", mailbox=mailbox))


@pytest.fixture
def objects(mailbox: str, store: Store, address: Address) -> Objects:
    """What a worker of the study may write to."""
    return open_objects(f"{mailbox}/{store.study(address.box.folder.parents[1])}", {})


def two(address: Address) -> dict[str, Address]:
    """Return a hostile worker's attempt, and another one's."""
    other = UnitBox(address.box.folder.parent / "000008")
    other.prepare("", {}, {})
    return {SENDER: address, OTHER: Address(other, 1)}


def honest(**changes: Any) -> bytes:
    """Return a letter of the worker that is not hostile."""
    return said(token=OTHER, result=RESULT | {"token": OTHER}, **changes)


def test_hostile_letters_in_a_store_keep_no_other_from_arriving(
    store: Store, objects: Objects, address: Address, caplog: pytest.LogCaptureFixture
) -> None:
    both = two(address)
    objects.write({f"letters/{OTHER}/1.json": honest()})
    objects.write({f"letters/{SENDER}/{number}.json": text for number, text in enumerate(HOSTILE.values(), 1)})
    objects.write({f"letters/{SENDER}/{name}": with_result() for name in ("0.json", "x.json", "1/2.json", "1.json.gz")})
    objects.write({f"letters/nobody-000000-0/{name}": with_result() for name in ("1.json", "2.json")})
    objects.write({f"letters/{SENDER}/777.json": said(run=777), f"letters/{SENDER}/900.json": bytes(5_000_000)})
    store.collect(both)
    assert both[OTHER].box.result() == RESULT | {"token": OTHER}
    assert address.box.result() is None
    assert address.box.newest_run(1) == 0
    assert sum(SENDER in record.getMessage() for record in caplog.records) == 1


def test_a_letter_in_the_place_of_another_start_is_refused(store: Store, objects: Objects, address: Address) -> None:
    objects.write({f"letters/{SENDER}/2.json": with_result()})
    store.collect(two(address))
    assert address.box.result() is None
    assert refusals == {SENDER: 1}


def test_a_hostile_archive_costs_the_files_and_not_the_result(
    store: Store, objects: Objects, address: Address, caplog: pytest.LogCaptureFixture
) -> None:
    objects.write({f"files/{SENDER}/1.tar.gz": ARCHIVES["a symlink and a file through it"]()})
    objects.write({f"letters/{SENDER}/1.json": with_result()})
    store.collect(two(address))
    assert address.box.result() == RESULT
    assert "its files: it holds something that is no file" in caplog.text
    assert {path.name for path in (address.box.attempt(1) / "run-1").iterdir()} == {"progress.jsonl"}


# Folders


def within(seconds: float, use: Callable[[], Any]) -> Any:
    """Return what comes of something; fail where it hangs."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(use()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "it hangs"
    return found[0]


def symlink(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def giant(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1_000_000_000)


TRICKS: dict[str, Callable[[Path], None]] = {
    "a symlink": symlink,
    "a symlink to nowhere": lambda path: path.symlink_to("nowhere"),
    "a symlink to a result": lambda path: path.symlink_to(good_elsewhere(path)),
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": lambda path: path.mkdir(),
    "a giant": giant,
}


def good_elsewhere(path: Path) -> Path:
    """Return a good result, note and line of progress in a file somewhere else."""
    place = path.parent / "elsewhere"
    place.write_text(json.dumps(RESULT | NOTE) + "\n")
    return place


@pytest.mark.parametrize("trick", TRICKS.values(), ids=TRICKS)
def test_what_is_no_file_of_a_runner_says_nothing_and_nobody_waits_for_it(
    address: Address, trick: Callable[[Path], None]
) -> None:
    box = address.box
    _, run = box.claim(1)
    for path in (box.folder / "result.json", run.with_suffix(".json"), run / "progress.jsonl"):
        trick(path)
    assert within(30, box.result) == {"end": "done", "metrics": {}, "message": "damaged result"}
    assert within(30, lambda: [box.note(1)]) == [None]
    assert within(30, lambda: box.notes(1)) == []
    lines, _ = within(30, lambda: new_lines(run / "progress.jsonl", 0))
    assert lines == []


def test_what_a_link_leads_to_is_not_told(address: Address, caplog: pytest.LogCaptureFixture) -> None:
    box = address.box
    _, run = box.claim(1)
    for path in (box.folder / "result.json", run.with_suffix(".json"), run / "progress.jsonl"):
        symlink(path)
    with caplog.at_level(logging.DEBUG):
        told = [box.result(), box.note(1), new_lines(run / "progress.jsonl", 0)]
    assert SECRET in Path("/etc/passwd").read_text()
    assert SECRET not in str(told) + caplog.text
