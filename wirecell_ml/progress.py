"""Progress of a training: for people a bar with the time left, or a line per epoch; for programs ``progress.jsonl``."""

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from wirecell_ml.errors import Diverged


class TrainingProgress(Callback):
    """Show epoch, step, speed, time left and the newest of the ``shown`` metrics."""

    def __init__(self, shown: Sequence[str]) -> None:
        self.shown = list(dict.fromkeys(shown))
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
            metrics = metrics_text(trainer, self.shown)
            self.bar.update(self.task, completed=trainer.global_step, description=epoch, metrics=metrics)

    def on_train_epoch_end(self, trainer: Trainer, _: LightningModule) -> None:
        """Print a line where there is no terminal to draw on."""
        if trainer.is_global_zero and self.bar.disable:
            elapsed, metrics = time.monotonic() - self.began, metrics_text(trainer, self.shown)
            self.console.print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {elapsed:.0f} s  {metrics}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Leave the terminal as it was."""
        self.bar.stop()


def metrics_text(trainer: Trainer, shown: Sequence[str]) -> str:
    """Return the newest of the ``shown`` metrics, for people."""
    metrics = trainer.callback_metrics
    return "  ".join(f"{name} {float(metrics[name]):.4f}" for name in shown if name in metrics)


class ProgressFile(Callback):
    """Append a line of JSON to ``path`` at each validation: epoch, step and the newest metrics."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_validation_end(self, trainer: Trainer, _: LightningModule) -> None:
        """Write the line of the epoch that ends, counted from 1; a run cut short is validated after its last."""
        if trainer.is_global_zero:
            epoch = trainer.current_epoch + (trainer.state.fn == TrainerFn.FITTING)
            row = {"epoch": epoch, "step": trainer.global_step, "metrics": plain(trainer.callback_metrics)}
            append(self.path, json.dumps(row, allow_nan=False))


class StopWhenDiverged(Callback):
    """End a training whose loss is NaN or infinite: no step mends that."""

    def on_train_batch_end(self, trainer: Trainer, _: LightningModule, outputs: Any, *__: Any) -> None:
        """Raise Diverged in every process if the loss of any is not finite."""
        if trainer.strategy.reduce_boolean_decision(not math.isfinite(outputs["loss"]), all=False):
            raise Diverged(
                f"the loss became NaN or infinite at step {trainer.global_step}. Lower optimizer.lr, or clip the "
                "gradient with trainer.gradient_clip=1"
            )


def plain(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Return metrics as JSON holds them: None for NaN and infinity."""
    return {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}


def append(path: Path, line: str) -> None:
    """Append a line to a file, below the torn line that a killed process may have left there."""
    torn = path.is_file() and not path.read_text().endswith("\n")
    with path.open("a") as file:
        file.write("\n" * torn + line + "\n")


def read_progress(path: Path) -> list[dict[str, Any]]:
    """Return the last whole line of each epoch in ``progress.jsonl``, in order; nothing where there is no file."""
    rows = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:  # torn
            continue
        rows[row["epoch"]] = row
    return [rows[epoch] for epoch in sorted(rows)]
