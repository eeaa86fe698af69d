"""Jobs: what is sent to a site, in words that no batch system owns."""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

RANDOM_CHARACTERS = 10  # so that no batch of a long study has the name of another
NAME_CHARACTERS = (
    36  # of a study in a token, which has at most 52: the limit of a Kubernetes job is 63, with its suffix
)

Item = TypeVar("Item")


@dataclass
class Resources:
    """What one job needs."""

    cores: int = 1
    memory_gb: float = 4.0
    gpus: int = 0
    minutes: int = 60  # wall-clock time after which the site may end the job


@dataclass(frozen=True)
class Job:
    """One command; ``token`` is the name that it can be found by, wherever it runs."""

    token: str  # batch name and index: DNS-1123, at most 52 characters
    command: tuple[str, ...]

    @property
    def batch(self) -> str:
        """Name of the batch that the job was sent with."""
        return batch_of(self.token)

    @property
    def index(self) -> int:
        """Number of the job in its batch, from 0."""
        return int(self.token.rpartition("-")[2])


def batch_of(token: str) -> str:
    """Return the name of the batch that a job was sent with."""
    return token.rpartition("-")[0]


def batches_of(tokens: Iterable[str]) -> list[str]:
    """Return the names of the batches that jobs were sent with, each once."""
    return sorted({batch_of(token) for token in tokens})


@dataclass(frozen=True)
class Batch:
    """Jobs that need the same resources and are sent together."""

    name: str
    jobs: tuple[Job, ...]
    resources: Resources
    folder: Path  # where the logs of the batch system go
    alone: bool = False  # no two batches of this name run at once

    @classmethod
    def of(cls, study: str, commands: Sequence[Sequence[str]], resources: Resources, folder: Path) -> "Batch":
        """Return a batch under a new name, its jobs in the order of ``commands``, each with its token as last word."""
        name = f"{study[:NAME_CHARACTERS].rstrip('-')}-{secrets.token_hex(RANDOM_CHARACTERS // 2)}"
        tokens = [f"{name}-{index}" for index in range(len(commands))]
        jobs = tuple(Job(token, (*command, token)) for token, command in zip(tokens, commands, strict=True))
        return cls(name, jobs, resources, folder)


def pieces(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Yield ``items`` in pieces of at most ``size``."""
    for first in range(0, len(items), size):
        yield items[first : first + size]
