"""Mailboxes as messages of an iDDS service, for workers that reach nothing but HTTPS. The standard library only.

site.mailbox: idds+https://host:port/idds

message/BATCH/JOB/null/MINUTE   letters of units that go on, by the minute in which they were sent
message/BATCH/JOB/null/end      letters with which a start ended
message/BATCH/JOB/null/word     what the driver says of fence and stop, and one message for each start of the attempt
cacher/DIGEST.tar.gz            the parcel of a batch, under the digest of what is in it

The service keeps every message and hands all of them out to everybody who asks for their numbers: nothing is lost, and
letters may come twice. It has no way to ask for what is new. So the driver asks for the minutes since it asked last, by
the clock of the service, and for the ends; after a restart for as many minutes as a unit may be silent.
"""

import hashlib
import json
import os
import secrets
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from wirecell_ml.errors import ConfigError, SubmitError
from wirecell_ml.submit import carrier
from wirecell_ml.submit.backend import Unavailable
from wirecell_ml.submit.carrier import News
from wirecell_ml.submit.idds import ORGANISATIONS, TOKEN_FILE, TOKENS, Service, read_token
from wirecell_ml.submit.job import Batch, Job, batch_of
from wirecell_ml.submit.letters import Distrusted, accept
from wirecell_ml.submit.mailbox import UnitBox
from wirecell_ml.submit.parcel import Entry, digest, open_parcel, pack
from wirecell_ml.submit.post import Address, word_of
from wirecell_ml.submit.site import Site

CHANNEL = "asyncresult"  # the service returns messages of no other
FIRST_REQUEST = 10**11  # above all requests that a service will ever have, and in the twelve digits that Oracle's have
CACHER = "/cacher/"
END, WORD, NOTHING = "end", "word", "null"
LATE_MINUTES = 1  # a letter may arrive in the minute after the one that it was sent in


class Messages:
    """Driver's end. What it remembers only saves questions."""

    def __init__(self, site: Site) -> None:
        assert site.mailbox
        self.address, self.python = site.mailbox.rstrip("/"), site.python or sys.executable
        environment = site.environment | os.environ  # where the token of the workers is may be no place here
        if site.panda is not None:
            environment = {ORGANISATIONS[0]: site.panda.vo} | environment
        self.service = Service(site.mailbox, environment, token_of(site, environment))
        self.silence_minutes = int(site.policy.lease_s / 60) + 1
        self.read: dict[str, int] = {}  # batch → minute before which all its letters are here
        self.told: dict[str, dict[str, Any]] = {}  # token → what its worker was told last

    def check(self) -> None:
        """Raise SubmitError where nobody could know who we are; Unavailable, Expired."""
        try:
            self.service.ask("GET", ["ping"])
        except ConfigError as error:
            raise SubmitError(f"site.mailbox={self.address}: {error}") from error

    def pack(self, batch: Batch, addresses: Sequence[Address]) -> Batch:
        """Leave the parcel of a batch with the service; return the batch whose jobs fetch it from there."""
        parcel = pack(batch, addresses)
        name = f"{digest(parcel)}.tar.gz"
        self.service.ask("POST", ["cacher", name], parcel)
        return self.fetching(batch, name)

    def preview(self, batch: Batch) -> Batch:
        """Return the batch as it would be submitted; its parcel has no digest for a name yet."""
        return self.fetching(batch, "SHA256.tar.gz")

    def fetching(self, batch: Batch, name: str) -> Batch:
        """Return a batch with commands that fetch their parcel."""
        start = (self.python, "-P", "-m", carrier.__name__, f"{self.address}{CACHER}{name}")
        return replace(batch, jobs=tuple(Job(job.token, (*start, job.token)) for job in batch.jobs))

    def collect(self, addresses: Mapping[str, Address]) -> None:
        """Bring the letters of these attempts into their boxes."""
        batches: dict[str, dict[str, Address]] = defaultdict(dict)
        for token, address in addresses.items():
            batches[batch_of(token)][token] = address
        for batch, members in batches.items():
            self.collect_batch(batch, members)

    def collect_batch(self, batch: str, addresses: Mapping[str, Address]) -> None:
        """Bring the letters of a batch: those that ended a start, and those of the minutes since the last time."""
        now = self.service.minute()
        first = max(self.read.get(batch, 0), now - self.silence_minutes)
        for slot in (END, *range(first, now + 1)):
            for token, body in letters(self.service.get(*place(batch, None, slot))):
                if token in addresses:
                    accept(body.encode(), token, addresses[token])
        self.read[batch] = now - LATE_MINUTES

    def tell(self, token: str, address: Address) -> None:
        """Say to the worker what fence and stop mark are now; one whose unit has a result may end, too."""
        word = word_of(address)
        if self.told.get(token) != word:
            self.service.post([message(token, json.dumps(word))], *place_of(token, WORD))
            self.told[token] = word


