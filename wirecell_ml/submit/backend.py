"""Backends: what every place that can run jobs is asked for."""

from collections.abc import Callable, Collection
from typing import Protocol

from wirecell_ml.submit.job import Batch, Resources
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.states import JobState


class Unavailable(Exception):  # noqa: N818  (a state of the world, which passes)
    """The batch system does not answer: nothing is known, nothing is changed, and the question is asked again."""


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


def make_backend(site: Site) -> Backend:
    """Return the backend of a site."""
    from wirecell_ml.submit.local import Local
    from wirecell_ml.submit.slurm import Slurm

    kinds: dict[str, Callable[[Site], Backend]] = {"local": Local, "slurm": Slurm}
    return kinds[site.kind](site)
