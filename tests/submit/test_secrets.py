"""Secrets that go wrong: no error, whatever a server says, shows one, and no setting may hold one."""

import json
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Thread
from typing import Any

import pytest
import sqlalchemy as sql
import torch
import yaml
from omegaconf import OmegaConf

from tests.canary import User, canaries, forms, found_below, found_in, signature
from tests.oidc_issuer import CLIENT, issuer_at
from tests.sweeping import order
from wirecell_ml.errors import ConfigError, RunError, SubmitError
from wirecell_ml.resuming import load_checkpoint
from wirecell_ml.submit.backend import Expired, Refused, Unavailable, make_backend
from wirecell_ml.submit.database import LedgerUnavailable
from wirecell_ml.submit.idds import Service
from wirecell_ml.submit.ledger import Ledger
from wirecell_ml.submit.ordering import read_site
from wirecell_ml.submit.panda.login import Issuer, granted
from wirecell_ml.submit.panda.tokens import given
from wirecell_ml.submit.payload import snapshot
from wirecell_ml.submit.post import make_post
from wirecell_ml.submit.site import AwsBatchSettings, Container, PandaSettings, Site
from wirecell_ml.submit.study import LEDGER_VARIABLE

EVERYTHING_SAID = (Unavailable, Refused, SubmitError, ConfigError)
SECRET = "tiger-lily-42"  # noqa: S105


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:{}@127.0.0.1:1/sweeps",
        "postgresql://me@127.0.0.1:1/sweeps?password={}",
        "postgresql://me:a@{}@127.0.0.1:1/sweeps",
        "postgresql://me:{}@127.0.0.1:port/sweeps",
        "mysql://me:{}@127.0.0.1/sweeps",
        "{}",
    ],
)
def test_no_error_about_a_ledger_shows_its_password(address: str, tmp_path: Path) -> None:
    study = order(tmp_path, name="elsewhere")
    study.held.ledger = "environment"
    study.save()
    user, about = User({LEDGER_VARIABLE: address.format(SECRET)}), ("study=elsewhere", f"folder={tmp_path}")
    assert user.types("wirecell_ml.hpo", "status", *about) == 2
    assert user.printed[-1].startswith(b"error: ")
    assert not found_in(b"".join(user.printed), forms({"password": SECRET}))
    with pytest.raises((RunError, LedgerUnavailable)) as caught:
        Ledger(address.format(SECRET)).units("elsewhere")
    assert SECRET not in str(caught.value)


def test_a_wrong_password_is_not_shown(database: str, tmp_path: Path) -> None:
    study = order(tmp_path, name="elsewhere")
    study.held.ledger = "environment"
    study.save()
    wrong = sql.make_url(database).set(password=SECRET).render_as_string(hide_password=False)
    user = User({LEDGER_VARIABLE: wrong})
    assert user.types("wirecell_ml.hpo", "status", "study=elsewhere", f"folder={tmp_path}") == 2
    assert b"password authentication failed" in user.printed[-1]
    assert not found_in(b"".join(user.printed), forms({"password": SECRET}))


