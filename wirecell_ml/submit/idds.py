"""Calls to the REST service of iDDS: verified TLS, our token in a header, errors that say what to do.

Nothing but the standard library: workers call it, too. The token is never in an address, an argument or a message.
"""

import base64
import binascii
import http.client
import json
import os
import ssl
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from wirecell_ml.errors import ConfigError
from wirecell_ml.submit.backend import Expired, Unavailable
from wirecell_ml.submit.secret import hide

SCHEMES = {"idds+https": "https", "idds+http": "http"}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
TIMEOUT_S = 30.0
LARGEST_ANSWER_BYTES = 256_000_000
LONGEST_REASON = 300  # characters of what a service says
TOKEN_HEADER = "X-IDDS-Auth-Token"  # noqa: S105  (a name)
TOKENS = ("OIDC_AUTH_ID_TOKEN", "PANDA_AUTH_ID_TOKEN")  # variables that hold a token, as the clients of PanDA read them
TOKEN_FILE = "OIDC_AUTH_TOKEN_FILE"  # noqa: S105  variable that names the file of one
ORGANISATIONS = ("IDDS_VO", "PANDA_AUTH_VO")
TRUSTED_FILE, TRUSTED_FOLDERS = "SSL_CERT_FILE", ("SSL_CERT_DIR", "X509_CERT_DIR")
HOW_TO_LOG_IN = f"Put a token in {TOKENS[0]}, or the name of its file in {TOKEN_FILE}"


class Service:
    """An iDDS service, as the environment of a process lets it be reached."""

    def __init__(
        self, mailbox: str, environment: Mapping[str, str] = os.environ, token: Callable[[], str] | None = None
    ) -> None:
        self.url, self.environment = urlsplit(check_address(mailbox)), environment
        self.token = token or (lambda: read_token(environment))
        self.began: float | None = None  # the service's time when our monotonic clock was 0

    def get(self, *path: object) -> Any:
        """Return what the service holds at a path; raises Unavailable."""
        answer = self.ask("GET", path)
        try:
            return json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise Unavailable(f"{self.url.netloc}: an answer that is no JSON") from error

    def post(self, held: Any, *path: object) -> None:
        """Leave something at a path; raises Unavailable."""
        self.ask("POST", path, json.dumps(held).encode())

    def minute(self) -> int:
        """Return the time by the clock of the service, in minutes since 1970."""
        if self.began is None:
            self.ask("GET", ["ping"])
        assert self.began is not None
        return int((self.began + time.monotonic()) / 60)

    def ask(self, method: str, path: Any, body: bytes | None = None) -> bytes:
        """Return the answer to one request; raises Unavailable, and Expired where it does not take our token."""
        words = "/".join(quote(str(part), safe="") for part in path)
        headers = self.login() | {"Content-Type": "application/json"}
        connection = self.connection()
        try:
            connection.request(method, f"{self.url.path.rstrip('/')}/{words}", body, headers)
            answer = connection.getresponse()
            text = answer.read(LARGEST_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            said = hide(str(error), [headers[TOKEN_HEADER]])[:LONGEST_REASON]
            raise Unavailable(f"{self.url.netloc}: {said or type(error).__name__}") from None
        finally:
            connection.close()
        self.set_clock(answer.getheader("Date"))
        self.check(answer, text, headers[TOKEN_HEADER])
        return text

    def connection(self) -> http.client.HTTPConnection:
        """Return a connection that is yet to be made; it follows no redirection, which would hand our token on."""
        host, port = self.url.hostname or "", self.url.port
        if self.url.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=trust(self.environment))

    def login(self) -> dict[str, str]:
        """Return the headers that say who we are; raises ConfigError and Expired."""
        organisation = first(self.environment, ORGANISATIONS)
        if organisation is None:
            raise ConfigError(f"iDDS: no virtual organisation. Set {ORGANISATIONS[0]}, e.g. {ORGANISATIONS[0]}=dune")
        token = self.token()
        return {"X-IDDS-Auth-Type": "oidc", "X-IDDS-Auth-VO": organisation, TOKEN_HEADER: token}

    def set_clock(self, date: str | None) -> None:
        """Take over the time of the service, which all that speak with it share."""
        try:
            now = parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            now = time.time()
        self.began = now - time.monotonic()

    def check(self, answer: http.client.HTTPResponse, text: bytes, token: str) -> None:
        """Raise the error that an answer stands for; it may repeat our token, which we do not."""
        said = hide(answer.getheader("ExceptionMessage") or answer.reason, [token])[:LONGEST_REASON]
        why = f"{self.url.netloc}: {answer.status} {said}"
        if answer.status in (401, 403):
            raise Expired(f"{why}. {HOW_TO_LOG_IN}")
        if answer.status != 200:
            raise Unavailable(why)
        if len(text) > LARGEST_ANSWER_BYTES:
            raise Unavailable(f"{self.url.netloc}: an answer of more than {LARGEST_ANSWER_BYTES / 1e6:.0f} MB")


