"""Fields of JSON that somebody else wrote."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from wirecell_ml.data import json_fields
from wirecell_ml.errors import DataError


def test_an_object_or_a_list_is_found_by_its_key() -> None:
    assert json_fields.inside({"planes": [1]}, "planes", list, "file") == [1]
    with pytest.raises(DataError, match=r"file: has not a list 'planes'\. Did you mean 'plane'"):
        json_fields.inside({"plane": []}, "planes", list, "file")


def test_what_is_not_said_is_no_number() -> None:
    np.testing.assert_array_equal(json_fields.column([{"x": 1}, {}, {"x": None}], "x", "file"), [1, np.nan, np.nan])
    np.testing.assert_array_equal(json_fields.vectors([{}, {"p": [1, 2, 3]}], "p", "file"), [[np.nan] * 3, [1, 2, 3]])
    assert json_fields.vectors([], "p", "file").shape == (0, 3)
    assert json_fields.name({}, "kind", "file") == ""


@pytest.mark.parametrize("value", [1e101, -1e101, float("inf"), 10**101])
def test_a_number_that_another_unit_could_make_infinite_is_refused(value: float) -> None:
    with pytest.raises(DataError, match=r"file: (-?1e\+101|inf); numbers are at most 1e\+100"):
        json_fields.numbers([0.5, float("nan"), value], "file")


@pytest.mark.parametrize(
    ("read", "values"),
    [
        (json_fields.numbers, [True]),
        (json_fields.numbers, ["1"]),
        (json_fields.numbers, [10**400]),
        (json_fields.numbers, (1, 2)),
        (json_fields.integers, [1.0]),
        (json_fields.integers, [2**63]),
        (json_fields.integers, None),
    ],
)
def test_what_only_looks_like_a_number_is_refused(read: Callable[[Any, str], Any], values: Any) -> None:
    with pytest.raises(DataError, match=r"^file: "):
        read(values, "file")
