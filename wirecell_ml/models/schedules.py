"""Learning-rate schedules, stepped after every optimizer step; each is told how many steps the training has."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR


def one_cycle(optimizer: Optimizer, total_steps: int, warmup: float) -> LRScheduler:
    """Return a rise to the learning rate over the share ``warmup`` of all steps, then a cosine to nearly zero."""
    peaks = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, peaks, total_steps, pct_start=warmup, cycle_momentum=False)


def cosine(optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """Return a half cosine from the optimizer's learning rate to zero."""
    return LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(1.0, step / total_steps))))


def constant(optimizer: Optimizer, total_steps: int) -> LRScheduler:  # noqa: ARG001  (all schedules take it)
    """Return a learning rate that never changes."""
    return LambdaLR(optimizer, lambda _: 1.0)
