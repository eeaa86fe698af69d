"""Mailboxes that HTCondor carries, at the driver's end: what workers may have put there, and what is made of it."""

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from wirecell_ml.submit.job import Batch, Resources
from wirecell_ml.submit.letters import write_letter
from wirecell_ml.submit.mailbox import UnitBox
from wirecell_ml.submit.post import Address
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.spool import Spool

RESULT = {"end": "done", "metrics": {"val/dice": 0.5}, "attempt": 1, "seconds": 1.0, "core_seconds": 1.0, "ended": 2.0}


@pytest.fixture
def address(tmp_path: Path) -> Address:
    box = UnitBox(tmp_path / "roinet" / "units" / "000000")
    box.prepare("lr: 1", {"heartbeat_s": 1}, {})
    box.raise_fence(1)
    return Address(box, 1)


@pytest.fixture
def mail(address: Address) -> Path:
    return address.box.folder.parents[1] / "jobs" / "mail"


def packed(post: Spool, address: Address) -> Batch:
    """Return a batch of one job as it is to be submitted."""
    folder = address.box.folder.parents[1] / "jobs"
    return post.pack(Batch.of("roinet", [["true"]], Resources(), folder), [address])


def letter_of(token: str, folder: Path) -> bytes:
    """Return the letter of a worker that has a result."""
    box = UnitBox(folder / "units" / "000000")
    (box.attempt(1) / "run-1").mkdir(parents=True)
    box.commit(RESULT | {"token": token})
    return write_letter(box, 1, 1, token, 1)


def archive_of(names: list[str]) -> bytes:
    """Return an archive of files with these names."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz", format=tarfile.USTAR_FORMAT) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 2
            tar.addfile(info, io.BytesIO(b"hi"))
    return written.getvalue()


def test_a_preview_is_what_is_submitted_and_writes_nothing(address: Address, mail: Path) -> None:
    post = Spool(Site(name="pool", kind="htcondor", mailbox="transfer"))
    batch = Batch.of("roinet", [["true"]], Resources(), mail.parent)
    shown = post.preview(batch)
    assert not mail.exists()
    assert post.pack(batch, [address]) == shown


def test_a_job_opens_its_parcel_and_finds_the_word_of_the_driver(address: Address, mail: Path) -> None:
    batch = packed(Spool(Site(name="pool", kind="htcondor", mailbox="transfer")), address)
    (job,) = batch.jobs
    assert job.command[-2:] == (f"{batch.name}.tar.gz", job.token)
    assert (batch.folder / f"{batch.name}.tar.gz").is_file()
    assert json.loads((mail / f"{job.token}.word").read_text()) == {"fence": 1, "stop": None}


def test_a_worker_is_told_to_stop(address: Address, mail: Path) -> None:
    post = Spool(Site(name="pool", kind="htcondor", mailbox="transfer"))
    token = packed(post, address).jobs[0].token
    address.box.stop("pruned")
    post.tell(token, address)
    assert json.loads((mail / f"{token}.word").read_text()) == {"fence": 1, "stop": "pruned"}


def test_a_result_and_the_files_that_people_read_come_home(address: Address, mail: Path, tmp_path: Path) -> None:
    post = Spool(Site(name="pool", kind="htcondor", mailbox="transfer"))
    token = packed(post, address).jobs[0].token
    (mail / f"{token}.1.files").write_bytes(archive_of(["log.txt", "last.ckpt", "progress.jsonl"]))
    (mail / f"{token}.1.letter").write_bytes(letter_of(token, tmp_path / "worker"))
    post.collect({token: address})
    result = address.box.result()
    assert result
    assert result["metrics"] == {"val/dice": 0.5}
    run = address.box.attempt(1) / "run-1"
    assert (run / "log.txt").read_text() == "hi"
    assert not (run / "last.ckpt").exists()
    assert not (mail / f"{token}.1.files").exists()


@pytest.mark.parametrize("name", ["../../fence", "/x.txt", "a/../../x.txt"])
def test_files_that_lead_elsewhere_are_refused(address: Address, mail: Path, tmp_path: Path, name: str) -> None:
    post = Spool(Site(name="pool", kind="htcondor", mailbox="transfer"))
    token = packed(post, address).jobs[0].token
    (mail / f"{token}.1.files").write_bytes(archive_of(["log.txt", name]))
    (mail / f"{token}.1.letter").write_bytes(letter_of(token, tmp_path / "worker"))
    post.collect({token: address})
    assert address.box.fence == 1
    assert not (address.box.attempt(1) / "run-1" / "log.txt").exists(), "all or none"


def test_a_letter_that_is_a_link_or_a_pipe_is_not_opened(address: Address, mail: Path, tmp_path: Path) -> None:
    post = Spool(Site(name="pool", kind="htcondor", mailbox="transfer"))
    token = packed(post, address).jobs[0].token
    (tmp_path / "elsewhere").write_bytes(letter_of(token, tmp_path / "worker"))
    (mail / f"{token}.1.letter").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(mail / f"{token}.2.letter")
    post.collect({token: address})
    assert address.box.result() is None


def test_a_letter_about_somebody_else_changes_nothing(address: Address, mail: Path, tmp_path: Path) -> None:
    post = Spool(Site(name="pool", kind="htcondor", mailbox="transfer"))
    token = packed(post, address).jobs[0].token
    (mail / f"{token}.1.letter").write_bytes(letter_of("another-0a1b2c-0", tmp_path / "worker"))
    post.collect({token: address})
    assert address.box.result() is None
