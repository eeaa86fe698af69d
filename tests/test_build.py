"""From a config to an object: what it takes is built, and whatever it does not take is named with its place."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal, Optional

import pytest
from omegaconf import DictConfig, OmegaConf

from wirecell_ml.build import build, check, fits
from wirecell_ml.data import SplitSettings
from wirecell_ml.errors import ConfigError

SPLIT = {"_target_": "wirecell_ml.data.SplitSettings", "validation": 4, "test": 0.1, "seed": 1}


def config(**data: Any) -> DictConfig:
    return OmegaConf.create({"data": data})


def test_a_config_becomes_what_its_target_makes() -> None:
    assert build(config(**SPLIT).data) == SplitSettings(validation=4, test=0.1, seed=1)


def test_arguments_that_no_file_can_give_are_given_at_run_time() -> None:
    assert build(config(**SPLIT).data, seed=7).seed == 7


def test_an_unknown_argument_is_named_with_its_place_and_the_nearest_known() -> None:
    with pytest.raises(ConfigError, match=r"^data\.sed: wirecell_ml\.data\.SplitSettings takes no 'sed'"):
        check(config(**SPLIT, sed=3).data)


def test_a_nested_argument_is_checked_too() -> None:
    with pytest.raises(ConfigError, match=r"^data\.split\.size: "):
        check(config(split=SPLIT | {"size": 1}))


def test_a_value_of_another_type_is_named_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"^data\.seed=one: wirecell_ml\.data\.SplitSettings takes int here$"):
        check(config(**SPLIT | {"seed": "one"}).data)


def test_what_takes_any_argument_is_given_any() -> None:
    node = config(_target_="fractions.Fraction", numerator=1).data
    assert build(node) == Fraction(1)
    assert build(config(_target_="builtins.dict", anything=1).data) == {"anything": 1}


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("wirecell_ml.models.RioNet", "module 'wirecell_ml.models' has no attribute 'RioNet'"),
        ("wirecell_mll.RoiNet", "No module named 'wirecell_mll'"),
        ("not a name", "invalid format"),
    ],
)
def test_a_target_that_cannot_be_imported_says_why(target: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"^data\._target_: cannot import '{target}': {reason}"):
        build(config(_target_=target).data)


@pytest.mark.parametrize("target", ["wirecell_ml.models", "wirecell_ml.__version__"])
def test_a_target_that_cannot_be_called_is_refused(target: str) -> None:
    with pytest.raises(ConfigError, match=rf"^data\._target_: '{target}' is no class or function"):
        build(config(_target_=target).data)


def test_the_words_of_a_constructor_that_refuses_are_kept() -> None:
    loss = {"bce": 0, "dice": 0, "focal": 0, "positive_weight": 1, "focal_gamma": 2}
    with pytest.raises(ConfigError, match=r"^task\.loss: weights bce=0, dice=0, focal=0; give at least one above 0"):
        build(config(_target_="wirecell_ml.models.RoiLoss", **loss).data)


def test_any_other_failure_of_a_constructor_is_named_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"^data: fractions\.Fraction cannot be built: Fraction\(1, 0\)"):
        build(config(_target_="fractions.Fraction", numerator=1, denominator=0).data)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (1, int),
        (1, float),
        (None, int | None),
        (None, Optional[int]),  # noqa: UP045  (as torch writes it)
        ("auto", Literal["auto", "off"]),
        ([1, 2], Sequence[int]),
        ([1, 2], tuple[int, int]),
        (["a"], str | list[str]),
        ({"a": 1}, dict[str, Any]),
        ("x", Any),
        ("x", Fraction),
    ],
)
def test_a_value_that_fits_its_annotation(value: Any, annotation: Any) -> None:
    assert fits(value, annotation)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (1.5, int),
        (True, int),
        (True, float),
        ("1", float),
        (1, str),
        (0, bool),
        (None, str),
        ("on", Literal["auto", "off"]),
        ([1, "2"], Sequence[int]),
        ("12", Sequence[int]),
        ([1], tuple[int, int]),
        ([1], str | list[str]),
    ],
)
def test_a_value_that_does_not_fit_its_annotation(value: Any, annotation: Any) -> None:
    assert not fits(value, annotation)
