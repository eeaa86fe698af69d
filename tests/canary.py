"""Canaries: secrets that nobody else has, planted where users keep theirs, and the search for them."""

import base64
import gzip
import io
import os
import secrets
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from urllib.parse import quote

from wirecell_ml.submit.carrier import __name__ as CARRIER
from wirecell_ml.submit.local import RUNNER

PLANTED = (  # variables of a user that hold a secret
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "WANDB_API_KEY", "A_PASSWORD", "PGPASSWORD", "GITHUB_TOKEN"),
    *("PANDA_AUTH_ID_TOKEN", "OIDC_AUTH_ID_TOKEN", "REFRESH_TOKEN", "KUBE_TOKEN"),
)
LOOK_S = 0.1  # between two looks at the processes of this machine
DEEPEST = 4  # archives in archives
Canaries = Mapping[str, str]  # where each was planted → the secret
Forms = Mapping[bytes, str]


def canaries(names: tuple[str, ...] = PLANTED) -> dict[str, str]:
    """Return a secret for each name, with characters that addresses quote."""
    return {name: f"{secrets.token_hex(8)}+/{secrets.token_hex(8)}" for name in names}


def signature(token: str) -> str:
    """Return the part of a JSON web token that nobody else can make."""
    return token.rpartition(".")[2][:60]


def forms(planted: Canaries) -> dict[bytes, str]:
    """Return the bytes that a secret could be found as → where it was planted, and the form."""
    return {form.encode(): f"{name}, {how}" for name, value in planted.items() for how, form in forms_of(value).items()}


def forms_of(value: str) -> dict[str, str]:
    """Return a secret in its forms: in base64 it looks different at each of three places."""
    middles = {f"base64 at {place}": base64_middle(value, place) for place in range(3)}
    urlsafe = {f"{how}, urlsafe": form.replace("+", "-").replace("/", "_") for how, form in middles.items()}
    every = {"plain": value, "reversed": value[::-1], "quoted": quote(value, safe=""), **middles, **urlsafe}
    return {how: form for number, (how, form) in enumerate(every.items()) if form not in [*every.values()][:number]}


def base64_middle(value: str, place: int) -> str:
    """Return what of the base64 of a text does not depend on what stands before and after it."""
    encoded = base64.b64encode(bytes(place) + value.encode()).decode()
    return encoded[(0, 2, 3)[place] : (place + len(value)) * 8 // 6]


def found_in(data: bytes, wanted: Forms, depth: int = 0) -> set[str]:
    """Return which secrets are in some bytes, or in what is packed in them."""
    found = {name for form, name in wanted.items() if form in data}
    if depth < DEEPEST:
        for inner in contents(data):
            found |= found_in(inner, wanted, depth + 1)
    return found


def contents(data: bytes) -> Iterator[bytes]:
    """Yield what is packed in a gzip, a tar, a zip or an SQLite database."""
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    elif data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            yield from (stream.read() for member in tar if (stream := tar.extractfile(member)))
    elif data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    elif data[:15] == b"SQLite format 3":
        yield rows_of(data)


def rows_of(database: bytes) -> bytes:
    """Return all rows of an SQLite database, of which a long one may be torn to pieces in its file."""
    without_wal = database[:18] + b"\x01\x01" + database[20:]
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(without_wal)
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for name in tables for row in connection.execute(f"SELECT * FROM '{name}'")]  # noqa: S608
    return "\n".join(str(value) for row in rows for value in row).encode()


def found_below(folder: Path, wanted: Forms) -> tuple[set[str], int]:
    """Return which secrets are in the files below a folder, and how many files were looked at."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    found = set()
    for path in paths:
        with suppress(FileNotFoundError):  # of a job that is just ending
            there = found_in(path.read_bytes(), wanted) | found_in(str(path).encode(), wanted)
            found |= {f"{path}: {name}" for name in there}
    return found, len(paths)


@dataclass
class Watch:
    """What can be seen on this machine while commands and units of a study run."""

    study: str  # of whose units the environments are kept
    listing: Callable[[], str]  # what the batch system shows of its jobs
    lines: set[bytes] = field(default_factory=set)  # command lines of all processes
    environments: dict[int, bytes] = field(default_factory=dict)  # process that runs a unit → its environment
    listed: set[str] = field(default_factory=set)
    ended: Event = field(default_factory=Event)

    def look(self) -> None:
        """Look at every process once."""
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                line = (folder / "cmdline").read_bytes()
                self.lines.add(line)
                words = line.split(b"\0")
                if {RUNNER.encode(), CARRIER.encode()} & set(words) and self.study.encode() in line:
                    self.environments[int(folder.name)] = (folder / "environ").read_bytes()

    def keep_looking(self) -> None:
        """Look until the end."""
        while not self.ended.wait(LOOK_S):
            self.look()

    def keep_listing(self) -> None:
        """Ask the batch system until the end."""
        while not self.ended.wait(10 * LOOK_S):
            with suppress(subprocess.CalledProcessError):  # a job that went while it was listed
                self.listed.add(self.listing())


@contextmanager
def watching(study: str, listing: Callable[[], str]) -> Iterator[Watch]:
    """Watch this machine, and a batch system, for a while."""
    watch = Watch(study, listing)
    threads = [Thread(target=watch.keep_looking, daemon=True), Thread(target=watch.keep_listing, daemon=True)]
    for thread in threads:
        thread.start()
    try:
        yield watch
    finally:
        watch.ended.set()
        for thread in threads:
            thread.join()


@dataclass
class User:
    """Somebody who types commands, and all that these have printed."""

    environment: Mapping[str, str]
    printed: list[bytes] = field(default_factory=list)

    def types(self, *words: str, **environment: str) -> int:
        """Run a command of ours, and return its exit status."""
        ended = subprocess.run(
            [sys.executable, "-m", *words],
            env=os.environ | dict(self.environment) | environment,
            capture_output=True,
            check=False,
            timeout=300,
        )
        self.printed += [ended.stdout, ended.stderr]
        return ended.returncode
