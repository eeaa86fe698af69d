"""The object store of the tests: moto's S3 in a process of its own, and a door to it that can be closed."""

import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.sweeping import wait_for

PORT = 16880
PIECE = 65536  # bytes


@contextmanager
def object_store() -> Iterator[str]:
    """Run an S3 and yield its address; the tests are skipped, in CI they fail, where it cannot be installed."""
    address = f"http://127.0.0.1:{PORT}"
    if find_spec("s3fs") is None:
        missing("no s3fs here: pip install 'wirecell_ml[s3]'")
    if answers(address):
        yield address
        return
    with (folder() / "moto.log").open("ab") as log:
        server = subprocess.Popen([installed(), "-H", "127.0.0.1", "-p", str(PORT)], stdout=log, stderr=log)
    try:
        wait_for(lambda: answers(address))
        yield address
    finally:
        server.kill()
        server.wait()


def folder() -> Path:
    """Return where the server writes its log."""
    state = Path(os.environ.get("WIRECELL_ML_ENGINES") or Path.home() / ".cache" / "wirecell_ml" / "engines")
    (state / "moto").mkdir(parents=True, exist_ok=True)
    return state / "moto"


def installed() -> Path:
    """Return the program of the server."""
    program = Path(sys.executable).with_name("moto_server")
    if find_spec("moto") is None or not program.exists():
        missing("no moto here: pip install 'wirecell_ml[dev]'")
    return program


def missing(why: str) -> None:
    """Skip the test, or fail it in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def answers(address: str) -> bool:
    """Return whether a server answers there."""
    try:
        ask("GET", address)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return True


def ask(method: str, address: str) -> None:
    """Send a request to the store."""
    urllib.request.urlopen(urllib.request.Request(address, method=method), timeout=30).close()  # noqa: S310


def make_bucket(address: str) -> str:
    """Make a bucket that nobody else uses, and return its name."""
    name = f"test-{secrets.token_hex(6)}"
    ask("PUT", f"{address}/{name}")
    return name


def who_we_are(address: str) -> dict[str, str]:
    """Return the environment of who uses the store; this store lets everyone in who says a name."""
    keys = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_DEFAULT_REGION": "us-east-1"}
    return {"AWS_ENDPOINT_URL": address, **keys}


class Door:
    """A port of this machine, at one of its addresses, that leads to the store while it is open."""

    def __init__(self, port: int = PORT, host: str = "127.0.0.1") -> None:
        self.port, self.host, self.links = port, host, list[socket.socket]()
        with closing(socket.socket()) as free:
            free.bind((host, 0))
            self.own = free.getsockname()[1]
        self.open()

    @property
    def address(self) -> str:
        """Address of the store, as seen through the door."""
        return f"http://{self.host}:{self.own}"

    def open(self) -> None:
        """Let all through."""
        self.listener = socket.create_server((self.host, self.own))
        threading.Thread(target=self.serve, args=[self.listener], daemon=True).start()

    def close(self) -> None:
        """Let nobody through, and cut those off who are on their way."""
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        while self.links:
            link = self.links.pop()
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()

    @contextmanager
    def closed(self, seconds: float) -> Iterator[None]:
        """Keep the door closed for a while at least."""
        self.close()
        try:
            yield
            time.sleep(seconds)
        finally:
            self.open()

    def leads_to(self, port: int) -> None:
        """Lead elsewhere, and those who are on their way, too."""
        self.port = port
        with self.closed(0):
            pass

    def serve(self, listener: socket.socket) -> None:
        """Lead everyone who comes to the store."""
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.port))
            self.links += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=lead, args=[one, other], daemon=True).start()


def lead(one: socket.socket, other: socket.socket) -> None:
    """Pass on what comes from one end to the other."""
    with suppress(OSError):
        while piece := one.recv(PIECE):
            other.sendall(piece)
        other.shutdown(socket.SHUT_WR)


@contextmanager
def refusing(text: bytes, headers: Mapping[str, str]) -> Iterator[int]:
    """Run a server that answers whatever it is asked with 403, these headers and this text, and yield its port."""

    class Refusal(BaseHTTPRequestHandler):
        def refuse(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(403)
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = refuse  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
