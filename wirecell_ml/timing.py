"""How long a network takes for one image, or whatever else it is given."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch


def fastest(network: Callable[[Any], Any], given: Any, calls: int = 3) -> float:
    """Return the seconds of the fastest of some calls; call it once before, since the first one also prepares."""
    return min(seconds(network, given) for _ in range(calls))


def seconds(network: Callable[[Any], Any], given: Any) -> float:
    """Return how many seconds a network takes for what it is given."""
    began = perf_counter()
    network(given)
    return perf_counter() - began


@contextmanager
def threads_set(number: int) -> Iterator[None]:
    """Let torch compute in ``number`` threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
