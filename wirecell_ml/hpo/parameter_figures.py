"""Figures of a search space: each parameter against an objective, and all of them together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from wirecell_ml.figures import NETWORK
from wirecell_ml.hpo.charts import (
    MANY_TRIALS,
    ROUND_STEPS,
    drawn,
    folded,
    frame,
    shortened,
)
from wirecell_ml.hpo.ranking import finite
from wirecell_ml.hpo.summary import StudySummary
from wirecell_ml.hpo.trial import Scalar, Trial

SHADES = LinearSegmentedColormap.from_list("shades", ["#d3dce4", "#7fb2d9", NETWORK, "#00345a"])
TICKED_CHOICES = 8
PANELS_PER_ROW = 3
UNUSED = -0.12  # place along its axis at which a trial passes a parameter that it does not have


@dataclass(frozen=True)
class Scale:
    """Where the values of one parameter lie along an axis."""

    name: str
    choices: list[str]  # empty for a number
    whole: bool
    log: bool

    def place(self, value: Scalar) -> float:
        """Return where ``value`` lies: the index of a choice, or the number itself."""
        if self.choices:
            return float(self.choices.index(value_text(value)))
        return float(value)  # type: ignore[arg-type]  # only numbers have no choices


def slices(folder: Path, name: str, study: StudySummary, objective: str) -> None:
    """Draw one panel per parameter: its values against those of ``objective``."""
    done = [trial for trial in study.trials if finite(trial, objective)]
    scales = _scales(study, done)
    rows = math.ceil(len(scales) / PANELS_PER_ROW)
    with drawn(folder, name, 0.6 + 3.1 * max(rows, 1)) as figure:
        if not scales:
            return
        limits = frame([trial.values[objective] for trial in done], study.objectives[objective])
        grid = figure.subplots(rows, min(PANELS_PER_ROW, len(scales)), sharey=True, squeeze=False)
        marks = [_draw_slice(axes, scale, done, objective, limits) for axes, scale in zip(grid.flat, scales)]  # noqa: B905
        for axes in grid.flat[len(scales) :]:
            axes.remove()
        for axes in grid[:, 0]:
            axes.set(ylabel=shortened(objective, 30), ylim=limits)
        bar = figure.colorbar(marks[0], ax=figure.axes, location="top", aspect=50, shrink=0.4, pad=0.02)
        bar.set_label("trial", fontsize=11)
        bar.ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=ROUND_STEPS))


def parallel_coordinates(folder: Path, name: str, study: StudySummary) -> None:
    """Draw each trial that is done as one line down through its parameters and its objectives."""
    done = [trial for trial in study.trials if all(finite(trial, objective) for objective in study.objectives)]
    scales = _scales(study, done)
    with drawn(folder, name, 1.2 + 0.8 * (len(scales) + len(study.objectives))) as figure:
        if not done:
            return
        axes = figure.subplots()
        places = [_parameter_axis(axes, row, scale, done) for row, scale in enumerate(scales)]
        places += [
            _objective_axis(axes, row, objective, direction, done)
            for row, (objective, direction) in enumerate(study.objectives.items(), start=len(scales))
        ]
        objective, direction = next(iter(study.objectives.items()))
        _draw_lines(axes, np.array(places).T, _merits([trial.values[objective] for trial in done], direction))
        names = [folded(scale.name) for scale in scales] + [folded(objective) for objective in study.objectives]
        axes.set_yticks(range(len(names)), names, fontsize=12)
        axes.tick_params(length=0)
        axes.set(xticks=[], xlim=(UNUSED - 0.06, 1.06), ylim=(len(names) - 0.4, -0.3))
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)


def value_text(value: Scalar) -> str:
    """Return a value as it is written in an override, numbers to four digits."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _scales(study: StudySummary, trials: Sequence[Trial]) -> list[Scale]:
    """Return the scale of each parameter that any of the trials has, in the order of the space."""
    seen = {name for trial in trials for name in trial.params}
    names = dict.fromkeys([*study.space, *(name for trial in trials for name in trial.params)])
    return [_scale(study, name, trials) for name in names if name in seen]


def _scale(study: StudySummary, name: str, trials: Sequence[Trial]) -> Scale:
    space = study.space.get(name, {})
    values = [trial.params[name] for trial in trials if name in trial.params]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if numeric and space.get("kind") in ("whole", "real"):
        log = bool(space.get("log")) and all(float(value) > 0 for value in values)  # type: ignore[arg-type]
        return Scale(name, [], space["kind"] == "whole", log)
    offered = space.get("choices", sorted(values, key=float) if numeric else sorted(values, key=str))  # type: ignore[arg-type]
    return Scale(name, list(dict.fromkeys(value_text(value) for value in [*offered, *values])), False, False)


def _draw_slice(
    axes: Axes, scale: Scale, done: Sequence[Trial], objective: str, limits: tuple[float, float]
) -> mpl.collections.PathCollection:
    members = [trial for trial in done if scale.name in trial.params]
    places = np.array([scale.place(trial.params[scale.name]) for trial in members])
    if scale.choices:
        # The golden ratio spreads neighbours in number: dots of one choice stay apart.
        places += 0.3 * (np.array([trial.number * 0.618034 % 1 for trial in members]) - 0.5)
    heights = np.clip([trial.values[objective] for trial in members], *limits)
    span = min(trial.number for trial in done), max(trial.number for trial in done)
    marks = axes.scatter(
        places,
        heights,
        26,
        c=[trial.number for trial in members],
        cmap=SHADES,
        vmin=span[0],
        vmax=max(span[1], span[0] + 1),
        edgecolors="white",
        linewidths=0.4,
        clip_on=False,
        rasterized=len(members) > MANY_TRIALS,
    )
    axes.set_xlabel(shortened(scale.name, 30), fontsize=12)
    axes.tick_params(labelsize=11)
    _tick(axes, scale)
    return marks


