"""A study on disk: its name, its ledger's address, its digest, and what its units do."""

import json
from pathlib import Path

import pytest
import yaml

from tests.sweeping import order
from wirecell_ml.errors import ConfigError, RunError
from wirecell_ml.hpo import ordering
from wirecell_ml.submit.mailbox import UnitBox
from wirecell_ml.submit.study import LEDGER_VARIABLE, check_name, ledger_url, open_study

PARAMS = {"optimizer.lr": 0.01}


@pytest.mark.parametrize("name", ["a", "roinet-2", "1", "s" * 36])
def test_a_name_that_every_batch_system_takes(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("My_Study", "my-study"),
        ("-a-", "a"),
        ("a b/c", "a-b-c"),
        ("s" * 40, "s" * 36),
        ("", "my-study"),
        ("___", "my-study"),
        (f"{'s' * 35}-x", "s" * 35),
    ],
)
def test_a_name_that_some_would_not_take_and_one_that_all_would(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"Write study={near}$"):
        check_name(name)
    check_name(near)


def test_the_ledger_is_a_file_in_the_folder_unless_it_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LEDGER_VARIABLE, "postgresql://me:secret@host/x")
    assert ledger_url(None, tmp_path) == f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    assert ledger_url("postgresql://me@host/x", tmp_path) == "postgresql://me@host/x"
    assert ledger_url("environment", tmp_path) == "postgresql://me:secret@host/x"


def test_a_password_in_a_setting_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"variable {LEDGER_VARIABLE} and write ledger=environment") as refused:
        ledger_url("postgresql://me:secret@host/x", tmp_path)
    assert "secret" not in str(refused.value)


def test_an_empty_variable_is_no_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LEDGER_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=f"ledger=environment: the variable {LEDGER_VARIABLE} holds no address"):
        ledger_url("environment", tmp_path)


def test_a_study_is_opened_as_it_was_written(tmp_path: Path) -> None:
    written = order(tmp_path, "trials=5")
    opened = open_study("dummies", tmp_path)
    assert (opened.name, opened.objectives, opened.site) == ("dummies", {"val/dice": "maximize"}, written.site)
    assert opened.digest() == written.digest()
    opened.held.trials = 8
    opened.save()
    assert open_study("dummies", tmp_path).order().units == 8


def test_a_study_that_does_not_exist_is_answered_with_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="Known here: nothing"):
        open_study("dummies", tmp_path)
    order(tmp_path)
    with pytest.raises(RunError, match=r"study=dumies: no such study in .* Did you mean 'dummies'\?"):
        open_study("dumies", tmp_path)


def test_the_digest_is_of_space_objectives_and_training_and_of_nothing_else(tmp_path: Path) -> None:
    digest = order(tmp_path, name="a").digest()
    same = ("trials=9", "sampler.seed=3", "site.in_flight=2")
    other = ("sweep=optimizer.lr=1e-3,1e-2", "trainer.max_epochs=3", "trial_seed=own")
    for number, word in enumerate(same):
        assert order(tmp_path, word, name=f"same-{number}").digest() == digest
    for number, word in enumerate(other):
        assert order(tmp_path, word, name=f"other-{number}").digest() != digest


def test_the_wish_to_stop_is_kept_until_it_is_taken_back(tmp_path: Path) -> None:
    study = order(tmp_path)
    assert study.order().stopping() is None
    study.stop("checkpoint")
    assert open_study("dummies", tmp_path).order().stopping() == "checkpoint"
    study.go_on()
    study.go_on()
    assert study.order().stopping() is None


def test_work_is_the_same_where_config_and_code_are(tmp_path: Path) -> None:
    work, own = (ordering.work_of(order(tmp_path, f"trial_seed={kind}", name=kind)) for kind in ("same", "own"))
    assert work.key(PARAMS, 0) == work.key(PARAMS, 7)
    assert own.key(PARAMS, 0) != own.key(PARAMS, 7)
    assert work.key(PARAMS, 0) != work.key({"optimizer.lr": 0.02}, 0)


def test_a_unit_finds_its_config_its_parameters_and_how_to_start(tmp_path: Path) -> None:
    study = order(tmp_path)
    work, box = ordering.work_of(study), study.order().box(3)
    work.write(box, PARAMS, 3, study.site)
    assert yaml.safe_load((box.folder / "config.yaml").read_text()) == work.config(PARAMS, 3)
    assert json.loads((box.folder / "params.json").read_text()) == PARAMS
    unit = json.loads((box.folder / "unit.json").read_text())
    assert unit["start"][:3] == ["{python}", "-P", "-m"]
    assert unit["heartbeat_s"] == 0.2


def test_the_command_of_a_unit_runs_the_code_of_the_study(tmp_path: Path) -> None:
    study = order(tmp_path, "site.python=/opt/python")
    box = UnitBox(tmp_path / "units" / "000003")
    command = ordering.work_of(study).command(box, 2, study.site)
    code = study.folder / "code"
    assert Path(command[1].removeprefix("PYTHONPATH=")).parent == code
    assert command[2:] == ["/opt/python", "-P", "-m", "wirecell_ml.submit.unit", str(box.folder), "2"]
