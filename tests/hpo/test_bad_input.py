"""Bad input of a sweep: one line that says where, what, and what would be right, exit status 2, nothing written."""

import importlib.util
import sqlite3
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import Ended, Entry
from tests.hpo.conftest import DUMMIES, command
from tests.sweeping import QUICK
from wirecell_ml.submit.study import LEDGER_VARIABLE, Study

NOWHERE = "127.0.0.1:1"  # where no database listens
VERBS = ("resume", "status", "stop", "why", "report", "best")


def refused(ended: Ended, *parts: str) -> None:
    """Assert that an entry said one line that holds ``parts``, and ended with status 2."""
    assert ended.status == 2, ended
    (line,) = ended.error.splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line
    assert ended.output == ""


def files_below(folder: Path) -> Mapping[Path, bytes]:
    """Return every file below a folder; a database that was opened leaves its two companions."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal"))]
    return {path: path.read_bytes() for path in paths}


@pytest.mark.parametrize(
    ("sweep", "line"),
    [
        ("optimizer.lrr=interval(1e-4,1e-1)", "no setting 'optimizer.lrr'. Did you mean 'lr'?"),
        ("optimizr.lr=interval(1e-4,1e-1)", "no setting 'optimizr.lr'. Did you mean 'optimizer'?"),
        ("optimizer=adamw,sgdd", "no optimizer named 'sgdd'. Did you mean 'sgd'?"),
        ("modell=unet,roinet", "no setting 'modell'. Did you mean 'model'?"),
        ("optimizer.lr=interval(1e-1,1e-4)", "has its bounds the wrong way round. Write interval(1e-4, 1e-1)"),
        ("optimizer.lr=intervall(1e-4,1e-1)", "no function 'intervall'. Did you mean 'interval'?"),
        ("optimizer.lr=1e-3", "is one value and no sweep. Give it as optimizer.lr=1e-3"),
        ("optimizer.lr", "'optimizer.lr' gives no values"),
        ("", "search.sweep is empty"),
        ("seed=1,two", "seed: Value 'two' of type 'str' could not be converted to Integer"),
        ("trainer.max_epochs=range(2,3,0)", "search.sweep.trainer.max_epochs: range(2,3,0)"),
    ],
)
def test_a_search_space_that_is_wrong(hpo: Entry, tmp_path: Path, sweep: str, line: str) -> None:
    refused(hpo("program=dummy_unit", *QUICK, f"sweep={sweep}"), line)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("search=roinett", "no search named 'roinett'. Did you mean 'roinet'?"),
        ("sampler=tpee", "no sampler named 'tpee'. Did you mean 'tpe'?"),
        ("sampler.sed=1", "no setting 'sampler.sed'. Did you mean 'seed'?"),
        ("sampler.seed=one", "sampler.seed: Value 'one'"),
        ("sampler=grid", "a grid wants a finite number of values"),
        ("pruner=mediann", "no pruner named 'mediann'. Did you mean 'median'?"),
        ("objectives={val/dice: maximise}", "'maximise' is not known. Did you mean 'maximize'?"),
        ("objectives=val/dice", "objectives=val/dice: write which way is better"),
        ("objectives=[val/dice]", "write which way is better, as in {val/dice: maximize}"),
        ("objectives={}", "search.objectives is empty"),
        ("trials=0", "trials=0: a study has at least one trial"),
        ("trials=ten", "trials: Value 'ten' of type 'str' could not be converted to Integer"),
        ("trial_seed=other", "trial_seed: 'other' is not known. Known here: own, same"),
        ("driver=backgroud", "driver: 'backgroud' is not known. Did you mean 'foreground'?"),
        ("dry_run=maybe", "dry_run: Value 'maybe' is not a valid bool"),
        ("study=My_Study", "Write study=my-study"),
        (f"study={'s' * 37}", "a name has at most 36 small letters, digits and hyphens"),
        ("program=dumy_unit", "program=dumy_unit: no such module"),
        ("program=wirecell_ml.trian", "program=wirecell_ml.trian: no such module"),
        ("stdy=mine", "no setting 'stdy'. Did you mean 'study'?"),
        ("searc=roinet", "no setting 'searc'. Did you mean 'search'?"),
        ("trial=30", "no setting 'trial'. Did you mean 'trials'?"),
        ("experiment=roinet_pds", "no experiment named 'roinet_pds'. Did you mean 'roinet_pdsp'?"),
        ("optimzer.lr=3", "no setting 'optimzer'. Did you mean 'optimizer'?"),
        ("trainer.max_epoch=3", "no setting 'trainer.max_epoch'. Did you mean 'max_epochs'?"),
        ("trainer.max_epochs=ten", "trainer.max_epochs: Value 'ten'"),
        ("trainer", "'trainer' is no setting. Write name=value"),
        ("--dry-run", "'--dry-run' is no setting. Write name=value"),
        ("--config-dir", "--config-dir needs a value"),
        ("--config-dir=nowhere", "nowhere: no such folder"),
    ],
)
def test_a_setting_that_is_wrong(hpo: Entry, tmp_path: Path, word: str, line: str) -> None:
    refused(hpo(*DUMMIES, word), line)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("site=locall", "no site named 'locall'. Did you mean 'local'?"),
        ("site.partiton=x", "no setting 'site.partiton'. Did you mean 'partition'?"),
        ("site.kind=slrum", "site.kind: 'slrum' is not known. Did you mean 'slurm'?"),
        ("site.resources.core=2", "no setting 'site.resources.core'. Did you mean 'cores'?"),
        ("site.resources.cores=two", "site.resources.cores: Value 'two'"),
        ("site.resources.cores=0", "site.resources: cores, memory_gb and minutes are at least 1"),
        ("site.resources.cores=9999", "site.resources.cores=9999: local has "),
        ("site.resources.memory_gb=1e6", "site.resources.memory_gb=1e+06: local has "),
        ("site.resources.gpus=99", "site.resources.gpus=99: local has "),
        ("site.policy.heartbeat_s=60", "shorter than two heartbeats"),
        ("site.in_flight=0", "site: in_flight and array_limit are at least 1"),
        ("site=slurm", "site: no value for site.name. docs/sites.md says what belongs there"),
    ],
)
def test_a_site_that_is_wrong_or_too_small(hpo: Entry, tmp_path: Path, word: str, line: str) -> None:
    refused(hpo(*DUMMIES, word), line)
    assert not list(tmp_path.iterdir())


def test_a_site_file_of_the_user_that_leaves_something_open(hpo: Entry, tmp_path: Path) -> None:
    (tmp_path / "mine" / "site").mkdir(parents=True)
    (tmp_path / "mine" / "site" / "cluster.yaml").write_text("name: cluster\nkind: local\naccount: ???\n")
    words = (*DUMMIES, "--config-dir", "mine", "site=cluster", "trials=1")
    refused(hpo(*words), "site: no value for site.account")
    assert not (tmp_path / "sweeps").exists()
    assert hpo(*words, "site.account=dune").status == 0


def test_pruning_with_two_objectives(hpo: Entry, tmp_path: Path) -> None:
    two = hpo(*DUMMIES, "pruner=median", "objectives={val/dice: maximize, latency_s: minimize}")
    refused(two, "pruner=median compares by one objective, not val/dice, latency_s. Take none")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("address", "line"),
    [
        (f"postgresql://me:secret@{NOWHERE}/x", "write ledger=environment"),
        ("mysql://host/x", "ledger: 'mysql' is not known"),
        ("sqlite:////nowhere/x.sqlite", "the ledger does not answer: sqlite:////nowhere/x.sqlite: "),
        ("nonsense", "ledger: no address of a database, such as postgresql://user@host/name"),
        ("environment", f"the variable {LEDGER_VARIABLE} holds no address"),
    ],
)
def test_a_ledger_that_is_wrong(
    hpo: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, line: str
) -> None:
    monkeypatch.delenv(LEDGER_VARIABLE, raising=False)
    wrong = hpo(*DUMMIES, f"ledger={address}")
    refused(wrong, line)
    assert "secret" not in wrong.error
    assert not list(tmp_path.iterdir())


def test_a_database_that_does_not_answer(hpo: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEDGER_VARIABLE, f"postgresql://me:secret@{NOWHERE}/x")
    silent = hpo(*DUMMIES, "ledger=environment")
    there = importlib.util.find_spec("psycopg") is not None
    refused(silent, f"the ledger does not answer: postgresql+psycopg://me:***@{NOWHERE}/x" if there else "psycopg")
    assert "secret" not in silent.error
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(hpo: Entry, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(hpo(*DUMMIES, "folder=file"), f"folder={tmp_path / 'file'}: cannot write: ", "Choose another place")


def test_what_only_a_rehearsal_of_the_training_finds(tmp_path: Path) -> None:
    """All at once: each loads torch."""
    wrong = {
        "model.norm=bath: wirecell_ml.models.RoiNet takes Literal['batch', 'instance']": [
            "sweep=model.norm=batch,bath"
        ],
        "'val/dcie' is not reported by the training. Did you mean 'val/dice'?": [
            "sweep=model.norm=batch,instance",
            "objectives={val/dcie: maximize}",
        ],
        f"{tmp_path / 'nowhere.h5'}: no such file or folder": [
            "sweep=seed=1,2",
            f"data.files={tmp_path / 'nowhere.h5'}",
        ],
    }
    started = {line: start(tmp_path, *words) for line, words in wrong.items()}
    for line, process in started.items():
        output, error = process.communicate()
        refused(Ended(process.returncode, output, error), line)
    assert not list(tmp_path.iterdir())


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start a command as a user does, in ``folder``."""
    return subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder)


