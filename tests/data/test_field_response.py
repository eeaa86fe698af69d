"""Field responses, as wire-cell-data keeps them."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wirecell_ml.data
from wirecell_ml.data.field_response import read
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError


def path_of(samples: list[float], pitch: float) -> dict[str, Any]:
    """Return one path."""
    array = {"shape": [len(samples)], "elements": samples}
    return {"PathResponse": {"current": {"array": array}, "wirepos": 0.0, "pitchpos": pitch}}


RESPONSE: dict[str, Any] = {
    "FieldResponse": {
        "origin": 100.0,
        "period": 100.0,
        "tstart": 0.0,
        "speed": 0.0016,
        "axis": [1.0, 0, 0],
        "planes": [
            {
                "PlaneResponse": {
                    "planeid": ident,
                    "location": 5.0 * ident,
                    "pitch": 4.71,
                    "paths": [path_of([0.0, -1.5 * ident, 2], -2.0), path_of([1, 2, 3], 2.0)],
                }
            }
            for ident in (0, 2, 7)
        ],
    }
}


def written(folder: Path, held: Any) -> Path:
    path = folder / "response.json"
    path.write_text(json.dumps(held))
    return path


def test_a_plane_is_an_image_of_paths_and_samples(tmp_path: Path) -> None:
    opened = wirecell_ml.data.open(written(tmp_path, RESPONSE))
    (event,) = opened
    assert opened.format.name == "field response"
    assert list(event.arrays) == ["current U", "current W", "current 7"]
    assert event.arrays["current W"].tolist() == [[0, -3, 2], [1, 2, 3]]
    assert event.tables["paths W"]["pitch_mm"].tolist() == [-2, 2]
    assert event.tables["planes"]["location_mm"].tolist() == [0, 10, 35]
    assert event.tables["planes"]["plane"].tolist() == [0, 2, 7]
    np.testing.assert_allclose(event.tables["drift"]["speed_mm_per_us"], [1.6])
    assert event.tables["drift"]["period_ns"].tolist() == [100]


PLANE = ("FieldResponse", "planes", 0, "PlaneResponse")
FIRST = (*PLANE, "paths", 0, "PathResponse")


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        (("FieldResponse",), 1, "has not an object 'FieldResponse'"),
        (("FieldResponse", "period"), "100", "'period' is no number everywhere"),
        ((*PLANE, "planeid"), 2, r"planes \[2, 2, 7\]; each must come once"),
        ((*PLANE, "paths"), [], "plane U: paths: 0 with "),
        ((*PLANE, "paths"), [1], "plane U: paths: not every one is an object with 'PathResponse'"),
        ((*FIRST, "current"), [1.0], "plane U: paths: has not an object 'current'"),
        ((*FIRST, "current", "array"), {"shape": [3]}, "plane U: paths: not every one is an object with 'elements'"),
        ((*FIRST, "current", "array", "elements"), [1.0], r"plane U: paths: 2 with \[1, 3\] samples"),
        ((*FIRST, "current", "array", "elements"), [[1.0]] * 3, "plane U: paths: elements: expected a list of numbers"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, place: tuple[Any, ...], value: Any, fault: str) -> None:
    held = copy.deepcopy(RESPONSE)
    inner: Any = held
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(DataError, match=f"response.json: {fault}"):
        list(read(Source.of(written(tmp_path, held))))
