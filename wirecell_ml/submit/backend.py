"""Backends: what every place that can run jobs is asked for."""

from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import Protocol

from wirecell_ml.submit.job import Batch, Resources
from wirecell_ml.submit.site import KINDS, Site
from wirecell_ml.submit.states import JobState


class Unavailable(Exception):  # noqa: N818  (a state of the world, which passes)
    """The batch system does not answer: nothing is known, nothing is changed, and the question is asked again."""


class Expired(Unavailable):
    """The batch system answered that our login is no longer valid; the user must renew it, and nothing is changed."""


class Refused(Exception):  # noqa: N818
    """The batch system answered, and will not take the job."""


class Backend(Protocol):
    """One place that can run jobs. It keeps nothing: whatever it is asked about is found by its token."""

    def render(self, batch: Batch) -> str:
        """Return exactly what would be sent for ``batch``."""
        ...

    def submit(self, batch: Batch) -> None:
        """Send all jobs of ``batch``; raises Refused where none was taken, Unavailable where nobody knows."""
        ...

    def states(self, tokens: Collection[str]) -> dict[str, JobState]:
        """Return the state of each job that the batch system knows; raises Unavailable where it does not answer."""
        ...

    def cancel(self, tokens: Collection[str]) -> None:
        """End jobs; one that is not there any more is no error. Raises Unavailable."""
        ...

    def room(self, resources: Resources, open_jobs: int) -> int:
        """Return how many jobs more may be sent while ``open_jobs`` of ours wait or run."""
        ...

    def check(self, resources: Resources) -> None:
        """Raise SubmitError where the place has not what ``resources`` and its site ask for; Unavailable."""
        ...

    def outlook(self, resources: Resources) -> float | None:
        """Return in how many seconds the batch system would start such a job now, None where it does not say.

        Raises Unavailable.
        """
        ...

    def explain(self, token: str) -> str:
        """Return what the batch system says of a job that waits, is held or has ended, in a line; "" for nothing."""
        ...

    def fetch(self, tokens: Collection[str], folder: Path) -> None:
        """Bring what ended jobs have printed into ``folder``, where it is not there already. Raises Unavailable."""
        ...


def make_backend(site: Site) -> Backend:
    """Return the backend of a site."""
    module, _, name = KINDS[site.kind].rpartition(".")
    made: Backend = getattr(import_module(f"wirecell_ml.submit.{module}"), name)(site)
    return made
