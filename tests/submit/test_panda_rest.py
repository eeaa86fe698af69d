"""Calls of PanDA's REST interface: over verified TLS, to the server that was named, without a word of the token."""

import datetime
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from wirecell_ml.submit.backend import Expired, Refused, Unavailable
from wirecell_ml.submit.panda.rest import Server, data_of, meaning

TOKEN = "eyJhbGciOi.eyJzdWIi.c2ln"  # noqa: S105
GOOD = b'{"success": true, "message": "", "data": [1]}'


class Answer(BaseHTTPRequestHandler):
    """Answers what the test has put into ``answers``, and keeps what was asked."""

    answers: list[tuple[int, dict[str, str], bytes]]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.headers["Authorization"])
        status, headers, body = self.answers.pop(0)
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


class Quiet(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that do not trust us."""


@pytest.fixture
def listening() -> Iterator[Quiet]:
    Answer.answers, Answer.asked = [], []
    with Quiet(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def certify(server: Quiet, folder: Path, name: str = "127.0.0.1") -> Path:
    """Let a server speak TLS, with a certificate for ``name``; return the file of who certified it."""
    key = rsa.generate_private_key(65537, 2048)
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.UTC)
    other = x509.IPAddress(ip_address(name))
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([other]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    (folder / "server.pem").write_bytes(secret + public)
    (folder / "ca.pem").write_bytes(public)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return folder / "ca.pem"


def secure(server: Quiet) -> Server:
    return Server(f"https://127.0.0.1:{server.server_port}", "dune", TOKEN)


def test_a_server_whose_certificate_is_trusted_gets_the_token(
    listening: Quiet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certify(listening, tmp_path)))
    Answer.answers = [(200, {}, GOOD)]
    assert secure(listening).get("system/is_alive") == [1]
    assert Answer.asked == [f"Bearer {TOKEN}"]


def test_a_server_that_nobody_vouches_for_gets_nothing(listening: Quiet, tmp_path: Path) -> None:
    certify(listening, tmp_path)
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        secure(listening).get("system/is_alive")
    assert Answer.asked == []


def test_a_certificate_for_another_name_is_not_taken(
    listening: Quiet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certify(listening, tmp_path, "127.0.0.2")))
    monkeypatch.setenv("PANDA_VERIFY_HOST", "off")
    with pytest.raises(Unavailable, match=r"certificate is not valid for '127\.0\.0\.1'"):
        secure(listening).get("system/is_alive")
    assert Answer.asked == []


def test_a_redirection_is_not_followed_with_the_token(listening: Quiet) -> None:
    address = f"http://127.0.0.1:{listening.server_port}"
    Answer.answers = [(302, {"Location": f"{address}/elsewhere"}, b""), (200, {}, GOOD)]
    with pytest.raises(Unavailable, match="answers 302"):
        Server(address, "dune", TOKEN).get("system/is_alive")
    assert len(Answer.asked) == 1


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (401, "no", Expired),
        (403, "ERROR : Token authentication failed. Invalid token. Signature has expired", Expired),
        (403, "ERROR : method fly is forbidden", Refused),
        (404, "not found", Refused),
        (413, "too large", Refused),
        (429, "slower", Unavailable),
        (500, "ERROR", Unavailable),
        (503, "", Unavailable),
    ],
)
def test_each_status_means_one_thing(status: int, said: str, kind: type[Exception]) -> None:
    assert type(meaning("https://panda", status, said)) is kind


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (b"<html>maintenance</html>", Unavailable, "not PanDA's"),
        (b"[]", Unavailable, "not PanDA's"),
        (b'{"success": true}', Unavailable, "not PanDA's"),
        (b"[" * 100_000, Unavailable, "not PanDA's"),
        (
            b'{"success": false, "message": "Database exception while gathering files", "data": null}',
            Unavailable,
            "Data",
        ),
        (b'{"success": false, "message": "Timed out", "data": null}', Unavailable, "Timed out"),
        (b'{"success": false, "message": "SSL secure connection is required", "data": null}', Expired, "login"),
        (b'{"success": false, "message": "not the task owner", "data": 3}', Refused, "not the task owner"),
    ],
)
def test_each_envelope_means_one_thing(body: bytes, kind: type[Exception], reason: str) -> None:
    with pytest.raises(kind, match=reason) as caught:
        data_of("https://panda", body)
    assert type(caught.value) is kind


def test_a_token_that_a_server_repeats_is_not_printed(listening: Quiet) -> None:
    Answer.answers = [(500, {}, f"cannot decode {TOKEN}".encode())]
    with pytest.raises(Unavailable, match=r"cannot decode \*\*\*"):
        Server(f"http://127.0.0.1:{listening.server_port}", "dune", TOKEN).get("system/is_alive")
