"""What a user can do wrong, and how it is said: where, what, and what would be right."""

import difflib
from collections.abc import Iterable

USER_MISTAKE = 2  # exit status: the same command will fail again, never retry it
INTERRUPTED = 75  # exit status: checkpointed on a signal, resume to go on (EX_TEMPFAIL of sysexits.h)


class WireCellMLError(Exception):
    """A mistake that the user can mend; its text is the one line that the user sees."""


class ConfigError(WireCellMLError):
    """A setting that does not exist or cannot be right."""


class DataError(WireCellMLError):
    """A file that is not what it should be."""


class RunError(WireCellMLError):
    """A run directory that cannot be written, read or continued."""


class SubmitError(WireCellMLError):
    """A job that a site cannot take, or a site that is not described right."""


class Diverged(WireCellMLError):  # noqa: N818  (it says what happened, as Interrupted does)
    """A training whose loss is no number any more: the same settings would end like this again."""


class Interrupted(Exception):  # noqa: N818  (not an error: the work is saved)
    """The scheduler wants the machine back, and everything needed to go on is on disk."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the tail of an error message: the nearest of the ``known`` names, then all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f" Did you mean '{near[0]}'?" if near else ""
    return f"{guess} Known here: {', '.join(names) or 'nothing'}"
