"""What all benchmarks share: how the clock is read, and whose settings are measured."""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from wirecell_ml import schema
from wirecell_ml.paths import shipped

schema.register()


def median_seconds(call: Callable[[], Any], repeats: int) -> float:
    """Return the median wall time of a call; the first may be slow, so repeat it three times at least."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def composed(*overrides: str) -> DictConfig:
    """Return the config of a training."""
    with initialize_config_dir(str(shipped("configs").absolute()), version_base="1.3"):
        return compose("train", list(overrides))


def machine() -> str:
    """Return what the numbers depend on: threads, and how busy the machine was."""
    load = os.getloadavg()[0]
    return f"torch threads: {torch.get_num_threads()}, CPUs: {os.cpu_count()}, load average before: {load:.1f}"
