"""Events: which files hold the inputs and the truth of each, found by name and paired by ident."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Literal

from wirecell_ml.data import hdf5
from wirecell_ml.errors import ConfigError, DataError

PairBy = Literal["ident", "order"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """One readout: where its inputs, its truth and (if there is one) its generator truth are."""

    inputs: Path
    ident: int
    truth: Path
    truth_ident: int
    particles: Path | None

    @property
    def key(self) -> str:
        """The identity of the event, the same on every machine: ``<file>:<ident>``."""
        return f"{self.inputs.name}:{self.ident}"


def find_events(files: str | Sequence[str], inputs_glob: str, pair_by: PairBy = "ident") -> list[Event]:
    """Return the events of ``files`` (a folder, a file, a glob, or a list of them), holes left out and reported.

    Raises DataError where there is no file, where truth is missing or does not pair, or where two files share a name.
    """
    paths = find_files([files] if isinstance(files, str) else files, inputs_glob)
    events = [event for path in paths for event in pair(path, truth_of(path), pair_by)]
    if not events:
        raise DataError(f"{paths[0]}: no events; a frame file holds one group per event, named by its number")
    return events


def find_files(files: Iterable[str], inputs_glob: str) -> list[Path]:
    """Return the input files that ``files`` name, each once, sorted by name and number."""
    found = {path.resolve(): path for name in files for path in expand(Path(name).expanduser(), inputs_glob)}
    paths = sorted(found, key=lambda path: (len(path.name), path.name))
    names = [path.name for path in paths]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        places = ", ".join(str(path.parent) for path in paths if path.name == twice)
        raise DataError(
            f"{twice}: two input files have this name ({places}), so their events cannot be told apart; rename one"
        )
    return paths


def expand(path: Path, inputs_glob: str) -> list[Path]:
    """Return the input files that one path stands for: itself, a folder's, or a glob's."""
    if path.is_dir():
        found = sorted(path.glob(inputs_glob))
        if not found:
            raise DataError(
                f"{path}: no file called {inputs_glob} in this folder. Set data.inputs_glob to what yours are called"
            )
        return found
    if any(sign in str(path) for sign in "*?["):
        found = sorted(map(Path, glob(str(path))))  # noqa: PTH207  (the folders may hold signs, too)
        if not found:
            raise DataError(f"{path}: no file fits this pattern")
        truth = {truth_of(inputs) for inputs in found if truth_of(inputs) != inputs}
        return [file for file in found if file not in truth]
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder")
    return [path]


def truth_of(inputs: Path) -> Path:
    """Return the truth file of an input file: ``g4-tru-7.h5`` for ``g4-rec-7.h5``, or itself if there is none."""
    truth = inputs.with_name(truth_name(inputs))
    return truth if truth.is_file() else inputs


def truth_name(inputs: Path) -> str:
    """Return what the truth file of an input file is called."""
    return "tru".join(inputs.name.rsplit("rec", 1))


def particles_of(inputs: Path) -> Path | None:
    """Return the generator truth beside an input file: ``g4-meta-7.json`` for ``g4-rec-7.h5``, or None."""
    path = inputs.with_name("meta".join(inputs.name.rsplit("rec", 1))).with_suffix(".json")
    return path if path.is_file() else None


def pair(inputs: Path, truth: Path, pair_by: PairBy) -> list[Event]:
    """Return the events that both files hold."""
    have, true = hdf5.idents(inputs), hdf5.idents(truth)
    pairs = [(ident, ident) for ident in have if ident in true]
    if pair_by == "order":
        if len(have) != len(true):
            raise DataError(f"{inputs} has {len(have)} events and {truth} {len(true)}: they cannot be paired by order")
        pairs = list(zip(have, true, strict=True))
    elif pair_by != "ident":
        raise ConfigError(f"data.pair_by: '{pair_by}' is not known. Known here: ident, order")
    if have and not pairs:
        raise DataError(
            f"{inputs} has events {have[0]}..{have[-1]} and {truth} {span(true)}: none pair. "
            "Set data.pair_by=order if they are the same events in the same order"
        )
    holes = len(have) + len(true) - 2 * len(pairs)
    if holes:
        log.warning("%s: %d events have inputs or truth only and are left out", inputs, holes)
    particles = particles_of(inputs)
    return [Event(inputs, ident, truth, truth_ident, particles) for ident, truth_ident in pairs]


def span(idents: list[int]) -> str:
    """Return the first and last of some idents, for a message."""
    return f"{idents[0]}..{idents[-1]}" if idents else "none"
