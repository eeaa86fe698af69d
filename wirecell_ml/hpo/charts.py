"""Charts: what all figures of a study have in common."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wirecell_ml.figures import figure_at

WIDTH_IN = 11.0
# The names of a study are its own: "$" is a dollar. With a salt, the same study gives the same SVG.
PLAIN_TEXT: dict[Any, Any] = {"text.parse_math": False, "svg.hashsalt": "study"}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
LONGEST_LABEL = 22  # characters
MANY_TRIALS = 300  # beyond it, an SVG holds the trials as pixels
ROUND_STEPS = (1, 2, 5, 10)


@contextmanager
def drawn(folder: Path, name: str, height_in: float) -> Iterator[Figure]:
    """Give a figure in our style, and write it as PNG and as SVG."""
    with mpl.rc_context(PLAIN_TEXT):
        with figure_at(folder / f"{name}.png", WIDTH_IN, height_in) as figure:
            yield figure
        figure.set_layout_engine("none")  # laid out already
        figure.savefig(folder / f"{name}.svg", metadata=NO_METADATA)


def frame(values: Sequence[float] | NDArray[np.float64], direction: str) -> tuple[float, float]:
    """Return limits that hold the good end and most of the bad end: a few that diverged must not squeeze the rest."""
    known = np.array([value for value in values if math.isfinite(value)])
    if not len(known):
        return 0.0, 1.0
    low, high = known.min(), known.max()
    lower, upper = np.quantile(known, (0.25, 0.75))
    if direction == "maximize":
        low = max(low, lower - 4 * (upper - lower))
    else:
        high = min(high, upper + 4 * (upper - lower))
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return float(low - margin), float(high + margin)


def shortened(text: str, longest: int = LONGEST_LABEL) -> str:
    """Return ``text`` on one line, its middle left out where it is too long."""
    text = " ".join(text.split())
    if len(text) <= longest:
        return text
    head = (longest - 1) // 2
    return f"{text[:head]}…{text[head + 1 - longest :]}"


def folded(name: str) -> str:
    """Return the name of a parameter on up to two lines, broken at its last dot or slash."""
    cut = max(name.rfind("."), name.rfind("/")) + 1
    parts = [name[:cut], name[cut:]] if 0 < cut < len(name) and len(name) > 12 else [name]
    return "\n".join(shortened(part, 18) for part in parts)
