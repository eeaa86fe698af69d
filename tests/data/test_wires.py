"""Wire geometry, as wire-cell-data keeps it."""

import bz2
import copy
import json
from pathlib import Path
from typing import Any

import pytest

import wirecell_ml.data
from wirecell_ml.data.source import Source
from wirecell_ml.data.wires import read
from wirecell_ml.errors import DataError


def store() -> dict[str, Any]:
    """Return two anodes of one face each, and a plane that is in no face; the last wire shares its tail."""
    wires = [(0, 1, 10, 0), (2, 3, 11, 0), (4, 5, 20, 1), (4, 1, 30, 0)]  # tail, head, channel, segment
    return {
        "Store": {
            "anodes": [{"Anode": {"ident": 7, "faces": [1]}}, {"Anode": {"ident": 8, "faces": [0]}}],
            "faces": [{"Face": {"ident": 3, "planes": [1]}}, {"Face": {"ident": 4, "planes": [0]}}],
            "planes": [{"Plane": {"ident": i, "wires": rows}} for i, rows in enumerate([[1, 0], [2], [3]])],
            "wires": [
                {"Wire": {"ident": i, "tail": tail, "head": head, "channel": channel, "segment": segment}}
                for i, (tail, head, channel, segment) in enumerate(wires)
            ],
            "points": [{"Point": {"x": i, "y": i + 0.5, "z": -1.5}} for i in range(6)],
        }
    }


def written(folder: Path, held: Any) -> Path:
    path = folder / "wires.json.bz2"
    path.write_bytes(bz2.compress(json.dumps(held).encode()))
    return path


def test_the_ends_of_wires_are_linked_and_know_what_they_are_in(tmp_path: Path) -> None:
    opened = wirecell_ml.data.open(written(tmp_path, store()))
    (event,) = opened
    cloud = event.points["wires"]
    assert opened.format.name == "wire geometry"
    assert cloud.position[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 1]
    assert cloud.position[7].tolist() == [1, 1.5, -1.5]
    assert cloud.edges is not None
    assert cloud.edges.tolist() == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert {name: column.tolist()[::2] for name, column in cloud.columns.items()} == {
        "plane": [0, 0, 1, 2],
        "face": [4, 4, 3, -1],
        "apa": [7, 7, 8, -1],
        "channel": [10, 11, 20, 30],
        "ident": [0, 1, 2, 3],
        "segment": [0, 0, 1, 0],
    }
    assert all((column[::2] == column[1::2]).all() for column in cloud.columns.values())


def test_a_detector_may_have_no_wires(tmp_path: Path) -> None:
    (event,) = read(Source.of(written(tmp_path, {"Store": {key: [] for key in store()["Store"]}})))
    assert len(event.points["wires"]) == 0


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        (("Store",), [], "has not an object 'Store'"),
        (("Store", "faces"), {}, "has not a list 'faces'"),
        (("Store", "faces", 0), {"Fase": {}}, "faces: not every one is an object with 'Face'"),
        (("Store", "faces", 0, "Face"), 3, "faces: not every one is an object with 'planes'"),
        (("Store", "faces", 0, "Face", "planes"), 3, "faces: planes: expected a list of whole numbers"),
        (("Store", "faces", 0, "Face", "planes"), [3], "faces: planes: leads to rows 0..3, of 3"),
        (("Store", "faces", 0, "Face", "planes"), [-1], "faces: planes: leads to rows -1..0, of 3"),
        (("Store", "faces", 0, "Face", "planes"), [2**63], "faces: planes: a number that does not fit int64"),
        (("Store", "wires", 1, "Wire", "tail"), 6, "wires: tail or head: leads to rows 0..6, of 6"),
        (("Store", "wires", 1, "Wire", "tail"), 0.5, "wires: tail: expected a list of whole numbers"),
        (("Store", "wires", 1, "Wire", "channel"), True, "wires: channel: expected a list of whole numbers"),
        (("Store", "points", 1, "Point", "y"), "1", "points: y: expected a list of numbers"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, place: tuple[Any, ...], value: Any, fault: str) -> None:
    held = copy.deepcopy(store())
    inner: Any = held
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(DataError, match=f"wires.json.bz2: {fault}"):
        list(read(Source.of(written(tmp_path, held))))
