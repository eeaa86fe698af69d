"""What each network costs on a CPU, for one image of 800 × 600: ``python -m tests.benchmarks.networks``."""

from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.benchmarks.measure import composed, machine, median_seconds
from wirecell_ml.models import RoiTask
from wirecell_ml.training import build_task

REPEATS = {"roinet": 15, "unet": 3, "unet_wirecell_dnn": 3, "uresnet": 3, "nestedunet": 3}


class Cost(NamedTuple):
    """What one network costs."""

    parameters: int
    inference_s: float
    step_s: float


def main() -> None:
    """Measure every network, and print what it costs."""
    caption = machine()
    console = Console(stderr=True)
    costs = {name: measure(name) for name in track(REPEATS, "measuring", console=console, transient=True)}
    title = "One image of 3 × 800 × 600 on a CPU"
    table = Table(
        "network", "parameters", "inference, s", "training step, s", "unet / it", title=title, caption=caption
    )
    for name, cost in costs.items():
        speed_up = costs["unet"].inference_s / cost.inference_s
        table.add_row(name, f"{cost.parameters:,}", f"{cost.inference_s:.3f}", f"{cost.step_s:.3f}", f"{speed_up:.1f}×")
    Console().print(table)


def measure(name: str) -> Cost:
    """Return what the network of ``configs/model/<name>.yaml`` costs."""
    task = build_task(composed(f"model={name}"))
    assert isinstance(task, RoiTask)
    images, targets = torch.randn(1, 3, 800, 600), torch.zeros(1, 1, 800, 600)
    optimizer = task.make_optimizer(params=task.parameters())

    def step() -> None:
        task.train()
        optimizer.zero_grad()
        task.loss(task.logits(images), targets).backward()
        optimizer.step()

    return Cost(
        parameters=sum(weight.numel() for weight in task.parameters()),
        inference_s=median_seconds(lambda: infer(task.eval(), images), REPEATS[name]),
        step_s=median_seconds(step, REPEATS[name]),
    )


@torch.inference_mode()
def infer(task: RoiTask, images: torch.Tensor) -> torch.Tensor:
    """Return the probability of "signal here"."""
    found: torch.Tensor = task(images)
    return found


if __name__ == "__main__":
    main()
