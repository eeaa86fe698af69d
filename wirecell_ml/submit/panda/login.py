"""The login to PanDA: OpenID Connect's device flow (RFC 8628), and the renewal of what it gave.

python -m wirecell_ml.submit login site=panda
"""

import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request

from rich.console import Console

from wirecell_ml.errors import ConfigError, SubmitError
from wirecell_ml.submit.backend import Expired, Unavailable
from wirecell_ml.submit.panda.rest import fetch, line, server_address, text_of
from wirecell_ml.submit.panda.task import settings
from wirecell_ml.submit.panda.tokens import given, locked, read_login, seconds_left, token_folder, write_login
from wirecell_ml.submit.secret import hide
from wirecell_ml.submit.site import PandaSettings, Site

RENEW_S = 300  # a token that lives no longer than this is renewed
GRANT = "urn:ietf:params:oauth:grant-type:device_code"
SCOPES = "openid profile email offline_access"
SCOPES_WLCG = f"{SCOPES} wlcg wlcg.groups"
SLOWER_S = 5  # that RFC 8628 has a client wait longer after slow_down


@dataclass(frozen=True)
class Issuer:
    """Who gives the tokens of a virtual organisation, and what it knows us as."""

    client: dict[str, str]  # client_id, and client_secret where there is one; it is public
    audience: str
    scopes: str
    device: str  # addresses
    token: str


def valid_token(site: Site) -> str:
    """Return a token that is valid now; raises Expired where only a new login helps, Unavailable where nobody knows."""
    if token := given():
        if seconds_left(token) <= 0:
            raise Expired("the PanDA token in the environment has expired. Put a new one there")
        return token
    asked = settings(site)
    folder = token_folder(asked.url)
    token = read_login(folder).get("id_token", "")
    if token and seconds_left(token) > RENEW_S:
        return token
    with locked(folder):
        how = f"python -m wirecell_ml.submit login site={site.name}, with --config-dir where its file is yours"
        return renewed(asked, read_login(folder), how)


def renewed(asked: PandaSettings, held: dict[str, str], how: str) -> str:
    """Return the token of a login, renewed if it ends soon; ``how``: the command that logs in."""
    token, refresh = held.get("id_token", ""), held.get("refresh_token", "")
    left_s = seconds_left(token) if token else 0.0
    if left_s > RENEW_S:  # another process was faster
        return token
    if not refresh and left_s <= 0:
        raise Expired(f"no valid login for {asked.url}. Log in: {how}")
    try:
        issuer = issuer_of(asked)
        answer = granted(issuer, {"grant_type": "refresh_token", "refresh_token": refresh}) if refresh else held
    except (Unavailable, Denied) as error:
        if left_s > 0:
            return token
        if isinstance(error, Unavailable):
            raise
        raise Expired(f"the login for {asked.url} has ended: {error}. Log in: {how}") from error
    if answer is not held:
        write_login(token_folder(asked.url), {"refresh_token": refresh} | answer)
    return answer["id_token"]


def login(site: Site, console: Console) -> None:
    """Log a user in who sits at a terminal, and keep the tokens."""
    asked = settings(site)
    if given():
        raise SubmitError(
            "the environment gives a PanDA token already: PANDA_AUTH_ID_TOKEN, OIDC_AUTH_TOKEN_FILE or "
            "OIDC_AUTH_ID_TOKEN. Unset it to log in here"
        )
    if not console.is_terminal:
        raise SubmitError("a login needs a terminal, where somebody reads the address to confirm it at")
    try:
        issuer = issuer_of(asked)
        started = begun(issuer)
        told = f"Open {address_of(started)} and confirm the code {started.get('user_code', '')}"
        console.print(told, soft_wrap=True, markup=False, highlight=False)
        answer = awaited(issuer, started)
    except (Denied, Unavailable) as error:
        raise SubmitError(f"no login at {asked.url}: {error}") from error
    folder = token_folder(asked.url)
    with locked(folder):
        write_login(folder, answer)
    hours = seconds_left(answer["id_token"]) / 3600
    renewal = "and is renewed by itself" if answer.get("refresh_token") else "and cannot be renewed: log in again then"
    console.print(f"Logged in. The token ends in {hours:.1f} h {renewal}.", highlight=False)


class Denied(Exception):  # noqa: N818  (what an issuer says, not what broke)
    """An issuer's no; ``code`` is its word for the reason."""

    def __init__(self, code: str, said: str) -> None:
        super().__init__(said)
        self.code = code


