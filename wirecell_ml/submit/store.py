"""Object stores as mailboxes: ``site.mailbox: s3://bucket/folder``; file:///folder is the same in a folder.

STUDY-ID/code/DIGEST.tar.gz             the code of the study, once
STUDY-ID/jobs/BATCH.tar.gz              the parcel of a batch
STUDY-ID/letters/TOKEN/1.json           the newest letter of each start of an attempt
STUDY-ID/files/TOKEN/1.tar.gz           the small files of a run that has ended
STUDY-ID/units/000007/mark.json         fence and stop mark, from the driver
STUDY-ID/units/000007/result.json       the one result: it is created, never written over
STUDY-ID/units/000007/starts/TOKEN/1    a number that a start has taken
STUDY-ID/units/000007/saved/1-1.tar.gz  run directory with a checkpoint, of attempt 1, start 1
"""

import json
import re
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from wirecell_ml.errors import SubmitError
from wirecell_ml.submit import carrier, mailbox
from wirecell_ml.submit.backend import Expired, Unavailable
from wirecell_ml.submit.job import Batch, Job
from wirecell_ml.submit.letters import Distrusted, check_sender, deliver, read_letter, refuse
from wirecell_ml.submit.mailbox import LARGEST_BYTES
from wirecell_ml.submit.objects import Away, Forbidden, Stale, Stored, open_objects
from wirecell_ml.submit.parcel import (
    LARGEST_FILES,
    MOST_KEPT,
    code_of,
    digest,
    is_kept,
    pack,
    pack_code,
    unpack,
)
from wirecell_ml.submit.post import Address
from wirecell_ml.submit.site import Site

LETTER = re.compile(r"([a-zA-Z0-9-]+)/letters/([a-z0-9-]{1,52})/([1-9][0-9]{0,8})\.json")
IDENTITY = ".mailbox"  # file in the folder of a study: what its folder in the store is called


