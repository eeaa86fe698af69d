"""Posts: what carries mailboxes between the driver and the workers of a site that share no folder with it.

The driver and the runner each see a unit's mailbox as a folder, see mailbox.py. Where they see the same folder there is
nothing to carry. Elsewhere a parcel goes out with each batch, letters come back, and the folders are brought into step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol
from urllib.parse import urlsplit

from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.submit.job import Batch
from wirecell_ml.submit.mailbox import UnitBox
from wirecell_ml.submit.site import Site

POSTS = {  # scheme of a site's mailbox → the class that carries it, imported when a site of that kind is used
    "file": "store.Store",
    "s3": "store.Store",
    "gs": "store.Store",
    "transfer": "spool.Spool",
    "idds+https": "messages.Messages",
    "idds+http": "messages.Messages",  # to this machine only
}


@dataclass(frozen=True)
class Address:
    """The attempt that a token stands for."""

    box: UnitBox
    attempt: int


def word_of(address: Address) -> dict[str, Any]:
    """Return what the worker of an attempt must know: fence and stop mark; where the unit has a result, it may end."""
    over = address.attempt + 1 if address.box.result() else 0
    return {"fence": max(address.box.fence, over), "stop": address.box.stopped()}


class Post(Protocol):
    """Driver's end. It keeps nothing that it could not find again; every method raises Unavailable."""

    def check(self) -> None:
        """Raise SubmitError where nothing could ever be carried: no such bucket, no right to write."""
        ...

    def pack(self, batch: Batch, addresses: Sequence[Address]) -> Batch:
        """Make all that the jobs of a batch need reachable for them; return the batch as it is to be submitted."""
        ...

    def preview(self, batch: Batch) -> Batch:
        """Return the batch as ``pack`` would return it, but for what is drawn or known only then; carry nothing."""
        ...

    def collect(self, addresses: Mapping[str, Address]) -> None:
        """Bring into the boxes here what the attempts with these tokens have written since the last time."""
        ...

    def tell(self, token: str, address: Address) -> None:
        """Let the worker see the fence and the stop mark that the box here has now."""
        ...


class Shared:
    """The folder of the study itself, which driver and workers share."""

    def check(self) -> None:
        """Do nothing: the study has its folder already."""

    def pack(self, batch: Batch, addresses: Sequence[Address]) -> Batch:  # noqa: ARG002
        """Return the batch as it is."""
        return batch

    def preview(self, batch: Batch) -> Batch:
        """Return the batch as it is."""
        return batch

    def collect(self, addresses: Mapping[str, Address]) -> None:
        """Do nothing: what the workers wrote is here."""

    def tell(self, token: str, address: Address) -> None:
        """Do nothing: the workers see what is here."""


def make_post(site: Site) -> Post:
    """Return the post of a site; raises ConfigError for a mailbox that cannot be."""
    if site.mailbox is None:
        return Shared()
    check_mailbox(site.mailbox)
    module, _, name = POSTS[scheme_of(site.mailbox)].rpartition(".")
    made: Post = getattr(import_module(f"wirecell_ml.submit.{module}"), name)(site)
    return made


def scheme_of(mailbox: str) -> str:
    """Return what kind of place a mailbox is at: the word before ://, or the only one."""
    return mailbox.partition(":")[0]


def check_mailbox(mailbox: str) -> None:
    """Raise ConfigError for the address of a mailbox of an unknown kind, or that holds what others must not see."""
    scheme = scheme_of(mailbox)
    if scheme not in POSTS:
        raise ConfigError(f"site.mailbox: '{scheme}' is not known.{suggest(scheme, POSTS)}")
    parts = urlsplit(mailbox)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            "site.mailbox: an address holds no name, password or option, since others read it. "
            "Name a profile or a file in site.environment instead, see docs/mailboxes.md"
        )
    if scheme != "transfer" and not (parts.netloc or parts.path):
        raise ConfigError(f"site.mailbox={mailbox}: this leads nowhere. Write for example {scheme}://bucket/folder")
