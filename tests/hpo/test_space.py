"""The search space: Hydra's grammar in, points out, and one line for what cannot be swept."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from wirecell_ml.errors import ConfigError
from wirecell_ml.hpo.space import Choices, Parameter, Real, Space, Whole, parse_sweep
from wirecell_ml.hpo.trial import Params
from wirecell_ml.paths import shipped

SEARCHES = sorted(shipped("configs").glob("search/*.yaml"))
CONDITIONAL: dict[str, Any] = {
    "optimizer": "adamw, sgd",
    "optimizer.momentum": {"values": "choice(0.5, 0.9, 0.99)", "when": {"optimizer": "sgd"}},
    "model.widths": "choice([12,24], [24, 48])",
}


def read(values: str) -> Choices | Whole | Real:
    return Space.from_settings({"x": values}).parameters[0].distribution


def message(sweep: Mapping[str, Any], *first: Mapping[str, Any]) -> str:
    with pytest.raises(ConfigError) as error:
        Space.from_settings(sweep, first)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("adamw, sgd", Choices(("adamw", "sgd"))),
        ("choice(16)", Choices((16,))),
        ("true,false,null,1.5", Choices((True, False, None, 1.5))),
        ("'a b',c", Choices(("a b", "c"))),
        ("choice([12, 24],{a: 1})", Choices(("[12,24]", "{a:1}"))),
        ("range(5)", Whole(0, 4)),
        ("range(1, 10, 4)", Whole(1, 9, 4)),
        ("range(0, 0.3, 0.1)", Real(0.0, 0.2, 0.1)),
        ("range(0.5, 2)", Real(0.5, 1.5, 1.0)),
        ("interval(1, 10)", Whole(1, 10)),
        ("interval(1.0, 10.0)", Real(1.0, 10.0)),
        ("float(interval(0, 1))", Real(0.0, 1.0)),
        ("int(interval(1.0, 8.0))", Whole(1, 8)),
        ("interval(1, 1.5)", Real(1.0, 1.5)),
        ("tag(log, interval(1e-4, 3e-2))", Real(1e-4, 3e-2, log=True)),
        ("tag(log, interval(1, 1000))", Whole(1, 1000, log=True)),
    ],
)
def test_hydras_sweeps_become_distributions(values: str, expected: Choices | Whole | Real) -> None:
    assert read(values) == expected


@pytest.mark.parametrize(
    "values", ["a,b", "range(1, 10, 4)", "range(0, 0.3, 0.1)", "interval(1, 10)", "tag(log, interval(0.5, 3.5))"]
)
def test_a_distribution_reads_what_it_shows(values: str) -> None:
    assert read(str(read(values))) == read(values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("interval(1e-2,1e-4)", "interval(1e-2,1e-4) has its bounds the wrong way round. Write interval(1e-4, 1e-2)"),
        ("interval(0.5, 0.5)", "has equal bounds"),
        ("interval(0.0, inf)", "wants two finite bounds"),
        ("interval(0, 1)", "is 0 or 1 and nothing between. Write interval(0.0, 1.0) or 0,1"),
        ("interval(1)", "cannot read 'interval(1)'"),
        ("interval(1,", "cannot read 'interval(1,'"),
        ("tag(log, interval(0, 1.5))", "the logarithm wants bounds above 0"),
        ("tag(log, choice(1, 2))", "only an interval can be logarithmic"),
        ("tag(log, range(1, 9))", "only an interval can be logarithmic"),
        ("tag(lgo, interval(1, 9))", "tag 'lgo' is not known. Did you mean 'log'?"),
        ("range(3, 3)", "has its bounds the wrong way round, or equal"),
        ("range(5, 1, -1)", "counts down"),
        ("choice()", "empty choice"),
        ("1, 1.0", "has 1.0 twice"),
        ("nan, 1", "nan is no finite number"),
        ("16", "16 is one value and no sweep. Give it as optimizer.lr=16, outside of the sweep"),
        ("[1, 2]", "is one value and no sweep"),
        ("glob(*)", "glob(*) would change with the files that are there"),
        ("shuffle(1, 2)", "the sampler decides the order"),
        ("chioce(1, 2)", "no function 'chioce'. Did you mean 'choice'?"),
    ],
)
def test_what_cannot_be_swept_says_why(values: str, expected: str) -> None:
    text = message({"optimizer.lr": values})
    assert text.startswith("search.sweep.optimizer.lr: ")
    assert expected in text


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ({}, "search.sweep is empty"),
        ({"+a": "1, 2"}, "a sweep changes settings that exist"),
        ({"~a": "1, 2"}, "a sweep changes settings that exist"),
        ({"hydra.verbose": "true, false"}, "a setting of Hydra"),
        ({"a": 16}, "16 is no sweep"),
        ({"a": {"values": "1, 2", "wenn": {}}}, "'wenn' is not known. Did you mean 'when'?"),
        ({"a": {"when": {}}}, "no values"),
        (
            {"a": "x, y", "b": {"values": "1, 2", "when": {"aa": "x"}}},
            "'aa' is not in the search space. Did you mean 'a'?",
        ),
        ({"a": "xx, y", "b": {"values": "1, 2", "when": {"a": "x"}}}, "a is never x. Did you mean 'xx'?"),
        ({"a": "1, 2", "b": {"values": "1, 2", "when": {"a": True}}}, "a is never true"),
        ({"a": "interval(0.0, 1.0)", "b": {"values": "1, 2", "when": {"a": 0.5}}}, "never takes one value"),
        ({"b": {"values": "1, 2", "when": {"a": "x"}}, "a": "x, y"}, "'a' is chosen later. Write a above b"),
        (
            {
                "a": "x, y",
                "b": {"values": "1, 2", "when": {"a": "x"}},
                "c": {"values": "1, 2", "when": {"b": 1, "a": "y"}},
            },
            "never there, as 'b' needs a=x",
        ),
    ],
)
def test_a_search_that_cannot_be_right_says_why(sweep: dict[str, Any], expected: str) -> None:
    assert expected in message(sweep)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ({"optimiser": "adamw"}, "search.first[0]: 'optimiser' is not in the search space. Did you mean 'optimizer'?"),
        ({"optimizer": "adam"}, "search.first[0]: optimizer=adam is not within choice(adamw, sgd)"),
        ({"optimizer": "adamw"}, "search.first[0] has no value for 'model.widths'"),
        ({"optimizer": "sgd", "model.widths": [12, 24]}, "search.first[0] has no value for 'optimizer.momentum'"),
        (
            {"optimizer": "adamw", "optimizer.momentum": 0.9, "model.widths": [12, 24]},
            "'optimizer.momentum' is only there when optimizer=sgd. Leave it out",
        ),
    ],
)
def test_a_first_trial_outside_of_the_space_says_why(point: dict[str, Any], expected: str) -> None:
    assert expected in message(CONDITIONAL, point)


def test_first_trials_are_written_as_the_space_writes_them() -> None:
    sweep = {
        "w": "choice([12,24], [24,48])",
        "n": "interval(1, 9)",
        "lr": "interval(0.5, 9.5)",
        "s": "range(0, 0.5, 0.1)",
    }
    point = {"lr": 2, "w": [24, 48], "s": 0.30000000000000004, "n": 3.0}
    assert Space.from_settings(sweep, [point]).first == ({"w": "[24,48]", "n": 3, "lr": 2.0, "s": 0.3},)


def test_the_command_line_says_what_a_file_says() -> None:
    text = """model.width=16,32 optimizer.lr=tag(log, interval(1e-4, 1e-2)) optimizer=adamw, sgd w='a b',"c d" """
    assert parse_sweep(text) == {
        "model.width": "16,32",
        "optimizer.lr": "tag(log, interval(1e-4, 1e-2))",
        "optimizer": "adamw,sgd",
        "w": "'a b',\"c d\"",
    }


def test_a_tag_is_a_condition() -> None:
    space = Space.from_settings(parse_sweep('o=adamw,sgd m=tag(log, "o=sgd", interval(0.5, 0.99))'))
    assert space.parameters[1] == Parameter("m", Real(0.5, 0.99, log=True), {"o": "sgd"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model.width", "'model.width' gives no values"),
        ("a=1,2 a=3,4", "'a' is there twice"),
        ("a=choice(1,2", "not closed in 'a=choice(1,2'"),
        ("a='x,y", "not closed"),
    ],
)
def test_a_broken_sweep_on_the_command_line_says_why(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match="sweep: ") as error:
        parse_sweep(text)
    assert expected in str(error.value)


def test_a_parameter_is_active_only_where_its_condition_holds() -> None:
    space = Space.from_settings(CONDITIONAL)
    assert space.active({"optimizer": "adamw"}) == ["optimizer", "model.widths"]
    assert space.active({"optimizer": "sgd"}) == ["optimizer", "optimizer.momentum", "model.widths"]


def test_a_grid_has_every_point_once_and_the_last_parameter_changes_fastest() -> None:
    points = list(Space.from_settings(CONDITIONAL).grid())
    assert points[:3] == [
        {"optimizer": "adamw", "model.widths": "[12,24]"},
        {"optimizer": "adamw", "model.widths": "[24,48]"},
        {"optimizer": "sgd", "optimizer.momentum": 0.5, "model.widths": "[12,24]"},
    ]
    assert len(points) == 8
    assert len({frozenset(point.items()) for point in points}) == 8
    assert Space.from_settings(CONDITIONAL).size() == 8


def test_a_grid_of_an_interval_names_the_parameter() -> None:
    space = Space.from_settings({"a": "1, 2", "optimizer.lr": "interval(0.1, 0.2)"})
    assert space.size() is None
    with pytest.raises(ConfigError, match=r"search\.sweep\.optimizer\.lr: a grid wants a finite number of values"):
        space.grid()


def test_a_big_grid_is_counted_and_begun_at_once() -> None:
    space = Space.from_settings({f"x{i}": "range(1000)" for i in range(10)})
    assert space.size() == 1000**10
    assert len(list(space.grid(limit=3))) == 3


def test_overrides_hold_lists_as_such() -> None:
    space = Space.from_settings({"w": "choice([12,24],{a: [1]})", "x": "a, null"})
    assert space.overrides({"w": "[12,24]", "x": None}) == {"w": [12, 24], "x": None}
    assert space.overrides({"w": "{a:[1]}", "x": "a"}) == {"w": {"a": [1]}, "x": "a"}


def test_the_digest_changes_with_a_bound_and_not_with_the_first_trials() -> None:
    one = Space.from_settings({"a": "interval(0.0, 1.0)"})
    assert one.digest() == Space.from_settings({"a": "interval(0.0, 1.0)"}, [{"a": 0.5}]).digest()
    assert one.digest() != Space.from_settings({"a": "interval(0.0, 1.5)"}).digest()
    assert one.digest() == "3ae233a5355324b240afdf8f353bb3c3f5f7edd14fcc639a7fa1e9c2131886f5"


numbers = st.floats(1e-6, 1e6)
scalars = st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | st.text("abc", max_size=3)


@st.composite
def distributions(draw: st.DrawFn) -> Choices | Whole | Real:
    kind = draw(st.sampled_from(["choices", "whole", "real", "steps"]))
    if kind == "choices":
        return Choices(tuple(draw(st.lists(scalars, min_size=1, max_size=4, unique=True))))
    if kind == "whole":
        low, steps, step = draw(st.tuples(st.integers(1, 50), st.integers(0, 9), st.integers(1, 4)))
        return Whole(low, low + steps * step, step)
    if kind == "steps":
        first, count = draw(st.tuples(st.integers(-20, 20), st.integers(0, 9)))
        return Real(first / 4, (first + count) / 4, 0.25)
    start, end = sorted(draw(st.tuples(numbers, numbers).filter(lambda pair: pair[0] != pair[1])))
    return Real(start, end, log=draw(st.booleans()))


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    conditional = draw(st.lists(st.booleans(), min_size=1, max_size=5))
    parameters: list[Parameter] = []
    for i, wanted in enumerate(conditional):
        deciding = [p for p in parameters if isinstance(p.distribution, Choices)]
        when: Params = {}
        if deciding and wanted:
            other = draw(st.sampled_from(deciding))
            when = {other.name: draw(st.sampled_from(other.distribution.ends))}
        parameters.append(Parameter(f"p{i}", draw(distributions()), when))
    space = Space(tuple(parameters))
    return Space(space.parameters, tuple(space.corners()[:1]))


@given(spaces())
@settings(max_examples=60, deadline=None)
def test_a_space_survives_json(space: Space) -> None:
    again = Space.from_json(space.as_json())
    assert repr(again) == repr(space)  # repr tells 1 from true and from 1.0
    assert again.digest() == space.digest()


@given(spaces())
@settings(max_examples=60, deadline=None)
def test_corners_are_points_and_have_every_option_and_bound(space: Space) -> None:
    corners = space.corners()
    for corner in corners:
        assert space.check(corner, "corner") == corner
    for parameter in space.parameters:
        seen = [repr(corner[parameter.name]) for corner in corners if parameter.name in corner]
        assert {repr(end) for end in parameter.distribution.ends} <= set(seen)


@given(
    spaces().filter(lambda space: math.prod(len(p.distribution.values() or ()) or 999 for p in space.parameters) < 999)
)
@settings(max_examples=40, deadline=None)
def test_a_grid_is_as_long_as_its_size_says(space: Space) -> None:
    points = list(space.grid())
    assert len(points) == space.size()
    for point in points:
        assert space.check(point, "point") == point


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.stem)
def test_a_shipped_search_is_a_space_with_first_trials(path: Any) -> None:
    search: Any = OmegaConf.to_container(OmegaConf.load(path))
    assert list(search) == ["objectives", "sweep", "first"]
    assert Space.from_settings(search["sweep"], search["first"]).first


def test_the_shipped_search_of_roinet_begins_with_the_published_configuration() -> None:
    search: Any = OmegaConf.to_container(OmegaConf.load(shipped("configs") / "search" / "roinet.yaml"))
    published = OmegaConf.load(shipped("configs") / "experiment" / "roinet_pdsp.yaml")
    space = Space.from_settings(search["sweep"], search["first"])
    for name, value in space.overrides(space.first[0]).items():
        assert OmegaConf.select(published, name) == value
