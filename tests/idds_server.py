"""The tests' iDDS server: where it is, tokens that it takes, and what can happen to it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.engine import ENGINES, start_engine, stop_engine

NAME, ORGANISATION = "idds", "dune"
LONG_S = 100_000


@dataclass(frozen=True)
class Server:
    """A real iDDS server on this machine."""

    url: str
    folder: Path  # of the server, its authority and its Python

    @property
    def mailbox(self) -> str:
        """What a site calls it."""
        return f"idds+{self.url}"

    @property
    def python(self) -> Path:
        """Python that has the packages of iDDS."""
        return self.folder / "venv" / "bin" / "python"

    @property
    def authority(self) -> Path:
        """Certificate of whoever signed that of the server."""
        return self.folder / "ca.pem"

    def token(self, age_s: float = LONG_S) -> str:
        """Return a token of our issuer that ends in so many seconds."""
        return ask(str(self.python), str(ENGINES / "idds_app.py"), "token", str(self.folder), str(age_s)).strip()

    def environment(self, token_file: Path) -> dict[str, str]:
        """Return what lets a process speak with the server, its token in a file that is written here."""
        write_token(token_file, self.token())
        return {
            "OIDC_AUTH_TOKEN_FILE": str(token_file),
            "IDDS_VO": ORGANISATION,
            "SSL_CERT_FILE": str(self.authority),
        }

    def run(self, program: str, *words: str, **environment: str) -> str:
        """Return what a program prints that runs with the packages of iDDS."""
        known = {"IDDS_CONFIG": str(self.folder / "idds.cfg"), "HOME": str(self.folder)}
        return ask(str(self.python), "-c", program, *words, **known, **environment)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Let the server be down for a while."""
        stop_engine(NAME)
        try:
            yield
        finally:
            start_engine(NAME)


def running_server() -> Server:
    """Return the server, started unless it is up."""
    found = start_engine(NAME)
    return Server(found["WIRECELL_ML_IDDS"], Path(found["WIRECELL_ML_IDDS_FOLDER"]))


def ask(*command: str, **environment: str) -> str:
    """Return what a command prints."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def write_token(path: Path, token: str) -> None:
    """Write a token where only we can read it."""
    path.touch(mode=0o600)
    path.write_text(token)
