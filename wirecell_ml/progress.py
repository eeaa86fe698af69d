"""Progress of a training: one bar with the time left on a terminal, a line per epoch elsewhere."""

import sys
import time
from typing import Any

from lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SHOWN = ("train/loss", "val/loss", "val/dice")


class TrainingProgress(Callback):
    """Show epoch, step, speed, time left and the newest metrics."""

    def __init__(self) -> None:
        self.console = Console(file=sys.stderr)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps  elapsed"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.fields[metrics]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.began = 0.0

    def on_train_start(self, trainer: Trainer, _: LightningModule) -> None:
        """Start the bar where the training starts or goes on."""
        self.began = time.monotonic()
        if trainer.is_global_zero:
            self.bar.start()
            total = int(trainer.estimated_stepping_batches)
            self.task = self.bar.add_task("training", total=total, completed=trainer.global_step, metrics="")

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Move the bar by a step."""
        if trainer.is_global_zero:
            epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self.bar.update(self.task, completed=trainer.global_step, description=epoch, metrics=metrics_text(trainer))

    def on_train_epoch_end(self, trainer: Trainer, _: LightningModule) -> None:
        """Print a line where there is no terminal to draw on."""
        if trainer.is_global_zero and self.bar.disable:
            elapsed = time.monotonic() - self.began
            self.console.print(
                f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {elapsed:.0f} s  {metrics_text(trainer)}"
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Leave the terminal as it was."""
        self.bar.stop()


def metrics_text(trainer: Trainer) -> str:
    """Return the newest metrics, for people."""
    metrics = trainer.callback_metrics
    return "  ".join(f"{name} {float(metrics[name]):.4f}" for name in SHOWN if name in metrics)
