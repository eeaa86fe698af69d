"""What a calibration measured, as a table with bars on a terminal."""

import math
from collections.abc import Sequence

from rich import box
from rich.console import Console, Group
from rich.progress_bar import ProgressBar
from rich.table import Table

from wirecell_ml.submit.broker.speeds import Profile, Scaling
from wirecell_ml.submit.scaling import FEWEST, best_workers

MACHINE = {"cpu": "", "gpu": "", "torch": "torch "}  # facts that are shown → the word before each
BAR = 24  # characters of the fastest
LOADED = 1.0  # processes that ran on the machine when the calibration began
NUMBERS = ("batch", "threads", "GPUs", "precision", "step, ms", "samples/s", "memory, GB")


def show(profile: Profile) -> None:
    """Print a profile."""
    Console().print(Group(table(profile), *sentences(profile)), highlight=False, soft_wrap=True)


def table(profile: Profile) -> Table:
    """Return the measured ways to train, each with a bar of its speed."""
    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"site {profile.site}", title_justify="left")
    for column in NUMBERS:
        rows.add_column(column, justify="right", no_wrap=True)
    rows.add_column("", min_width=BAR)
    fastest = max(step.samples_per_s for step in profile.steps)
    for step in sorted(profile.steps, key=lambda one: (one.gpus, one.precision, one.threads, one.batch)):
        numbers = (step.batch, step.threads, step.gpus, step.precision)
        shown = (f"{1000 * step.seconds:.1f}", f"{step.samples_per_s:.3g}", f"{step.memory_gb:.2f}")
        bar = ProgressBar(total=1, completed=step.samples_per_s / fastest, width=BAR)
        rows.add_row(*map(str, numbers), *shown, bar)
    return rows


def sentences(profile: Profile) -> list[str]:
    """Return what the table does not say."""
    facts = profile.facts or {}
    machine = ", ".join(f"{word}{facts[name]}" for name, word in MACHINE.items() if name in facts)
    return [
        f"machine: {machine}",
        f"start: {profile.startup_s:.1f} s; to read and prepare a sample: {1000 * profile.data_s:.2f} ms in one thread",
        *data_bound(profile),
        *others(profile),
        law("threads", profile.threads, [step.threads for step in profile.steps if not step.gpus]),
        law("GPUs", profile.gpus, [step.gpus for step in profile.steps if step.gpus]),
    ]


def data_bound(profile: Profile) -> list[str]:
    """Return a warning where the data come more slowly than the network could take them."""
    needed = profile.data_s * max(step.samples_per_s for step in profile.steps)
    if needed < 1:
        return []
    return [f"the network could take {needed:.1f} times what one reader gives: raise data.num_workers"]


def others(profile: Profile) -> list[str]:
    """Return a warning where others used the machine, too."""
    load = (profile.facts or {}).get("load", 0.0)
    if load < LOADED:
        return []
    return [f"others used the machine: {load:.1f} processes ran before the first one of ours. Measure again at rest"]


def law(workers: str, found: Scaling | None, measured: Sequence[int]) -> str:
    """Return what the scalability law says of more workers."""
    if found is None:
        return f"{workers}: {len(set(measured))} of the {FEWEST} numbers that the scalability law needs were measured"
    most = best_workers(found)
    end = "and more always helps" if math.isinf(most) else f"and most is done with {most:.0f}"
    return (
        f"{workers}: {found.rate:.3g} samples/s with one, contention {found.contention:.3f}, coherency "
        f"{found.coherency:.4f}, {end}"
    )
