"""Posts: what carries mailboxes between the driver and the workers of a site that share no folder with it.

The driver and the runner each see a unit's mailbox as a folder, see mailbox.py. Where they see the same folder there is
nothing to carry. Elsewhere a parcel goes out with each batch, letters come back, and the folders are brought into step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from wirecell_ml.submit.job import Batch
from wirecell_ml.submit.mailbox import UnitBox
from wirecell_ml.submit.site import Site


@dataclass(frozen=True)
class Address:
    """The attempt that a token stands for."""

    box: UnitBox
    attempt: int


class Post(Protocol):
    """Driver's end. It keeps nothing that it could not find again; every method raises Unavailable."""

    def pack(self, batch: Batch, addresses: Sequence[Address]) -> Batch:
        """Make all that the jobs of a batch need reachable for them; return the batch as it is to be submitted."""
        ...

    def collect(self, addresses: Mapping[str, Address]) -> None:
        """Bring into the boxes here what the attempts with these tokens have written since the last time."""
        ...

    def tell(self, token: str, address: Address) -> None:
        """Let the worker see the fence and the stop mark that the box here has now."""
        ...


class Shared:
    """The folder of the study itself, which driver and workers share."""

    def pack(self, batch: Batch, addresses: Sequence[Address]) -> Batch:  # noqa: ARG002
        """Return the batch as it is."""
        return batch

    def collect(self, addresses: Mapping[str, Address]) -> None:
        """Do nothing: what the workers wrote is here."""

    def tell(self, token: str, address: Address) -> None:
        """Do nothing: the workers see what is here."""


def make_post(site: Site) -> Post:
    """Return the post of a site."""
    return Shared()
