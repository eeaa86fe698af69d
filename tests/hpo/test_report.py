"""Facts about the report of a study: what it says, what it escapes, and that any study can be reported."""

import csv
import math
import subprocess
import sys
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirecell_ml.hpo.importance import importances
from wirecell_ml.hpo.ranking import best, best_trials, dominates, losses, pareto_front, ranked, running_best
from wirecell_ml.hpo.report import StudySummary, write_report
from wirecell_ml.hpo.trial import Params, Trial

DICE, LATENCY = {"val/dice": "maximize"}, {"latency_ms": "minimize"}
SPACE = {
    "optimizer.lr": {"kind": "real", "log": True},
    "optimizer": {"kind": "choices", "log": False},
    "optimizer.momentum": {"kind": "real", "log": False},
    "model.widths": {"kind": "choices", "log": False},
    "data.crops_per_plane": {"kind": "whole", "log": False},
}
STARTED = 1_790_000_000.0


class Tags(HTMLParser):
    """The names of the elements of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.names.add(tag)


@dataclass(frozen=True)
class Field:
    """Trials and objectives, nothing else: all that a ranking needs."""

    objectives: dict[str, str]
    trials: list[Trial]


def study(trials: list[Trial], objectives: dict[str, str] = DICE, **changes: object) -> StudySummary:
    summary = StudySummary("roinet", objectives, trials, 30, SPACE, began=STARTED, ended=STARTED + 5400)
    return replace(summary, **changes)  # type: ignore[arg-type]


def trial(number: int, state: str = "DONE", dice: float | None = None) -> Trial:
    """Return a trial whose Dice depends on its learning rate most, and on its width a little."""
    lr, wide = 10 ** (-4 + 3 * (number * 0.618 % 1)), number % 2
    momentum: Params = {"optimizer.momentum": 0.5 + number / 100} if number % 3 == 0 else {}
    reached = 0.9 - 0.1 * (math.log10(lr) + 2.3) ** 2 + 0.002 * wide if dice is None else dice
    return Trial(
        number,
        params={
            "optimizer.lr": lr,
            "optimizer": "sgd" if momentum else "adamw",
            **momentum,
            "model.widths": "[24,48,96,128]" if wide else "[12,24,48,64]",
            "data.crops_per_plane": 1 + number % 4,
        },
        state=state,
        values={"val/dice": reached, "latency_ms": 10.0 + 9 * wide + number % 5} if state == "DONE" else {},
        progress={epoch: reached * (1 - math.exp(-epoch / 3)) for epoch in range(1, 4 if state == "PRUNED" else 9)},
        metrics={"val/loss": 1 - reached},
        attempts=1,
        site="local",
        began=STARTED + 60 * number,
        ended=STARTED + 60 * number + 100,
        run_seconds=100.0,
        core_seconds=190.0,
        cost=0.02,
        why="exit status 137" if state == "FAILED" else "",
    )


def mixed(count: int = 24) -> list[Trial]:
    states = {5: "FAILED", 9: "PRUNED", 13: "PRUNED", 17: "CANCELLED", 19: "ACTIVE"}
    return [trial(number, states.get(number, "DONE")) for number in range(count)]


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "trials.csv").read_text().splitlines()))


def figures_of(folder: Path) -> set[str]:
    """Return the names of the figures, each a PNG that is not blank, with an SVG beside it."""
    for path in folder.glob("*.png"):
        assert np.std(matplotlib.image.imread(path)) > 0
        assert "</svg>" in path.with_suffix(".svg").read_text()
    return {path.stem for path in folder.glob("*.png")}


@pytest.fixture(scope="module")
def plain() -> StudySummary:
    """A study with one objective and trials in every state."""
    return study(mixed(), currency="EUR", settings={"sampler": "tpe"})


@pytest.fixture(scope="module")
def page(plain: StudySummary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("report"), plain)


def test_the_page_leads_with_the_best_trial_and_what_the_study_took(plain: StudySummary, page: Path) -> None:
    head, _, rest = page.read_text().partition("</header>")
    winner = best(plain)
    assert winner is not None
    assert f"<b>{winner.values['val/dice']:.4g}</b><span>best val/dice, trial {winner.number}</span>" in head
    assert f"<td>{winner.params['optimizer.lr']:.4g}</td>" in head
    assert "<b>24 of 30</b><span>trials: 19 done, 2 pruned, 1 failed, 1 cancelled, 1 not ended</span>" in head
    assert "<b>1\N{NO-BREAK SPACE}h\N{NO-BREAK SPACE}30\N{NO-BREAK SPACE}min</b><span>wall time</span>" in head
    assert "<b>1.27</b><span>core-hours</span>" in head
    assert "<b>0.48 EUR</b>" in head
    assert "<td>sampler</td><td>tpe</td>" in rest


def test_the_page_needs_nothing_but_itself(page: Path) -> None:
    tags = Tags(page.read_text()).names
    assert "svg" in tags
    assert not tags & {"script", "link", "img", "iframe", "object"}
    assert "default-src 'none'" in page.read_text()


def test_names_and_values_of_a_study_are_text_never_markup_or_mathematics(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    members = [
        replace(trial(n), params={hostile: f"{hostile}{n % 2}$\\frac$"}, site=hostile, why=hostile) for n in range(12)
    ]
    summary = study(members, name=hostile, currency=hostile, settings={hostile: hostile})
    page = write_report(tmp_path, summary).read_text()
    assert "script" not in Tags(page).names
    assert "&lt;script&gt;alert(1)&lt;" in page


def test_the_table_of_all_trials_holds_every_number_in_full(plain: StudySummary, page: Path) -> None:
    members, table = plain.trials, rows(page.parent)
    assert [int(row["number"]) for row in table] == list(range(24))
    assert [float(row["params_optimizer.lr"]) for row in table] == [t.params["optimizer.lr"] for t in members]
    assert [row["values_val/dice"] for row in table] == [str(t.values.get("val/dice", "")) for t in members]
    assert table[1]["params_optimizer.momentum"] == ""
    assert table[1]["params_model.widths"] == "[24,48,96,128]"
    assert float(table[5]["metrics_val/loss"]) == members[5].metrics["val/loss"]
    assert table[0]["began"] == "2026-09-21T14:13:20+00:00"


def test_one_objective_gives_six_figures(page: Path) -> None:
    assert figures_of(page.parent) == {"history", "curves", "importances", "slices", "parallel", "effort"}


def test_two_objectives_add_their_front_and_a_second_set_of_slices(tmp_path: Path) -> None:
    page = write_report(tmp_path, study(mixed(), DICE | LATENCY)).read_text()
    assert figures_of(tmp_path) >= {"pareto", "slices-2"}
    assert "best latency_ms" in page


def test_the_same_study_gives_the_same_page(plain: StudySummary, page: Path, tmp_path: Path) -> None:
    assert write_report(tmp_path, plain).read_text() == page.read_text()


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([], id="no trials"),
        pytest.param([trial(0)], id="one"),
        pytest.param([trial(n, "FAILED") for n in range(3)], id="all failed"),
        pytest.param([replace(trial(n, "QUEUED"), progress={}, began=None, ended=None) for n in range(3)], id="queued"),
        pytest.param([trial(n, dice=math.nan) for n in range(12)], id="all NaN"),
        pytest.param([trial(0), trial(1, dice=math.nan), trial(2, dice=-math.inf), trial(3)], id="some diverged"),
        pytest.param([trial(n, dice=0.5) for n in range(12)], id="all equal"),
        pytest.param([replace(trial(n), params={"optimizer": "adamw"}) for n in range(12)], id="one category"),
        pytest.param([replace(trial(n), params={}) for n in range(12)], id="no parameters"),
        pytest.param([replace(trial(n), params={"x": (None, True, 3, "a")[n % 4]}) for n in range(12)], id="any type"),
        pytest.param([replace(trial(n), params={"optimizer.lr": 1e-3}) for n in range(12)], id="one value"),
    ],
)
def test_any_study_can_be_reported(tmp_path: Path, members: list[Trial]) -> None:
    page = write_report(tmp_path, study(members, DICE | LATENCY)).read_text()
    assert len(figures_of(tmp_path)) == page.count('<svg role="img"') == 8
    assert len(rows(tmp_path)) == len(members)


def test_importance_goes_to_the_parameter_that_decides() -> None:
    shares = importances(study([trial(number) for number in range(40)]), "val/dice")
    assert next(iter(shares)) == "optimizer.lr"
    assert sum(shares.values()) == pytest.approx(1)


def test_importance_is_not_guessed_from_nine_trials() -> None:
    assert importances(study([trial(number) for number in range(9)]), "val/dice") == {}
    assert importances(study([trial(number) for number in range(10)]), "val/dice")


def test_best_trials_are_done_and_in_order() -> None:
    members = [trial(0, dice=0.7), trial(1, dice=0.9), trial(2, "PRUNED"), trial(3, dice=math.nan), trial(4, dice=0.8)]
    assert [t.number for t in ranked(Field(DICE, members))] == [1, 4, 0]
    assert [t.number for t in best_trials(Field(DICE, members), 2)] == [1, 4]
    assert [t.number for t in ranked(Field({"val/dice": "minimize"}, members))] == [0, 4, 1]


def test_of_equal_trials_the_first_is_the_best_and_a_twin_is_no_second() -> None:
    members = [trial(4, dice=0.9), trial(2, dice=0.9), replace(trial(5, dice=0.9), twin_of=2)]
    assert [t.number for t in ranked(Field(DICE, members))] == [2, 4]


def test_a_study_without_results_has_no_best() -> None:
    assert best(Field(DICE, [])) is None
    assert best(Field(DICE, [trial(0, "FAILED"), trial(1, dice=math.nan)])) is None


def test_the_running_best_never_gets_worse() -> None:
    members = [trial(2, dice=0.8), trial(0, dice=0.6), trial(1, dice=0.5), trial(3, "FAILED")]
    assert running_best(Field(DICE, members)) == {"val/dice": [(0, 0.6), (1, 0.6), (2, 0.8)]}
    assert running_best(Field({"val/dice": "minimize"}, members)) == {"val/dice": [(0, 0.6), (1, 0.5), (2, 0.5)]}


def test_the_front_runs_from_best_to_worst_in_the_first_objective() -> None:
    points = [(0.7, 5.0), (0.9, 20.0), (0.8, 9.0), (0.75, 12.0)]
    members = [replace(trial(n), values={"val/dice": dice, "latency_ms": ms}) for n, (dice, ms) in enumerate(points)]
    front = pareto_front(Field(DICE | LATENCY, members))
    assert [t.number for t in front] == [1, 2, 0]
    assert ranked(Field(DICE | LATENCY, members)) == front


@given(
    st.lists(st.tuples(*[st.integers(0, 6)] * 3), max_size=25),
    st.tuples(*[st.sampled_from(["maximize", "minimize"])] * 3),
)
def test_the_front_is_what_nothing_dominates(points: list[tuple[int, ...]], directions: tuple[str, ...]) -> None:
    objectives = dict(zip("abc", directions, strict=True))
    members = [Trial(n, {}, "DONE", dict(zip("abc", map(float, point), strict=True))) for n, point in enumerate(points)]
    field = Field(objectives, members)
    expected = {
        t.number for t in members if not any(dominates(losses(field, other), losses(field, t)) for other in members)
    }
    assert {t.number for t in pareto_front(field)} == expected


def test_a_ranking_needs_no_matplotlib() -> None:
    code = "import sys, wirecell_ml.hpo.ranking; sys.exit(bool({'matplotlib', 'optuna', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