def issuer_of(asked: PandaSettings) -> Issuer:
    """Return who gives the tokens, as the server says and the issuer's own discovery document."""
    told = asked_for(f"{server_address(asked.url)}/auth/{asked.vo}_auth_config.json")
    found = asked_for(text(told, "oidc_config_url"))
    secret = {"client_secret": str(told["client_secret"])} if told.get("client_secret") else {}
    return Issuer(
        client={"client_id": text(told, "client_id")} | secret,
        audience=text(told, "audience"),
        scopes=SCOPES_WLCG if told.get("jwt_profile") == "wlcg" else SCOPES,
        device=text(found, "device_authorization_endpoint"),
        token=text(found, "token_endpoint"),
    )


def begun(issuer: Issuer) -> dict[str, Any]:
    """Return the issuer's answer to a wish to log in: the codes for user and device."""
    return posted(issuer.device, issuer.client | {"scope": issuer.scopes, "audience": issuer.audience})


def address_of(started: dict[str, Any]) -> str:
    """Return where a user confirms a login."""
    complete = started.get("verification_uri_complete")
    return str(complete) if complete else text(started, "verification_uri")


def awaited(issuer: Issuer, started: dict[str, Any]) -> dict[str, Any]:
    """Return the tokens, once the user has confirmed the login."""
    pause_s = float(started.get("interval", 5))
    until = time.monotonic() + float(started.get("expires_in", 600))
    wanted = {"grant_type": GRANT, "device_code": text(started, "device_code")}
    while time.monotonic() < until:
        time.sleep(pause_s)
        try:
            return granted(issuer, wanted)
        except Unavailable:
            continue
        except Denied as error:
            if error.code not in ("authorization_pending", "slow_down"):
                raise
            pause_s += SLOWER_S if error.code == "slow_down" else 0
    raise Denied("expired_token", "the login was not confirmed in time")


def granted(issuer: Issuer, wanted: dict[str, str]) -> dict[str, Any]:
    """Return the tokens that an issuer gives for a grant; raises Denied."""
    answer = posted(issuer.token, issuer.client | wanted)
    if seconds_left(text(answer, "id_token")) <= 0:
        raise Denied("expired_token", "the issuer gave a token that has expired: is the clock of this machine right?")
    return answer


def posted(address: str, values: dict[str, str]) -> dict[str, Any]:
    """Return an issuer's answer to a form; raises Denied with its reason, Unavailable where there is none."""
    request = Request(checked(address), urlencode(values).encode(), {"Accept": "application/json"})  # noqa: S310
    return answered(request, values.values())


def asked_for(address: str) -> dict[str, Any]:
    """Return a document of a server's or an issuer's."""
    return answered(Request(checked(address), headers={"Accept": "application/json"}))  # noqa: S310


def checked(address: str) -> str:
    """Return an address that a secret may be sent to; raises Unavailable for one over the open net."""
    try:
        server_address(address)
    except ConfigError as error:
        raise Unavailable(f"the issuer's address is not to be trusted: {address}") from error
    return address


def answered(request: Request, secrets: Collection[str] = ()) -> dict[str, Any]:
    """Return an answer as an object; an error repeats none of our ``secrets``."""
    try:
        body = fetch(request)
    except HTTPError as error:
        with error:
            raise no_of(request.full_url, error, secrets) from None
    try:
        held = json.loads(body)
    except ValueError as error:
        raise Unavailable(f"{request.full_url}: an answer that is not JSON") from error
    if not isinstance(held, dict):
        raise Unavailable(f"{request.full_url}: an answer that is no object")
    return held


def no_of(address: str, error: HTTPError, secrets: Collection[str]) -> Exception:
    """Return what an issuer's no means."""
    if error.code >= 500 or error.code == 429:
        return Unavailable(f"{address} answers {error.code}")
    said = hide(text_of(error), secrets)
    try:
        held = json.loads(said)
        code, why = str(held["error"]), str(held.get("error_description") or held["error"])
    except (ValueError, KeyError, TypeError):
        return Unavailable(f"{address} answers {error.code}: {said}")
    return Denied(code, line(why))


def text(held: dict[str, Any], name: str) -> str:
    """Return a text of an answer; raises Unavailable where it has none of this name."""
    value = held.get(name)
    if not isinstance(value, str) or not value:
        raise Unavailable(f"an answer without '{name}': this is no OpenID Connect with a device flow")
    return value
