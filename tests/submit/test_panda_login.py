"""The login to PanDA: the device flow, the renewal of its tokens, and how they are kept, with an issuer on loopback."""

import io
import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tests.panda_standin import Standin, standin_at
from wirecell_ml.errors import ConfigError, SubmitError
from wirecell_ml.submit.backend import Expired, Unavailable
from wirecell_ml.submit.panda import login as module
from wirecell_ml.submit.panda.login import login, valid_token
from wirecell_ml.submit.panda.rest import Server, server_address
from wirecell_ml.submit.panda.tokens import seconds_left, token_folder, write_login
from wirecell_ml.submit.site import PandaSettings, Site

GIVEN = ("PANDA_AUTH_ID_TOKEN", "OIDC_AUTH_TOKEN_FILE", "OIDC_AUTH_ID_TOKEN")


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    """A server, and a user who has never logged in."""
    for name in GIVEN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PANDA_CONFIG_ROOT", str(tmp_path / "panda"))
    with standin_at() as standin:
        yield standin


@pytest.fixture
def site(standin: Standin) -> Site:
    return Site(name="grid", kind="panda", panda=PandaSettings(url=standin.address, vo="dune"))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The file of the login."""
    return tmp_path / "panda" / ".token"


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_login_waits_until_it_is_confirmed(
    standin: Standin, site: Site, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLOWER_S", 0.01)
    standin.issuer.answers = ["authorization_pending", "slow_down", "authorization_pending"]
    console = terminal()
    login(site, console)
    assert standin.issuer.answers == []
    assert f"Open {standin.issuer.address}/confirm?user_code=ABCD-1234 and confirm the code ABCD-1234" in said(console)
    token = valid_token(site)
    assert token == json.loads(kept.read_text())["id_token"]
    assert token not in said(console)
    assert Server(standin.address, "dune", token).get("metaconfig/get_site_specs")


def test_a_login_is_readable_by_its_user_only(site: Site, kept: Path) -> None:
    login(site, terminal())
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert sorted(json.loads(kept.read_text())) == ["id_token", "refresh_token"]


def test_a_login_that_others_can_read_is_not_used(site: Site, kept: Path) -> None:
    login(site, terminal())
    kept.chmod(0o644)
    with pytest.raises(Expired, match=r"can be read by others\. Take that right away: chmod 600"):
        valid_token(site)


@pytest.mark.parametrize(("answer", "reason"), [("access_denied", "access_denied"), ("expired_token", "expired_token")])
def test_a_login_that_is_denied_or_too_late_says_so(
    standin: Standin, site: Site, kept: Path, answer: str, reason: str
) -> None:
    standin.issuer.answers = ["authorization_pending", answer]
    with pytest.raises(SubmitError, match=f"no login at {standin.address}: {reason}"):
        login(site, terminal())
    assert not kept.exists()


def test_nobody_is_asked_where_there_is_no_terminal(standin: Standin, site: Site) -> None:
    with pytest.raises(SubmitError, match="a login needs a terminal"):
        login(site, Console(file=io.StringIO()))
    assert standin.requests == []


def test_an_issuer_that_is_down_is_unavailable(standin: Standin, site: Site) -> None:
    standin.issuer.down = True
    with pytest.raises(SubmitError, match="answers 503"):
        login(site, terminal())


def test_a_token_that_ends_soon_is_renewed(standin: Standin, site: Site, kept: Path) -> None:
    standin.issuer.life_s = 200
    login(site, terminal())
    first = json.loads(kept.read_text())
    standin.issuer.life_s = 3600
    assert seconds_left(valid_token(site)) > 3000
    second = json.loads(kept.read_text())
    assert second["refresh_token"] != first["refresh_token"]
    assert valid_token(site) == second["id_token"], "and then kept"


def test_while_the_issuer_is_down_an_old_token_is_used_as_long_as_it_is_valid(standin: Standin, site: Site) -> None:
    standin.issuer.life_s = 200
    login(site, terminal())
    standin.issuer.down = True
    assert 0 < seconds_left(valid_token(site)) <= 200


def test_an_issuer_that_is_down_has_ended_no_login(standin: Standin, site: Site, tmp_path: Path) -> None:
    write_login(tmp_path / "panda", {"id_token": standin.issuer.mint(life_s=-1), "refresh_token": "refresh-1"})
    standin.issuer.down = True
    with pytest.raises(Unavailable) as caught:
        valid_token(site)
    assert not isinstance(caught.value, Expired)


def test_a_login_that_cannot_be_renewed_has_ended(standin: Standin, site: Site, tmp_path: Path) -> None:
    write_login(tmp_path / "panda", {"id_token": standin.issuer.mint(life_s=-1), "refresh_token": "used-up"})
    with pytest.raises(
        Expired, match=r"refresh token is not known. Log in: python -m wirecell_ml.submit login site=grid"
    ):
        valid_token(site)


def test_without_a_login_the_command_is_named(site: Site) -> None:
    with pytest.raises(Expired, match=r"Log in: python -m wirecell_ml\.submit login site=grid"):
        valid_token(site)


def test_the_environment_comes_first_in_the_order_of_panda_client(
    standin: Standin, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login(site, terminal())
    (tmp_path / "raw").touch(mode=0o600)
    (tmp_path / "raw").write_text(standin.issuer.mint(sub="file") + "\n")
    for name, value in (
        ("OIDC_AUTH_ID_TOKEN", standin.issuer.mint(sub="last")),
        ("OIDC_AUTH_TOKEN_FILE", str(tmp_path / "raw")),
        ("PANDA_AUTH_ID_TOKEN", standin.issuer.mint(sub="first")),
    ):
        monkeypatch.setenv(name, value)
        wanted = (tmp_path / "raw").read_text().strip() if name == "OIDC_AUTH_TOKEN_FILE" else value
        assert valid_token(site) == wanted
    with pytest.raises(SubmitError, match="the environment gives a PanDA token already"):
        login(site, terminal())


def test_panda_client_understands_our_login(site: Site, kept: Path) -> None:
    openidc_utils = pytest.importorskip("pandaclient.openidc_utils")
    login(site, terminal())
    theirs = openidc_utils.OpenIdConnect_Utils("unused", token_dir=str(kept.parent), log_stream=logging.getLogger())
    valid, token, claims = theirs.check_token()
    assert valid
    assert token == valid_token(site)
    assert claims["name"] == "Test Physicist"


def test_each_server_has_a_login_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PANDA_CONFIG_ROOT", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert token_folder("https://panda.example.org:25443/server/panda") == (
        tmp_path / "wirecell_ml" / "panda" / "panda.example.org_25443"
    )


@pytest.mark.parametrize("token", ["", "abc", "a.b.c", "a.e30.c"])
def test_what_is_no_token_is_not_sent(site: Site, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("PANDA_AUTH_ID_TOKEN", token)
    with pytest.raises(Expired):
        valid_token(site)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://panda.example.org", "would send your login in clear. Write https://panda.example.org"),
        ("ftp://panda.example.org", "is no address of a server"),
        ("https://me@panda.example.org", "is no address of a server"),
        ("panda.example.org", "is no address of a server"),
    ],
)
def test_a_login_goes_over_verified_tls_only(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        server_address(url)
