"""Figures: how a study went, which parameters mattered, and what it took; as PNG and as SVG files."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from wirecell_ml.displays import MISSED
from wirecell_ml.figures import NETWORK, QUIET, TRADITIONAL, TRUTH, figure_at
from wirecell_ml.hpo.importance import FEWEST_TRIALS, importances
from wirecell_ml.hpo.ranking import best, finite, pareto_front, running_best
from wirecell_ml.hpo.summary import StudySummary
from wirecell_ml.hpo.trial import Scalar, Trial

WIDTH_IN = 11.0
STATE_COLORS = {"DONE": NETWORK, "PRUNED": TRADITIONAL, "FAILED": MISSED, "CANCELLED": QUIET}
UNFINISHED = "#9ecae1"
SHADES = LinearSegmentedColormap.from_list("shades", ["#d3dce4", "#7fb2d9", NETWORK, "#00345a"])
# The names of a study are its own: "$" is a dollar. With a salt, the same study gives the same SVG.
PLAIN_TEXT: dict[Any, Any] = {"text.parse_math": False, "svg.hashsalt": "study"}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
LONGEST_LABEL = 22  # characters
MANY_TRIALS = 300  # beyond it, an SVG holds the trials as pixels
TICKED_CHOICES = 8
PANELS_PER_ROW = 3
ROUND_STEPS = (1, 2, 5, 10)
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


def draw_all(folder: Path, study: StudySummary) -> dict[str, str]:
    """Draw every figure, and return what each shows, by its file name without ending."""
    chart: dict[str, tuple[Callable[..., None], str]] = {
        "history": (
            history,
            "The value of each trial, and the best so far. A pruned trial is where it was stopped; what is worse than "
            "the axis reaches lies at its edge.",
        ),
        "curves": (
            learning_curves,
            "What each trial had reached after each epoch. Pruned trials fade, and end in a cross where they stopped.",
        ),
        "importances": (
            parameter_importances,
            "How much each parameter decided whether a trial was among the best third (PED-ANOVA).",
        ),
    }
    for index, objective in enumerate(study.objectives):
        chart["slices" if index == 0 else f"slices-{index + 1}"] = (
            lambda folder, name, study, objective=objective: slices(folder, name, study, objective),
            f"Each parameter against {objective}, in the trials that are done. Later trials are darker.",
        )
    chart["parallel"] = (
        parallel_coordinates,
        "Each line is one trial that is done; the darker, the better. It passes left of a parameter it does not use.",
    )
    if len(study.objectives) == 2:
        chart["pareto"] = (pareto, "The trials on the line are bettered by no other in both objectives.")
    chart["effort"] = (effort, "The CPU time of each trial, all its attempts together; and its cost, if it had one.")
    for name, (draw, _) in chart.items():
        draw(folder, name, study)
    return {name: caption for name, (_, caption) in chart.items()}


def history(folder: Path, name: str, study: StudySummary) -> None:
    """Draw the value of each trial and the best so far, one panel per objective."""
    records = running_best(study)
    with _drawn(folder, name, 1.2 + 3.4 * len(study.objectives)) as figure:
        if not study.trials:
            return
        grid = figure.subplots(len(study.objectives), 1, sharex=True, squeeze=False)[:, 0]
        for index, (axes, (objective, direction)) in enumerate(zip(grid, study.objectives.items(), strict=True)):
            done = [trial for trial in study.trials if finite(trial, objective)]
            reached = [(trial.number, trial.values[objective]) for trial in done]
            cut = _stopped(study.trials) if index == 0 else []  # trials are pruned by the first objective only
            limits = _frame([value for _, value in reached or cut], direction)
            _scatter(axes, reached, limits, "DONE", "o")
            _scatter(axes, cut, limits, "PRUNED", "x")
            _mark_failures(axes, study.trials)
            if records[objective]:
                axes.step(*zip(*records[objective], strict=True), where="post", color=TRUTH, label="best so far")
            axes.set(ylabel=_shortened(objective, 40), ylim=limits)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=ROUND_STEPS))
        grid[-1].set_xlabel("trial")
        figure.align_ylabels()
        _legend_below(figure, grid[0])


def learning_curves(folder: Path, name: str, study: StudySummary) -> None:
    """Draw the first objective against the epoch, one line per trial."""
    objective, direction = next(iter(study.objectives.items()))
    shown = [trial for trial in study.trials if len(trial.progress) > 0]
    winner = best(study)
    with _drawn(folder, name, 5.2) as figure:
        if not shown:
            return
        axes = figure.subplots()
        for state, alpha in (("DONE", 0.45), ("PRUNED", 0.5), ("FAILED", 0.6), ("CANCELLED", 0.6)):
            members = [trial for trial in shown if trial.state == state]
            _draw_curves(axes, members, STATE_COLORS[state], alpha, state.lower())
        _draw_curves(axes, [t for t in shown if t.state not in STATE_COLORS], UNFINISHED, 0.9, "not ended")
        if winner is not None and winner.progress:
            label = f"best: trial {winner.number}"
            axes.plot(*_curve(winner).T, color=TRUTH, lw=2.8, marker="o", ms=4, label=label)
        kept = [trial for trial in shown if trial.state == "DONE"] or shown
        limits = _frame([value for trial in kept for value in trial.progress.values()], direction)
        axes.set(xlabel="epoch", ylabel=_shortened(objective, 40), ylim=limits)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=ROUND_STEPS))
        _legend_below(figure, axes)


def parameter_importances(folder: Path, name: str, study: StudySummary) -> None:
    """Draw how much each parameter mattered, one panel per objective."""
    shares = {objective: importances(study, objective) for objective in study.objectives}
    longest = max(len(share) for share in shares.values()) if shares else 0
    with _drawn(folder, name, 1.8 + 0.42 * longest) as figure:
        grid = figure.subplots(1, len(shares), squeeze=False)[0]
        for axes, (objective, share) in zip(grid, shares.items(), strict=True):
            if not share:
                _say(axes, f"too few trials: {FEWEST_TRIALS} must be done")
                continue
            axes.set_title(_shortened(objective, 40))
            labels, lengths = [_folded(param) for param in share], np.array(list(share.values()))
            bars = axes.barh(range(len(share)), lengths, 0.6, color=NETWORK)
            axes.bar_label(bars, [f"{length:.0%}" for length in lengths], padding=4, fontsize=11)
            axes.set_yticks(range(len(share)), labels, fontsize=11)
            axes.set(xlabel="importance", xlim=(0, 1.15 * max(lengths.max(), 0.01)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))
            axes.invert_yaxis()
            axes.grid(visible=False, axis="y")


def slices(folder: Path, name: str, study: StudySummary, objective: str) -> None:
    """Draw one panel per parameter: its values against those of ``objective``."""
    done = [trial for trial in study.trials if finite(trial, objective)]
    scales = _scales(study, done)
    rows = math.ceil(len(scales) / PANELS_PER_ROW)
    with _drawn(folder, name, 0.6 + 3.1 * max(rows, 1)) as figure:
        if not scales:
            return
        limits = _frame([trial.values[objective] for trial in done], study.objectives[objective])
        grid = figure.subplots(rows, min(PANELS_PER_ROW, len(scales)), sharey=True, squeeze=False)
        marks = [_draw_slice(axes, scale, done, objective, limits) for axes, scale in zip(grid.flat, scales)]  # noqa: B905
        for axes in grid.flat[len(scales) :]:
            axes.remove()
        for axes in grid[:, 0]:
            axes.set(ylabel=_shortened(objective, 30), ylim=limits)
        bar = figure.colorbar(marks[0], ax=figure.axes, location="top", aspect=50, shrink=0.4, pad=0.02)
        bar.set_label("trial", fontsize=11)
        bar.ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=ROUND_STEPS))


def parallel_coordinates(folder: Path, name: str, study: StudySummary) -> None:
    """Draw each trial that is done as one line down through its parameters and its objectives."""
    done = [trial for trial in study.trials if all(finite(trial, objective) for objective in study.objectives)]
    scales = _scales(study, done)
    with _drawn(folder, name, 1.2 + 0.8 * (len(scales) + len(study.objectives))) as figure:
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
        names = [_folded(scale.name) for scale in scales] + [_folded(objective) for objective in study.objectives]
        axes.set_yticks(range(len(names)), names, fontsize=12)
        axes.tick_params(length=0)
        axes.set(xticks=[], xlim=(UNUSED - 0.06, 1.06), ylim=(len(names) - 0.4, -0.3))
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)


def pareto(folder: Path, name: str, study: StudySummary) -> None:
    """Draw two objectives against each other, and the trials that no other dominates."""
    (first, _), (second, _) = study.objectives.items()
    done = [trial for trial in study.trials if finite(trial, first) and finite(trial, second)]
    with _drawn(folder, name, 5.4) as figure:
        if not done:
            return
        axes = figure.subplots()
        everything = np.array([(trial.values[first], trial.values[second]) for trial in done])
        axes.scatter(
            everything[:, 0], everything[:, 1], 36, color=UNFINISHED, label="done", rasterized=len(done) > MANY_TRIALS
        )
        members = pareto_front(study)
        front = np.array([(trial.values[first], trial.values[second]) for trial in members])
        axes.plot(*front.T, "o--", drawstyle="steps-post", color=NETWORK, ms=8, lw=1.2, label="Pareto front")
        _number(axes, members, front, list(study.objectives.values()))
        limits = [
            _frame(column, direction) for column, direction in zip(everything.T, study.objectives.values(), strict=True)
        ]
        axes.set(xlabel=_shortened(first, 40), ylabel=_shortened(second, 40), xlim=limits[0], ylim=limits[1])
        _legend_below(figure, axes)


def effort(folder: Path, name: str, study: StudySummary) -> None:
    """Draw the CPU time of each trial, and its cost where there is one, in the colour of its state."""
    costly = any(trial.cost for trial in study.trials)
    with _drawn(folder, name, 6.4 if costly else 4.0) as figure:
        if not study.trials:
            return
        grid = figure.subplots(1 + costly, 1, sharex=True, squeeze=False)[:, 0]
        unit, seconds = _time_unit(max(trial.core_seconds for trial in study.trials))
        _draw_bars(grid[0], study.trials, [trial.core_seconds / seconds for trial in study.trials])
        grid[0].set_ylabel(f"core-{unit}")
        if costly:
            _draw_bars(grid[1], study.trials, [trial.cost for trial in study.trials])
            grid[1].set_ylabel(f"cost [{_shortened(study.currency, 8)}]" if study.currency else "cost")
        grid[-1].set_xlabel("trial")
        grid[-1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=ROUND_STEPS))
        figure.align_ylabels()
        _legend_below(figure, grid[0])


def value_text(value: Scalar) -> str:
    """Return a value as it is written in an override, numbers to four digits."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@contextmanager
