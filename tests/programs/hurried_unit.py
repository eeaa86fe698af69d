"""A training in its last epoch: told to end, it hurries and finishes, as one does whose work is nearly done."""

import json
import os
import signal
import time
from pathlib import Path

LAST_EPOCH_S = float(os.environ.get("DUMMY_EPOCH_S", "8"))

Here = Path.cwd()


def main() -> None:
    """Train until told to end, or for one epoch, and report."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    (Here / "progress.jsonl").write_text(json.dumps({"epoch": 1, "metrics": {"val/dice": 0.5}}) + "\n")
    deadline = time.monotonic() + LAST_EPOCH_S
    while not asked and time.monotonic() < deadline:
        time.sleep(0.05)
    (Here / "summary.json").write_text(json.dumps({"metrics": {"val/dice": 0.6, "hurried": float(bool(asked))}}))


if __name__ == "__main__":
    main()
