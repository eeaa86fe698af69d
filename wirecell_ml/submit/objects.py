"""Objects: named bytes in a store, S3 and others through fsspec, or in a folder; what a mailbox needs of them."""

import os
import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from wirecell_ml.errors import ConfigError
from wirecell_ml.submit.mailbox import LARGEST_BYTES, NoPlainFile, read_plain
from wirecell_ml.submit.secret import hide, keys_of_aws

PACKAGES = {
    "s3": ("s3fs", "'wirecell_ml[s3]'"),
    "gs": ("gcsfs", "gcsfs"),
}  # that speak a scheme, and what pip calls them
TRIES = 3  # of one request
CONNECT_S, READ_S = 5, 30
OWN_TROUBLES = {"InvalidRange", "416", "InvalidObjectState", "InvalidRequest"}
STALE = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "InvalidToken"}


class Away(ConnectionError):  # noqa: N818
    """The store does not answer."""


class Forbidden(PermissionError):  # noqa: N818
    """The store knows us not, or not enough."""


class Stale(Forbidden):
    """The store knows us no more: the login has run out."""


@dataclass(frozen=True)
class Stored:
    """What a listing says of an object."""

    size: int
    version: str  # another one for other contents


class Objects(Protocol):
    """A place for objects. Methods raise FileNotFoundError, Forbidden, Stale, Away, or another OSError."""

    def find(self, prefix: str) -> dict[str, Stored]:
        """Return all objects whose names begin with a folder's."""
        ...

    def read(self, names: Collection[str]) -> dict[str, bytes]:
        """Return the contents of small objects; those that are not there, or that nobody can read, are left out."""
        ...

    def write(self, texts: Mapping[str, bytes]) -> None:
        """Write objects, each whole or not at all."""
        ...

    def create(self, name: str, text: bytes) -> bool:
        """Write an object unless there is one of that name; return whether this one was the first."""
        ...

    def remove(self, names: Collection[str]) -> None:
        """Remove objects."""
        ...

    def upload(self, path: Path, name: str) -> None:
        """Write a file as an object."""
        ...

    def download(self, name: str, path: Path) -> None:
        """Write an object as a file."""
        ...


def open_objects(address: str, environment: Mapping[str, str]) -> Objects:
    """Return the objects below an address; ``environment`` names the credentials and the endpoint, if it does."""
    parts = urlsplit(address)
    if parts.scheme == "file":
        return Folder(Path(unquote(parts.path)))
    return Remote(address, os.environ | dict(environment))


