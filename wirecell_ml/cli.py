"""How an entry ends: a user's mistake is one line on standard error and exit status 2, never a traceback."""

import errno
import functools
import gc
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from wirecell_ml.errors import INTERRUPTED, USER_MISTAKE, Interrupted, WireCellMLError, suggest
from wirecell_ml.paths import shipped

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_GROUP = "deploy"  # folder of the entries that say model=… and mean a file, which must see no group of that name
UNWRITABLE = FULL | {errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST}


def run(main: Callable[[], Any], groups: Sequence[str] | None = None) -> None:
    """Run a Hydra entry; a user's mistake and an interruption each end it with their own exit status.

    ``--help`` shows the docstring of the entry and the ``groups`` of its settings, None for all.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its exceptions on instead of printing them
    logging.raiseExceptions = False  # no traceback from a log file on a full disk
    sys.argv[1:] = absolute_config_path(sys.argv[1:])
    gc.disable()  # until the task begins: composing a config makes many objects and no garbage
    try:
        if {"--help", "-h"} & set(sys.argv[1:]):  # Hydra's own help takes a second to list the groups
            sys.stdout.write(help_text(str(sys.modules[main.__module__].__doc__), groups))
            return
        with one_line():
            main()
        sys.stdout.flush()
    except BrokenPipeError:  # --help | head: who read it has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def help_text(about: str, groups: Sequence[str] | None) -> str:
    """Return what ``--help`` shows: what the entry is for, and the options of its groups."""
    folders = [folder for folder in sorted(shipped("configs").iterdir()) if folder.is_dir() and folder.name != NO_GROUP]
    shown = folders if groups is None else [folder for folder in folders if folder.name in groups]
    options = {folder.name: sorted(path.stem for path in folder.glob("*.yaml")) for folder in shown}
    return "\n".join([about, *(f"  {name}: {', '.join(files)}" for name, files in options.items()), "", ""])


def task(function: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Return ``function`` ending as an entry should, before Hydra adds lines of its own to the error."""

    @functools.wraps(function)
    def wrapped(cfg: DictConfig) -> Any:
        gc.enable()
        with one_line():
            return function(cfg)

    return wrapped


@contextmanager
def one_line() -> Iterator[None]:
    """Turn what a user can mend into one line on standard error and an exit status."""
    try:
        yield
    except Interrupted as message:
        stop(str(message), INTERRUPTED)
    except (WireCellMLError, HydraException, OmegaConfBaseException) as error:
        stop(f"error: {explain(error)}", USER_MISTAKE)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        stop(f"error: {explain_unwritable(error)}", USER_MISTAKE)


def absolute_config_path(arguments: list[str]) -> list[str]:
    """Return ``arguments`` with --config-path absolute, as people mean it; Hydra takes it from its own file."""
    flags = ("--config-path", "-cp")
    absolute = list(arguments)
    for i, argument in enumerate(arguments):
        flag, sign, value = argument.partition("=")
        if i and arguments[i - 1] in flags:
            absolute[i] = str(Path(argument).absolute())
        if sign and flag in flags:
            absolute[i] = f"{flag}={Path(value).absolute()}"
    return absolute


def stop(message: str, status: int) -> None:
    """Print ``message`` on standard error and exit with ``status``."""
    print(message, file=sys.stderr)  # noqa: T201
    sys.exit(status)


def explain(error: BaseException) -> str:
    """Return the one line that says where, what, and what would be right."""
    if isinstance(error, WireCellMLError):
        return str(error)
    innermost = error.__cause__ or error
    if isinstance(innermost, OmegaConfBaseException):
        return explain_setting(innermost)
    return explain_override(str(error))


def explain_setting(error: OmegaConfBaseException) -> str:
    """Return the line for a setting that does not exist or has a value of the wrong type."""
    key = error.full_key or ""
    name = key.rpartition(".")[2]
    unknown = re.search(r"Key '(.+?)' (?:is not in struct|not in)", str(error))
    if not unknown:
        return f"{key}: {str(error).splitlines()[0]}"
    known = [str(k) for k in error.parent_node or () if not str(k).startswith("_")]
    return f"no setting '{key or unknown[1]}'.{suggest(name or unknown[1], known)}"


def explain_override(text: str) -> str:
    """Return the line for a command-line override that Hydra refused."""
    group = re.search(r"Could not find '(.+?)/(.+?)'", text)
    if group:
        options = re.search(r"Available options in '.*?':\n((?:\t.*\n?)+)", text)
        known = options[1].split() if options else []
        return f"no {group[1]} named '{group[2]}'.{suggest(group[2], known)}"
    return " ".join(" ".join(text.split("\n")[:2]).split())


def explain_unwritable(error: OSError) -> str:
    """Return the line for a place that cannot be written."""
    place = error.filename2 or error.filename or "the run directory or the cache"
    remedy = "Free some space, or choose" if error.errno in FULL else "Choose"
    return (
        f"{place}: cannot write: {error.strerror}. {remedy} another place with hydra.run.dir=… (for the run) or "
        "data.cache=… (for its images)"
    )