def test_a_command_that_does_not_exist(tmp_path: Path) -> None:
    process = start(tmp_path, "stauts", "study=x")
    output, error = process.communicate()
    refused(Ended(process.returncode, output, error), "no command 'stauts'. Did you mean 'status'?")
    assert not list(tmp_path.iterdir())


def test_a_study_that_exists_with_another_space_objective_or_training(hpo: Entry, study: Study) -> None:
    before = files_below(study.folder)
    line = "study 'dummies' exists with another space, objective or training. Choose another name with study=…"
    for word in ("sweep=optimizer.lr=interval(1e-4,1e-1)", "objectives={val/loss: minimize}", "trainer.max_epochs=3"):
        refused(hpo("study=dummies", *DUMMIES, word), line)
    refused(hpo("study=dummies", *DUMMIES, "ledger=sqlite:///other.sqlite"), "cannot change")
    assert files_below(study.folder) == before


def test_a_ledger_of_a_newer_version(hpo: Entry, study: Study) -> None:
    with sqlite3.connect(study.folder / "ledger.sqlite") as ledger:
        ledger.execute("UPDATE wirecell_ml_ledger SET version = 99")
    ledger.close()
    before = files_below(study.folder.parent)
    newer = "a ledger of version 99, and this wirecell_ml reads up to 2. Install a newer wirecell_ml"
    for verb in set(VERBS) - {"stop"}:  # which asks no ledger
        refused(hpo(verb, "study=dummies"), newer)
    refused(hpo("study=other", f"ledger=sqlite:///{study.folder / 'ledger.sqlite'}", *DUMMIES), newer)
    assert files_below(study.folder.parent) == before


