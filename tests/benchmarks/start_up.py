"""How long a user waits to see the settings: ``python -m tests.benchmarks.start_up``."""

import subprocess
import sys
from functools import partial
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.benchmarks.measure import machine, median_seconds

REPEATS = 7
COMMANDS = {
    'python -c "import hydra"': ("-c", "import hydra"),
    "train --help": ("-m", "wirecell_ml.train", "--help"),
    "train --cfg job": ("-m", "wirecell_ml.train", "--cfg", "job"),
    "evaluate --help": ("-m", "wirecell_ml.evaluate", "--help"),
    "evaluate --cfg job": ("-m", "wirecell_ml.evaluate", "--cfg", "job"),
}


def main() -> None:
    """Measure every command, and print how long it takes."""
    caption = f"median of {REPEATS} runs; {machine()}"
    run("-c", "import hydra")  # the first reads files that the others find in memory
    rounds = [
        {name: median_seconds(partial(run, *command), 1) for name, command in COMMANDS.items()} for _ in range(REPEATS)
    ]
    seconds = {
        name: median(one[name] for one in rounds) for name in COMMANDS
    }  # in turn, so that all meet the same load
    table = Table("command", "s", "of import hydra", "imports torch", title="Start-up", caption=caption)
    for name, value in seconds.items():
        ratio = value / seconds['python -c "import hydra"']
        table.add_row(name, f"{value:.2f}", f"{ratio:.2f}×", "yes" if imports_torch(*COMMANDS[name]) else "no")
    Console().print(table)


def run(*arguments: str) -> str:
    """Run Python and return what it says on standard error."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True).stderr


def imports_torch(*arguments: str) -> bool:
    """Return whether torch is among the modules that a command imports."""
    return any(line.split("|")[-1].strip() == "torch" for line in run("-X", "importtime", *arguments).splitlines())


if __name__ == "__main__":
    main()
