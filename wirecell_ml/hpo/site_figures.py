"""The figure of the sites: which trial ran where and when, one row for each job that a site had at once."""

from collections.abc import Iterable
from pathlib import Path

from matplotlib.patches import Patch

from wirecell_ml.displays import MISSED
from wirecell_ml.figures import NETWORK, QUIET, TRADITIONAL
from wirecell_ml.hpo.charts import drawn, shortened
from wirecell_ml.hpo.summary import StudySummary
from wirecell_ml.hpo.trial import Stay

WAITED = "#d9d9d9"
ENDS = {  # state of an attempt → colour, and the word for it; all others were interrupted
    "SUCCEEDED": (NETWORK, "ended with a result"),
    "CANCELLED": (QUIET, "taken back"),
    "FAILED_APP": (MISSED, "failed"),
    "FAILED_INFRA": (MISSED, "failed"),
}
INTERRUPTED = (TRADITIONAL, "interrupted: pre-empted or lost")
TALLEST_IN = 9.0


def sites(folder: Path, name: str, study: StudySummary) -> None:
    """Draw when the jobs of each site waited and ran, in the colour of their ends."""
    stays = [stay for trial in study.trials for stay in trial.stays]
    began = min((stay.submitted for stay in stays), default=study.ended)
    unit, seconds = unit_of(study.ended - began)
    rows = {site: lanes(stay for stay in stays if stay.site == site) for site in (t.site for t in study.tallies)}
    number = sum(len(of_site) + 1 for of_site in rows.values())
    with drawn(folder, name, min(TALLEST_IN, 1.8 + 0.16 * number)) as figure:
        axes, middles, top = figure.subplots(), [], 0
        for of_site in rows.values():
            for row, lane in enumerate(of_site, top):
                for stay in lane:
                    parts = bars(stay, began, study.ended, seconds)
                    axes.broken_barh(parts, (row - 0.4, 0.8), color=[WAITED, end_of(stay)[0]])
            middles.append(top + (len(of_site) - 1) / 2)
            top += len(of_site) + 1
        axes.set_yticks(middles, [shortened(site) for site in rows])
        axes.invert_yaxis()
        axes.set_xlabel(f"{unit} since the first submission")
        known = {"waited": WAITED} | {word: color for color, word in map(end_of, stays)}
        handles = [Patch(color=color, label=word) for word, color in known.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=5)


def lanes(stays: Iterable[Stay]) -> list[list[Stay]]:
    """Return stays in as few rows as it takes to draw them side by side."""
    rows: list[list[Stay]] = []
    for stay in sorted(stays, key=lambda one: one.submitted):
        free = next((row for row in rows if (row[-1].ended or float("inf")) <= stay.submitted), None)
        if free is None:
            rows.append([stay])
        else:
            free.append(stay)
    return rows or [[]]


def unit_of(length_s: float) -> tuple[str, int]:
    """Return the unit that suits so long a time, and its seconds."""
    if length_s < 300:
        return "seconds", 1
    return ("minutes", 60) if length_s < 4 * 3600 else ("hours", 3600)


def bars(stay: Stay, began: float, now: float, seconds: int) -> list[tuple[float, float]]:
    """Return begin and length, in units of ``seconds``, of the time that a job waited and of that in which it ran."""
    ended = stay.ended or now
    started = min(stay.started or ended, ended)
    return [((a - began) / seconds, (b - a) / seconds) for a, b in ((stay.submitted, started), (started, ended))]


def end_of(stay: Stay) -> tuple[str, str]:
    """Return the colour and the word for the end of a job."""
    return ENDS.get(stay.state, INTERRUPTED)