class Folder:
    """Objects that are files in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, prefix: str) -> dict[str, Stored]:
        """Return what is below a folder."""
        found = {}
        for folder, _, names in os.walk(self.root / prefix):
            for name in names:
                path = Path(folder) / name
                if not name.startswith("."):
                    held = path.lstat()
                    version = f"{held.st_mtime_ns}-{held.st_ino}"
                    found[path.relative_to(self.root).as_posix()] = Stored(held.st_size, version)
        return found

    def read(self, names: Collection[str]) -> dict[str, bytes]:
        """Return the contents of files."""
        found = {}
        for name in names:
            try:
                found[name] = read_plain(self.root / name, 0, LARGEST_BYTES + 1)
            except (FileNotFoundError, NoPlainFile):
                continue
        return found

    def write(self, texts: Mapping[str, bytes]) -> None:
        """Write files."""
        for name, text in texts.items():
            self.written(name, text).replace(self.root / name)

    def create(self, name: str, text: bytes) -> bool:
        """Write a file unless it is there."""
        written = self.written(name, text)
        try:
            os.link(written, self.root / name)
        except FileExistsError:
            return False
        finally:
            written.unlink()
        return True

    def remove(self, names: Collection[str]) -> None:
        """Remove files."""
        for name in names:
            (self.root / name).unlink(missing_ok=True)

    def upload(self, path: Path, name: str) -> None:
        """Copy a file to its place."""
        self.write({name: path.read_bytes()})

    def download(self, name: str, path: Path) -> None:
        """Copy a file from its place."""
        path.write_bytes(read_plain(self.root / name, 0, -1))

    def written(self, name: str, text: bytes) -> Path:
        """Return a new file beside the place of ``name``."""
        place = self.root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        written = place.with_name(f".{place.name}-{secrets.token_hex(8)}")
        written.write_bytes(text)
        return written


class Remote:
    """Objects in a store that fsspec speaks with."""

    def __init__(self, address: str, environment: Mapping[str, str]) -> None:
        parts = urlsplit(address)
        self.root = f"{parts.netloc}{parts.path}".rstrip("/")
        self.files = file_system(parts.scheme, environment)

    def find(self, prefix: str) -> dict[str, Stored]:
        """Return the objects below a prefix."""
        with translated():
            found = self.files.find(self.place(prefix), detail=True)
        cut = len(self.root) + 1
        return {
            name[cut:]: Stored(int(one["size"]), str(one.get("ETag") or one.get("etag") or one.get("mtime")))
            for name, one in found.items()
        }

    def read(self, names: Collection[str]) -> dict[str, bytes]:
        """Return the contents of objects, which are fetched side by side."""
        if not names:
            return {}
        with translated():
            texts = self.files.cat_ranges([self.place(name) for name in names], 0, LARGEST_BYTES + 1, on_error="return")
            found = {name: text for name, text in zip(names, texts, strict=True) if isinstance(text, bytes)}
            troubles = [text for text in texts if isinstance(text, Exception) and not is_its_own(text)]
            if troubles and not found:  # it is the store's, not that of one object
                raise troubles[0]
        return found

    def write(self, texts: Mapping[str, bytes]) -> None:
        """Write objects side by side."""
        with translated():
            self.files.pipe({self.place(name): text for name, text in texts.items()})

    def create(self, name: str, text: bytes) -> bool:
        """Write an object where there is none, as the store itself decides."""
        with translated():
            try:
                self.files.pipe_file(self.place(name), text, mode="create")
            except OSError as error:
                if isinstance(error, FileExistsError) or code_of(error) == "PreconditionFailed":
                    return False
                raise
        return True

    def remove(self, names: Collection[str]) -> None:
        """Remove objects, many with one request."""
        if names:
            with translated():
                self.files.rm([self.place(name) for name in names])

    def upload(self, path: Path, name: str) -> None:
        """Upload a file."""
        with translated():
            self.files.put_file(str(path), self.place(name))

    def download(self, name: str, path: Path) -> None:
        """Download a file."""
        with translated():
            self.files.get_file(self.place(name), str(path))

    def place(self, name: str) -> str:
        """Return what the store calls an object."""
        return f"{self.root}/{name}"


def file_system(scheme: str, environment: Mapping[str, str]) -> Any:
    """Return the file system of a scheme; raises ConfigError where the package for it is not installed."""
    package, called = PACKAGES[scheme]
    if find_spec(package) is None:
        raise ConfigError(f"{scheme}:// needs the package {package}. Type: pip install {called}")
    import fsspec

    files = fsspec.filesystem(
        scheme, skip_instance_cache=True, use_listings_cache=False, **options(scheme, environment)
    )
    files.retries = TRIES
    return files


def options(scheme: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what a file system is told; who we are it finds where a profile, a role or the environment says it."""
    if scheme != "s3":
        return {}
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    patience = {"connect_timeout": CONNECT_S, "read_timeout": READ_S, "retries": {"max_attempts": 1}}
    return {"endpoint_url": endpoint, "profile": environment.get("AWS_PROFILE"), "config_kwargs": patience}


@contextmanager
def translated() -> Iterator[None]:
    """Let every error of a client be one of ours, or an OSError."""
    try:
        yield
    except (FileNotFoundError, Away, Forbidden):
        raise
    except PermissionError as error:
        raise (Stale if code_of(error) in STALE else Forbidden)(one_line(error)) from error
    except OSError as error:
        raise (Stale if code_of(error) in STALE else Away)(one_line(error)) from error
    except Exception as error:  # clients have errors of many kinds, and all mean that it did not work
        kind = Forbidden if "credential" in type(error).__name__.lower() or "Profile" in type(error).__name__ else Away
        raise kind(one_line(error)) from error


def is_its_own(trouble: Exception) -> bool:
    """Return whether a trouble is that of one object: it is gone, empty, archived, or under a key of somebody else."""
    return isinstance(trouble, FileNotFoundError) or code_of(trouble) in OWN_TROUBLES


def code_of(error: BaseException) -> str:
    """Return what S3 calls an error, "" for others."""
    response = getattr(error.__cause__, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def one_line(error: BaseException) -> str:
    """Return the text of an error in a line, in which a store may have repeated what it was told."""
    return hide(f"{type(error).__name__}: {' '.join(str(error).split())}", keys_of_aws())[:300]
