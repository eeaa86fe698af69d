"""Noise spectra, as wire-cell-data keeps them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wirecell_ml.data
from wirecell_ml.data.noise_spectra import read
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

SPECTRUM = {
    "period": 500.0,
    "nsamples": 6000,
    "gain": 2.2430470818e-12,
    "shaping": 2200.0,
    "plane": 0,
    "wirelen": 7500.0,
    "const": 3e-08,
    "freqs": [0.0, 1e-05],
    "amps": [1e-07, 2e-07],
}


def written(folder: Path, held: Any) -> Path:
    path = folder / "noise.json"
    path.write_text(json.dumps(held))
    return path


def test_units_are_those_that_one_thinks_in(tmp_path: Path) -> None:
    opened = wirecell_ml.data.open(written(tmp_path, [SPECTRUM, SPECTRUM | {"wirelen": 6000.0}]))
    (event,) = opened
    assert opened.format.name == "noise spectra"
    assert list(event.tables) == ["0: plane 0, wires of 7.5 m", "1: plane 0, wires of 6 m", "spectra"]
    curve, spectra = event.tables["1: plane 0, wires of 6 m"], event.tables["spectra"]
    np.testing.assert_allclose(curve["frequency_mhz"], [0, 0.01])
    np.testing.assert_allclose(curve["amplitude_mv"], [100, 200])
    np.testing.assert_allclose(spectra["gain_mv_per_fc"], [14, 14], rtol=1e-6)
    np.testing.assert_allclose(spectra["shaping_us"], [2.2, 2.2])
    np.testing.assert_allclose(spectra["constant_mv"], [30, 30])


def test_a_spectrum_may_say_nothing_but_its_curve(tmp_path: Path) -> None:
    (event,) = read(Source.of(written(tmp_path, [{"freqs": [0.0], "amps": [1]}])))
    assert list(event.tables) == ["0", "spectra"]
    assert np.isnan(event.tables["spectra"]["gain_mv_per_fc"]).all()


@pytest.mark.parametrize(
    ("held", "fault"),
    [
        ({"freqs": [], "amps": []}, "dict where a list of objects is due"),
        ([1], "list where a list of objects is due"),
        ([SPECTRUM, {"freqs": []}], "not every one is an object with 'amps'"),
        ([SPECTRUM | {"freqs": [0.0]}], "spectrum 0: 1 frequencies, but 2 amplitudes"),
        ([SPECTRUM | {"freqs": "01"}], "spectrum 0: freqs: expected a list of numbers"),
        ([SPECTRUM | {"gain": "high"}], "'gain' is no number everywhere"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, held: Any, fault: str) -> None:
    with pytest.raises(DataError, match=f"noise.json: {fault}"):
        list(read(Source.of(written(tmp_path, held))))
