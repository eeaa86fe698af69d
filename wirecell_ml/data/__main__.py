"""Look at files of any format that is known, convert them, divide their events, and check them before a training.

  python -m wirecell_ml.data inspect FILE…        what is in them, event by event, and what looks wrong
  python -m wirecell_ml.data plot FILE            a picture of one event
  python -m wirecell_ml.data convert FILE FILE    the same events in another format
  python -m wirecell_ml.data split FILE…          which events train, choose the best epoch, are only measured
  python -m wirecell_ml.data check SETTINGS…      every rule that a training applies to its data

COMMAND --help shows what each takes, with examples. A file is told by its content, not by its name, and may be a URL.
"""

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from wirecell_ml.cli import one_line, stop
from wirecell_ml.data.options import parser
from wirecell_ml.errors import USER_MISTAKE, ConfigError, DataError, WireCellMLError, suggest

if TYPE_CHECKING:  # each command loads what it needs, so that --help loads nothing
    from rich.console import Console

    from wirecell_ml.data.contents import Contents
    from wirecell_ml.data.detectors import Detector
    from wirecell_ml.data.readers import DataFile
    from wirecell_ml.data.split import Part

WIDTH = 180  # of text that goes to no terminal
INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it


def main() -> None:
    """Run the command that the command line names."""
    commands = {one.__name__: one for one in (inspect, plot, convert, split, check)}
    arguments = parser(str(__doc__), commands).parse_args()
    logging.basicConfig(format="%(levelname)s %(message)s")
    with one_line():
        try:
            arguments.command(arguments)
            sys.stdout.flush()
        except KeyboardInterrupt:
            stop("", INTERRUPTED)
        except BrokenPipeError:  # inspect | head: who read it has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def inspect(given: Namespace) -> None:
    """Show what is in files, event by event, and at the end what looks wrong with them.

    Tables are shown for the first events; the others are read, too, and only what looks wrong with them is shown.
    Σreco/Σtrue is the found over the true charge: of frames where a file has a true one, too (ductor…), or of frames
    and blobs where --truth names the file that has the true ones.
    """
    if given.truth and len(given.files) > 1:
        raise ConfigError(f"--truth {given.truth}: one file of truth goes with one file, not {len(given.files)}")
    wrong = False
    for place in given.files:
        try:
            inspect_file(place, given)
        except WireCellMLError as error:
            sys.stdout.flush()
            print(f"error: {error}", file=sys.stderr)  # noqa: T201  (and go on with the next file)
            wrong = True
    if wrong:
        sys.exit(USER_MISTAKE)


def inspect_file(place: str, given: Namespace) -> None:
    """Show what is in one file."""
    from wirecell_ml.data import readers
    from wirecell_ml.data.inspection import Inspection, as_json
    from wirecell_ml.data.inspection_tables import event_tables, opening, verdict

    file = readers.open(place)
    seen = Inspection(file, readers.open(given.truth) if given.truth else None, detector_of(given))
    if given.json:
        sys.stdout.write(as_json(place, file.format, seen) + "\n")
        return
    console, events = terminal(), iter(seen)
    console.print(opening(place, file.format), soft_wrap=True)
    for event in events if given.all else islice(events, given.first):
        for table in event_tables(event, console.width):
            console.print(table)
    with counting("events") as count:
        for _ in events:
            count()
    console.print(verdict(seen), soft_wrap=True)


def plot(given: Namespace) -> None:
    """Draw one event of a file as a PNG.

    Frames are images of channel and time for each tag and plane, masked channels shaded; depos, blobs and points are
    seen in space, coloured by charge or by label; hits are wire against time; tensors are images; other tables are
    histograms. An event that has several of these gives several files.
    """
    from wirecell_ml.data import readers
    from wirecell_ml.data.pictures import draw_event

    file = readers.open(given.file)
    event = with_tags(event_of(file, given.event), given.tag, str(file.source))
    output = given.output or Path(f"{readers.stem(Path(file.source.name))}-{event.ident}.png")
    if output.suffix != ".png":
        raise ConfigError(f"--output {output}: pictures are PNG; give a name that ends with .png")
    for path in draw_event(output, event, f"{file.source.name}, event {event.ident}", detector_of(given)):
        sys.stdout.write(f"{path}\n")


def event_of(file: "DataFile", ident: int | None) -> "Contents":
    """Return the first event of a file, or the one with an ident; raises DataError where there is none."""
    idents = []
    for event in file:
        if ident in (None, event.ident):
            return event
        idents.append(str(event.ident))
    if ident is None:
        raise DataError(f"{file.source}: no event in it")
    raise DataError(f"{file.source}: no event {ident}.{suggest(str(ident), idents)}")


