"""Commands of batch systems: how they are run here, and what it means where one fails."""

import os
import re
import subprocess
from collections.abc import Iterable
from typing import NoReturn

from wirecell_ml.errors import SubmitError
from wirecell_ml.submit.backend import Refused, Unavailable
from wirecell_ml.submit.site import Site

AT_LOGIN = "on a login node of the cluster"


def run(
    site: Site,
    command: Iterable[str],
    text: str | None,
    inherited: Iterable[str],
    timeout_s: float,
    where: str = AT_LOGIN,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with the site's variables and of ours those that are ``inherited``.

    Raises Unavailable where it takes longer than ``timeout_s``, and SubmitError where it is not on this machine.
    """
    words = tuple(command)
    try:
        return subprocess.run(  # noqa: S603
            words,
            input=text,
            env={name: os.environ[name] for name in inherited if name in os.environ} | site.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{words[0]}: no answer within {timeout_s} s") from error
    except FileNotFoundError as error:
        raise SubmitError(
            f"site {site.name}: no {words[0]} on this machine. Run this {where}, or choose site=local"
        ) from error


def refuse(command: str, said: str, silent: re.Pattern[str]) -> NoReturn:
    """Raise what a failed command means: Unavailable for words that match ``silent``, else Refused."""
    line = " ".join(said.split()) or "failed without a word"
    if silent.search(line):
        raise Unavailable(f"{command}: {line}")
    raise Refused(line)
