"""Figures: how a study went, which parameters mattered, and what it took; as PNG and as SVG files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from wirecell_ml.displays import MISSED
from wirecell_ml.figures import NETWORK, QUIET, TRADITIONAL, TRUTH
from wirecell_ml.hpo.charts import MANY_TRIALS, ROUND_STEPS, drawn, folded, frame, shortened
from wirecell_ml.hpo.importance import FEWEST_TRIALS, importances
from wirecell_ml.hpo.parameter_figures import parallel_coordinates, slices
from wirecell_ml.hpo.ranking import best, finite, pareto_front, running_best
from wirecell_ml.hpo.site_figures import sites
from wirecell_ml.hpo.summary import StudySummary
from wirecell_ml.hpo.trial import Trial

STATE_COLORS = {"DONE": NETWORK, "PRUNED": TRADITIONAL, "FAILED": MISSED, "CANCELLED": QUIET}
UNFINISHED = "#9ecae1"


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
    if len(study.tallies) > 1:
        chart["sites"] = (sites, "When the jobs of each site waited and ran, and how they ended.")
    for name, (draw, _) in chart.items():
        draw(folder, name, study)
    return {name: caption for name, (_, caption) in chart.items()}


def history(folder: Path, name: str, study: StudySummary) -> None:
    """Draw the value of each trial and the best so far, one panel per objective."""
    records = running_best(study)
    with drawn(folder, name, 1.2 + 3.4 * len(study.objectives)) as figure:
        if not study.trials:
            return
        grid = figure.subplots(len(study.objectives), 1, sharex=True, squeeze=False)[:, 0]
        for index, (axes, (objective, direction)) in enumerate(zip(grid, study.objectives.items(), strict=True)):
            done = [trial for trial in study.trials if finite(trial, objective)]
            reached = [(trial.number, trial.values[objective]) for trial in done]
            cut = _stopped(study.trials) if index == 0 else []  # trials are pruned by the first objective only
            limits = frame([value for _, value in reached or cut], direction)
            _scatter(axes, reached, limits, "DONE", "o")
            _scatter(axes, cut, limits, "PRUNED", "x")
            _mark_failures(axes, study.trials)
            if records[objective]:
                axes.step(*zip(*records[objective], strict=True), where="post", color=TRUTH, label="best so far")
            axes.set(ylabel=shortened(objective, 40), ylim=limits)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=ROUND_STEPS))
        grid[-1].set_xlabel("trial")
        figure.align_ylabels()
        _legend_below(figure, grid[0])


def learning_curves(folder: Path, name: str, study: StudySummary) -> None:
    """Draw the first objective against the epoch, one line per trial."""
    objective, direction = next(iter(study.objectives.items()))
    shown = [trial for trial in study.trials if len(trial.progress) > 0]
    winner = best(study)
    with drawn(folder, name, 5.2) as figure:
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
        limits = frame([value for trial in kept for value in trial.progress.values()], direction)
        axes.set(xlabel="epoch", ylabel=shortened(objective, 40), ylim=limits)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=ROUND_STEPS))
        _legend_below(figure, axes)


def parameter_importances(folder: Path, name: str, study: StudySummary) -> None:
    """Draw how much each parameter mattered, one panel per objective."""
    shares = {objective: importances(study, objective) for objective in study.objectives}
    longest = max(len(share) for share in shares.values()) if shares else 0
    with drawn(folder, name, 1.8 + 0.42 * longest) as figure:
        grid = figure.subplots(1, len(shares), squeeze=False)[0]
        for axes, (objective, share) in zip(grid, shares.items(), strict=True):
            if not share:
                _say(axes, f"too few trials: {FEWEST_TRIALS} must be done")
                continue
            axes.set_title(shortened(objective, 40))
            labels, lengths = [folded(param) for param in share], np.array(list(share.values()))
            bars = axes.barh(range(len(share)), lengths, 0.6, color=NETWORK)
            axes.bar_label(bars, [f"{length:.0%}" for length in lengths], padding=4, fontsize=11)
            axes.set_yticks(range(len(share)), labels, fontsize=11)
            axes.set(xlabel="importance", xlim=(0, 1.15 * max(lengths.max(), 0.01)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))
            axes.invert_yaxis()
            axes.grid(visible=False, axis="y")


def pareto(folder: Path, name: str, study: StudySummary) -> None:
    """Draw two objectives against each other, and the trials that no other dominates."""
    (first, _), (second, _) = study.objectives.items()
    done = [trial for trial in study.trials if finite(trial, first) and finite(trial, second)]
    with drawn(folder, name, 5.4) as figure:
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
            frame(column, direction) for column, direction in zip(everything.T, study.objectives.values(), strict=True)
        ]
        axes.set(xlabel=shortened(first, 40), ylabel=shortened(second, 40), xlim=limits[0], ylim=limits[1])
        _legend_below(figure, axes)


def effort(folder: Path, name: str, study: StudySummary) -> None:
    """Draw the CPU time of each trial, and its cost where there is one, in the colour of its state."""
    costly = any(trial.cost for trial in study.trials)
    with drawn(folder, name, 6.4 if costly else 4.0) as figure:
        if not study.trials:
            return
        grid = figure.subplots(1 + costly, 1, sharex=True, squeeze=False)[:, 0]
        unit, seconds = _time_unit(max(trial.core_seconds for trial in study.trials))
        _draw_bars(grid[0], study.trials, [trial.core_seconds / seconds for trial in study.trials])
        grid[0].set_ylabel(f"core-{unit}")
        if costly:
            _draw_bars(grid[1], study.trials, [trial.cost for trial in study.trials])
            grid[1].set_ylabel(f"cost [{shortened(study.currency, 8)}]" if study.currency else "cost")
        grid[-1].set_xlabel("trial")
        grid[-1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=ROUND_STEPS))
        figure.align_ylabels()
        _legend_below(figure, grid[0])


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


def _legend_below(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", color=QUIET, transform=axes.transAxes)
    axes.set_axis_off()
