"""Measure one way to train a flat config, and print it as a line of JSON.

  python -m wirecell_ml.measuring facts CONFIG.yaml '{}'    the machine, and what the data path costs
  python -m wirecell_ml.measuring step CONFIG.yaml WAY      the time of a step; WAY: a calibration.Way, and measure_s

Wait times of the data are no part of a step: the batches are in memory before the clock starts.
"""

import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import psutil
import torch
from omegaconf import DictConfig
from torch import Tensor, distributed, nn
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from wirecell_ml.cli import one_line
from wirecell_ml.data import EventData
from wirecell_ml.data.sampling import Draw, EpochSampler
from wirecell_ml.models import Task
from wirecell_ml.schema import checked, load_flat
from wirecell_ml.training import build_data, build_task, check_config, precision, quiet_lightning

WARM_UP, FEWEST_STEPS, MOST_STEPS = 2, 3, 200
NUM_BATCHES = 4  # different ones, that steps take in turn
NUM_SAMPLES = 32  # that the data path is measured with
Seconds = float


class Loss(nn.Module):
    """The loss of a task as a module, whose gradients several processes can share."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, batch: Any) -> Tensor:
        """Return the loss of a batch."""
        return self.task.batch_loss(batch)


def main() -> None:
    """Measure what the command line asks for."""
    what, path, settings = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    quiet_lightning()
    with one_line():
        cfg = checked(load_flat(path))
        check_config(cfg)
        found = facts(cfg) if what == "facts" else step(cfg, settings)
    sys.stdout.write(json.dumps(found, allow_nan=False) + "\n")


def facts(cfg: DictConfig) -> dict[str, Any]:
    """Return what the machine is, what the training is measured in, and what it takes to start and to read."""
    load, imported_s = os.getloadavg()[0], time.time() - psutil.Process().create_time()
    began = time.perf_counter()
    data = prepared(cfg)
    prepare_s = time.perf_counter() - began
    began = time.perf_counter()
    build_task(cfg)
    startup_s = imported_s + time.perf_counter() - began
    gpus = torch.cuda.device_count() if cfg.trainer.accelerator != "cpu" else 0
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "gpus": gpus,
        "batch": data.batch_size,
        "precisions": precisions(cfg),
        "startup_s": startup_s,
        "prepare_s": prepare_s,
        "data_s": sample_seconds(data),
        "machine": {
            "cpu": cpu_name(),
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
            "load": round(load, 1),
            "gpu": torch.cuda.get_device_name(0) if gpus else None,
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }


def precisions(cfg: DictConfig) -> list[str]:
    """Return what the training may compute in: what its config says, or 32 bits and what the hardware has beside."""
    chosen = precision(cfg.trainer.precision, cfg.trainer.accelerator)
    if chosen != "bf16-mixed":
        return ["32"]
    return ["32", "bf16"] if cfg.trainer.precision == "auto" else ["bf16"]


def cpu_name() -> str:
    """Return what the processor calls itself."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def prepared(cfg: DictConfig) -> EventData[Any, Any]:
    """Return the data of a config, read and split; raises DataError where the files are not there."""
    data = build_data(cfg)
    data.prepare_data()
    data.setup()
    return data


def sample_seconds(data: EventData[Any, Any]) -> Seconds:
    """Return the median time that one thread takes to read and prepare one sample of the training."""
    torch.set_num_threads(1)
    items, times = samples(data), []
    for number in range(NUM_SAMPLES + 1):
        began = time.perf_counter()
        next(items)
        if number:  # the first one opens files
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def samples(data: EventData[Any, Any]) -> Iterator[Any]:
    """Yield samples of the training, epoch after epoch."""
    dataset = data.dataset("train")
    length = len(dataset)  # type: ignore[arg-type]  # a Dataset of torch promises none
    sampler = EpochSampler(length, data.repeats, data.seed)
    for epoch in count():
        sampler.set_epoch(epoch)
        draw: Draw
        for draw in sampler:
            yield dataset[draw]


def step(cfg: DictConfig, way: dict[str, Any]) -> dict[str, float]:
    """Return the median seconds of a step and the peak of memory, of the first of the processes that share the work."""
    if way["gpus"] > 1:
        return several(way["gpus"], "cuda", cfg, way)
    return worker(0, 1, "cuda" if way["gpus"] else "cpu", cfg, way)


def several(number: int, device: str, cfg: DictConfig, way: dict[str, Any]) -> dict[str, float]:
    """Return what the first of ``number`` processes measures, which share their gradients after each step."""
    answers = get_context("spawn").SimpleQueue()
    rendezvous = Path.cwd() / f".rendezvous-{os.getpid()}"
    spawn(joined, (number, device, cfg, way, str(rendezvous), answers), nprocs=number)  # type: ignore[no-untyped-call]
    found: dict[str, float] = answers.get()
    return found


def joined(rank: int, number: int, device: str, cfg: DictConfig, way: dict[str, Any], meet: str, answers: Any) -> None:
    """Work as one of several processes; the first one answers."""
    quiet_lightning()
    backend = "nccl" if device == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=f"file://{meet}", rank=rank, world_size=number)
    try:
        found = worker(rank, number, device, cfg, way)
    finally:
        distributed.destroy_process_group()
    if rank == 0:
        answers.put(found)


def worker(rank: int, number: int, kind: str, cfg: DictConfig, way: dict[str, Any]) -> dict[str, float]:
    """Return the median seconds of a step of this process, and the peak of its memory."""
    torch.set_num_threads(max(1, way["threads"] // number))
    device = torch.device(kind, rank) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        torch.cuda.set_device(device)
    task, data = build_task(cfg).to(device).train(), prepared(cfg)
    items, share = samples(data), max(1, way["batch"] // number)
    collated = (data.collate(list(islice(items, share))) for _ in range(NUM_BATCHES))
    batches = [task.transfer_batch_to_device(batch, device, 0) for batch in collated]
    loss: nn.Module = Loss(task)
    if number > 1:
        loss = DistributedDataParallel(loss, [rank] if kind == "cuda" else None, find_unused_parameters=True)
    optimizer = task.make_optimizer(params=task.parameters())
    times: list[Seconds] = []
    began = time.perf_counter()
    while not agreed(enough(len(times), time.perf_counter() - began, way["measure_s"]), device):
        times.append(one_step(loss, optimizer, batches[len(times) % NUM_BATCHES], device, way["precision"]))
    return {"seconds": statistics.median(times[WARM_UP:] or times), "memory_gb": peak_gb(device)}


def enough(taken: int, spent_s: float, limit_s: float) -> bool:
    """Return whether enough steps were taken; a single one is, where it took all the time."""
    return taken >= MOST_STEPS or (spent_s > limit_s and (taken == 1 or taken >= WARM_UP + FEWEST_STEPS))


def agreed(wish: bool, device: torch.device) -> bool:
    """Return whether any of the processes wishes to end, so that all end after the same step."""
    if not distributed.is_initialized():
        return wish
    votes = torch.tensor(float(wish), device=device)
    distributed.all_reduce(votes)
    return bool(votes > 0)


def one_step(loss: nn.Module, optimizer: Any, batch: Any, device: torch.device, how: str) -> Seconds:
    """Take one step of the training and return how long it took."""
    began = time.perf_counter()
    optimizer.zero_grad()
    with torch.autocast(device.type, torch.bfloat16, enabled=how == "bf16"):
        value = loss(batch)
    value.backward()
    optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def peak_gb(device: torch.device) -> float:
    """Return the most memory that there was in use: of the GPU, or else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # in KiB on Linux


if __name__ == "__main__":
    main()
