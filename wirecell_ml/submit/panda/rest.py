"""PanDA's REST interface, version 1: one call, one answer, and errors that say what the answer was.

panda-client is not used: it answers 255 alike for an expired token, a task that is not there and a server that is down,
reads its login configuration without verifying the certificate, and asks questions where nobody is to answer them.
"""

import http.client
import json
import re
import secrets
import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from wirecell_ml.errors import ConfigError
from wirecell_ml.submit.backend import Expired, Refused, Unavailable
from wirecell_ml.submit.secret import hide

TIMEOUT_S = 60
LARGEST_ANSWER_BYTES = 200_000_000
LOOPBACK = ("localhost", "127.0.0.1", "::1")
LOGIN = re.compile("authentication failed|invalid token|ssl secure connection is required", re.IGNORECASE)
PASSING = re.compile(  # refusals that say nothing of what was asked
    "database|timed? ?out|failed to (register|retrieve)|cannot write file|too many", re.IGNORECASE
)

Values = Mapping[str, Any]


def server_address(url: str) -> str:
    """Return the address of a server without a path; raises ConfigError for one that a token must not be sent to."""
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.query:
        raise ConfigError(f"site.panda.url: '{url}' is no address of a server. Write https://HOST or https://HOST:PORT")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ConfigError(f"site.panda.url: '{url}' would send your login in clear. Write https://{parts.netloc}")
    return f"{parts.scheme}://{parts.netloc}"


class NoRedirect(HTTPRedirectHandler):
    """Takes a redirection for the error that it is: the token is for one server."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


def opener() -> OpenerDirector:
    """Return what opens addresses: over verified TLS, to where it was sent and nowhere else."""
    made = OpenerDirector()
    handlers = (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(context=ssl.create_default_context()),
        HTTPDefaultErrorHandler(),
        NoRedirect(),
        HTTPErrorProcessor(),
    )
    for handler in handlers:
        made.add_handler(handler)
    return made


def fetch(request: Request, timeout_s: float = TIMEOUT_S) -> bytes:
    """Return the body of an answer; raises HTTPError for an answer that is none, Unavailable where there is none."""
    host = urlsplit(request.full_url).netloc
    try:
        with opener().open(request, timeout=timeout_s) as answer:
            body: bytes = answer.read(LARGEST_ANSWER_BYTES + 1)
    except HTTPError:
        raise
    except (URLError, OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{host} does not answer: {line(str(getattr(error, 'reason', None) or error))}") from None
    if len(body) > LARGEST_ANSWER_BYTES:
        raise Unavailable(f"{host}: an answer of more than {LARGEST_ANSWER_BYTES / 1e6:.0f} MB")
    return body


class Server:
    """One PanDA server, as one user in one virtual organisation."""

    def __init__(self, url: str, vo: str, token: str) -> None:
        self.address = server_address(url)
        self.headers = {"Authorization": f"Bearer {token}", "Origin": vo, "Accept": "application/json"}

    def get(self, endpoint: str, **values: Any) -> Any:
        """Return the data of an answer to a question."""
        query = f"?{urlencode(values, doseq=True)}" if values else ""
        return self.call(Request(f"{self.address}/api/v1/{endpoint}{query}", headers=self.headers))  # noqa: S310

    def post(self, endpoint: str, values: Values) -> Any:
        """Return the data of the answer to an order; it is sent once."""
        headers = self.headers | {"Content-Type": "application/json"}
        body = json.dumps(values).encode()
        return self.call(Request(f"{self.address}/api/v1/{endpoint}", body, headers, method="POST"))  # noqa: S310

    def upload(self, endpoint: str, name: str, content: bytes) -> None:
        """Send a file."""
        boundary = secrets.token_hex(16)
        body = form(boundary, name, content)
        headers = self.headers | {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        self.call(Request(f"{self.address}/api/v1/{endpoint}", body, headers, method="POST"))  # noqa: S310

    def call(self, request: Request) -> Any:
        """Return the data of an answer; raises Unavailable, Expired or Refused, as the answer means it."""
        try:
            body = fetch(request)
        except HTTPError as error:
            with error:
                raise meaning(self.address, error.code, text_of(error)) from None
        return data_of(self.address, body)


def form(boundary: str, name: str, content: bytes) -> bytes:
    """Return a file as the body of a form."""
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode()


def text_of(error: HTTPError) -> str:
    """Return what an answer that is none says, in a line."""
    try:
        said = error.read(10_000).decode(errors="replace")
    except OSError:
        said = ""
    return line(said) or error.reason or "no reason"


def line(said: str) -> str:
    """Return a text in one short line without what looks like a token."""
    return hide(" ".join(said.split()))[:300]


def meaning(address: str, status: int, said: str) -> Exception:
    """Return the error that a status of HTTP means."""
    if status == 401 or (status == 403 and LOGIN.search(said)):
        return Expired(f"{address} takes our login no more: {said}")
    if status == 429 or status >= 500 or status < 400:
        return Unavailable(f"{address} answers {status}: {said}")
    return Refused(f"{address} answers {status}: {said}")


def data_of(address: str, body: bytes) -> Any:
    """Return the data in an envelope; raises Refused with its message where it says no."""
    try:
        envelope = json.loads(body)
        success, said = envelope["success"], line(str(envelope["message"] or ""))
        data = envelope["data"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unavailable(
            f"{address}: an answer that is not PanDA's: {line(body[:200].decode(errors='replace'))}"
        ) from error
    if success is True:
        return data
    if LOGIN.search(said):
        raise Expired(f"{address} does not see our login: {said}")
    if PASSING.search(said):
        raise Unavailable(f"{address}: {said}")
    raise Refused(said or "no reason given")


def rows(data: Any) -> Sequence[dict[str, Any]]:
    """Return the objects of a list that an answer holds; raises Unavailable for anything else."""
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise Unavailable("PanDA: an answer that is no list of objects")
    return data
