"""Parcels: all that the jobs of a batch need where they share no folder with the driver, in one archive.

index.json                  what each token stands for
units/000007/config.yaml    and the other files of each unit's mailbox
code/                       the snapshot of the code, unless it is kept elsewhere under its digest

Archives are plain ustar, gzipped: equal contents give equal bytes. They are read by a reader of our own that knows
files with a name and a size and nothing else, so that there are no links, devices or bombs to fall for. Nothing but the
standard library.
"""

import gzip
import hashlib
import io
import json
import re
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from wirecell_ml.errors import ConfigError
from wirecell_ml.submit.job import Batch
from wirecell_ml.submit.letters import Distrusted
from wirecell_ml.submit.post import Address

UNIT_FILES = ("config.yaml", "unit.json", "params.json", "fence", "stop")
SNAPSHOT = "COMMIT"  # file that a snapshot of the code has
PACKAGES = ("wirecell_ml", "configs")  # what of a checkout, or of an installation, is code of ours
LEFT_OUT = {"__pycache__", "_shipped"}  # of code: caches, and the samples and the zoo of a wheel
UNIT = re.compile(r"[0-9]{6,9}")
SAFE_PART = re.compile(r"[^/\\\0]+")
LARGEST_PARCEL, MOST_FILES = 1_000_000_000, 200_000
LONGEST_NAME, LONGEST_PART = 150, 99  # bytes that fit into any archive
KEPT = re.compile(  # what of a run comes to the driver: what people read, and the best checkpoint
    r"(?:\.hydra/)?(?:[\w=+,-][\w=+,.-]*/){0,5}(?:best\.ckpt|events\.out\.tfevents[\w.-]*"
    r"|[\w=+,-][\w=+,.-]*\.(?:txt|log|json|csv|ya?ml|md|html|png|pdf|svg))",
    re.ASCII,
)
LARGEST_FILE, LARGEST_FILES, MOST_KEPT = 100_000_000, 200_000_000, 500  # of what comes to the driver
LARGEST_SAVED = 50_000_000_000  # bytes of a run directory that is kept for the next attempt
BLOCK = tarfile.BLOCKSIZE
PIECE = 1_000_000  # bytes read at once


@dataclass(frozen=True)
class Entry:
    """What a token stands for."""

    token: str
    command: tuple[str, ...]
    unit: str | None  # name of the folder of its unit; None: a plain command
    attempt: int
    code: str | None  # digest of the archive of the code, where that is kept elsewhere


def pack(batch: Batch, addresses: Sequence[Address | None], with_code: bool = True, code: str | None = None) -> bytes:
    """Return the parcel of a batch; ``code`` is the digest of its code, where that is kept elsewhere."""
    jobs: dict[str, Any] = {}
    files: dict[str, Path] = {}
    for job, address in zip(batch.jobs, addresses, strict=True):
        unit = address.box.folder.name if address else None
        jobs[job.token] = {"command": job.command, "unit": unit, "attempt": address.attempt if address else 0}
        if address:
            files |= {f"units/{unit}/{name}": address.box.folder / name for name in UNIT_FILES}
    if with_code and (folder := code_of(batch)):
        files |= code_files(folder)
    index = json.dumps({"code": code, "jobs": jobs}, sort_keys=True).encode()
    there = {name: source for name, source in sorted(files.items()) if source.is_file()}
    return archive({"index.json": index, **there})


def code_of(batch: Batch) -> Path | None:
    """Return the folder of the code that the jobs of a batch run, as their commands say."""
    named = {word.partition("=")[2] for job in batch.jobs for word in job.command if word.startswith("PYTHONPATH=")}
    assert len(named) <= 1, "a batch runs one code"
    return Path(named.pop()) if named else None


def code_files(code: Path) -> dict[str, Path]:
    """Return name in a parcel, and place, of the files of a snapshot, or of our code in a checkout."""
    roots = [code] if (code / SNAPSHOT).is_file() else [code / name for name in PACKAGES]
    paths = [path for root in roots for path in sorted(root.rglob("*")) if path.is_file()]
    kept = [path for path in paths if not LEFT_OUT & set(path.parts) and path.suffix != ".pyc"]
    return {f"code/{path.relative_to(code).as_posix()}": path for path in kept}


def pack_code(code: Path) -> bytes:
    """Return an archive of the code alone."""
    return archive(code_files(code))


def digest(text: bytes) -> str:
    """Return the name under which an archive of code is kept."""
    return hashlib.sha256(text).hexdigest()


def archive(files: Mapping[str, bytes | Path]) -> bytes:
    """Return an archive of files; equal files give equal bytes."""
    written = io.BytesIO()
    write_archive(files, written)
    return written.getvalue()


def pack_files(root: Path, names: Iterable[str], target: Path) -> None:
    """Write an archive of the files with these names below ``root``."""
    with target.open("wb") as file:
        write_archive({name: root / name for name in sorted(names)}, file, level=1)


def kept_files(run: Path) -> list[str]:
    """Return the names of the files of a run that come to the driver, small ones first, as far as there is room."""
    sizes = sorted((path.stat().st_size, name) for name, path in files_of(run).items() if is_kept(name))
    names, total = [], 0
    for size, name in sizes[:MOST_KEPT]:
        total += size + 2 * BLOCK
        if size <= LARGEST_FILE and total <= LARGEST_FILES:
            names.append(name)
    return names