def with_tags(event: "Contents", tags: list[str], where: str) -> "Contents":
    """Return an event with these frames only, all if none is named; raises DataError where it lacks one."""
    from dataclasses import replace

    for tag in tags:
        if tag not in event.frames:
            raise DataError(f"{where}: event {event.ident} has no frame '{tag}'.{suggest(tag, event.frames)}")
    return replace(event, frames={tag: event.frames[tag] for tag in tags}) if tags else event


def convert(given: Namespace) -> None:
    """Write the events of a file in another format.

    The format follows from the new file's name where that says enough: frames go to a frame archive as .npz or .tar.*,
    and to HDF5 as .h5. What the new format cannot hold is left out, and said. Blobs become points for a format that
    holds points only (Bee): the centre of their corners, and as x the time of their slice times --drift-speed.
    """
    from wirecell_ml.data import readers
    from wirecell_ml.data.conversion import Conversion, several, target_format

    if given.output.exists() and not given.force:
        raise ConfigError(f"{given.output}: exists already. Give another name, or --force to replace it")
    file = readers.open(given.file)
    target = target_format(file.format, given.output, given.format)
    conversion = Conversion(file, target, given.drift_speed, given.event)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    with counting("events") as count:
        conversion.write(given.output, count)
    sys.stdout.write(f"{given.output}: {several(conversion.num_written)}, {target.name} ({target.title})\n")
    for loss in conversion.losses():
        print(loss, file=sys.stderr)  # noqa: T201


def split(given: Namespace) -> None:
    """Divide events into those that train, those that choose the best epoch, and those that are only measured.

    The file is what data.split.file of a training takes. It depends on the seed and on the names and categories of the
    events alone, and treats every category alike. An event is named <file>:<ident>. Input files are read with the
    truth beside them (g4-rec-0.h5, g4-tru-0.h5); categories come from generator truth beside them (g4-meta-0.json).
    Copies of one event in two parts are refused.
    """
    from wirecell_ml.data.split import check_split, split_events
    from wirecell_ml.data.splitting import counts_of, known_events

    if given.output.exists() and not given.force:
        raise ConfigError(f"{given.output}: exists already. Give another name, or --force to replace it")
    with counting("events") as count:
        events = known_events([Path(place).expanduser() for place in given.files], count)
    digests = {key: known.digest for key, known in events.items()}
    parts = split_events(
        {key: known.category for key, known in events.items()}, given.validation, given.test, given.seed
    )
    check_split(parts, digests)
    parts.save(given.output, digests)
    show_counts(counts_of(parts, events))
    sys.stdout.write(f"{given.output}: give it to a training as data.split.file={given.output}\n")


def show_counts(counts: "Mapping[str, Mapping[Part, int]]") -> None:
    """Show how many events of each category are in each part."""
    from wirecell_ml.data.inspection_tables import table_of

    rows = [{"category": name, **{part: str(held) for part, held in parts.items()}} for name, parts in counts.items()]
    if len(rows) > 1:
        sums = {part: str(sum(parts[part] for parts in counts.values())) for part in next(iter(counts.values()))}
        rows.append({"category": "together", **sums})
    console = terminal()
    console.print(table_of(rows, console.width))


def check(given: Namespace) -> None:
    """Apply every rule that a training applies to its data, and show the numbers that they hold by.

    SETTINGS are those of a training. Ends with one line and status 2 at the first rule that is broken. Images are kept
    in data.cache, so that the training itself need not read them again.
    """
    from wirecell_ml.data.inspection_tables import table_of
    from wirecell_ml.data.readiness import prepared, rules

    held = rules(prepared(given.settings, given.config_dir))
    console = terminal()
    console.print(table_of([{"rule": rule, "values": numbers} for rule, numbers in held], console.width))
    sys.stdout.write("ready: every rule holds\n")


def detector_of(given: Namespace) -> "Detector | None":
    """Return the detector that the command line names; None: the one that the channels fit."""
    from wirecell_ml.data.detectors import detector_named

    return detector_named(given.detector) if given.detector else None


def terminal() -> "Console":
    """Return standard output for tables: as wide as the terminal, or wide enough where there is none."""
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else WIDTH)


@contextmanager
def counting(what: str) -> Iterator[Callable[[], None]]:
    """Give a function that counts one up on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.completed} {task.description}"), TimeElapsedColumn()
    shown = Progress(*columns, console=console, transient=True, redirect_stdout=False, disable=not console.is_terminal)
    with shown as progress:
        task = progress.add_task(what, total=None)
        yield lambda: progress.advance(task)


if __name__ == "__main__":
    main()
