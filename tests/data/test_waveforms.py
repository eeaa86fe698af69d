"""Waveforms, as WaveformMap of wire-cell-toolkit reads them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import wirecell_ml.data
from wirecell_ml.data.panel_pictures import panels_of
from wirecell_ml.data.source import Source
from wirecell_ml.data.waveforms import read
from wirecell_ml.errors import DataError

WAVEFORM = {"name": "u", "start": -100.0, "period": 2000.0, "samples": [0, 227.5]}


def written(folder: Path, held: Any) -> Path:
    path = folder / "error.json"
    path.write_text(json.dumps(held))
    return path


def test_each_waveform_is_a_table_of_its_values_in_time(tmp_path: Path) -> None:
    opened = wirecell_ml.data.open(written(tmp_path, [WAVEFORM, WAVEFORM | {"name": "v", "samples": []}]))
    (event,) = opened
    assert opened.format.name == "waveforms"
    assert {name: column.tolist() for name, column in event.tables["u"].items()} == {
        "time_us": [-0.1, 1.9],
        "value": [0, 227.5],
    }
    assert len(event.tables["v"]["value"]) == 0


def test_a_waveform_is_drawn_as_a_curve(tmp_path: Path) -> None:
    (event,) = read(Source.of(written(tmp_path, [WAVEFORM | {"samples": list(range(20))}])))
    ((title, draw),) = panels_of(event)
    axes = Figure().subplots()
    draw(axes)
    assert title == "u"
    assert np.asarray(axes.lines[0].get_ydata()).tolist() == list(range(20))


@pytest.mark.parametrize(
    ("held", "fault"),
    [
        ({}, "dict where a list of objects is due"),
        ([WAVEFORM, WAVEFORM], "a waveform named 'u'; each must have a name of its own"),
        ([WAVEFORM | {"name": ""}], "a waveform named ''"),
        ([WAVEFORM | {"name": 1}], "'name' is no printable text"),
        ([WAVEFORM | {"samples": [None]}], "'u': samples: expected a list of numbers"),
        ([WAVEFORM | {"period": []}], "'period' is no number everywhere"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, held: Any, fault: str) -> None:
    with pytest.raises(DataError, match=f"error.json: {fault}"):
        list(read(Source.of(written(tmp_path, held))))
