"""What becomes of units whose trainings end in every way, of equal ones, and of studies that are stopped."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.sweeping import check_exactly_once, drive, order, wait_for
from wirecell_ml.hpo import ordering, verbs
from wirecell_ml.submit.arguments import Arguments
from wirecell_ml.submit.ledger import Attempt, Unit
from wirecell_ml.submit.local import memory_gb
from wirecell_ml.submit.study import Study, open_study

ODD = r"""
import os, signal, sys, time
from pathlib import Path
how = os.environ["ODD"]
if how == "interrupted":
    sys.exit(75)
if how == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if how == "hostile":
    numbers = ("1e400", "NaN", 400 * "9", "[]", '"one"')
    lines = [f'{{"epoch": {one}, "metrics": {{"val/dice": {two}}}}}' for one in numbers for two in numbers]
    Path("progress.jsonl").write_text("\n".join([*lines, 9999 * "[", "5", "null", '{"epoch": 1}', ""]))
    Path("../run-x").mkdir()
    Path("../run-7").write_text("a file")
    time.sleep(1)
    Path("../../result.json").write_text(9999 * "[")
    time.sleep(600)
Path("summary.json").write_text(how)
"""
CHOICE = "sweep=optimizer.lr=1e-3,1e-2,3e-3"
Odd = Callable[..., Study]


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Odd:
    """Return a study, run to its end, of one training that ends in an odd way."""
    (tmp_path / "odd_unit.py").write_text(ODD)
    monkeypatch.syspath_prepend(tmp_path)

    def run(how: str, *settings: str) -> Study:
        monkeypatch.setenv("ODD", how)
        study = order(tmp_path, "trials=1", "program=odd_unit", *settings)
        assert drive(study)
        check_exactly_once(study, 1)
        return study

    return run


@contextmanager
def driven(study: Study) -> Iterator[None]:
    """Drive a study meanwhile, and then to its end or to where the user stops it."""
    with ThreadPoolExecutor(1) as pool:
        end = pool.submit(drive, study)
        try:
            yield
            end.result(120)
        finally:
            if not end.done():
                study.stop("checkpoint")


def only_unit(study: Study) -> Unit:
    [unit] = study.ledger().units(study.name)
    return unit


def attempts(study: Study) -> list[Attempt]:
    return study.ledger().attempts(study.name)


def test_a_training_that_crashes_is_tried_again_as_often_as_the_policy_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUMMY_EXIT", "1")
    study = order(tmp_path, "trials=2", "site.policy.failures=1")
    assert drive(study)
    assert check_exactly_once(study, 2)["attempts"] == 4
    assert {attempt.state for attempt in attempts(study)} == {"FAILED_INFRA"}
    why = "given up after 2 failures: exit status 1: error: told to end with 1"
    assert {(unit.state, unit.why) for unit in study.ledger().units(study.name)} == {("FAILED", why)}


def test_a_mistake_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUMMY_EXIT", "2")
    study = order(tmp_path, "trials=1")
    assert drive(study)
    assert check_exactly_once(study, 1)["attempts"] == 1
    assert (only_unit(study).state, only_unit(study).why) == ("FAILED", "error: told to end with 2")


def test_a_training_whose_memory_ran_out_gets_more_once(odd: Odd) -> None:
    study = odd("killed")
    assert [(one.state, one.memory_gb) for one in attempts(study)] == [("FAILED_INFRA", 0.1), ("FAILED_INFRA", 0.2)]
    assert only_unit(study).why == "memory ran out twice, with 0.2 GB"


def test_more_memory_than_the_machine_has_is_not_waited_for(odd: Odd) -> None:
    study = odd("killed", f"site.resources.memory_gb={0.6 * memory_gb():.2f}")
    assert len(attempts(study)) == 1
    assert only_unit(study).why.startswith("memory ran out, and there is no more: site.resources.memory_gb=")


def test_interruptions_are_borne_as_often_as_the_policy_says(odd: Odd) -> None:
    study = odd("interrupted", "site.policy.preemptions=1")
    assert [attempt.state for attempt in attempts(study)] == ["PREEMPTED", "PREEMPTED"]
    assert only_unit(study).why == "given up after 2 interruptions: ended by a signal"


@pytest.mark.parametrize(
    "summary", ["nothing", '{"metrics": {}}', '{"metrics": {"val/dice": NaN}}', '{"metrics": {"val/dice": "good"}}']
)
def test_a_training_that_reports_no_number_has_failed(odd: Odd, summary: str) -> None:
    study = odd(summary)
    assert [attempt.state for attempt in attempts(study)] == ["SUCCEEDED"]
    assert (only_unit(study).state, only_unit(study).why) == ("FAILED", "the training reported no number for val/dice")


def test_nothing_that_a_training_writes_stops_the_driver(odd: Odd) -> None:
    study = odd("hostile")
    assert (only_unit(study).state, only_unit(study).progress) == ("FAILED", {})
    assert only_unit(study).why == "the training reported no number for val/dice"


def test_what_attempts_took_is_kept(tmp_path: Path) -> None:
    study = order(tmp_path, "trials=1")
    drive(study)
    [attempt] = attempts(study)
    result = only_unit(study).result
    assert result
    assert (attempt.run_seconds, attempt.core_seconds) == (result["seconds"], result["core_seconds"])
    assert attempt.run_seconds > 0.06  # three epochs of 0.02 s
    assert attempt.core_seconds > 0


def test_equal_trials_are_run_once_and_count_each(tmp_path: Path) -> None:
    study = order(tmp_path, "trials=9", CHOICE)
    assert drive(study)
    assert check_exactly_once(study, 9)["attempts"] == len({attempt.number for attempt in attempts(study)}) <= 3
    units = study.ledger().units(study.name)
    firsts = {unit.key: unit for unit in reversed(units)}
    assert all(unit.result == firsts[unit.key].result for unit in units)
    assert [unit.twin_of for unit in units] == [
        None if unit == firsts[unit.key] else firsts[unit.key].number for unit in units
    ]


def test_equal_trials_with_seeds_of_their_own_are_not_the_same_work(tmp_path: Path) -> None:
    study = order(tmp_path, "trials=4", "sweep=optimizer.lr=1e-3,1e-2", "trial_seed=own")
    work, params = ordering.work_of(study), {"optimizer.lr": 1e-3}
    seeds = {work.config(params, number)["seed"] for number in range(4)}
    assert len(seeds) == len({work.key(params, number) for number in range(4)}) == 4
    assert drive(study)
    assert check_exactly_once(study, 4)["attempts"] == 4
    assert {unit.twin_of for unit in study.ledger().units(study.name)} == {None}


def test_what_fails_once_fails_for_all_that_are_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUMMY_EXIT", "2")
    study = order(tmp_path, "trials=7", CHOICE)
    assert drive(study)
    assert check_exactly_once(study, 7)["attempts"] <= 3
    assert [unit.state for unit in study.ledger().units(study.name)] == ["FAILED"] * 7


def test_trials_that_are_worse_than_half_are_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUMMY_EPOCHS", "15")
    monkeypatch.setenv("DUMMY_EPOCH_S", "0.1")
    study = order(tmp_path, "trials=8", "pruner=median", "pruner.startup_trials=2", "pruner.warmup_epochs=1")
    assert drive(study)
    counts = check_exactly_once(study, 8)
    units = study.ledger().units(study.name)
    pruned, done = ([unit for unit in units if unit.state == state] for state in ("PRUNED", "DONE"))
    assert counts["attempts"] == len(pruned) + len(done) == 8
    assert pruned
    assert all(epochs(study, unit.number) == list(range(1, 16)) for unit in done)
    assert all(len(epochs(study, unit.number)) < 15 for unit in pruned)
    assert max(last(unit) for unit in pruned) < max(last(unit) for unit in done)


def last(unit: Unit) -> float:
    """Return the last value that a unit has reported."""
    return list(unit.progress.values())[-1]


def epochs(study: Study, number: int) -> list[int]:
    """Return the epochs that the newest attempt at a unit has reported."""
    box = study.order().box(number)
    return [json.loads(line)["epoch"] for line in box.progress(box.fence).read_text().splitlines()]


def active(study: Study, num_epochs: int = 1) -> Callable[[], bool]:
    """Return whether two units run, which the driver knows, and have each reported some epochs, as a question."""

    def runs(number: int) -> bool:
        path = study.order().box(number).progress(1)
        return path.exists() and len(path.read_text().splitlines()) >= num_epochs

    return lambda: runs(0) and runs(1) and {str(one.state) for one in attempts(study)} == {"RUNNING"}


def say(verb: str, study: Study, *settings: str) -> None:
    """Do what a command about a study does."""
    words = (f"study={study.name}", f"folder={study.folder.parent}", *settings)
    getattr(verbs, verb)(Arguments(verb, words, ()))


def test_a_study_that_was_stopped_at_once_goes_on_from_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DUMMY_EPOCHS", "3000")
    study = order(tmp_path, "trials=3", "site.in_flight=2")
    with driven(study):
        wait_for(active(study))
        say("stop", study, "how=checkpoint")
    assert [attempt.state for attempt in attempts(study)] == ["CANCELLED", "PLANNED"] * 2
    assert [unit.state for unit in study.ledger().units(study.name)] == ["QUEUED", "QUEUED"]
    assert study.ledger().driver(study.name) is None
    monkeypatch.setenv("DUMMY_EPOCHS", str(1 + max(len(epochs(study, number)) for number in (0, 1))))
    say("resume", study)
    assert check_exactly_once(study, 3)["attempts"] == 5
    assert all(epochs(study, number) == list(range(1, 1 + max(epochs(study, 2)))) for number in range(3))
    capsys.readouterr()
    say("why", study, "trial=0")
    history = " ".join(capsys.readouterr().out.split())
    assert history.startswith("trial 0: DONE, result committed")
    for words in ("attempt 1", "RUNNING CANCELLED", "attempt 2", "RUNNING SUCCEEDED", "ACTIVE QUEUED", "ACTIVE DONE"):
        assert words in history


def test_a_study_that_is_stopped_lets_running_trials_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUMMY_EPOCHS", "50")
    study = order(tmp_path, "trials=4", "site.in_flight=2")
    with driven(study):
        wait_for(active(study))
        say("stop", study)
    assert [unit.state for unit in study.ledger().units(study.name)] == ["DONE", "DONE"]
    assert drive_on(study)
    assert check_exactly_once(study, 4)["attempts"] == 4


def drive_on(study: Study) -> bool:
    """Take the wish to stop back, and drive a study to its end."""
    study.go_on()
    return drive(study)


def test_a_study_can_be_made_longer(tmp_path: Path) -> None:
    study = order(tmp_path, "trials=2")
    assert drive(study)
    say("resume", study, "trials=4")
    assert check_exactly_once(open_study(study.name, tmp_path), 4)["attempts"] == 4


def test_nothing_of_a_study_is_left_running(tmp_path: Path) -> None:
    study = order(tmp_path, "trials=2")
    drive(study)
    place = str(study.folder)
    wait_for(lambda: not any(place in " ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])))
