"""The report of a study: one page to read, print or send, its figures beside it, and a table of all trials."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template

from wirecell_ml.hpo import figures
from wirecell_ml.hpo.parameter_figures import value_text
from wirecell_ml.hpo.ranking import best, best_trials, finite, ranked
from wirecell_ml.hpo.summary import StudySummary
from wirecell_ml.hpo.trial import ENDED, Scalar, Trial

__all__ = ["StudySummary", "write_report"]

SHOWN = 10  # trials in the table of the best
SPACE = "\N{NO-BREAK SPACE}"
TITLES = {
    "history": "History",
    "curves": "Learning curves",
    "importances": "Importance of the parameters",
    "slices": "Each parameter",
    "parallel": "All parameters together",
    "pareto": "Pareto front",
    "effort": "Time and cost",
    "sites": "Where the trials ran",
}

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>$title</title>
<style>
:root { color-scheme: light; --ink: #2b2b3a; --blue: #0068ad; --quiet: #6b6b6b; --line: #e0e0e0; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 66rem; color: var(--ink); background: white;
       font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; }
h1 { margin: 0; font-size: 1.7rem; overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 .5rem; font-size: 1.2rem; }
p { margin: .3rem 0; }
.quiet { color: var(--quiet); }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; }
.tile { flex: 1 1 8rem; padding: .6rem .9rem; border: 1px solid var(--line); border-radius: .4rem; }
.tile b { display: block; color: var(--blue); font-size: 1.35rem; overflow-wrap: anywhere; }
.tile span { color: var(--quiet); font-size: .85rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { border-bottom-color: var(--ink); vertical-align: bottom; overflow-wrap: break-word; }
td { max-width: 22rem; overflow-wrap: break-word; }
.DONE { color: #0068ad; } .PRUNED { color: #a86500; } .FAILED { color: #b8146e; } .CANCELLED { color: #6b6b6b; }
figure { margin: 0; }
figure svg { display: block; width: 100%; min-width: 40rem; height: auto; }
figcaption { color: var(--quiet); font-size: .9rem; }
@page { size: A4; margin: 12mm; }
@page wide { size: A4 landscape; margin: 12mm; }
@media print { body { max-width: none; padding: 0; font-size: 11px; } figure svg { min-width: 0; }
  .wide { overflow: visible; } .short { break-inside: avoid; } .long { page: wide; }
  table { font-size: 7px; } td, th { padding-right: .5em; } header table { font-size: 10px; }
  thead { display: table-header-group; } tr { break-inside: avoid; } }
</style>
</head>
<body>
$body
</body>
</html>
""")