def token_of(site: Site, environment: Mapping[str, str]) -> Callable[[], str]:
    """Return what gives the driver its token: at a site of PanDA its login, unless our own environment names one."""
    if site.panda is None or any(os.environ.get(name) for name in (*TOKENS, TOKEN_FILE)):
        return lambda: read_token(environment)
    from wirecell_ml.submit.panda.login import valid_token  # which workers have no use for

    return lambda: valid_token(site)


class MessageCourier:
    """Worker's end."""

    def __init__(self, address: str, entry: Entry) -> None:
        self.token = entry.token
        self.service = Service(address.partition(CACHER)[0])
        self.claimed = secrets.token_hex(8)

    def claim(self) -> int:
        """Return the number of this start: how many have left a message so far, ours included."""
        with as_os_error():
            self.service.post([message(self.token, json.dumps({"start": self.claimed}))], *place_of(self.token, WORD))
            return self.starts().index(self.claimed) + 1

    def receive(self) -> News:
        """Return what the driver said last, and whether there is a later start than ours."""
        with as_os_error():
            words = self.words()
        return News(
            fence=max((fence for word in words if type(fence := word.get("fence")) is int), default=0),
            stop=next((stop for word in words if (stop := word.get("stop")) in ("pruned", "stopped")), None),
            start=len(starts_of(words)),
        )

    def send(self, text: bytes) -> None:
        """Send a letter, to where the driver looks for its kind."""
        letter = json.loads(text)
        ends = letter["note"] is not None or letter["result"] is not None
        with as_os_error():
            slot = END if ends else self.service.minute()
            self.service.post([message(self.token, text.decode())], *place_of(self.token, slot))

    def starts(self) -> list[str]:
        """Return the starts of the attempt, in their order."""
        return starts_of(self.words())

    def words(self) -> list[dict[str, Any]]:
        """Return what was said to this attempt, and what its starts said."""
        found = letters(self.service.get(*place_of(self.token, WORD)))
        mine = [body for token, body in found if token == self.token]
        return [word for body in mine if (word := read_word(body))]

    def commit(self, result: dict[str, Any]) -> bool:  # noqa: ARG002
        """Return True: the box of the driver decides which result was first."""
        return True

    def save(self, run: Path, attempt: int, start: int) -> None:
        """Do nothing: the service is no place for checkpoints, and the next attempt begins anew."""

    def saved(self, box: UnitBox) -> None:
        """Do nothing: nothing was kept."""

    def deliver(self, files: Path, start: int) -> None:
        """Do nothing: what a training printed is brought by the batch system."""


def fetch_parcel(address: str, token: str, scratch: Path) -> Entry:
    """Fetch a parcel and open it; raises Distrusted for one that is not what its name says, and OSError."""
    mailbox, _, name = address.partition(CACHER)
    with as_os_error():
        parcel = Service(mailbox).ask("GET", ["cacher", name])
    if f"{digest(parcel)}.tar.gz" != name:
        raise Distrusted("somebody has changed this parcel")
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        fetched = Path(folder) / name
        fetched.write_bytes(parcel)
        return open_parcel(fetched, token, scratch)


def place(batch: str, job: int | None, slot: object) -> tuple[object, ...]:
    """Return where the messages of a batch, or of one of its jobs, are; both ends find it from the name alone."""
    number = int.from_bytes(hashlib.sha256(batch.encode()).digest()[:8]) % (9 * FIRST_REQUEST)
    return "message", FIRST_REQUEST + number, NOTHING if job is None else job, NOTHING, slot


def place_of(token: str, slot: object) -> tuple[object, ...]:
    """Return where the messages of one job are."""
    batch, _, index = token.rpartition("-")
    return place(batch, int(index), slot)


def message(token: str, body: str) -> dict[str, Any]:
    """Return a message; the body is text, so that the service changes nothing in it."""
    return {"headers": {"channel": CHANNEL, "token": token}, "body": body}


def letters(found: object) -> Iterator[tuple[str, str]]:
    """Yield token and body of each message that has the form of ours; anybody may have written there."""
    for one in found if isinstance(found, list) else []:
        headers = one.get("headers") if isinstance(one, dict) else None
        token = headers.get("token") if isinstance(headers, dict) else None
        if isinstance(token, str) and isinstance(one.get("body"), str):
            yield token, one["body"]


def read_word(body: str) -> dict[str, Any] | None:
    """Return what a message to a worker says, None where it is none."""
    try:
        held = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return held if isinstance(held, dict) else None


def starts_of(words: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the starts among messages, each once, in the order in which the service got them."""
    return list(dict.fromkeys(start for word in words if isinstance(start := word.get("start"), str)))


@contextmanager
def as_os_error() -> Iterator[None]:
    """Let a service that does not answer, or takes no token, be what the carrier waits for."""
    try:
        yield
    except (Unavailable, ConfigError) as error:
        raise ConnectionError(str(error)) from error