def _tick(axes: Axes, scale: Scale) -> None:
    """Put ticks along x: every choice if they fit, the decades of a logarithm, or round numbers."""
    if scale.choices:
        ticked = _ticked(len(scale.choices))
        labels = [shortened(scale.choices[place], 16) for place in ticked]
        crowded = sum(len(label) for label in labels) > 26
        turned: dict[str, Any] = {"rotation": 28, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
        axes.set_xticks(ticked, labels, **turned)
        axes.set_xlim(-0.6, len(scale.choices) - 0.4)
        return
    if not scale.log:
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=scale.whole, steps=ROUND_STEPS))
        return
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if high / low > 100 else (1, 2, 5), numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _parameter_axis(axes: Axes, row: int, scale: Scale, trials: Sequence[Trial]) -> list[float]:
    """Draw the axis of one parameter at y = ``row``, and return the place of each trial on it, 0 to 1."""
    values = [scale.place(trial.params[scale.name]) if scale.name in trial.params else math.nan for trial in trials]
    bent = np.log10(values) if scale.log else np.array(values)
    low, high = (0.0, len(scale.choices) - 1.0) if scale.choices else (np.nanmin(bent), np.nanmax(bent))
    ticks = _ticks(scale, low, high)
    places = (bent - low) / (high - low) if high > low else bent - low + 0.5
    _draw_axis(axes, row, ticks)
    if np.isnan(places).any():
        _label(axes, UNUSED, row, "not used")
    return [float(place) for place in np.where(np.isnan(places), UNUSED, places)]


def _objective_axis(axes: Axes, row: int, objective: str, direction: str, trials: Sequence[Trial]) -> list[float]:
    """Draw the axis of one objective at y = ``row``, and return the place of each trial on it, 0 to 1."""
    values = np.array([trial.values[objective] for trial in trials])
    low, high = frame(values, direction)
    _draw_axis(axes, row, [(place, f"{low + place * (high - low):.3g}") for place in (0, 0.25, 0.5, 0.75, 1)])
    return [float(place) for place in np.clip((values - low) / (high - low), 0, 1)]


def _draw_axis(axes: Axes, row: int, ticks: Sequence[tuple[float, str]]) -> None:
    axes.plot([0, 1], [row, row], color="#606060", lw=1.2, zorder=3)
    for place, text in ticks:
        axes.plot(place, row, "|", color="#606060", ms=8, zorder=3)
        _label(axes, place, row, text)


def _label(axes: Axes, place: float, row: int, text: str) -> None:
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.8}
    below: dict[str, Any] = {"xytext": (0, -6), "textcoords": "offset points", "ha": "center", "va": "top"}
    axes.annotate(text, (place, row), fontsize=10, bbox=box, zorder=4, **below)


def _draw_lines(axes: Axes, places: NDArray[np.float64], merits: NDArray[np.float64]) -> None:
    """Draw the rows of ``places``, (trial, axis), the best last and on top."""
    order = np.argsort(merits)
    segments = [np.column_stack([places[trial], np.arange(places.shape[1])]) for trial in order]
    lines = LineCollection(segments, cmap=SHADES, linewidths=0.8 + 1.4 * merits[order] ** 3, alpha=0.85)
    lines.set_array(merits[order])
    lines.set_clim(0, 1)
    lines.set_rasterized(len(order) > MANY_TRIALS)
    axes.add_collection(lines)


def _ticks(scale: Scale, low: float, high: float) -> list[tuple[float, str]]:
    """Return (place, text) along an axis of choices, numbers or logarithms; a single value is in its middle."""
    if scale.choices:
        last = len(scale.choices) - 1
        return [(tick / last if last else 0.5, shortened(scale.choices[tick], 16)) for tick in _ticked(last + 1)]
    steps = round(high - low) if scale.whole and not scale.log and 1 <= high - low <= TICKED_CHOICES else 4
    values = np.linspace(low, high, steps + 1).tolist()
    unbent = [10**value if scale.log else value for value in values]
    if low == high:
        return [(0.5, f"{unbent[0]:.3g}")]
    if not scale.whole:
        return [((value - low) / (high - low), f"{number:.3g}") for value, number in zip(values, unbent, strict=True)]
    bend = math.log10 if scale.log else float
    return [((bend(number) - low) / (high - low), str(number)) for number in sorted({round(x) for x in unbent})]


def _merits(values: Sequence[float], direction: str) -> NDArray[np.float64]:
    """Return the share of the trials that each value betters, from 0 to 1."""
    order = np.argsort(np.argsort(values)) / max(len(values) - 1, 1)
    return order if direction == "maximize" else 1 - order


def _ticked(choices: int) -> list[int]:
    """Return the indices of the choices that get a tick."""
    return list(range(0, choices, math.ceil(choices / TICKED_CHOICES)))
