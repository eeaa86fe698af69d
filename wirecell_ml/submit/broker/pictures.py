"""Pictures of a simulation: how far each policy was from the bound, and where the units of one day ran."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from wirecell_ml.submit.broker.ground import Try
from wirecell_ml.submit.broker.policies import make_policy
from wirecell_ml.submit.broker.scenarios import Scenario
from wirecell_ml.submit.broker.simulation import Simulation

if TYPE_CHECKING:
    from wirecell_ml.submit.broker.table import Comparison

COLORS = ("#0068ad", "#d98200", "#7fcdbb", "#8c8c8c", "#2b2b3a")
STYLE: dict[Any, Any] = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
DPI = 150
LONGEST = 4.0  # ratio that a bar is cut at


def draw_ratios(comparisons: Sequence["Comparison"], path: Path) -> None:
    """Draw the loss of each policy on each day, over what no policy can beat."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 1.2 + 0.45 * len(comparisons)), layout="constrained")
        axes = figure.subplots()
        names = [one.policy for one in comparisons[0].outcomes]
        width = 0.8 / len(names)
        for rank, (name, color) in enumerate(zip(names, COLORS, strict=False)):
            ratios = [one.ratio(name) for one in comparisons]
            places = np.arange(len(comparisons)) + (rank + 0.5) * width - 0.4
            axes.barh(places, np.minimum(ratios, LONGEST), width, color=color, label=name)
            for place, ratio in zip(places, ratios, strict=True):
                if ratio > LONGEST:
                    axes.text(LONGEST, place, f" {ratio:.1f}", va="center", fontsize=7)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.axvline(1.3, color="black", linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(comparisons)), [one.scenario for one in comparisons])
        axes.invert_yaxis()
        axes.set(xlim=(0.9, LONGEST + 0.4), xlabel="time, and money where it matters, over the clairvoyant bound")
        figure.legend(loc="outside upper center", ncols=len(names), frameon=False)
        figure.savefig(path, dpi=DPI)


def draw_day(day: Scenario, path: Path) -> None:
    """Draw how many units wait and run at each site while the broker works off a day."""
    tries = Simulation(day, make_policy("broker", day)).run().tries
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 1 + 1.3 * len(day.sites)), layout="constrained")
        grid = figure.subplots(len(day.sites), 1, sharex=True, squeeze=False)[:, 0]
        for axes, site in zip(grid, day.sites, strict=True):
            here = [one for one in tries if one.site == site]
            for spans, color, label in ((waiting(here), "#d9d9d9", "wait"), (running(here), COLORS[0], "run")):
                times, counts = counted(spans)
                axes.step(times / 3600, counts, where="post", color=color, label=label)
                axes.fill_between(times / 3600, counts, step="post", color=color, alpha=0.5)
            axes.set_ylabel(site)
        grid[0].legend(frameon=False, ncols=2, loc="upper right")
        grid[-1].set_xlabel(f"hours since the study began, at {day.start_h:g} o'clock: {day.name}")
        figure.savefig(path, dpi=DPI)


def waiting(tries: Sequence[Try]) -> list[tuple[float, float]]:
    """Return begin and end of the time that each attempt waited."""
    ends = [(one.submitted, one.started if one.started is not None else one.ended) for one in tries]
    return [(begin, end) for begin, end in ends if end is not None]


def running(tries: Sequence[Try]) -> list[tuple[float, float]]:
    """Return begin and end of the time that each attempt ran."""
    return [(one.started, one.ended) for one in tries if one.started is not None and one.ended is not None]


def counted(spans: Sequence[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Return times, and how many spans hold each of them until the next."""
    edges = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    times = np.array([0.0, *(time for time, _ in edges)])
    return times, np.concatenate([[0], np.cumsum([step for _, step in edges])])
