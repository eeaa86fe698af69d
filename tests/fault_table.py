"""The tables of faults in docs/sweeps.md: python -m tests.fault_table COUNTS.jsonl …, as `make faults` does."""

import json
import sys
from pathlib import Path
from typing import Any

COLUMNS = ("trials", "attempts", "lost", "doubled")
TITLES = {  # of each file of tests, in the order of the tables
    "test_faults_local": "This machine",
    "test_faults_postgres": "The ledger in PostgreSQL",
    "test_faults_slurm": "Slurm",
    "test_faults_htcondor": "HTCondor",
    "test_faults_kubernetes": "Kubernetes",
    "test_faults_panda": "PanDA, the stand-in",
    "test_faults_aws": "AWS Batch, moto with machines of the tests' own",
    "test_faults_store": "A folder or an object store as the mailbox, jobs on this machine",
    "test_faults_messages": "Messages of iDDS as the mailbox, jobs on this machine",
    "test_several_sites": "Several sites in one study",
}


def main() -> None:
    """Print a table for each file of tests that ran, with a row for each of its faults."""
    rows = [json.loads(line) for path in sys.argv[1:] for line in Path(path).read_text().splitlines()]
    for test, title in TITLES.items():
        found = [row for row in rows if row["test"] == test]
        if found:
            sys.stdout.write(f"{title} (`{test}.py`):\n\n{table(found)}\n")


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as a table."""
    text = f"| fault | what was done | {' | '.join(COLUMNS)} |\n|---|---|{'---:|' * len(COLUMNS)}\n"
    for row in rows:
        counts = " | ".join(str(row["counts"].get(name, 0)) for name in COLUMNS)
        text += f"| {row['fault']} | {row['what']} | {counts} |\n"
    return text


if __name__ == "__main__":
    main()
