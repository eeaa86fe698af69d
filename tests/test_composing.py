"""Flat configs of trials: a base for each combination of swept groups, and what a trial changes of it."""

import copy
from pathlib import Path

import pytest

from wirecell_ml.composing import MOST_BASES, Bases, compose, configs, group_options
from wirecell_ml.errors import ConfigError

SWEPT = {"optimizer": ["adamw", "sgd"], "model": ["roinet", "unet"]}


@pytest.fixture(scope="module")
def bases() -> Bases:
    """Return the bases of two swept groups."""
    return Bases.composed(SWEPT, ["trainer.max_epochs=3"])


def test_there_is_a_base_for_each_combination_of_groups(bases: Bases) -> None:
    assert list(bases.configs) == [("adamw", "roinet"), ("adamw", "unet"), ("sgd", "roinet"), ("sgd", "unet")]
    for (optimizer, model), config in bases.configs.items():
        assert config["optimizer"]["_target_"] == {"adamw": "torch.optim.AdamW", "sgd": "torch.optim.SGD"}[optimizer]
        assert (
            config["model"]["_target_"]
            == {"roinet": "wirecell_ml.models.RoiNet", "unet": "wirecell_ml.models.UNet"}[model]
        )
        assert config["trainer"]["max_epochs"] == 3


def test_without_groups_there_is_one_base() -> None:
    assert list(Bases.composed({}, []).configs) == [()]


def test_a_trial_changes_the_settings_that_it_names_and_no_other(bases: Bases) -> None:
    values = {"optimizer": "sgd", "model": "unet", "optimizer.lr": 0.5, "data.crop": [16, 16]}
    flat = bases.flat(values)
    expected = copy.deepcopy(bases.configs["sgd", "unet"])
    expected["optimizer"]["lr"], expected["data"]["crop"] = 0.5, [16, 16]
    assert flat == expected


def test_a_trial_never_changes_a_base(bases: Bases) -> None:
    before = copy.deepcopy(bases.configs)
    flat = bases.flat({"optimizer": "sgd", "model": "unet", "optimizer.lr": 0.5})
    flat["data"]["tags"].append("another")
    flat["trainer"]["max_epochs"] = 1
    assert bases.configs == before


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("optimizer.lrr", "search: no setting 'optimizer.lrr'. Did you mean 'lr'?"),
        ("optimzer.lr", "search: no setting 'optimzer.lr'. Did you mean 'optimizer'?"),
        ("task.loss.positiv_weight", "Did you mean 'positive_weight'?"),
        ("seed.low", "search: no setting 'seed.low'. Known here: nothing"),
    ],
)
def test_a_setting_that_does_not_exist_is_named_with_a_near_one(bases: Bases, name: str, line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        bases.flat({"optimizer": "adamw", "model": "roinet", name: 1})
    assert line in str(refused.value)


@pytest.mark.parametrize("swept", [SWEPT, {}])
def test_what_is_saved_is_loaded_again(tmp_path: Path, swept: dict[str, list[str]]) -> None:
    saved = Bases.composed(swept, ["optimizer.lr=1e-3", "monitor=val/dice"])
    saved.save(tmp_path / "base")
    loaded = Bases.load(tmp_path / "base", list(swept))
    assert loaded == saved
    numbers = [(type(config["optimizer"]["lr"]), config["optimizer"]["lr"]) for config in loaded.configs.values()]
    assert set(numbers) == {(float, 1e-3)}


def test_files_of_events_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, several = Bases.composed({}, ["data.files=events"]), Bases.composed({}, ["data.files=[a.h5,/b.h5]"])
    assert one.configs[()]["data"]["files"] == str(tmp_path / "events")
    assert several.configs[()]["data"]["files"] == [str(tmp_path / "a.h5"), "/b.h5"]


def test_interpolations_are_kept_so_that_a_trial_changes_all_that_follows() -> None:
    flat = Bases.composed({}, []).flat({})
    assert any("${" in str(value) for value in flat["data"].values())


def test_more_combinations_than_can_be_composed_are_refused() -> None:
    with pytest.raises(ConfigError, match=f"225 combinations of model, optimizer; at most {MOST_BASES}"):
        Bases.composed({"model": ["unet"] * 15, "optimizer": ["sgd"] * 15}, [])


def test_groups_of_a_folder_of_the_user_are_there_too(tmp_path: Path) -> None:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_text("_target_: torch.optim.Adam\nlr: 0.1\n")
    assert sorted(group_options([str(tmp_path)])["optimizer"]) == ["adamw", "mine", "sgd"]
    bases = Bases.composed({"optimizer": ["mine"]}, [], [str(tmp_path)])
    assert bases.configs["mine",]["optimizer"] == {"_target_": "torch.optim.Adam", "lr": 0.1}


def test_a_folder_of_the_user_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with configs(), pytest.raises(ConfigError, match=r"--config-dir .*/nowhere: no such folder"):
        compose("train", [], [str(tmp_path / "nowhere")])
