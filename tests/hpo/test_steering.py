"""The steering command: what the HPO service of PanDA writes is read, what it wants is written, the same each time."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wirecell_ml.errors import ConfigError
from wirecell_ml.hpo.phpo import read_space
from wirecell_ml.hpo.space import Choices, Real, Space, Whole
from wirecell_ml.hpo.steering import steer

RATE, WIDTHS = "optimizer.lr", "model.widths"
OURS = {RATE: "tag(log, interval(1e-4, 1e-1))", WIDTHS: "choice([12,24], [24,48])"}
THEIRS = {  # the same in the words of phpo
    RATE: {"method": "loguniform", "dimension": {"low": 1e-4, "high": 1e-1}},
    WIDTHS: {"method": "categorical", "dimension": {"categories": [[12, 24], [24, 48]], "grid_search": 0}},
}
POINT = {RATE: 1e-2, WIDTHS: [12, 24]}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Start where the service starts a command, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def proposed(points: list[Any], *words: str, space: Any = OURS, count: int = 3, most: object = 10) -> list[Any]:
    """Return what the steering proposes after some points."""
    Path("idds_input.json").write_text(json.dumps({"points": points, "opt_space": space}))
    steer(["input=idds_input.json", "output=output.json", f"points={count}", f"max_points={most}", *words])
    found: list[Any] = json.loads(Path("output.json").read_text())
    return found


def test_as_many_points_as_are_asked_for_and_each_within_the_space() -> None:
    points = proposed([])
    assert len(points) == 3
    for point in points:
        assert 1e-4 <= point[RATE] <= 1e-1
        assert point[WIDTHS] in ([12, 24], [24, 48])


def test_the_same_input_gives_the_same_points() -> None:
    known = [[POINT, -0.9], [POINT | {RATE: 3e-3}, None]]
    first = proposed(known)
    assert proposed(known) == first
    assert proposed(known, "sampler.seed=2") != first


def test_points_are_told_in_the_order_of_the_service_and_never_proposed_twice() -> None:
    first = proposed([], count=2)
    later = proposed([[point, 0.5] for point in first], count=2)
    assert not [point for point in later if point in first]
    assert proposed([], count=4)[:2] == first


def test_a_loss_is_minimised() -> None:
    near, far = [{RATE: 1e-2 * (1 + i / 100)} for i in range(10)], [{RATE: 2e-4 * (1 + i / 100)} for i in range(10)]
    space = {RATE: OURS[RATE]}
    good_near = proposed([[point, -1.0] for point in near] + [[point, 1.0] for point in far], space=space, most=99)
    good_far = proposed([[point, 1.0] for point in near] + [[point, -1.0] for point in far], space=space, most=99)
    assert min(point[RATE] for point in good_near) > max(point[RATE] for point in good_far)


def test_the_search_ends_with_an_empty_list() -> None:
    known = [[POINT | {RATE: 1e-3 * (i + 1)}, 0.1 * i] for i in range(4)]
    assert len(proposed(known, count=3, most=5)) == 1
    assert proposed(known, count=3, most=4) == []
    assert proposed(known, count=0, most=9) == []
    assert len(proposed(known, count=2, most="None")) == 2


def test_a_grid_ends_when_every_point_was_tried() -> None:
    space = {"model.norm": "batch, instance", "task.loss.dice": "0.0, 1.0"}
    points = proposed([], "sampler=grid", space=space, count=9, most=100)
    assert len(points) == 4
    assert proposed([[point, 0.0] for point in points], "sampler=grid", space=space, most=100) == []


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_a_failed_point(loss: float) -> None:
    assert len(proposed([[POINT, loss], [POINT | {RATE: 2e-2}, 0.1]])) == 3


def test_spaces_in_their_words_are_ours() -> None:
    assert read_space(THEIRS, "here") == read_space(OURS, "here")
    assert proposed([], space=THEIRS) == proposed([], space=OURS)


def test_every_method_of_theirs_that_ours_has() -> None:
    methods = {
        "a": ("uniform", {"low": 0, "high": 1}),
        "b": ("loguniform", {"low": 1e-3, "high": 1}),
        "c": ("uniformint", {"low": 5, "high": 10}),
        "d": ("quniform", {"low": 0.0, "high": 0.6, "q": 0.1}),
        "e": ("categorical", {"categories": [1, 1, 2], "grid_search": 0}),
    }
    space = read_space({name: {"method": m, "dimension": d} for name, (m, d) in methods.items()}, "here")
    assert [parameter.distribution for parameter in space.parameters] == [
        Real(0.0, 1.0),
        Real(1e-3, 1.0, log=True),
        Whole(5, 10),
        Real(0.0, 0.6, 0.1),
        Choices((1, 2)),
    ]


def test_a_search_file_of_ours_can_be_given_whole() -> None:
    whole = {"objectives": {"val/dice": "maximize"}, "sweep": OURS, "first": [POINT]}
    assert read_space(whole, "here") == Space.from_settings(OURS, [POINT])
    assert proposed([], space=whole)[0] == POINT


def test_a_search_of_configs_serves_where_the_service_has_no_space() -> None:
    (first,) = proposed([], "search=roinet", space=None, count=1)
    assert first["model.widths"] == [24, 48, 96, 128], "the published configuration is tried first"
    (swept,) = proposed([], f"sweep={RATE}=interval(1e-4,1e-2)", space=None, count=1)
    assert list(swept) == [RATE]


@pytest.mark.parametrize(
    ("held", "words", "line"),
    [
        ({"opt_space": OURS}, [], "no points in it"),
        ({"points": [[POINT]], "opt_space": OURS}, [], r"points\[0\] is not a point and its loss"),
        ({"points": [[POINT, "low"]], "opt_space": OURS}, [], "the loss 'low' is no number"),
        ({"points": [[{RATE: 5.0, WIDTHS: [12, 24]}, 1.0]], "opt_space": OURS}, [], "optimizer.lr=5.0 is not within"),
        ({"points": [], "opt_space": None}, [], "no search space.*--searchSpaceFile.*roinet"),
        ({"points": [], "opt_space": OURS}, ["search=roinet"], "two search spaces"),
        ({"points": [], "opt_space": [{"model_id": 0}]}, [], "segments"),
        ({"points": [], "opt_space": {}}, [], "no search space"),
        ({"points": [], "opt_space": {"a": {"method": "norml"}}}, [], "the method 'norml' is not known"),
        ({"points": [], "opt_space": {"a": {"method": "uniform", "dimension": {"low": 1}}}}, [], "cannot be read"),
        ({"points": [], "opt_space": OURS}, ["sampler=tpee"], "tpe"),
        ({"points": [], "opt_space": OURS}, ["pionts=3"], "no setting 'pionts'.* 'points'"),
        ({"points": [], "opt_space": OURS}, ["points=many"], "points=many is no number"),
    ],
)
def test_a_call_that_is_wrong_says_what_would_be_right(held: Any, words: list[str], line: str) -> None:
    Path("idds_input.json").write_text(json.dumps(held))
    command = [sys.executable, "-m", "wirecell_ml.hpo.steering", "input=idds_input.json", "output=output.json"]
    ended = subprocess.run([*command, "points=1", *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    (said,) = ended.stderr.splitlines()
    assert re.search(line, said), said
    assert not Path("output.json").exists()


def test_without_an_input_or_its_name_there_is_one_line_about_it() -> None:
    with pytest.raises(ConfigError, match=r"idds_input.json: no such file"):
        steer(["input=idds_input.json", "output=output.json", "points=1"])
    with pytest.raises(ConfigError, match="no output"):
        steer(["input=idds_input.json", "points=1"])
