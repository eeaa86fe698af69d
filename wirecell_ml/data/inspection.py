"""Inspection: the facts of every event of a file, and what looks wrong in it."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

from wirecell_ml.data.charge_ratios import ChargeRatio, TrueEvents, charge_ratios
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.detectors import Detector
from wirecell_ml.data.facts import EventFacts, facts_of
from wirecell_ml.data.formats import Format
from wirecell_ml.data.suspicions import Doubt, Suspicions


@dataclass(frozen=True)
class Seen:
    """What is known of one event."""

    facts: EventFacts
    ratios: list[ChargeRatio]


@dataclass
class Inspection:
    """Events looked at one by one; ``suspicions`` grow as they are."""

    events: Iterable[Contents]
    truth: Iterable[Contents] | None = None  # the same events in another file; None: what the file itself holds
    detector: Detector | None = None  # None: the one that the channels fit
    suspicions: Suspicions = field(init=False)
    num_events: int = 0  # looked at so far

    def __post_init__(self) -> None:
        self.suspicions = Suspicions(self.detector)

    def __iter__(self) -> Iterator[Seen]:
        """Yield what is known of each event; nothing of an event is kept when the next is read."""
        true = None if self.truth is None else TrueEvents(self.truth)
        for event in self.events:
            facts = facts_of(event)
            self.suspicions.look(event, facts)
            self.num_events += 1
            truth = true.of(event.ident) if true else event
            if truth is None:
                self.suspicions.note(str(event.ident), Doubt("event", "it is not in the file of the truth"))
            yield Seen(facts, list(charge_ratios(event, facts, truth, self.detector)) if truth else [])


def as_json(place: str, form: Format, inspection: Inspection) -> str:
    """Return everything that is known of a file as one line of JSON; an unknown number is null."""
    events = [as_object(seen) for seen in inspection]
    suspicions = [{**asdict(one), "text": one.text()} for one in inspection.suspicions.all()]
    held = {"file": place, "format": form.name, "writer": form.title, "events": events, "suspicions": suspicions}
    return json.dumps(finite(held), allow_nan=False, default=str)


def finite(value: Any) -> Any:
    """Return what JSON can hold of a value: NaN and infinity are null."""
    if isinstance(value, dict):
        return {str(name): finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def as_object(seen: Seen) -> dict[str, Any]:
    """Return one event as JSON holds it, with what it does not have left out."""
    facts = {name: value for name, value in asdict(seen.facts).items() if value not in (None, {})}
    return facts | ({"charge_ratios": [asdict(one) for one in seen.ratios]} if seen.ratios else {})
