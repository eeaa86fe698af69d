"""How long a network takes for one image."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch
from torch import Tensor


def fastest(network: Callable[[Tensor], Any], image: Tensor, calls: int = 3) -> float:
    """Return the seconds of the fastest of some calls; call it once before, since the first one also prepares."""
    return min(seconds(network, image) for _ in range(calls))


def seconds(network: Callable[[Tensor], Any], image: Tensor) -> float:
    """Return how many seconds a network takes for an image."""
    began = perf_counter()
    network(image)
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
