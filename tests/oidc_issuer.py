"""An OpenID Connect issuer on loopback: signed tokens, discovery, and the device flow of RFC 8628."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT, SECRET, AUDIENCE, KEY = "wirecell-ml-tests", "public-secret", "https://panda.test", "k1"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass
class Issuer:
    """The issuer, and what happens to those who ask it for tokens."""

    address: str = ""
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    life_s: float = 3600.0  # of the tokens that it gives
    answers: list[str] = field(default_factory=list)  # errors before the user has confirmed a login
    refresh: list[str] = field(default_factory=list)  # refresh tokens that may be used, each once
    down: bool = False
    given: int = 0

    def mint(self, groups: tuple[str, ...] = ("dune",), life_s: float | None = None, **claims: Any) -> str:
        """Return a signed token."""
        now = time.time()
        held = {
            "iss": self.address,
            "aud": CLIENT,
            "sub": "u-1",
            "name": "Test Physicist",
            "preferred_username": "testphysicist",
            "groups": list(groups),
            "iat": int(now),
            "exp": int(now + (self.life_s if life_s is None else life_s)),
        }
        return jwt.encode(held | claims, self.key, algorithm="RS256", headers={"kid": KEY})

    def documents(self) -> dict[str, Any]:
        """Return what it publishes."""
        numbers = self.key.public_key().public_numbers()
        key = {"kty": "RSA", "kid": KEY, "alg": "RS256", "use": "sig", "n": b64(numbers.n), "e": b64(numbers.e)}
        found = {
            "issuer": self.address,
            "jwks_uri": f"{self.address}/jwks",
            "token_endpoint": f"{self.address}/token",
            "device_authorization_endpoint": f"{self.address}/devicecode",
        }
        return {"/.well-known/openid-configuration": found, "/jwks": {"keys": [key]}}

    def post(self, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Return status and answer to a form."""
        if form.get("client_id") != CLIENT or form.get("client_secret") != SECRET:
            return 401, {"error": "invalid_client"}
        if path == "/devicecode":
            return self.begin(form)
        if path != "/token":
            return 404, {"error": "not_found"}
        if form.get("grant_type") == DEVICE and form.get("device_code") == "device-1":
            return self.confirm()
        if form.get("grant_type") == "refresh_token":
            return self.renew(form.get("refresh_token", ""))
        return 400, {"error": "unsupported_grant_type"}

    def begin(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Return the codes of a login that begins."""
        if "openid" not in form.get("scope", "").split() or form.get("audience") != AUDIENCE:
            return 400, {"error": "invalid_scope"}
        where = f"{self.address}/confirm"
        return 200, {
            "device_code": "device-1",
            "user_code": "ABCD-1234",
            "verification_uri": where,
            "verification_uri_complete": f"{where}?user_code=ABCD-1234",
            "expires_in": 60,
            "interval": 0.01,
        }

    def confirm(self) -> tuple[int, dict[str, Any]]:
        """Return tokens, or the next reason for which there are none yet."""
        if self.answers:
            return 400, {"error": self.answers.pop(0)}
        return 200, self.tokens()

    def renew(self, refresh: str) -> tuple[int, dict[str, Any]]:
        """Return new tokens for a refresh token, which is good once."""
        if refresh not in self.refresh:
            return 400, {"error": "invalid_grant", "error_description": "refresh token is not known"}
        self.refresh.remove(refresh)
        return 200, self.tokens()

    def tokens(self) -> dict[str, Any]:
        """Return a set of tokens."""
        self.given += 1
        self.refresh.append(f"refresh-{self.given}")
        return {"id_token": self.mint(), "access_token": "opaque", "refresh_token": self.refresh[-1]}


def b64(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()


@contextmanager
def issuer_at(port: int = 0) -> Iterator[Issuer]:
    """Run an issuer."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            documents = issuer.documents()
            self.answer(200 if self.path in documents else 404, documents.get(self.path, {}))

        def do_POST(self) -> None:
            held = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.answer(*issuer.post(self.path, {name: values[0] for name, values in held.items()}))

        def answer(self, status: int, held: dict[str, Any]) -> None:
            body = json.dumps(held).encode()
            self.send_response(503 if issuer.down else status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        issuer.address = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield issuer
        server.shutdown()