def _drawn(folder: Path, name: str, height_in: float) -> Iterator[Figure]:
    """Give a figure in our style, and write it as PNG and as SVG."""
    with mpl.rc_context(PLAIN_TEXT):
        with figure_at(folder / f"{name}.png", WIDTH_IN, height_in) as figure:
            yield figure
        figure.set_layout_engine("none")  # laid out already
        figure.savefig(folder / f"{name}.svg", metadata=NO_METADATA)


def _frame(values: Sequence[float] | NDArray[np.float64], direction: str) -> tuple[float, float]:
    """Return limits that hold the good end and most of the bad end: a few that diverged must not squeeze the rest."""
    known = np.array([value for value in values if math.isfinite(value)])
    if not len(known):
        return 0.0, 1.0
    low, high = known.min(), known.max()
    lower, upper = np.quantile(known, (0.25, 0.75))
    if direction == "maximize":
        low = max(low, lower - 4 * (upper - lower))
    else:
        high = min(high, upper + 4 * (upper - lower))
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return float(low - margin), float(high + margin)


def _stopped(trials: Sequence[Trial]) -> list[tuple[int, float]]:
    """Return number and last value of the trials that were pruned."""
    members = [trial for trial in trials if trial.state == "PRUNED" and trial.progress]
    return [(trial.number, trial.progress[max(trial.progress)]) for trial in members]