class Repeater(BaseHTTPRequestHandler):
    """A server that says in every way it can what it was told."""

    protocol_version = "HTTP/1.1"
    status = 500

    def answer(self) -> None:
        told = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
        said = " ".join(" ".join(f"{name}:{value}" for name, value in self.secret_first()).split()) + f" {told[:500]}"
        held = {"success": False, "message": said, "data": None, "error": "invalid_grant", "error_description": said}
        body = json.dumps(held).encode()
        if self.path.startswith("/bucket"):
            body = f"<Error><Code>ExpiredToken</Code><Message>{said}</Message></Error>".encode()
        self.send_response(self.status, said[:2000].replace("\n", " "))
        for name, value in (("ExceptionMessage", said[:2000].replace("\n", " ")), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer  # noqa: N815

    def secret_first(self) -> list[tuple[str, str]]:
        """Return the headers, those first that are secret: an error is cut after some characters."""
        secret = re.compile("auth|token|cookie", re.IGNORECASE)
        return sorted(self.headers.items(), key=lambda one: not secret.search(one[0]))

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def repeater() -> Iterator[Any]:
    bound = type("Bound", (Repeater,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), bound) as server:
        server.daemon_threads = True
        bound.address = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield bound
        server.shutdown()


def ask_panda(address: str, token: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PANDA_AUTH_ID_TOKEN", token)
        site = Site(name="grid", kind="panda", panda=PandaSettings(url=address, vo="dune"))
        make_backend(site).states(["a-0000000000-0"])


def ask_idds(address: str, token: str) -> None:
    Service(f"idds+{address}/idds", {"IDDS_VO": "dune", "OIDC_AUTH_ID_TOKEN": token}).get("ping")


def ask_kubernetes(address: str, token: str) -> None:
    pytest.importorskip("kubernetes")
    held = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "it", "user": "me"}}],
        "clusters": [{"name": "it", "cluster": {"server": address}}],
        "users": [{"name": "me", "user": {"token": token}}],
    }
    with NamedTemporaryFile("w") as kubeconfig:
        yaml.safe_dump(held, kubeconfig)
        kubeconfig.flush()
        image, environment = Container(image="localhost/wirecell:1"), {"KUBECONFIG": kubeconfig.name}
        site = Site(name="cluster", kind="kubernetes", container=image, environment=environment)
        make_backend(site).states(["a-0000000000-0"])


def ask_store(address: str, token: str) -> None:
    pytest.importorskip("s3fs")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            patch.setenv(name, token)
        patch.setenv("AWS_ACCESS_KEY_ID", "tests")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        make_post(Site(mailbox="s3://bucket/box", environment={"AWS_ENDPOINT_URL": address})).check()


def ask_batch(address: str, token: str) -> None:
    pytest.importorskip("boto3")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            patch.setenv(name, token)
        patch.setenv("AWS_ACCESS_KEY_ID", "tests")
        aws = AwsBatchSettings(region="us-east-1", queue="queue", endpoint=address)
        make_backend(Site(name="cloud", kind="aws", aws=aws)).states(["a-0000000000-0"])


def ask_issuer(address: str, token: str) -> None:
    issuer = Issuer({"client_id": CLIENT}, "anybody", "openid", f"{address}/devicecode", f"{address}/token")
    granted(issuer, {"grant_type": "refresh_token", "refresh_token": token})


ASK: dict[str, Callable[[str, str], None]] = {
    "PanDA": ask_panda,
    "issuer": ask_issuer,
    "iDDS": ask_idds,
    "Kubernetes": ask_kubernetes,
    "S3": ask_store,
    "AWS Batch": ask_batch,
}
OPAQUE = ("issuer", "Kubernetes", "S3", "AWS Batch")  # whose secrets look like nothing in particular


@pytest.fixture(scope="module")
def token() -> str:
    """A token of no kind that can be told by its looks but from its form: three parts."""
    with issuer_at() as issuer:
        return issuer.mint()


@pytest.mark.parametrize("status", [400, 401, 403, 500])
@pytest.mark.parametrize("kind", ASK)
def test_a_server_that_repeats_what_it_was_told_makes_nobody_show_a_secret(
    kind: str, status: int, repeater: Any, token: str
) -> None:
    repeater.status = status
    secret = canaries(("it",))["it"].replace("+/", "") if kind in OPAQUE else token
    with pytest.raises(Exception) as caught:  # noqa: PT011  (of five kinds, and each says something)
        ASK[kind](repeater.address, secret)
    said = str(caught.value)
    assert "***" in said or said.endswith("answers 500"), "the server had it, and said so"
    assert not found_in(said.encode(), forms({"it": secret if kind in OPAQUE else signature(token)}))


@pytest.mark.parametrize("flaw", ["\n", "\r\nX-Other: 1", "…"], ids=["line", "header", "unicode"])
@pytest.mark.parametrize("kind", ["PanDA", "iDDS", "Kubernetes"])
def test_a_token_that_cannot_be_sent_is_not_shown(kind: str, flaw: str, repeater: Any, token: str) -> None:
    broken = f"{token[:-20]}{flaw}{token[-20:]}"
    with pytest.raises(EVERYTHING_SAID, match="characters that no") as caught:
        ASK[kind](repeater.address, broken)
    assert token[-20:] not in str(caught.value)


