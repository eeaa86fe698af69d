"""A unit that measures how fast a model trains where it runs: the program of ``wirecell_ml.submit calibrate``.

It finds the flat config of the training and its parameters beside it, as every unit does. Each way to train (batch,
threads, GPUs, precision) is measured in a process of its own, so that one that takes too much memory ends alone and
the peak of memory is its own. What was found is a line of progress.jsonl each.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wirecell_ml.submit.unit import die_with_parent

GROWTH = 1.05  # by which twice the batch must train more samples per second, for a yet larger batch to be tried
LARGEST_BATCH = 1024
MEASURING = "wirecell_ml.measuring"


@dataclass(frozen=True)
class Way:
    """One way to train."""

    batch: int  # of all processes together
    threads: int  # of all processes together
    gpus: int = 0  # a process each; 0: one process on the CPU
    precision: str = "32"  # 32 or bf16


@dataclass
class Bench:
    """What is measured, and where it is written down."""

    config: Path
    seconds: float  # that each way is measured for
    progress: Path
    lines: int = 0
    known: dict[Way, float | None] = field(default_factory=dict)  # seconds of a step

    def facts(self) -> dict[str, Any]:
        """Return what machine and training are; the process ends here where the training cannot be built."""
        found = measured(["facts", str(self.config), "{}"], {})
        if found is None:
            sys.exit("the training cannot be built here: what it said is above")
        self.write(facts=found)
        return found

    def step_s(self, way: Way) -> float | None:
        """Return the seconds of a step, None where such a training ends badly; each way is measured once."""
        if way not in self.known:
            settings = json.dumps(asdict(way) | {"measure_s": self.seconds})
            found = measured(["step", str(self.config), settings], {"OMP_NUM_THREADS": str(way.threads)})
            self.known[way] = found["seconds"] if found else None
            if found:
                self.write(step=asdict(way) | found)
        return self.known[way]

    def write(self, **found: Any) -> None:
        """Append a line to the progress of the unit."""
        self.lines += 1
        line = {"epoch": self.lines, "metrics": {"measured": float(self.lines)}, **found}
        with self.progress.open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")


def main() -> None:
    """Measure what the parameters of the unit ask for."""
    here, unit = Path.cwd(), Path.cwd().parents[1]
    params = json.loads((unit / "params.json").read_text())
    bench = Bench(unit / "config.yaml", float(params["seconds"]), here / "progress.jsonl")
    facts = bench.facts()
    cores, gpus = min(int(params["cores"]), facts["cores"]), min(int(params["gpus"]), facts["gpus"])
    for precision in facts["precisions"]:
        try_workers(bench, Way(facts["batch"], cores, gpus, precision))
        try_batches(bench, Way(facts["batch"], cores, min(1, gpus), precision))
    if not any(bench.known.values()):
        sys.exit("no way to train works here: what each said is above")
    (here / "summary.json").write_text(json.dumps({"metrics": {"measured": float(bench.lines)}}))


def try_workers(bench: Bench, largest: Way) -> None:
    """Measure steps on 1, 2, 3, 4, 6, … GPUs, each with a batch of its own, or else with as many threads."""
    for number in counts(largest.gpus or largest.threads):
        if largest.gpus:
            bench.step_s(Way(number * largest.batch, largest.threads, number, largest.precision))
        else:
            bench.step_s(Way(largest.batch, number, 0, largest.precision))


def try_batches(bench: Bench, way: Way) -> None:
    """Measure steps with batches of 1, 2, 4, … until memory or time is over, or a larger one trains hardly faster."""
    batch, rate = 1, 0.0
    while batch <= LARGEST_BATCH:
        step_s = bench.step_s(Way(batch, way.threads, way.gpus, way.precision))
        if step_s is None or step_s > bench.seconds or (batch > way.batch and batch / step_s < GROWTH * rate):
            return
        batch, rate = 2 * batch, batch / step_s


def measured(words: list[str], environment: dict[str, str]) -> dict[str, Any] | None:
    """Return what a process of its own has measured, None where it ended badly; what it says goes where we speak."""
    command = [sys.executable, "-P", "-m", MEASURING, *words]
    ended = subprocess.run(  # noqa: S603
        command,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env=os.environ | environment,
        preexec_fn=die_with_parent,
    )
    if ended.returncode:
        return None
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def counts(most: int) -> list[int]:
    """Return the numbers of workers to measure: 1, 2, 3, 4, 6, 8, 12, … and ``most``."""
    powers = [2**power for power in range(most.bit_length())]
    return sorted({number for number in [*powers, *(3 * power for power in powers), most] if number <= most})


if __name__ == "__main__":
    main()