def test_every_verb_about_a_study_that_does_not_exist(hpo: Entry, study: Study) -> None:
    line = f"study=dumies: no such study in sweeps. Did you mean 'dummies'? Known here: {study.name}"
    for verb in VERBS:
        refused(hpo(verb, "study=dumies"), line)


def test_every_verb_without_a_study_or_with_a_setting_that_it_has_not(hpo: Entry) -> None:
    for verb in VERBS:
        refused(hpo(verb), f"hpo {verb}: which study? Write study=NAME")
        refused(hpo(verb, "stduy=x"), f"hpo {verb}: no setting 'stduy'. Did you mean 'study'?")
        refused(hpo(verb, "study=x", "optimizer.lr=3"), f"hpo {verb}: no setting 'optimizer.lr'.")


@pytest.mark.parametrize(
    ("verb", "word", "line"),
    [
        ("why", "trial=12", "trial=12: study dummies has trials 0 to 11"),
        ("why", "trial=-1", "trial=-1: study dummies has trials 0 to 11"),
        ("why", "trial=first", "trial: Value 'first' of type 'str' could not be converted to Integer"),
        ("stop", "how=finsh", "how: 'finsh' is not known. Did you mean 'finish'?"),
        ("resume", "trials=1", "trials=1: study dummies has 12, which can only become more"),
        ("resume", "trials=ten", "trials: Value 'ten' of type 'str' could not be converted to Integer"),
        ("resume", "driver=backgroud", "driver: 'backgroud' is not known. Did you mean 'foreground'?"),
        ("resume", "takeover=maybe", "takeover: Value 'maybe' is not a valid bool"),
        ("status", "watch=maybe", "watch: Value 'maybe' is not a valid bool"),
    ],
)
def test_a_setting_of_a_verb_that_is_wrong(finished: Study, hpo: Entry, verb: str, word: str, line: str) -> None:
    before = files_below(finished.folder)
    refused(hpo(verb, "study=dummies", f"folder={finished.folder.parent}", word), line)
    assert files_below(finished.folder) == before


def test_best_of_a_study_whose_trials_all_failed(hpo: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUMMY_EXIT", "2")
    ended = hpo("study=failed", "trials=1", *DUMMIES)
    assert ended.status == 1
    assert "no trial is done. Look at: hpo why study=failed trial=0" in ended.error
    refused(hpo("best", "study=failed"), "study failed: no trial is done yet. Look at: hpo status study=failed")


def test_a_sweep_verb_for_a_study_of_one_training(hpo: Entry, study: Study) -> None:
    del study.held.search
    study.save()
    for verb in ("resume", "report", "best"):
        refused(hpo(verb, "study=dummies"), "study=dummies is no sweep but one training", "wirecell_ml.submit resume")
