"""What is looked for in a whole data set before a training may use it."""

import logging
import math
from collections import defaultdict
from collections.abc import Mapping

from wirecell_ml.data.cache import Summary
from wirecell_ml.data.events import Event
from wirecell_ml.errors import DataError

log = logging.getLogger(__name__)

SPARSE = 0.5  # a tag with fewer non-zero pixels than this share is a flag or a ROI, not a waveform with noise


def check_data(summaries: Mapping[Event, Summary]) -> None:
    """Raise DataError for a tag that is zero throughout a file; warn where the truth is masked by what was found."""
    files = defaultdict(list)
    for event, summary in summaries.items():
        files[event.inputs].append(summary)
    for path, held in files.items():
        for tag in held[0].nonzero:
            if not any(summary.nonzero[tag] for summary in held):
                raise DataError(
                    f"{path}: '{tag}' is zero in all its {len(held)} events. Was the tag numbered for this APA, and "
                    "debug output on, in the signal-processing job? Write the file again or change data.tags"
                )
    warn_of_masked_truth(list(summaries.values()))


def warn_of_masked_truth(summaries: list[Summary]) -> None:
    """Warn if every true pixel of every event is also a pixel of a sparse tag."""
    pixels = sum(math.prod(shape[1:]) for summary in summaries for shape in summary.shapes.values())
    for tag in summaries[0].hides_truth:
        sparse = sum(summary.nonzero[tag] for summary in summaries) < SPARSE * pixels
        if sparse and all(summary.hides_truth[tag] for summary in summaries):
            log.warning(
                "the truth was masked by '%s': every true pixel is one of its pixels, so its efficiency is 1 by "
                "construction and says nothing. Write truth that was not masked",
                tag,
            )
