"""The table of faults in docs/sweeps.md: python -m tests.fault_table COUNTS.jsonl, as `make faults` does."""

import json
import sys
from pathlib import Path

COLUMNS = ("trials", "attempts", "lost", "doubled")


def main() -> None:
    """Print a row for each fault test that ran."""
    sys.stdout.write(f"| fault | what was done | {' | '.join(COLUMNS)} |\n|---|---|{'---:|' * len(COLUMNS)}\n")
    for line in Path(sys.argv[1]).read_text().splitlines():
        row = json.loads(line)
        counts = " | ".join(str(row["counts"].get(name, 0)) for name in COLUMNS)
        sys.stdout.write(f"| {row['fault']} | {row['what']} | {counts} |\n")


if __name__ == "__main__":
    main()
