"""The verbs of ``python -m wirecell_ml.hpo``: from the first look at a study to its best trial."""

import json
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import TINY, Ended, Entry, WriteEvents
from tests.hpo.conftest import DUMMIES, TRIALS, command
from tests.sweeping import check_exactly_once, wait_for
from wirecell_ml import train
from wirecell_ml.hpo.trials import read_trials
from wirecell_ml.submit.local import units
from wirecell_ml.submit.study import Study, open_study

PROBE = """
import runpy, sys
sys.argv = ["wirecell_ml.hpo", *sys.argv[1:]]
try:
    runpy.run_module("wirecell_ml.hpo", run_name="__main__", alter_sys=True)
finally:
    print("loaded:", *{"torch", "lightning", "h5py", "matplotlib", "optuna", "scipy"} & set(sys.modules))
"""


def test_start_says_how_each_trial_ended_and_where_report_and_best_are(ended: Ended, finished: Study) -> None:
    assert ended.status == 0
    lines = ended.error.splitlines()
    assert [line.split()[0] for line in lines] == [f"{n}/{TRIALS}" for n in range(1, TRIALS + 1)]
    assert {line.split()[2] for line in lines} == set(map(str, range(TRIALS)))
    assert f"report: {finished.folder / 'report' / 'report.html'}" in ended.output
    assert f"--config-path {finished.folder / 'report'} --config-name best" in ended.output


def test_every_trial_of_it_ended_once(finished: Study) -> None:
    assert check_exactly_once(finished, TRIALS)["done"] == TRIALS


def test_the_report_has_a_page_pictures_a_table_and_a_mirror(finished: Study) -> None:
    names = {path.name for path in (finished.folder / "report").iterdir()}
    assert {"report.html", "trials.csv", "history.png", "history.svg", "best.yaml", "optuna.sqlite3"} <= names


def test_status_shows_how_a_study_stands_once(finished: Study, hpo: Entry) -> None:
    shown = hpo("status", "study=dummies", f"folder={finished.folder.parent}").output
    best = max(read_trials(finished), key=lambda trial: trial.values["val/dice"])
    assert f"dummies at local: {TRIALS}/{TRIALS} ended   {TRIALS} done" in shown
    assert f"best: trial {best.number}, val/dice {best.values['val/dice']:.4f}" in shown


def test_watching_a_study_ends_when_it_has_ended(finished: Study, hpo: Entry) -> None:
    shown = hpo("status", "study=dummies", f"folder={finished.folder.parent}", "watch=true")
    assert shown.status == 0
    assert f"{TRIALS}/{TRIALS} ended" in shown.output


def test_why_tells_the_history_of_a_trial(finished: Study, hpo: Entry) -> None:
    told = hpo("why", "study=dummies", f"folder={finished.folder.parent}", "trial=3").output
    params = read_trials(finished)[3].params
    assert f"optimizer.lr: {params['optimizer.lr']}" in told
    for step in ("PROPOSED", "QUEUED", "PLANNED", "SUBMITTING", "SUBMITTED", "RUNNING", "ACTIVE", "SUCCEEDED", "DONE"):
        assert step in told
    assert f"its files: {finished.folder / 'units' / '000003'}" in told


def test_report_and_best_write_where_they_are_told(finished: Study, hpo: Entry, tmp_path: Path) -> None:
    where = ("study=dummies", f"folder={finished.folder.parent}")
    assert hpo("report", *where, "output=page").status == 0
    assert (tmp_path / "page" / "report.html").stat().st_size > 1000
    assert hpo("best", *where, "output=mine/winner.yaml").status == 0
    held = (finished.folder / "report" / "best.yaml").read_text().splitlines()
    assert (tmp_path / "mine" / "winner.yaml").read_text().splitlines()[2:] == held[2:]


def test_best_is_an_experiment_that_training_takes(finished: Study, entry: Callable[..., Ended]) -> None:
    shown = entry(train.main, "--config-path", str(finished.folder / "report"), "--config-name", "best", "--cfg", "job")
    assert (shown.status, shown.error) == (0, "")
    config = yaml.safe_load(shown.output)
    best = max(read_trials(finished), key=lambda trial: trial.values["val/dice"])
    assert config["optimizer"]["lr"] == best.params["optimizer.lr"]
    assert config["evaluate"] is True


