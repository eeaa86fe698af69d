"""The start of one job on a PanDA worker: python3 start.py TOKEN, beside jobs.json. Plain Python."""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Become the command of a token."""
    held = json.loads(Path(__file__).with_name("jobs.json").read_text())
    words = held["jobs"][sys.argv[1]]
    os.environ.update(held["environment"])
    if held["setup"]:
        words = ["bash", "-lc", "\n".join([*held["setup"], 'exec "$@"']), "bash", *words]
    os.execvp(words[0], words)  # noqa: S606


if __name__ == "__main__":
    main()