def test_a_line_end_after_a_token_does_no_harm(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    for name in ("PANDA_AUTH_ID_TOKEN", "OIDC_AUTH_TOKEN_FILE", "OIDC_AUTH_ID_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OIDC_AUTH_ID_TOKEN", f"{token}\n")
    assert given() == token


def test_a_token_file_that_others_can_read_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PANDA_AUTH_ID_TOKEN", raising=False)
    (tmp_path / "token").write_text(SECRET)
    (tmp_path / "token").chmod(0o640)
    monkeypatch.setenv("OIDC_AUTH_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(Expired, match="chmod 600") as caught:
        given()
    assert SECRET not in str(caught.value)
    (tmp_path / "token").chmod(0o600)
    assert given() == SECRET


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("environment.WANDB_API_KEY", SECRET),
        ("environment.PGPASSWORD", SECRET),
        ("environment.HF_TOKEN", "${oc.env:A_SECRET}"),
        ("environment.HARMLESS", "it is ${oc.env:A_SECRET}"),
        ("environment.MONITOR", f"https://me:{SECRET}@example.org"),
        ("environment.WHO", f"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.{SECRET}"),
        ("setup", [f"export WANDB_API_KEY='{SECRET}'"]),
        ("options", [f"--export=A_PASSWORD={SECRET}"]),
        ("container.options", [f"--env=AWS_SECRET_ACCESS_KEY={SECRET}"]),
        ("htcondor.attributes.environment", f'"MY_TOKEN={SECRET}"'),
    ],
)
def test_a_secret_in_a_site_is_refused_and_not_repeated(
    setting: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", SECRET)
    held = OmegaConf.structured(Site(name="mine", kind="slurm", container=Container(image="/an/image.sif")))
    OmegaConf.update(held, setting, value, force_add=True)
    with pytest.raises(ConfigError, match=rf"site\.{re.escape(setting)}.*: a secret, it seems") as caught:
        read_site(held)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("environment.OIDC_AUTH_TOKEN_FILE", "/home/me/token"),
        ("environment.AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("environment.GOOGLE_APPLICATION_CREDENTIALS_FILE", "/home/me/key.json"),
        ("environment.TOKENIZERS_PARALLELISM", "false"),
        ("environment.HTTPS_PROXY", "http://proxy.example.org:3128"),
        ("setup", ["export WANDB_API_KEY=$(cat ~/.config/wandb)", "set -a; . ~/secrets; set +a"]),
        ("htcondor.requirements", "HasToken=?=true"),
        ("kubernetes.secrets", ["wandb-api-key"]),
    ],
)
def test_what_names_a_secret_without_telling_it_is_taken(setting: str, value: Any) -> None:
    held = OmegaConf.structured(Site(name="mine", kind="slurm"))
    OmegaConf.update(held, setting, value, force_add=True)
    assert read_site(held).name == "mine"


def test_what_is_hidden_in_a_package_of_the_user_does_not_travel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "my_package"
    for name in ("__init__.py", ".env", ".git/config", "part/.netrc", "part/code.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(SECRET if name.rpartition("/")[2].startswith(".") or ".git" in name else "")
    monkeypatch.syspath_prepend(str(tmp_path))
    code = snapshot(tmp_path / "study", ["my_package"])
    assert (code / "my_package" / "part" / "code.py").is_file()
    assert found_below(code, forms({"hidden": SECRET}))[0] == set()


class Bad:
    """What runs where somebody unpickles it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Path]]:
        return Path.touch, (self.mark,)


def test_the_checkpoint_of_a_worker_runs_no_code_here(tmp_path: Path) -> None:
    mark, checkpoint = tmp_path / "it-ran", tmp_path / "last.ckpt"
    torch.save({"state_dict": Bad(mark)}, checkpoint)
    with pytest.raises(RunError, match="not a checkpoint of ours"):
        load_checkpoint(checkpoint)
    assert not mark.exists()
    torch.load(checkpoint, weights_only=False)
    assert mark.exists(), "it would have"