def _scatter(
    axes: Axes, points: Sequence[tuple[int, float]], limits: tuple[float, float], state: str, marker: str
) -> None:
    """Draw (number, value) of trials, those beyond the limits on them."""
    if not points:
        return
    numbers, values = np.array(points).T
    style: dict[str, Any] = {"color": STATE_COLORS[state], "marker": marker, "label": state.lower()}
    many = len(points) > MANY_TRIALS
    axes.scatter(numbers, np.clip(values, *limits), 30, alpha=0.8, clip_on=False, rasterized=many, **style)


def _mark_failures(axes: Axes, trials: Sequence[Trial]) -> None:
    """Mark on the lower edge the trials that have no value."""
    failed = [trial.number for trial in trials if trial.state == "FAILED"]
    if failed:
        style: dict[str, Any] = {"color": STATE_COLORS["FAILED"], "marker": "^", "clip_on": False, "zorder": 5}
        edge = axes.get_xaxis_transform()
        axes.scatter(failed, np.full(len(failed), 0.02), 40, transform=edge, label="failed", **style)


def _curve(trial: Trial) -> NDArray[np.float64]:
    curve = np.array(sorted(trial.progress.items()), float)  # (epoch, 2): epoch and value
    return np.where(np.isfinite(curve), curve, np.nan)


