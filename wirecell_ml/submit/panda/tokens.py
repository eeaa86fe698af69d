"""PanDA's tokens on this machine: where they are, how long they live, and how they are kept.

They are read where panda-client reads them, and a login of ours is a file that panda-client understands.
"""

import base64
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

from wirecell_ml.submit.backend import Expired
from wirecell_ml.submit.panda.rest import server_address
from wirecell_ml.submit.secret import can_be_sent

FILE = ".token"
KEPT = ("id_token", "refresh_token")


def given() -> str | None:
    """Return the token that the environment gives, in panda-client's order, or None."""
    if token := os.environ.get("PANDA_AUTH_ID_TOKEN"):
        return token.strip()
    if path := os.environ.get("OIDC_AUTH_TOKEN_FILE"):
        try:
            with Path(path).open() as file:
                check_mode(file, path)
                return file.read().strip()
        except OSError as error:
            raise Expired(f"OIDC_AUTH_TOKEN_FILE={path}: {error.strerror}") from error
    return os.environ.get("OIDC_AUTH_ID_TOKEN", "").strip() or None


def check_mode(file: TextIO, path: Path | str) -> None:
    """Raise Expired for a file with tokens that others may read."""
    if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
        raise Expired(f"{path} can be read by others. Take that right away: chmod 600 {path}")


def token_folder(url: str) -> Path:
    """Return the folder of the login for a server."""
    if root := os.environ.get("PANDA_CONFIG_ROOT"):
        return Path(root).expanduser()
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return home / "wirecell_ml" / "panda" / urlsplit(server_address(url)).netloc.replace(":", "_")


def read_login(folder: Path) -> dict[str, str]:
    """Return the tokens of a login, {} where there is none; raises Expired where others could read them, too."""
    path = folder / FILE
    try:
        with path.open() as file:
            check_mode(file, path)
            held = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Expired(f"{path} cannot be read: {type(error).__name__}. Delete it, and log in again") from error
    return {name: held[name] for name in KEPT if isinstance(held.get(name), str)} if isinstance(held, dict) else {}


def write_login(folder: Path, answer: dict[str, Any]) -> None:
    """Keep the tokens that an issuer answered, readable by the user only."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = folder / f"{FILE}-{secrets.token_hex(8)}"
    with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({name: answer[name] for name in KEPT if answer.get(name)}, file)
        file.flush()
        os.fsync(file.fileno())
    written.replace(folder / FILE)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time renew a login: an issuer may take each refresh token once."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(folder / f"{FILE}.lock", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        flock(file, LOCK_EX)
        yield


def seconds_left(token: str) -> float:
    """Return for how long a token is valid; its signature is the server's to check. Raises Expired for no token."""
    if not can_be_sent(token):
        raise Expired("the PanDA token is no token: it has characters that none has, such as the end of a line")
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return float(claims["exp"]) - time.time()
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise Expired(
            "the PanDA token is no token: three parts with dots between them, and a time when it ends"
        ) from error
