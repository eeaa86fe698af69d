"""Waveforms: named curves in time, such as the error of a charge by the length of its ROI (Wire-Cell's WaveformMap)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.json_fields import column, name, numbers, objects_in
from wirecell_ml.data.json_source import read_json
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError


def read(source: Source) -> Iterator[Contents]:
    """Yield one event with a table of each waveform, by name: ``time_us`` and ``value``.

    Raises DataError for what is no list of waveforms.
    """
    waveforms = objects_in(read_json(source), str(source))
    starts, periods = column(waveforms, "start", str(source)), column(waveforms, "period", str(source))
    tables: dict[str, dict[str, NDArray[Any]]] = {}
    for waveform, start, period in zip(waveforms, starts, periods, strict=True):
        title = name(waveform, "name", str(source))
        if not title or title in tables:
            raise DataError(f"{source}: a waveform named '{title}'; each must have a name of its own")
        values = numbers(waveform.get("samples"), f"{source}: '{title}': samples")
        tables[title] = {"time_us": (start + period * np.arange(len(values))) / 1000, "value": values}
    yield Contents(0, tables=tables)


def recognises(peek: Peek) -> bool:
    """Tell whether a JSON list holds waveforms."""
    return peek.container == "json" and {"[].name", "[].period", "[].samples"} <= set(peek.names)


FORMAT = Format(
    name="waveforms",
    title="WaveformMap",
    kinds=("tables",),
    suffixes=(".json", ".json.bz2"),
    recognises=recognises,
    read=read,
    write=None,
)