def _draw_curves(axes: Axes, trials: Sequence[Trial], color: str, alpha: float, label: str) -> None:
    if not trials:
        return
    curves = [_curve(trial) for trial in trials]
    many = len(trials) > MANY_TRIALS
    lines = LineCollection(curves, colors=color, linewidths=1.3, alpha=alpha, label=label, rasterized=many)
    axes.add_collection(lines)
    axes.autoscale_view()
    if label != "done":
        ends = np.array([curve[-1] for curve in curves])
        axes.scatter(ends[:, 0], ends[:, 1], 22, color=color, alpha=min(1, 1.6 * alpha), marker="x", rasterized=many)


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
    axes.set_xlabel(_shortened(scale.name, 30), fontsize=12)
    axes.tick_params(labelsize=11)
    _tick(axes, scale)
    return marks


def _tick(axes: Axes, scale: Scale) -> None:
    """Put ticks along x: every choice if they fit, the decades of a logarithm, or round numbers."""
    if scale.choices:
        ticked = _ticked(len(scale.choices))
        labels = [_shortened(scale.choices[place], 16) for place in ticked]
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
    low, high = _frame(values, direction)
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
        return [(tick / last if last else 0.5, _shortened(scale.choices[tick], 16)) for tick in _ticked(last + 1)]
    steps = round(high - low) if scale.whole and not scale.log and 1 <= high - low <= TICKED_CHOICES else 4
    values = np.linspace(low, high, steps + 1).tolist()
    unbent = [10**value if scale.log else value for value in values]
    if low == high:
        return [(0.5, f"{unbent[0]:.3g}")]
    if not scale.whole:
        return [((value - low) / (high - low), f"{number:.2g}") for value, number in zip(values, unbent, strict=True)]
    bend = math.log10 if scale.log else float
    return [((bend(number) - low) / (high - low), str(number)) for number in sorted({round(x) for x in unbent})]


def _merits(values: Sequence[float], direction: str) -> NDArray[np.float64]:
    """Return the share of the trials that each value betters, from 0 to 1."""
    order = np.argsort(np.argsort(values)) / max(len(values) - 1, 1)
    return order if direction == "maximize" else 1 - order


def _number(axes: Axes, trials: Sequence[Trial], front: NDArray[np.float64], directions: Sequence[str]) -> None:
    """Write the numbers of trials of the front on its good side, where there are no others; as many as fit."""
    right, up = (1 if direction == "maximize" else -1 for direction in directions)
    place: dict[str, Any] = {"xytext": (5 * right, 5 * up), "textcoords": "offset points"}
    place |= {"ha": "left" if right > 0 else "right", "va": "bottom" if up > 0 else "top"}
    for row in np.unique(np.linspace(0, len(trials) - 1, 12).round().astype(int)):
        axes.annotate(str(trials[row].number), front[row], fontsize=10, color=NETWORK, **place)


def _draw_bars(axes: Axes, trials: Sequence[Trial], heights: Sequence[float]) -> None:
    """Draw one bar per trial, without gaps where there are many."""
    for state in [*STATE_COLORS, "not ended"]:
        members = [
            (trial.number, height)
            for trial, height in zip(trials, heights, strict=True)
            if (trial.state if trial.state in STATE_COLORS else "not ended") == state
        ]
        if members:
            numbers, tops = zip(*members, strict=True)
            width = 0.8 if len(trials) < MANY_TRIALS else 1.0
            color = STATE_COLORS.get(state, UNFINISHED)
            axes.bar(numbers, tops, width, color=color, label=state.lower(), rasterized=len(trials) > MANY_TRIALS)
    axes.grid(visible=False, axis="x")
    axes.set_xlim(min(trial.number for trial in trials) - 1, max(trial.number for trial in trials) + 1)


def _time_unit(longest_s: float) -> tuple[str, float]:
    """Return the unit in which the longest time is a handy number, and its length in seconds."""
    for unit, seconds in (("hours", 3600.0), ("minutes", 60.0)):
        if longest_s >= 2 * seconds:
            return unit, seconds
    return "seconds", 1.0


def _ticked(choices: int) -> list[int]:
    """Return the indices of the choices that get a tick."""
    return list(range(0, choices, math.ceil(choices / TICKED_CHOICES)))


def _legend_below(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", color=QUIET, transform=axes.transAxes)
    axes.set_axis_off()


def _shortened(text: str, longest: int = LONGEST_LABEL) -> str:
    """Return ``text`` on one line, its middle left out where it is too long."""
    text = " ".join(text.split())
    if len(text) <= longest:
        return text
    head = (longest - 1) // 2
    return f"{text[:head]}…{text[head + 1 - longest :]}"


def _folded(name: str) -> str:
    """Return the name of a parameter on up to two lines, broken at its last dot or slash."""
    cut = max(name.rfind("."), name.rfind("/")) + 1
    parts = [name[:cut], name[cut:]] if 0 < cut < len(name) and len(name) > 12 else [name]
    return "\n".join(_shortened(part, 18) for part in parts)
