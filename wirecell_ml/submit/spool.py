"""Mailboxes that HTCondor carries, for pools whose machines share no folder with the driver: ``mailbox: transfer``.

The parcel of a batch goes out with the files of its jobs. While a unit runs it writes home through its starter:

jobs/BATCH.tar.gz            the parcel of a batch
jobs/mail/TOKEN.word         fence and stop mark, from the driver
jobs/mail/TOKEN.1.letter     the newest letter of the first start
jobs/mail/TOKEN.1.files      the small files of a start that has ended
jobs/mail/000007.saved       run directory with the newest checkpoint of a unit, for the worker that goes on
"""

import io
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wirecell_ml.errors import ConfigError
from wirecell_ml.submit.carrier import News
from wirecell_ml.submit.htcondor.chirp import Chirp
from wirecell_ml.submit.htcondor.files import parcel_of
from wirecell_ml.submit.job import Batch
from wirecell_ml.submit.letters import Distrusted, accept, refuse
from wirecell_ml.submit.mailbox import LARGEST_BYTES, NoPlainFile, UnitBox, read_plain
from wirecell_ml.submit.mailbox import replace as write_whole
from wirecell_ml.submit.parcel import (
    LARGEST_FILES,
    LARGEST_SAVED,
    MOST_FILES,
    MOST_KEPT,
    Entry,
    files_of,
    is_kept,
    pack,
    pack_files,
    unpack,
)
from wirecell_ml.submit.post import Address, word_of
from wirecell_ml.submit.site import Site

MAIL = "mail"
LETTER = re.compile(r"(.+)\.([1-9][0-9]{0,8})\.letter")
STARTS = re.compile(r"^NumShadowStarts = ([0-9]+)$", re.MULTILINE)  # in the ad that a job finds beside it


class Spool:
    """Driver's end. What it remembers only saves reading."""

    def __init__(self, site: Site) -> None:
        if site.kind != "htcondor":
            raise ConfigError(f"site.mailbox=transfer: only HTCondor carries it, and site.kind is '{site.kind}'")
        self.site = site
        self.read: dict[Path, int] = {}  # letter → when it was written, in ns

    def check(self) -> None:
        """Do nothing: where jobs can be sent, their files can."""

    def pack(self, batch: Batch, addresses: Sequence[Address]) -> Batch:
        """Put the parcel where condor_submit finds it; return the batch whose jobs open it."""
        (batch.folder / MAIL).mkdir(parents=True, exist_ok=True)
        parcel_of(batch).write_bytes(pack(batch, addresses))
        for job, address in zip(batch.jobs, addresses, strict=True):
            self.tell(job.token, address)
        return self.preview(batch)

    def preview(self, batch: Batch) -> Batch:
        """Return the batch whose jobs open the parcel."""
        start = ("env", "PYTHONPATH=code", self.site.python or "python3", "-P", "-m", "wirecell_ml.submit.carrier")
        carrier = (*start, f"--courier=transfer={MAIL}", parcel_of(batch).name)
        return replace(batch, jobs=tuple(replace(job, command=(*carrier, job.token)) for job in batch.jobs))

    def collect(self, addresses: Mapping[str, Address]) -> None:
        """Bring letters that are new, and the files of starts that have ended, into the boxes here."""
        for folder in {mail_of(address) for address in addresses.values()}:
            for path in sorted(folder.glob("*.letter")):
                found = LETTER.fullmatch(path.name)
                if found and found[1] in addresses:
                    self.take_in(path, found[1], int(found[2]), addresses[found[1]])

    def take_in(self, path: Path, token: str, start: int, address: Address) -> None:
        """Take in one letter unless it was read before, and the files that came with it."""
        written = path.lstat().st_mtime_ns
        if self.read.get(path) == written:
            return
        try:
            accept(read_plain(path, 0, LARGEST_BYTES + 1), token, address)
            unpack_files(path.with_suffix(".files"), address.box.attempt(address.attempt) / f"run-{start}")
        except (NoPlainFile, Distrusted) as error:
            refuse(token, str(error))
        self.read[path] = written

    def tell(self, token: str, address: Address) -> None:
        """Leave for the worker what fence and stop mark are now; one whose unit has a result may end, too."""
        if (mail := mail_of(address)).is_dir():
            write_whole(mail / f"{token}.word", json.dumps(word_of(address)))


def mail_of(address: Address) -> Path:
    """Return the folder that letters about a unit come to."""
    return address.box.folder.parents[1] / "jobs" / MAIL


def unpack_files(archive: Path, run: Path) -> None:
    """Unpack the files of a run that has ended, if they have come and the run is known; raises Distrusted."""
    if not run.is_dir() or archive.is_symlink() or not archive.is_file():
        return
    with archive.open("rb") as stream:
        unpack(stream, run, is_kept, LARGEST_FILES, MOST_KEPT)
    archive.unlink()


class SpoolCourier:
    """Worker's end."""

    def __init__(self, address: str, entry: Entry) -> None:
        self.mail, self.entry, self.chirp = address, entry, Chirp()
        self.start = int(STARTS.findall(Path(os.environ["_CONDOR_JOB_AD"]).read_text())[0])

    def claim(self) -> int:
        """Return the number of this start, which HTCondor counts."""
        return self.start

    def receive(self) -> News:
        """Return what the driver said last."""
        read = io.BytesIO()
        if not self.chirp.get(self.mine("word"), read):
            return News()
        word: dict[str, Any] = json.loads(read.getvalue())
        return News(fence=word["fence"], stop=word["stop"])

    def send(self, text: bytes) -> None:
        """Leave a letter in place of the one before."""
        self.chirp.put(io.BytesIO(text), self.mine(f"{self.start}.letter"))

    def commit(self, result: dict[str, Any]) -> bool:  # noqa: ARG002
        """Return True: the box of the driver decides which result was first."""
        return True

    def save(self, run: Path, attempt: int, start: int) -> None:
        """Keep a run directory in place of the one before."""
        box = run.parents[1]
        names = [f"attempt-{attempt}/run-{start}/{name}" for name in files_of(run)]
        with tempfile.TemporaryDirectory(dir=box) as folder:
            archive = Path(folder) / "saved"
            pack_files(box, names, archive)
            with archive.open("rb") as file:
                self.chirp.put(file, self.kept())

    def saved(self, box: UnitBox) -> None:
        """Bring the run directory that was kept, of an earlier start, into a box."""
        earlier = {f"attempt-{attempt}" for attempt in range(1, self.entry.attempt)}
        mine = {f"attempt-{self.entry.attempt}/run-{start}" for start in range(1, self.start)}
        with tempfile.TemporaryFile() as file:
            if not self.chirp.get(self.kept(), file):
                return
            file.seek(0)
            unpack(
                file,
                box.folder,
                lambda name: name.split("/")[0] in earlier or "/".join(name.split("/")[:2]) in mine,
                LARGEST_SAVED,
                MOST_FILES,
            )

    def deliver(self, files: Path, start: int) -> None:
        """Send an archive of the small files of a run."""
        with files.open("rb") as file:
            self.chirp.put(file, self.mine(f"{start}.files"))

    def mine(self, suffix: str) -> str:
        """Return the name of a file of this attempt."""
        return f"{self.mail}/{self.entry.token}.{suffix}"

    def kept(self) -> str:
        """Return the name of the run directory that is kept of this unit."""
        return f"{self.mail}/{self.entry.unit}.saved"