def is_kept(name: str) -> bool:
    """Return whether a file of a run comes to the driver."""
    return bool(KEPT.fullmatch(name)) and portable(name)


def files_of(run: Path) -> dict[str, Path]:
    """Return the files of a run that can travel, by name."""
    found = {path.relative_to(run).as_posix(): path for path in run.rglob("*") if path.is_file()}
    return {name: path for name, path in found.items() if not path.is_symlink() and portable(name)}


def portable(name: str) -> bool:
    """Return whether a name fits into an archive."""
    return len(name.encode()) <= LONGEST_NAME and max(len(part.encode()) for part in name.split("/")) <= LONGEST_PART


def write_archive(files: Mapping[str, bytes | Path], target: Any, level: int = 6) -> None:
    """Write an archive; raises ConfigError for a name that is too long for one."""
    with (
        gzip.GzipFile(filename="", fileobj=target, mode="wb", compresslevel=level, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, source in files.items():
            with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
                info = tarfile.TarInfo(name)
                info.size = file.seek(0, io.SEEK_END)
                file.seek(0)
                try:
                    tar.addfile(info, file)
                except ValueError as error:
                    raise ConfigError(f"{name}: a name too long to travel. Choose a shorter one") from error


def open_parcel(path: Path, token: str, folder: Path) -> Entry:
    """Unpack what the job with this token needs, and return what it stands for; raises Distrusted, OSError."""
    with path.open("rb") as stream:
        entry = read_index(stream, token)
    mine = ("code/", f"units/{entry.unit}/")
    with path.open("rb") as stream:
        unpack(stream, folder, lambda name: name.startswith(mine), LARGEST_PARCEL, MOST_FILES)
    return entry


def read_index(stream: BinaryIO, token: str) -> Entry:
    """Return what a token stands for; the index is the first file of a parcel."""
    for name, pieces in members(stream, LARGEST_PARCEL):
        if name != "index.json":
            break
        index = json.loads(b"".join(pieces))
        if token not in index["jobs"]:
            raise Distrusted(f"this parcel knows no token {token}")
        job = index["jobs"][token]
        if job["unit"] is not None and not UNIT.fullmatch(job["unit"]):
            raise Distrusted(f"{job['unit']!r} is no unit")
        return Entry(token, tuple(job["command"]), job["unit"], int(job["attempt"]), index["code"])
    raise Distrusted("this is no parcel: it does not begin with index.json")


def unpack(
    stream: BinaryIO, folder: Path, allowed: Callable[[str], bool], largest_bytes: int, most_files: int
) -> list[str]:
    """Write the files of an archive whose names are allowed below ``folder``, all or none; return their names.

    Raises Distrusted for an archive that is no archive of files, too large, or tries to leave the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as made:
        for number, (name, pieces) in enumerate(members(stream, largest_bytes)):
            if number >= most_files:
                raise Distrusted(f"it has more than {most_files} files")
            if allowed(name):
                write_pieces(Path(made) / name, pieces)
                names.append(name)
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(made) / name).replace(folder / name)
    return names


def write_pieces(path: Path, pieces: Iterator[bytes]) -> None:
    """Write a file that is not there yet."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.writelines(pieces)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise Distrusted("two of its files have one name") from error


def members(stream: BinaryIO, largest_bytes: int) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield name and contents of each file of an archive, contents that nobody reads are passed over.

    Raises Distrusted for anything but files with plain names, and for more than ``largest_bytes`` of contents.
    """
    left = largest_bytes
    with archive_errors(), gzip.GzipFile(fileobj=stream, mode="rb") as plain:
        while (block := exactly(plain, BLOCK)).strip(b"\0"):
            info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
            left -= BLOCK + info.size
            check_member(info, left)
            pieces = contents(plain, info.size)
            yield info.name, pieces
            drain(pieces)
        if len(plain.read(2 * tarfile.RECORDSIZE)) > tarfile.RECORDSIZE:  # and at its end, its checksum is checked
            raise Distrusted("it goes on after its end")


@contextmanager
def archive_errors() -> Iterator[None]:
    """Raise Distrusted where bytes are no archive."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise Distrusted("it is no archive, or a damaged one") from error


def exactly(plain: gzip.GzipFile, size: int) -> bytes:
    """Return the next ``size`` bytes, which there must be."""
    text = plain.read(size)
    if len(text) < size:
        raise EOFError
    return text


def drain(pieces: Iterator[bytes]) -> None:
    """Pass over what was not read."""
    for _ in pieces:
        pass


def check_member(info: tarfile.TarInfo, left: int) -> None:
    """Raise Distrusted for a member of an archive that is not a file with a plain name and a size that fits."""
    if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise Distrusted("it holds something that is no file")
    if info.size < 0 or left < 0:
        raise Distrusted("it is too large")
    parts = info.name.split("/")
    if any(part in ("", ".", "..") or not SAFE_PART.fullmatch(part) for part in parts):
        raise Distrusted("a name in it leads elsewhere")


def contents(plain: gzip.GzipFile, size: int) -> Iterator[bytes]:
    """Yield the contents of a file of ``size`` bytes, and read over what fills its last block."""
    with archive_errors():
        for first in range(0, size, PIECE):
            yield exactly(plain, min(PIECE, size - first))
        exactly(plain, -size % BLOCK)
