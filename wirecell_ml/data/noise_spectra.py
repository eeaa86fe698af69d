"""Noise spectra: how strong the noise of a channel is at each frequency, by plane and length of wire."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.json_fields import column, each, numbers, objects_in
from wirecell_ml.data.json_source import read_json
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

VOLT = 1e-6  # in Wire-Cell's units, where a MeV, an electron's charge, a mm and a ns are 1
FEMTOCOULOMB = 6241.50907
SPECTRUM = {  # columns of the table of all spectra -> key, and what a number of the file is in the column's unit
    "plane": ("plane", 1),
    "wire_length_mm": ("wirelen", 1),
    "period_ns": ("period", 1),
    "samples": ("nsamples", 1),
    "gain_mv_per_fc": ("gain", 1000 * FEMTOCOULOMB / VOLT),
    "shaping_us": ("shaping", 1e-3),
    "constant_mv": ("const", 1000 / VOLT),  # white noise, which no length of wire changes
}


def read(source: Source) -> Iterator[Contents]:
    """Yield one event: the table "spectra", a row each, and a table of each with amplitude against frequency.

    Amplitudes are of the discrete Fourier transform of ``samples`` samples, in mV. Raises DataError for what is no list
    of noise spectra.
    """
    spectra = objects_in(read_json(source), str(source))
    titles = {title: unit * column(spectra, key, str(source)) for title, (key, unit) in SPECTRUM.items()}
    tables: dict[str, dict[str, NDArray[Any]]] = {}
    curves = zip(each(spectra, "freqs", str(source)), each(spectra, "amps", str(source)), strict=True)
    for row, (frequencies, amplitudes) in enumerate(curves):
        where = f"{source}: spectrum {row}"
        mhz, mv = 1000 * numbers(frequencies, f"{where}: freqs"), 1000 / VOLT * numbers(amplitudes, f"{where}: amps")
        if len(mhz) != len(mv):
            raise DataError(f"{where}: {len(mhz)} frequencies, but {len(mv)} amplitudes")
        tables[title_of(row, titles)] = {"frequency_mhz": mhz, "amplitude_mv": mv}
    yield Contents(0, tables=tables | {"spectra": titles})


def title_of(row: int, titles: dict[str, NDArray[np.float64]]) -> str:
    """Return the name of a spectrum, which no other has: its number, and what is known of its wires."""
    plane, length = titles["plane"][row], titles["wire_length_mm"][row] / 1000
    known = f": plane {plane:g}, wires of {length:g} m"
    return f"{row}{known}" if np.isfinite([plane, length]).all() else str(row)


def recognises(peek: Peek) -> bool:
    """Tell whether a JSON list holds noise spectra."""
    return peek.container == "json" and {"[].freqs", "[].amps"} <= set(peek.names)


FORMAT = Format(
    name="noise spectra",
    title="wire-cell-data",
    kinds=("tables",),
    suffixes=(".json", ".json.bz2"),
    recognises=recognises,
    read=read,
    write=None,
)
