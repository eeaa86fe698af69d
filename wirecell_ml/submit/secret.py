"""Secrets: none of them in settings, which are kept with every study, and none in what others say and we write down.

Nothing but the standard library: workers use it, too.
"""

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from wirecell_ml.errors import ConfigError

KINDS = r"(?:pass(?:word|wd|phrase)|secret|token|api_?key|access_?key|private_?key|credential)s?"
NAME = re.compile(rf"\w*{KINDS}", re.IGNORECASE)  # of a variable; one that names a file, …_TOKEN_FILE, ends otherwise
GIVEN = re.compile(rf"\b(\w*{KINDS})=[\"']?[^\s\"'$`=?!]", re.IGNORECASE)  # a value; not $(cat file)
ADDRESS = re.compile(r"://[^\s/:@]*:[^\s/@$]+@")  # with a password
TOKEN = re.compile(r"eyJ[\w-]+\.[\w.-]+")  # a JSON web token, as PanDA, iDDS and Kubernetes take it
BEARER = re.compile(r"\b(bearer|basic) +[^\s\"',;]+", re.IGNORECASE)
VARIABLES = ("environment", "attributes")  # settings whose keys are names of the user's own choice
AWS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
SHORTEST = 8  # characters of a secret; shorter ones are in too many words
MASK = "***"


def check_no_secret(settings: Any, name: str) -> None:
    """Raise ConfigError where settings hold a secret; ``name`` is what the user calls them. It is not shown."""
    for where, text in texts(settings, name):
        if holds_secret(where, text):
            raise ConfigError(
                f"{where}: a secret, it seems, and settings are kept with every study for others to read. Take it out; "
                "docs/security.md says how units get secrets at each kind of site"
            )


def holds_secret(where: str, text: str) -> bool:
    """Return whether a setting, by its name or by what it looks like, holds a secret."""
    parts = where.split(".")
    is_variable = len(parts) > 1 and parts[-2] in VARIABLES
    named = is_variable and bool(text) and NAME.fullmatch(parts[-1])
    looks = GIVEN.search(text) or ADDRESS.search(text) or TOKEN.search(text)
    return bool(named or looks or any(value in text for value in own_secrets()))


def own_secrets() -> list[str]:
    """Return the values of the variables of this process that are named like secrets."""
    return [value for name, value in os.environ.items() if NAME.fullmatch(name) and len(value) >= SHORTEST]


def texts(settings: Any, name: str) -> Iterator[tuple[str, str]]:
    """Yield each text in settings with its name."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            yield from texts(value, f"{name}.{key}")
    elif isinstance(settings, list):
        for number, value in enumerate(settings):
            yield from texts(value, f"{name}[{number}]")
    elif isinstance(settings, str):
        yield name, settings


def hide(said: str, secrets: Iterable[str] = ()) -> str:
    """Return what a server said without our secrets, which it may have repeated, and without what looks like one."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        said = said.replace(secret, MASK)
    return TOKEN.sub(MASK, BEARER.sub(rf"\1 {MASK}", said))


def keys_of_aws() -> list[str]:
    """Return what of a user's environment AWS and its like are told in secret."""
    return [os.environ.get(name, "") for name in AWS]


def can_be_sent(token: str) -> bool:
    """Return whether a token can stand in a header; HTTP clients show one that cannot in their error."""
    return bool(token) and token.isascii() and token.isprintable()
