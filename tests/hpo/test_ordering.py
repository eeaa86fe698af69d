"""Ordering a study: what is written down of it, and what its trials will train."""

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from tests.sweeping import PROGRAMS, QUICK, SPACE, drive, order
from wirecell_ml.hpo import ordering
from wirecell_ml.hpo.__main__ import OWN
from wirecell_ml.hpo.ordering import make_source
from wirecell_ml.hpo.trials import read_trials
from wirecell_ml.submit.arguments import parse
from wirecell_ml.submit.states import UnitState
from wirecell_ml.submit.study import Study, open_study

pytestmark = pytest.mark.usefixtures("dummies")


@pytest.fixture
def dummies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``program=dummy_unit`` be found."""
    monkeypatch.syspath_prepend(PROGRAMS)


def draft(*words: str) -> ordering.Draft:
    """Return what a user would order with these words."""
    arguments = parse(["program=dummy_unit", *QUICK, *words], ["start"], "start", OWN)
    return ordering.draft(ordering.read_settings(arguments), arguments)


def config(study: Study, number: int = 0) -> dict[str, object]:
    """Return the flat config of a trial that has these parameters."""
    params = {"optimizer.lr": 0.01}
    return ordering.work_of(study).config(params, number)


def test_what_was_ordered_is_in_the_folder_of_the_study(tmp_path: Path) -> None:
    study = order(tmp_path, "trainer.max_epochs=7", "trials=9", "site.resources.cores=1")
    held = yaml.safe_load((tmp_path / "dummies" / "study.yaml").read_text())
    assert held["objectives"] == {"val/dice": "maximize"}
    assert (held["trials"], held["sampler"]["name"], held["pruner"]["name"]) == (9, "random", "none")
    assert held["overrides"] == ["trainer.max_epochs=7"]
    assert [parameter["name"] for parameter in held["search"]["parameters"]] == ["optimizer.lr"]
    assert held["sites"][0]["policy"]["poll_s"] == 0.2
    assert Path(held["code"], "wirecell_ml", "train.py").is_file()
    assert Path(held["code"], "dummy_unit.py").is_file()
    assert open_study("dummies", tmp_path).order() == study.order()


def test_a_draft_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert draft(SPACE, "study=mine").study.folder == tmp_path / "sweeps" / "mine"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["search=roinet_latency"], "roinet-latency-"),
        ([SPACE], "sweep-"),
        ([], "roinet-"),
        (["study=mine"], "mine"),
    ],
)
def test_a_study_is_called_after_its_search_space(words: list[str], name: str) -> None:
    settings = ordering.read_settings(parse(words, ["start"], "start", OWN))
    assert settings.study.startswith(name)
    assert len(settings.study) <= 36


def test_trials_neither_evaluate_nor_log_unless_the_user_says_so(tmp_path: Path) -> None:
    quiet, loud = order(tmp_path), order(tmp_path, "evaluate=true", name="loud")
    assert config(quiet)["evaluate"] is False
    assert config(loud)["evaluate"] is True


def test_the_winner_is_evaluated_and_logged_as_any_training(tmp_path: Path) -> None:
    study = order(tmp_path)
    winner = ordering.work_of(study, "whole").config({"optimizer.lr": 0.01}, 0)
    assert winner["evaluate"] is True
    assert winner["logger"] != config(study)["logger"]
    assert winner["optimizer"]["lr"] == 0.01


def test_trials_measure_latency_where_it_is_sought() -> None:
    fast = draft(SPACE, "objectives={val/dice: maximize, latency_s: minimize}")
    assert fast.bases.configs[()]["latency"] is True
    assert draft(SPACE).bases.configs[()]["latency"] is False


def test_seeds_are_the_same_or_of_each_trial_its_own(tmp_path: Path) -> None:
    same, own = order(tmp_path), order(tmp_path, "trial_seed=own", name="own")
    assert config(same, 0)["seed"] == config(same, 1)["seed"]
    seeds = {config(own, number)["seed"] for number in range(20)}
    assert len(seeds) == 20
    assert config(own, 3) == config(open_study("own", tmp_path), 3)


def test_a_grid_has_no_more_trials_than_points() -> None:
    grid = ["sampler=grid", "sweep=optimizer.lr=1e-3,1e-2 task.loss.dice=0.0,0.5,1.0"]
    assert draft(*grid).study.held.trials == 6
    assert draft(*grid, "trials=4").study.held.trials == 4


def test_a_grid_is_driven_through_once(tmp_path: Path) -> None:
    study = order(tmp_path, "sampler=grid", "sweep=optimizer.lr=1e-3,1e-2 task.loss.dice=0.0,0.5")
    assert drive(study)
    points = [tuple(trial.params.values()) for trial in read_trials(study)]
    assert points == [(1e-3, 0.0), (1e-3, 0.5), (1e-2, 0.0), (1e-2, 0.5)]


def test_equal_trials_are_run_once_and_share_the_result(tmp_path: Path) -> None:
    study = order(tmp_path, "sweep=optimizer.lr=1e-3,1e-2", "trials=6")
    assert drive(study)
    units = study.ledger().units(study.name)
    assert all(unit.state is UnitState.DONE for unit in units)
    assert len({unit.key for unit in units}) == 2
    assert len(study.ledger().attempts(study.name)) == 2
    for unit in units:
        if unit.twin_of is not None:
            assert unit.params == units[unit.twin_of].params
            assert unit.result == units[unit.twin_of].result


def test_trials_to_begin_with_come_first(tmp_path: Path) -> None:
    study = order(tmp_path, "search=roinet", "sweep=null")
    first = yaml.safe_load(Path("configs/search/roinet.yaml").read_text())["first"][0]
    proposal = make_source(study).ask()
    assert proposal is not None
    assert proposal[1] == first


def test_ordered_again_it_takes_site_and_budget_of_now_and_keeps_the_rest(tmp_path: Path) -> None:
    before = order(tmp_path, "trials=5")
    after = order(tmp_path, "trials=8", "site.in_flight=3", "sampler.seed=4")
    assert (after.held.trials, after.site.in_flight, after.held.sampler.seed) == (8, 3, 4)
    for name in ("created", "code", "search", "objectives", "overrides"):
        assert after.held[name] == before.held[name]
    assert OmegaConf.load(tmp_path / "dummies" / "study.yaml") == after.held


def test_a_swept_group_has_a_config_for_each_option(tmp_path: Path) -> None:
    study = order(tmp_path, "sweep=optimizer=adamw,sgd optimizer.lr=1e-3,1e-2")
    assert sorted(path.name for path in (tmp_path / "dummies" / "base").iterdir()) == ["adamw.yaml", "sgd.yaml"]
    work = ordering.work_of(study)
    for option, target in (("adamw", "torch.optim.AdamW"), ("sgd", "torch.optim.SGD")):
        optimizer = work.config({"optimizer": option, "optimizer.lr": 1e-3}, 0)["optimizer"]
        assert (optimizer["_target_"], optimizer["lr"]) == (target, 1e-3)
