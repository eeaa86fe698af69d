"""Pre-emption: on SIGTERM or SIGUSR1 a training writes a checkpoint after the current step and ends with status 75."""

import signal
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from wirecell_ml.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class CheckpointOnSignal(Callback):
    """Write ``checkpoint`` and raise Interrupted when the scheduler asks the job to go."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.received: int | None = None
        self.saved_at: int | None = None
        self.before: dict[signal.Signals, Any] = {}

    def on_train_start(self, *_: Any) -> None:
        """Listen, once Lightning has installed its own handlers."""
        for number in SIGNALS:
            self.before[number] = signal.signal(number, self.note)

    def note(self, number: int, _: Any) -> None:
        """Remember the signal; the step in progress is finished first."""
        self.received = number

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Checkpoint if any process was signalled."""
        if trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            trainer.save_checkpoint(self.checkpoint)
            self.saved_at = trainer.global_step

    def on_train_batch_start(self, *_: Any) -> None:
        """Stop, once the step that the checkpoint holds has been logged."""
        if self.saved_at is not None:
            raise Interrupted(f"checkpointed at step {self.saved_at}; go on with resume={self.checkpoint.parent}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Hand the signals back to whoever had them."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before.clear()
