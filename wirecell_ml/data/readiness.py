"""Readiness: every rule that a training applies to its data, applied to them, with the numbers that they hold by."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from wirecell_ml.build import build
from wirecell_ml.composing import compose, configs
from wirecell_ml.data.datamodule import RoiData
from wirecell_ml.data.event_data import EventData
from wirecell_ml.data.split import PARTS
from wirecell_ml.schema import register


def prepared(settings: Sequence[str], config_dirs: Sequence[str] = ()) -> EventData[Any, Any]:
    """Return the data of a training with these settings, read, checked and split; ``config_dirs`` are searched, too.

    Raises ConfigError or DataError for whatever the training would, or what Hydra raises for a wrong setting.
    """
    register()
    with configs():
        cfg = compose("train", settings, config_dirs)
    data: EventData[Any, Any] = build(cfg.data)  # the rest of the config need not fit the data
    data.prepare_data()
    data.setup()
    return data


def rules(data: EventData[Any, Any]) -> Iterator[tuple[str, str]]:
    """Yield each rule that the data kept, with its numbers."""
    yield "events are found and can be read", data.describe()
    if isinstance(data, RoiData):
        yield from rules_of_waveforms(data)
    yield "the split leaks no event", split_text(data)
    yield "digest of all events", data.digest()


def rules_of_waveforms(data: RoiData) -> Iterator[tuple[str, str]]:
    """Yield what holds of the images of planes."""
    summaries = list(data.summaries.values())
    files = {event.inputs for event in data.summaries}
    own = sum(event.truth == event.inputs for event in data.summaries)
    beside = "in the same file" if own == len(summaries) else "in the file beside it" if not own else "found"
    yield "inputs and truth pair", f"{len(files)} files of inputs, truth by {data.pair_by} {beside}"
    for plane in data.layout.planes:
        shapes = Counter(tuple(summary.shapes[plane]) for summary in summaries)
        text = ", ".join(" × ".join(map(str, shape)) for shape in shapes)
        yield f"plane {plane} is in every event", f"(tag, channel, slice) {text}"
    yield "no sample is NaN or infinite", f"{len(summaries)} events"
    pixels = sum(int(np.prod(shape[1:])) for summary in summaries for shape in summary.shapes.values())
    for tag in summaries[0].nonzero:
        counts = [summary.nonzero[tag] for summary in summaries]
        empty = f", zero in {counts.count(0)} events" if 0 in counts else ""
        yield f"'{tag}' is not zero throughout a file", f"{sum(counts) / pixels:.2%} of its pixels are not zero{empty}"


def split_text(data: EventData[Any, Any]) -> str:
    """Return how many events of each category are in each part."""
    texts = []
    for part in PARTS:
        counts = Counter(summary.category for summary in data.selected(part).values())
        kinds = ", ".join(f"{category} {count}" for category, count in sorted(counts.items()))
        texts.append(f"{part} {counts.total()}" + (f" ({kinds})" if len(counts) > 1 else ""))
    return "; ".join(texts)