def check_address(mailbox: str) -> str:
    """Return the address of the service that a mailbox names; raises ConfigError."""
    scheme, _, rest = mailbox.partition("://")
    place = urlsplit(f"//{rest}")
    if scheme not in SCHEMES or not place.hostname or not has_port(place):
        raise ConfigError(f"site.mailbox={mailbox}: no address of an iDDS. Write idds+https://host:port/idds")
    if "@" in place.netloc or place.query or place.fragment:
        raise ConfigError(f"site.mailbox: only host, port and path of an iDDS belong in it. {HOW_TO_LOG_IN}")
    if scheme == "idds+http" and place.hostname not in LOOPBACK:
        raise ConfigError(
            f"site.mailbox={mailbox}: our token would cross the network as plain text. Write idds+https://…"
        )
    return f"{SCHEMES[scheme]}://{rest}"


def has_port(place: SplitResult) -> bool:
    """Return whether the port of an address is a number, or left out."""
    try:
        return place.port != 0
    except ValueError:
        return False


def trust(environment: Mapping[str, str]) -> ssl.SSLContext:
    """Return whom we trust: the authorities of this machine, and those that the environment names."""
    context = ssl.create_default_context()
    file, folder = environment.get(TRUSTED_FILE), first(environment, TRUSTED_FOLDERS)
    if file or folder:
        try:
            context.load_verify_locations(file, folder)
        except OSError as error:
            raise Unavailable(f"{TRUSTED_FILE}={file}: {error}") from error
    return context


def read_token(environment: Mapping[str, str]) -> str:
    """Return our token; raises Expired where there is none that could be used."""
    token = first(environment, TOKENS) or read_token_file(environment.get(TOKEN_FILE))
    if not token.isascii() or not token.isprintable():
        raise Expired(f"iDDS: the token has characters that no token has. {HOW_TO_LOG_IN}")
    ends = end_of(token)
    if ends is not None and ends <= time.time():
        raise Expired(f"iDDS: the token ended {time.time() - ends:.0f} s ago. {HOW_TO_LOG_IN}")
    return token


def read_token_file(name: str | None) -> str:
    """Return the token in a file, alone or as "id_token" of an object; raises Expired."""
    if not name:
        raise Expired(f"iDDS: no token. {HOW_TO_LOG_IN}")
    path = Path(name).expanduser()
    try:
        if path.stat().st_mode & 0o077:
            raise Expired(f"{path}: others may read the token. Write: chmod 600 {path}")
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Expired(f"{path}: no token: {getattr(error, 'strerror', 'no text')}. {HOW_TO_LOG_IN}") from error
    try:
        held = json.loads(text) if text.startswith("{") else {"id_token": text}
    except ValueError:
        held = {}
    token = held.get("id_token")
    if not isinstance(token, str) or not token:
        raise Expired(f"{path}: no token in it. It holds a token alone, or an object with an id_token")
    return token


def end_of(token: str) -> float | None:
    """Return when a token ends, seconds since 1970, as far as it says; only the service can check it."""
    try:
        middle = token.split(".")[1]
        ends = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))["exp"]
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return None
    return float(ends) if isinstance(ends, int | float) else None


def first(environment: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    """Return the first of some variables that is set."""
    return next((environment[name] for name in names if environment.get(name)), None)
