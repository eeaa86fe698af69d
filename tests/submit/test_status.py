"""How a study is shown: counts, the best, the rest of the time, the cost; on any terminal, and while it runs."""

import gc
import io
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.sweeping import check_exactly_once, drive, driver_process, order, wait_for
from wirecell_ml.hpo import ordering
from wirecell_ml.hpo.ordering import make_source
from wirecell_ml.submit.ledger import Attempt, Unit
from wirecell_ml.submit.running import run_here, status_of, view
from wirecell_ml.submit.site import Cost, Site
from wirecell_ml.submit.states import UnitState
from wirecell_ml.submit.status import ROWS, STYLES, Status, duration, picture

SITE = Site(name="cluster", kind="slurm", cost=Cost(core_hour=0.05, gpu_hour=1.0, currency="EUR"))
PARAMS = {
    "optimizer.lr": 0.0123456,
    "optimizer.weight_decay": 1e-3,
    "model.widths": "[24,48,96,128]",
    "task.loss.positive_weight": 2.0,
    "data.augmentation.noise": 55.5,
}
REASON = "given up after 3 failures: exit status 1: RuntimeError: a long text\nof two lines that goes on and on"
STATES = tuple(UnitState)


def unit(number: int, state: UnitState) -> Unit:
    """Return a unit of a study that began 100 s ago."""
    metrics = {"val/dice": 0.9 + number / 1000, "latency_s": 0.034}
    done = {"metrics": metrics} if state is UnitState.DONE else None
    now = time.time()
    ended = None if state in STATES[:3] else now - 50 + number
    progress = {"1": 0.5, "2": 0.6123} if state is UnitState.ACTIVE else {}
    return Unit(number, str(number), PARAMS, state, None, done, progress, now - 100, ended, REASON)


def status(
    states: Sequence[UnitState] = STATES, objectives: Sequence[str] = ("val/dice",), trouble: str = ""
) -> Status:
    """Return a study of twelve trials, of which those with a state exist; each took an hour, and 50 CPU minutes."""
    units = [unit(number, state) for number, state in enumerate(states)]
    attempts = [Attempt(one.number, 1, "cluster", 4.0, run_seconds=3600, core_seconds=3000) for one in units]
    ways = dict.fromkeys(objectives, "maximize")
    return Status("mine", {SITE.name: SITE}, ways, 12, units, attempts, trouble)


def rendered(shown: Status, width: int) -> list[str]:
    """Return the lines of a terminal of that width."""
    console = Console(width=width, file=io.StringIO(), record=True, force_terminal=True)
    console.print(picture(shown))
    return [line.rstrip() for line in console.export_text().splitlines()]


def row(lines: Sequence[str], number: int) -> list[str]:
    """Return the words of the line of a trial."""
    (found,) = [line.split() for line in lines if line.startswith(" ") and line.split()[0] == str(number)]
    return found


def test_counts_the_best_and_what_it_cost() -> None:
    shown = status()
    assert shown.counts == dict.fromkeys(map(str, STATES), 1)
    assert shown.ended == 4
    assert shown.best is not None
    assert shown.best.state is UnitState.DONE
    assert shown.core_hours == pytest.approx(7 * 3000 / 3600)
    assert shown.cost == pytest.approx(7 * 0.05)


def test_the_cost_counts_all_cores_and_gpus_of_a_unit() -> None:
    large = replace(SITE, resources=replace(SITE.resources, cores=8, gpus=2))
    assert replace(status(), sites={SITE.name: large}).cost == pytest.approx(7 * (8 * 0.05 + 2 * 1.0))


def test_the_best_is_by_the_first_objective_and_its_direction() -> None:
    done = [UnitState.DONE] * 3
    for ways, number in (({"val/dice": "maximize", "latency_s": "minimize"}, 2), ({"val/dice": "minimize"}, 0)):
        best = replace(status(done), objectives=ways).best
        assert best is not None
        assert best.number == number


def test_the_rest_of_the_time_is_as_long_as_what_was_done_took() -> None:
    shown = status()  # four of twelve ended in 100 s
    assert shown.seconds_left == pytest.approx(200, abs=30)
    assert "about 3 min left" in "\n".join(rendered(shown, 80))


def test_before_the_first_end_and_after_the_last_there_is_no_estimate() -> None:
    waiting = rendered(status([UnitState.QUEUED]), 80)
    assert any(line.startswith("no estimate of the time left;  spent ") for line in waiting)
    done = rendered(status([UnitState.DONE] * 12), 80)
    assert any(line.startswith("spent 10.00 core-hours, 0.60 EUR") for line in done)
    assert not any("left" in line for line in done)