class Store:
    """Driver's end."""

    def __init__(self, site: Site) -> None:
        assert site.mailbox
        self.site, self.address = site, site.mailbox.rstrip("/")
        self.objects = open_objects(self.address, site.environment)
        self.seen: dict[str, Stored] = {}  # letters that have been read
        self.code: dict[Path, str] = {}  # code of a study → its digest

    def check(self) -> None:
        """Raise SubmitError where we may not write or read, Unavailable where nobody knows."""
        name = f"check/{secrets.token_hex(8)}"
        with self.talking():
            try:
                self.objects.write({name: b"check"})
                self.objects.find("check")
                self.objects.read([name])
                self.objects.remove([name])
            except FileNotFoundError as error:
                raise SubmitError(f"site.mailbox={self.address}: no such bucket. Create it, or correct it") from error
            except Forbidden as error:
                if isinstance(error, Stale):
                    raise
                raise SubmitError(f"site.mailbox={self.address}: {error}. Name a login that may write there") from error

    def pack(self, batch: Batch, addresses: Sequence[Address]) -> Batch:
        """Bring code, parcel and marks to the store; return the batch with commands that fetch them."""
        study = self.study(batch.folder.parent)
        with self.talking():
            code = self.bring_code(study, batch)
            marks = {mark_name(study, one): mark_of(one) for one in addresses if one.attempt > 1}
            parcel = f"{study}/jobs/{batch.name}.tar.gz"
            self.objects.write(marks | {parcel: pack(batch, addresses, with_code=False, code=code)})
        return self.fetching(batch, parcel)

    def preview(self, batch: Batch) -> Batch:
        """Return the batch as it would be submitted; the name of a study in the store is drawn when it is."""
        return self.fetching(batch, f"{new_name(batch.folder.parent)}/jobs/{batch.name}.tar.gz")

    def fetching(self, batch: Batch, parcel: str) -> Batch:
        """Return a batch with commands that fetch their parcel."""
        start = (self.site.python or sys.executable, "-P", "-m", carrier.__name__, f"{self.address}/{parcel}")
        return replace(batch, jobs=tuple(Job(job.token, (*start, job.token)) for job in batch.jobs))

    def bring_code(self, study: str, batch: Batch) -> str | None:
        """Bring the code of a batch to the store, unless it is there; return its digest."""
        folder = code_of(batch)
        if folder is None:
            return None
        there = self.objects.find(f"{study}/code")
        if self.code.get(folder) not in {digest_in(name) for name in there}:
            text = pack_code(folder)
            self.code[folder] = digest(text)
            self.objects.write({f"{study}/code/{self.code[folder]}.tar.gz": text})
        return self.code[folder]

    def collect(self, addresses: Mapping[str, Address]) -> None:
        """Bring new letters into the boxes here, and with the last one of a run its files."""
        if not addresses:
            return
        study = self.study(next(iter(addresses.values())).box.folder.parents[1])
        with self.talking():
            found = self.objects.find(f"{study}/letters")
            news = {name: one for name, one in found.items() if self.is_news(name, one, study, addresses)}
            texts = self.objects.read([name for name, stored in news.items() if stored.size <= LARGEST_BYTES])
            done = []
            for name, stored in news.items():
                token, start = address_of(name)
                if self.take_in(f"{study}/files/{token}", start, token, addresses[token], texts.get(name)):
                    done.append(name)
                if name in texts or stored.size > LARGEST_BYTES:
                    self.seen[name] = stored
            self.objects.remove(done)
            self.seen = {name: stored for name, stored in self.seen.items() if name in found}

    def is_news(self, name: str, stored: Stored, study: str, addresses: Mapping[str, Address]) -> bool:
        """Return whether a name is that of a letter that was asked for and has not been read."""
        match = LETTER.fullmatch(name)
        wanted = match and match[1] == study and match[2] in addresses
        return bool(wanted) and self.seen.get(name) != stored

    def take_in(self, files: str, start: int, token: str, address: Address, text: bytes | None) -> bool:
        """Take in a letter, its run's files before it if it is the last one of its start; return whether it is."""
        try:
            if text is None:
                raise Distrusted("it is too large, or cannot be read")
            letter = read_letter(text)
            check_sender(letter, token, address)
            if letter.run != start:
                raise Distrusted("it speaks for another start")
            last = letter.result is not None or letter.note is not None
            if last:
                self.bring_files(files, start, token, address)
            deliver(letter, token, address)
        except Distrusted as error:
            refuse(token, str(error))
            return False
        return last

    def bring_files(self, folder: str, start: int, token: str, address: Address) -> None:
        """Bring the files of a run to its folder here; an archive that is not to be trusted is left where it is."""
        name = f"{folder}/{start}.tar.gz"
        stored = self.objects.find(folder).get(name)
        if stored is None:
            return
        run = address.box.attempt(address.attempt) / f"run-{start}"
        with tempfile.TemporaryDirectory() as here:
            archive = Path(here) / "files.tar.gz"
            try:
                if stored.size > LARGEST_FILES:
                    raise Distrusted("the archive of its files is too large")
                self.objects.download(name, archive)
                with archive.open("rb") as stream:
                    unpack(stream, run, is_kept, LARGEST_FILES, MOST_KEPT)
            except Distrusted as error:
                refuse(token, f"its files: {error}")
                return
        self.objects.remove([name])

    def tell(self, token: str, address: Address) -> None:  # noqa: ARG002
        """Let every worker of the unit see fence, stop mark and result as they are here."""
        study = self.study(address.box.folder.parents[1])
        with self.talking():
            self.objects.write({mark_name(study, address): mark_of(address)})

    def study(self, folder: Path) -> str:
        """Return the name of the folder of a study in the store, which no other study has."""
        path = folder / IDENTITY
        with suppress(FileNotFoundError):
            return path.read_text()
        mailbox.replace(path, new_name(folder))
        return path.read_text()

    @contextmanager
    def talking(self) -> Iterator[None]:
        """Raise Unavailable, or Expired, where the store does not do what it was asked for."""
        try:
            yield
        except FileNotFoundError as error:
            raise Unavailable(f"{self.address}: no such bucket or folder") from error
        except Forbidden as error:
            raise Expired(f"{self.address}: {error}") from error
        except Away as error:
            raise Unavailable(f"{self.address}: {error}") from error


def digest_in(name: str) -> str:
    """Return the digest in the name of an archive of code."""
    return name.rpartition("/")[2].removesuffix(".tar.gz")


def address_of(name: str) -> tuple[str, int]:
    """Return token and start of a letter's name."""
    match = LETTER.fullmatch(name)
    assert match
    return match[2], int(match[3])


def new_name(folder: Path) -> str:
    """Return a name for the folder of a study in a store that no other study has."""
    name = re.sub(r"[^a-zA-Z0-9-]+", "-", folder.name).strip("-")
    return f"{name}-{secrets.token_hex(8)}"


def mark_name(study: str, address: Address) -> str:
    """Return the name of the mark of a unit."""
    return f"{study}/units/{address.box.folder.name}/mark.json"


def mark_of(address: Address) -> bytes:
    """Return what the workers of a unit are told."""
    box = address.box
    return json.dumps({"fence": box.fence, "stop": box.stopped(), "result": box.result()}).encode()
