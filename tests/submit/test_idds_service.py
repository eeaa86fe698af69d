"""Calls to a real iDDS server: TLS is verified, tokens are found and kept, and errors say what to do."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.idds_server import Server, running_server, write_token
from wirecell_ml.errors import ConfigError
from wirecell_ml.submit.backend import Expired, Unavailable
from wirecell_ml.submit.idds import Service, check_address, read_token


@pytest.fixture(scope="module")
def server() -> Server:
    return running_server()


@pytest.fixture
def login(server: Server, tmp_path: Path) -> dict[str, str]:
    """What lets a process speak with the server."""
    return server.environment(tmp_path / "token")


@pytest.mark.parametrize(
    ("mailbox", "line"),
    [
        ("idds+http://idds.example.org/idds", "our token would cross the network"),
        ("idds+https://", "no address of an iDDS"),
        ("idds+ftp://here/idds", "no address of an iDDS"),
        ("idds+https://here:port/idds", "no address of an iDDS"),
        ("idds+https://me:secret@here/idds", "only host, port and path"),
        ("idds+https://here/idds?token=secret", "only host, port and path"),
    ],
)
def test_an_address_that_cannot_be_is_refused_and_not_repeated_with_its_secret(mailbox: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line) as refusal:
        check_address(mailbox)
    assert "secret" not in str(refusal.value)


def test_plain_http_is_for_this_machine_only() -> None:
    assert check_address("idds+http://127.0.0.1:1/idds") == "http://127.0.0.1:1/idds"
    assert check_address("idds+https://idds.example.org/idds") == "https://idds.example.org/idds"


def test_a_server_whose_certificate_nobody_vouches_for_is_not_spoken_to(
    server: Server, login: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    known = {name: value for name, value in login.items() if name != "SSL_CERT_FILE"}
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        Service(server.mailbox, known).ask("GET", ["ping"])
    assert Service(server.mailbox, login).ask("GET", ["ping"])


def test_a_certificate_of_another_host_is_refused(server: Server, login: dict[str, str]) -> None:
    port = server.url.rpartition(":")[2]
    with pytest.raises(Unavailable, match=r"CERTIFICATE_VERIFY_FAILED.* is not valid for '127\.1'"):
        Service(f"idds+https://127.1:{port}", login).ask("GET", ["ping"])


def test_a_redirection_is_not_followed_with_our_token(login: dict[str, str]) -> None:
    asked: list[str] = []

    class Thief(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", "/thief")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Thief) as there:
        threading.Thread(target=there.serve_forever, daemon=True).start()
        with pytest.raises(Unavailable, match="302"):
            Service(f"idds+http://127.0.0.1:{there.server_port}/idds", login).ask("GET", ["ping"])
        there.shutdown()
    assert asked == ["/idds/ping"]


def test_a_token_is_read_from_the_environment_or_from_a_file_as_both_clients_write_it(tmp_path: Path) -> None:
    assert read_token({"OIDC_AUTH_ID_TOKEN": "abc"}) == "abc"
    assert read_token({"PANDA_AUTH_ID_TOKEN": "abc"}) == "abc"
    for text in ("abc\n", json.dumps({"id_token": "abc", "refresh_token": "def"})):
        write_token(tmp_path / "token", text)
        assert read_token({"OIDC_AUTH_TOKEN_FILE": str(tmp_path / "token")}) == "abc"


def test_a_token_that_is_missing_or_open_to_others_is_none(tmp_path: Path) -> None:
    open_to_all = tmp_path / "token"
    open_to_all.write_text("abc")
    open_to_all.chmod(0o644)
    write_token(tmp_path / "empty", "{}")
    for environment, line in (
        ({}, "no token. Put a token in OIDC_AUTH_ID_TOKEN"),
        ({"OIDC_AUTH_TOKEN_FILE": str(tmp_path / "nowhere")}, "no token: No such file"),
        ({"OIDC_AUTH_TOKEN_FILE": str(open_to_all)}, "others may read the token. Write: chmod 600"),
        ({"OIDC_AUTH_TOKEN_FILE": str(tmp_path / "empty")}, "no token in it"),
        ({"OIDC_AUTH_ID_TOKEN": "abc\r\nX-Other: 1"}, "characters that no token has"),
    ):
        with pytest.raises(Expired, match=line):
            read_token(environment)


def test_a_token_whose_time_is_over_is_told_apart_here_and_by_the_server(server: Server, login: dict[str, str]) -> None:
    write_token(Path(login["OIDC_AUTH_TOKEN_FILE"]), server.token(-60))
    with pytest.raises(Expired, match="the token ended 6"):
        Service(server.mailbox, login).ask("GET", ["ping"])
    header, claims, _ = server.token().split(".")
    write_token(Path(login["OIDC_AUTH_TOKEN_FILE"]), f"{header}.{claims}.{'A' * 342}")
    with pytest.raises(Expired, match="401 Failed to verify oidc token"):
        Service(server.mailbox, login).ask("GET", ["ping"])


def test_an_authority_that_is_not_there_stops_no_driver(server: Server, login: dict[str, str]) -> None:
    with pytest.raises(Unavailable, match="SSL_CERT_FILE=/nowhere"):
        Service(server.mailbox, login | {"SSL_CERT_FILE": "/nowhere"}).ask("GET", ["ping"])


def test_an_organisation_that_the_server_does_not_know_is_refused(server: Server, login: dict[str, str]) -> None:
    with pytest.raises(Expired, match="401"):
        Service(server.mailbox, login | {"IDDS_VO": "elsewhere"}).ask("GET", ["ping"])