def test_the_bar_has_a_line_of_its_own() -> None:
    first, second = rendered(status(), 80)[:2]
    assert set(first) <= set("━╸╺")
    assert second.startswith("mine at cluster: 4/12 ended   1 proposed  1 queued  1 active  1 done")


@pytest.mark.parametrize("objectives", [["val/dice"], ["val/dice", "latency_s"]])
@pytest.mark.parametrize("width", [80, 160])
def test_only_the_last_column_is_cut(objectives: list[str], width: int) -> None:
    lines = rendered(status(objectives=objectives), width)
    assert max(map(len, lines)) <= width
    (header,) = [line.split() for line in lines if line.split()[:1] == ["trial"]]
    assert header[: 4 + len(objectives)] == ["trial", "state", "attempt", *objectives, "epochs"]
    values = {UnitState.DONE: ["0.9030", "0.0340"], UnitState.ACTIVE: ["0.6123", "-"]}
    for number, state in enumerate(STATES):
        expected = values.get(state, ["-", "-"])[: len(objectives)]
        assert row(lines, number)[: 3 + len(objectives)] == [str(number), state.lower(), "1", *expected]
        assert ("…" in "".join(row(lines, number))) == (width == 80)


def test_a_wide_terminal_shows_all_parameters_and_the_whole_reason() -> None:
    lines = rendered(status(), 200)
    assert "lr=0.0123  weight_decay=0.001  widths=[24,48,96,128]  positive_weight=2  noise=55.5" in "\n".join(lines)
    assert " ".join(REASON.split()) in "\n".join(lines)


def test_every_end_and_every_unit_at_work_has_a_colour() -> None:
    console = Console(width=100, file=io.StringIO(), record=True, force_terminal=True)
    console.print(picture(status()))
    text = console.export_text(styles=True)
    codes = {"cyan": 36, "green": 32, "yellow": 33, "red": 31}
    for state, colour in STYLES.items():
        assert f"\x1b[{codes[colour]}m{state.lower()}" in text


def test_what_keeps_the_driver_from_going_on_is_shown() -> None:
    assert "sbatch: the controller does not answer" in rendered(
        status(trouble="sbatch: the controller does not answer"), 80
    )


def test_a_long_study_shows_who_works_first_and_who_ended_last() -> None:
    states = [*[UnitState.DONE] * 20, *[UnitState.QUEUED] * 20, UnitState.ACTIVE]
    numbers = [int(words[0]) for line in rendered(status(states), 80) if (words := line.split()) and words[0].isdigit()]
    assert numbers == [40, *range(20, 20 + ROWS - 1), 19, 18, 17]


@pytest.mark.parametrize(("seconds", "text"), [(42.4, "42 s"), (600, "10 min"), (7200, "2.0 h")])
def test_times_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_study_in_its_ledger_is_shown_as_it_stands(tmp_path: Path) -> None:
    study = order(tmp_path, "trials=3", "site.cost.core_hour=1")
    assert drive(study)
    shown = status_of(study, study.ledger())
    assert (shown.ended, shown.budget, shown.counts["DONE"]) == (3, 3, 3)
    assert shown.cost == pytest.approx(sum(attempt.run_seconds for attempt in shown.attempts) / 3600)
    assert 0 < shown.cost < 0.1


def test_a_trial_at_work_is_shown_with_its_newest_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUMMY_EPOCH_S", "0.5")
    study = order(tmp_path, "trials=1")

    def at_work() -> list[Unit]:
        units = status_of(study, study.ledger()).units
        return [one for one in units if one.state is UnitState.ACTIVE and one.progress]

    with driver_process(study):
        wait_for(lambda: bool(at_work()))
    assert drive(study)


def test_log_lines_go_above_a_live_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = order(tmp_path)
    console = Console(width=80, file=io.StringIO(), force_terminal=True)
    root = logging.getLogger()
    before = list(root.handlers)
    with view(study, study.ledger(), console):
        logging.getLogger("wirecell_ml.submit.driver").warning("the disk is full")
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "WARNING" in shown
    assert shown.index("the disk is full") < shown.rindex("dummies at local: 0/50 ended")
    assert root.handlers == before
    assert capsys.readouterr().err == ""


def test_a_driver_without_a_terminal_says_a_line_for_each_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUMMY_EXIT", "2")
    study = order(tmp_path, "sweep=optimizer.lr=1e-3,1e-2", "trials=6")
    gc.disable()
    assert run_here(study, ordering.work_of(study), lambda: make_source(study), takeover=False)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == [f"{count}/6" for count in range(1, 7)]
    assert {line.split(maxsplit=3)[2] for line in lines} == set("012345")
    assert all("failed" in line and "told to end with 2" in line for line in lines)
    assert check_exactly_once(study, 6)["done"] == 0
    assert gc.isenabled()  # a driver lives for days
