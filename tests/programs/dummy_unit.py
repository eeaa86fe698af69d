"""A training that takes no time: it reports, checkpoints on SIGTERM, resumes, and leaves what a training leaves.

A program like it is what ``program=`` takes: it finds its parameters beside its flat config, and works where it starts.
"""

import json
import math
import os
import signal
import sys
import time
import zipfile
from pathlib import Path

EPOCHS = int(os.environ.get("DUMMY_EPOCHS", "3"))
EPOCH_S = float(os.environ.get("DUMMY_EPOCH_S", "0.02"))
EXIT = int(os.environ.get("DUMMY_EXIT", "0"))  # status to end with, at once

Here = Path.cwd()


def quality(params: dict[str, float]) -> float:
    """Return how good a point is: 1 at a learning rate of 10^-2.5."""
    return 1 - (math.log10(params["optimizer.lr"]) + 2.5) ** 2


def epochs_done() -> int:
    """Return how many epochs the checkpoint has, 0 without one."""
    try:
        with zipfile.ZipFile(Here / "last.ckpt") as archive:
            return int(archive.read("epoch"))
    except FileNotFoundError:
        return 0


def checkpoint(epoch: int) -> None:
    """Write a checkpoint, whole or not at all."""
    with zipfile.ZipFile(Here / "writing.ckpt", "w") as archive:
        archive.writestr("epoch", str(epoch))
    (Here / "writing.ckpt").rename(Here / "last.ckpt")


def main() -> int:
    """Train for some epochs, or from a checkpoint on."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    if EXIT:
        sys.stderr.write(f"error: told to end with {EXIT}\n")
        return EXIT
    value = quality(json.loads((Here.parents[1] / "params.json").read_text()))
    for epoch in range(epochs_done() + 1, EPOCHS + 1):
        time.sleep(EPOCH_S)
        if asked:
            checkpoint(epoch - 1)
            sys.stderr.write(f"checkpointed after epoch {epoch - 1}\n")
            return 75
        with (Here / "progress.jsonl").open("a") as file:
            file.write(json.dumps({"epoch": epoch, "metrics": {"val/dice": value - 0.1 / epoch}}) + "\n")
    (Here / "summary.json").write_text(json.dumps({"metrics": {"val/dice": value, "pid": os.getpid()}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
