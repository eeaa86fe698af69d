"""Pictures of events, as PNG files: whatever a file holds, drawn as a physicist looks at it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from wirecell_ml.data import frame_pictures, panel_pictures, space_pictures
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.detectors import Detector
from wirecell_ml.data.picture_text import drawn
from wirecell_ml.errors import DataError
from wirecell_ml.figures import figure_at

Size = tuple[float, float]  # width and height in inches


def draw_event(path: Path, event: Contents, title: str, detector: Detector | None = None) -> list[Path]:
    """Write the pictures of an event and return their paths: ``path``, and one beside it for each further part.

    Frames, charge in space, and tables are parts. Tensors and other arrays are drawn only where an event has no frames
    and nothing in space: what is made of them is the better picture. ``detector`` says which channels make which plane;
    None: the one that they fit. Raises DataError where there is nothing to draw.
    """
    written: list[Path] = []
    for name, size, draw in parts_of(event, detector):
        place = path.with_stem(f"{path.stem}-{name}") if written else path
        with figure_at(place, *size) as figure:
            figure.suptitle(drawn(title), x=0.01, ha="left", fontsize=15)
            draw(figure)
        written.append(place)
    if not written:
        raise DataError(f"{title}: nothing that can be drawn; it holds {', '.join(event.kinds()) or 'nothing'}")
    return written


def parts_of(event: Contents, detector: Detector | None) -> Iterator[tuple[str, Size, Callable[[Figure], None]]]:
    """Yield name, size and drawing of each part of an event that has something to show."""
    frames = {tag: frame for tag, frame in event.frames.items() if frame.samples.size}
    dots = space_pictures.rows_of(event)
    if frames:
        draw = partial(frame_pictures.draw_frames, frames=frames, masks=event.masks, detector=detector)
        yield "frames", frame_pictures.size_in(frames, detector), draw
    if dots:
        yield "space", space_pictures.size_in(dots), partial(space_pictures.draw_dots, rows=dots)
    shown = replace(event, tensors={}, arrays={}) if frames or dots else event
    if panels := panel_pictures.panels_of(shown):
        yield "tables", panel_pictures.size_in(panels), partial(panel_pictures.draw_panels, panels=panels)