def write_report(folder: Path, study: StudySummary) -> Path:
    """Write the page, the figures and the table of all trials, and return the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    captions = figures.draw_all(folder, study)
    _write_csv(folder / "trials.csv", study)
    sections = [
        _headline(study),
        _section("Best trials", _trial_table(study, best_trials(study, SHOWN)) + _note_on_front(study)),
        *(_figure_section(folder, name, caption) for name, caption in captions.items()),
        *([_section("Sites", _site_table(study))] if len(study.tallies) > 1 else []),
        _section("Settings", _settings(study)),
        _section(f"All {len(study.trials)} trials", _trial_table(study, _in_order(study.trials), full=True), long=True),
    ]
    page = folder / "report.html"
    page.write_text(PAGE.substitute(title=escape(f"Study {study.name}"), body="\n".join(sections)), encoding="utf-8")
    return page


def _headline(study: StudySummary) -> str:
    began, ended = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}" for at in (study.began, study.ended))
    aims = ", ".join(f"{direction} {name}" for name, direction in study.objectives.items())
    return "\n".join(
        [
            f"<header><h1>{escape(study.name)}</h1>",
            f'<p class="quiet">{escape(aims)} · {began} to {ended} UTC</p>',
            f'<div class="tiles">{"".join(_tile(*tile) for tile in _tiles(study))}</div>',
            _best_parameters(study),
            "</header>",
        ]
    )


def _tile(value: str, label: str) -> str:
    return f'<div class="tile"><b>{escape(value)}</b><span>{escape(label)}</span></div>'


def _tiles(study: StudySummary) -> list[tuple[str, str]]:
    """Return (value, what it is) of everything that the head of the page says."""
    states = Counter(trial.state if trial.state in ENDED else "not ended" for trial in study.trials)
    counts = ", ".join(f"{states[state]} {state.lower()}" for state in (*ENDED, "not ended") if states[state])
    tiles = _best_tiles(study)
    tiles.append((f"{len(study.trials)} of {study.budget}", f"trials: {counts}" if counts else "trials"))
    tiles.append((_duration(study.ended - study.began), "wall time"))
    tiles.append((f"{sum(trial.core_seconds for trial in study.trials) / 3600:.3g}", "core-hours"))
    cost = sum(trial.cost for trial in study.trials)
    if cost:
        tiles.append((f"{cost:.2f} {study.currency}".strip(), "cost"))
    return tiles


def _best_tiles(study: StudySummary) -> list[tuple[str, str]]:
    """Return the best value of each objective, and the trial that reached it."""
    tiles = []
    for name, direction in study.objectives.items():
        done = [trial for trial in ranked(study) if finite(trial, name)]
        if done:
            pick = max if direction == "maximize" else min
            winner = pick(done, key=lambda trial: trial.values[name])
            tiles.append((value_text(winner.values[name]), f"best {name}, trial {winner.number}"))
    return tiles or [("–", "no trial has a result")]


def _best_parameters(study: StudySummary) -> str:
    winner = best(study)
    if winner is None or not winner.params:
        return ""
    rows = [[escape(name), escape(value_text(value))] for name, value in winner.params.items()]
    return f"<p>Trial {winner.number}:</p>{_table(['parameter', 'value'], rows)}"


def _note_on_front(study: StudySummary) -> str:
    if len(study.objectives) < 2:
        return ""
    return '<p class="quiet">The trials that no other betters in every objective, ordered by the first.</p>'


def _figure_section(folder: Path, name: str, caption: str) -> str:
    drawing = (folder / f"{name}.svg").read_text(encoding="utf-8")
    drawing = drawing[drawing.index("<svg") :]
    title = TITLES[name.partition("-")[0]]
    drawing = drawing.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
    body = f'<figure><div class="wide">{drawing}</div><figcaption>{escape(caption)}</figcaption></figure>'
    return _section(title, body)


def _settings(study: StudySummary) -> str:
    settings = [[escape(name), escape(value)] for name, value in study.settings.items()]
    return _table(["setting", "value"], settings) if settings else '<p class="quiet">none</p>'


def _site_table(study: StudySummary) -> str:
    """Return what each site did: its jobs, and the middle of their waits and runs."""
    rows = []
    for tally in study.tallies:
        counts = [str(number) for number in (tally.jobs, tally.done, tally.jobs - tally.done)]
        times = ["" if seconds is None else _duration(seconds) for seconds in (tally.wait_s, tally.run_s)]
        rows.append([escape(tally.site), *counts, *times])
    return _table(["site", "jobs", "with a result", "without", "median wait", "median run"], rows)


def _section(title: str, body: str, long: bool = False) -> str:
    kind = "long" if long else "short"
    return f'<section class="{kind}"><h2>{escape(title)}</h2>\n{body}</section>'


def _trial_table(study: StudySummary, trials: Sequence[Trial], full: bool = False) -> str:
    """Return a table of trials: what they reached and with which parameters; in ``full``, also how they ended."""
    if not trials:
        return '<p class="quiet">none</p>'
    params = _names(study.space, (trial.params for trial in trials))
    header = ["trial", *(["state"] if full else []), *study.objectives, *params, "core time"]
    header += ["cost"] if any(trial.cost for trial in study.trials) else []
    header += ["attempts", "site", "why"] if full else []
    header += ["why there"] if full and len(study.tallies) > 1 else []
    return _table(header, [_cells(study, trial, header, params, full) for trial in trials])


def _cells(study: StudySummary, trial: Trial, header: list[str], params: list[str], full: bool) -> list[str]:
    twin = "" if trial.twin_of is None else f" = {trial.twin_of}"
    cells = [f"{trial.number}{twin}"]
    cells += [f'<span class="{escape(trial.state)}">{escape(trial.state.lower())}</span>'] if full else []
    cells += [value_text(trial.values[name]) if name in trial.values else "" for name in study.objectives]
    cells += [escape(value_text(trial.params[name])) if name in trial.params else "" for name in params]
    cells.append(_duration(trial.core_seconds))
    cells += [f"{trial.cost:.3g}"] if "cost" in header[len(params) :] else []
    cells += [str(trial.attempts), escape(trial.site or ""), escape(trial.why)] if full else []
    cells += [_journey(trial)] if "why there" in header else []
    return cells


def _journey(trial: Trial) -> str:
    """Return where the attempts at a trial were, each with the reason, and how all but the last ended."""
    steps = [f"{stay.site}: {stay.why}" for stay in trial.stays]
    ends = [f" ({stay.state.lower()})" for stay in trial.stays[:-1]] + [""]
    return "<br>".join(escape(step + end) for step, end in zip(steps, ends, strict=False))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the header is text, the cells of the rows are HTML already."""
    # A name may be broken after a dot or a slash, so that columns of numbers stay narrow.
    names = [escape(name).replace(".", ".<wbr>").replace("/", "/<wbr>") for name in header]
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _duration(seconds: float) -> str:
    """Return a time with its two largest units."""
    if seconds < 60:
        return f"{max(seconds, 0):.3g}{SPACE}s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min"
    hours, minutes = divmod(minutes, 60)
    parts = (hours, "h", f"{minutes:02d}", "min") if hours < 48 else (hours // 24, "d", hours % 24, "h")
    return SPACE.join(map(str, parts))


def _in_order(trials: Iterable[Trial]) -> list[Trial]:
    return sorted(trials, key=lambda trial: trial.number)


def _names(known: Iterable[str], seen: Iterable[Iterable[str]]) -> list[str]:
    """Return the names in use: those ``known`` in their order, then any others."""
    used = dict.fromkeys(name for names in seen for name in names)
    return [*(name for name in known if name in used), *(name for name in used if name not in set(known))]


def _write_csv(path: Path, study: StudySummary) -> None:
    """Write one row per trial, numbers in full; a blank is a parameter that a trial does not have."""
    trials = _in_order(study.trials)
    params = _names(study.space, (trial.params for trial in trials))
    metrics = _names((), (trial.metrics for trial in trials))
    plain = ["number", "state", "twin_of", "attempts", "site", "began", "ended"]
    plain += ["run_seconds", "core_seconds", "cost", "why"]
    header = [*plain, "epochs", *(f"values_{n}" for n in study.objectives)]
    header += [*(f"params_{n}" for n in params), *(f"metrics_{n}" for n in metrics)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for trial in trials:
            row: list[Scalar] = [
                _when(trial, name) if name in ("began", "ended") else getattr(trial, name) for name in plain
            ]
            row.append(max(trial.progress, default=0))
            row += [trial.values.get(name, "") for name in study.objectives]
            row += [_exact(trial.params[name]) if name in trial.params else "" for name in params]
            row += [trial.metrics.get(name, "") for name in metrics]
            writer.writerow(row)


def _when(trial: Trial, name: str) -> str:
    seconds = getattr(trial, name)
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def _exact(value: Scalar) -> str:
    return repr(value) if isinstance(value, float) else value_text(value)