def test_resume_with_more_trials_goes_on_from_what_there_is(study: Study, hpo: Entry) -> None:
    before = read_trials(study)
    assert hpo("resume", "study=dummies", f"trials={TRIALS + 3}").status == 0
    check_exactly_once(study, TRIALS + 3)
    assert read_trials(study)[:TRIALS] == before


def test_the_same_line_again_goes_on_with_the_code_that_it_began_with(study: Study, hpo: Entry) -> None:
    code = study.folder / "code"
    older = (code / Path(study.held.code).name).rename(code / "older")
    study.held.code = str(older)
    study.save()
    before = study.ledger().events(study.name)
    assert hpo("study=dummies", f"trials={TRIALS + 1}", *DUMMIES).status == 0
    check_exactly_once(study, TRIALS + 1)
    assert study.ledger().events(study.name)[: len(before)] == before
    assert open_study("dummies", study.folder.parent).held.code == str(older)
    assert [path.name for path in code.iterdir()] == ["older"]


def test_a_dry_run_writes_nothing(hpo: Entry, tmp_path: Path) -> None:
    dry = hpo("study=dummies", *DUMMIES, "dry_run=true")
    assert (dry.status, dry.error) == (0, "")
    assert not list(tmp_path.iterdir())


def test_a_dry_run_shows_exactly_what_is_sent(hpo: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("study=dummies", "trials=2", *DUMMIES)
    shown = hpo(*words, "dry_run=true").output
    monkeypatch.setenv("DUMMY_EPOCH_S", "0.5")
    with subprocess.Popen(command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        folder = tmp_path / "sweeps" / "dummies" / "units" / "000000"
        wait_for(lambda: (folder / "attempt-1" / "heartbeat").exists())
        runner = next(unit for unit in units() if str(folder) in unit.process.cmdline())
        sent, environ = runner.process.cmdline(), runner.process.environ()
        assert driver.wait() == 0
    assert shown.split("# units/000000/config.yaml\n")[1].startswith((folder / "config.yaml").read_text())
    printed = shlex.split(next(line for line in shown.splitlines() if str(folder) in line))
    start = printed.index("env")
    assert printed[start + 1] == f"PYTHONPATH={environ['PYTHONPATH']}"
    assert printed[start + 2 : -1] == sent[:-1]  # all but the token, which is drawn when it is sent
    settings = dict(word.split("=", 1) for word in printed[1:start])
    assert settings.items() <= environ.items()


def test_a_dry_run_shows_the_command_that_reads_the_mailbox(hpo: Entry, tmp_path: Path) -> None:
    far = ("site=local_store", f"site.mailbox=file://{tmp_path}/store")
    shown = hpo("study=dummies", *DUMMIES, *far, "dry_run=true")
    assert (shown.status, shown.error) == (0, "")
    assert f"wirecell_ml.submit.carrier file://{tmp_path}/store/dummies-" in shown.output
    assert not list(tmp_path.iterdir())


def start(*words: str) -> str:
    """Run a command as a user does, in this process's folder, and return what it says."""
    done = subprocess.run(command(*words), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.usefixtures("hpo")
def test_a_detached_driver_leaves_the_terminal_and_finishes(tmp_path: Path) -> None:
    said = start("study=dummies", "trials=3", *DUMMIES, "driver=detached")
    assert f"hpo status study=dummies folder={tmp_path / 'sweeps'}" in said
    study = open_study("dummies", tmp_path / "sweeps")
    wait_for((study.folder / "report" / "best.yaml").exists)
    check_exactly_once(study, 3)
    assert "3/3  trial " in (study.folder / "driver.log").read_text()


@pytest.mark.usefixtures("hpo")
def test_the_driver_can_be_a_job_at_the_site(tmp_path: Path) -> None:
    said = start("study=dummies", "trials=3", *DUMMIES, "driver=job")
    assert "the driver is job dummies-driver at local" in said
    assert f"hpo status study=dummies folder={tmp_path / 'sweeps'}" in said
    study = open_study("dummies", tmp_path / "sweeps")
    wait_for((study.folder / "report" / "best.yaml").exists)
    check_exactly_once(study, 3)


def test_stop_lets_running_trials_end_and_starts_no_other(hpo: Entry, running: Study) -> None:
    assert hpo("stop", "study=dummies").status == 0
    wait_for(lambda: running.ledger().driver("dummies") is None)
    states = Counter(trial.state for trial in read_trials(running))
    assert 0 < states["DONE"] < TRIALS
    assert states["DONE"] + states["PROPOSED"] + states["QUEUED"] == states.total()


def test_a_study_whose_trials_were_checkpointed_is_resumed(
    hpo: Entry, running: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hpo("stop", "study=dummies", "how=checkpoint").status == 0
    wait_for(lambda: running.ledger().driver("dummies") is None)
    assert any(attempt.why.startswith("checkpointed") for attempt in running.ledger().attempts("dummies"))
    monkeypatch.setenv("DUMMY_EPOCH_S", "0.01")
    assert hpo("resume", "study=dummies").status == 0
    check_exactly_once(running, TRIALS)


@pytest.fixture
def running(hpo: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Study]:  # noqa: ARG001
    """Return a study that a driver in another process has begun with."""
    monkeypatch.setenv("DUMMY_EPOCH_S", "0.5")
    words = command("study=dummies", f"trials={TRIALS}", *DUMMIES)
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        wait_for((tmp_path / "sweeps" / "dummies" / "units" / "000000" / "attempt-1" / "run-1").exists)
        yield open_study("dummies", tmp_path / "sweeps")
        driver.terminate()


def loaded(*words: str) -> str:
    """Return which heavy modules a command loads."""
    probe = [sys.executable, "-c", PROBE, *words]
    shown = subprocess.run(probe, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(shown) > 10
    return shown[-1]


@pytest.mark.parametrize("flags", [["--help"], ["--cfg", "job"]])
def test_showing_help_or_settings_loads_nothing_heavy(flags: list[str]) -> None:
    assert loaded(*flags) == "loaded:"


def test_looking_at_a_study_loads_nothing_heavy(finished: Study) -> None:
    where = ("study=dummies", f"folder={finished.folder.parent}")
    assert loaded("status", *where) == "loaded:"
    assert loaded("why", *where, "trial=0") == "loaded:"


def test_help_lists_verbs_and_the_groups_of_a_sweep() -> None:
    shown = start("--help")
    for verb in ("status", "resume", "stop", "why", "report", "best"):
        assert f"python -m wirecell_ml.hpo {verb}" in shown
    for group in ("  pruner: halving, ", "  sampler: cmaes, gp, ", "  search: roi_unet, ", "  site: aws, htcondor, "):
        assert group in shown
    assert "  model: " not in shown


def test_the_settings_are_shown_as_they_would_be(hpo: Entry, tmp_path: Path) -> None:
    shown = hpo("sampler=gp", "trials=7", "site.resources.cores=2", "--cfg", "job")
    settings: dict[str, Any] = yaml.safe_load(shown.output)
    assert (settings["sampler"]["name"], settings["trials"], settings["site"]["resources"]["cores"]) == ("gp", 7, 2)
    assert not list(tmp_path.iterdir())


def test_a_trial_is_the_training_that_its_config_describes(
    hpo: Entry, entry: Callable[..., Ended], write_events: WriteEvents, tmp_path: Path
) -> None:
    files = write_events("0", range(6)).parent
    tiny = [*TINY, f"data.files={files}", f"data.cache={tmp_path / 'cache'}", "trainer.threads=1"]
    sought = "objectives={val/dice: maximize, latency_s: minimize}"
    words = ["study=tiny", "sweep=optimizer.lr=1e-3,1e-2", "sampler=grid", "site.resources.memory_gb=1"]
    done = hpo(*words, sought, *tiny)
    assert done.status == 0, done
    study = open_study("tiny", tmp_path / "sweeps")
    trials = read_trials(study)
    assert [(trial.state, trial.params) for trial in trials] == [
        ("DONE", {"optimizer.lr": 1e-3}),
        ("DONE", {"optimizer.lr": 1e-2}),
    ]
    for trial in trials:
        assert set(trial.values) > {"val/dice", "latency_s", "parameters"}
        assert trial.values["latency_s"] > 0
        assert list(trial.progress) == [1]
    unit, run = study.order().box(1).folder, tmp_path / "single"
    single = entry(train.main, "--config-path", str(unit), "--config-name", "config", f"hydra.run.dir={run}")
    assert single.status == 0
    assert json.loads((run / "summary.json").read_text())["metrics"]["val/dice"] == trials[1].values["val/dice"]
