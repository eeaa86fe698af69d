"""Conversion: the events of a file written in another format, one at a time, and what of them is lost."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wirecell_ml.data.blob_space import as_points
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format
from wirecell_ml.data.points import PointCloud
from wirecell_ml.data.readers import DataFile, formats
from wirecell_ml.errors import ConfigError, DataError, suggest

EMPTY: dict[str, Any] = {
    name: value for name, value in vars(Contents(0)).items() if name not in ("ident", "run", "subrun")
}


def target_format(held: Format, path: Path, name: str | None) -> Format:
    """Return the format to write: of this ``name``, or the one that fits the suffix of ``path`` and what is ``held``.

    That is the format that is ``held`` already, else the one for what is mostly held (the first of its kinds) with the
    fewest kinds besides. Raises ConfigError for a name that cannot be written, and where none fits, or several.
    """
    known = {one.name: one for one in formats()}
    if name is not None and name not in known:
        raise ConfigError(f"format '{name}' is not known.{suggest(name, known)}")
    if name is not None:
        return checked(known[name], held, path)
    taking = [one for one in known.values() if one.write and takes(one, held)]
    fitting = [one for one in taking if takes_suffix(one, path)]
    if held.name in [one.name for one in fitting]:
        return held
    ranks = [(one.kinds[0] != held.kinds[0], one.kinds[0] not in held.kinds, len(one.kinds)) for one in fitting]
    best = [one for one, rank in zip(fitting, ranks, strict=True) if rank == min(ranks)]
    if len(fitting) == 1 or (len(best) == 1 and best[0].kinds[0] in held.kinds):
        return best[0]
    if fitting:
        raise ConfigError(
            f"{path}: this may be {' or '.join(one.name for one in fitting)}. Say which with --format '{best[0].name}'"
        )
    names = [f"{one.name} ({', '.join(one.suffixes)})" for one in taking]
    raise ConfigError(
        f"{path}: what is in '{held.name}' is not written under such a name. Known: {'; '.join(names) or 'nothing'}"
    )


def checked(target: Format, held: Format, path: Path) -> Format:
    """Return ``target`` if a file of format ``held`` can be written so; raises ConfigError if not."""
    if target.write is None:
        raise ConfigError(f"format '{target.name}' can be read, but not written")
    if not takes(target, held):
        raise ConfigError(
            f"'{held.name}' holds {', '.join(held.kinds)}, '{target.name}' {', '.join(target.kinds)}: nothing in common"
        )
    if not takes_suffix(target, path):
        raise ConfigError(f"{path}: files of the format '{target.name}' are called {', '.join(target.suffixes)}")
    return target


def takes_suffix(form: Format, path: Path) -> bool:
    """Tell whether files of a format may be called like ``path``."""
    return path.name.endswith(form.suffixes)


def takes(target: Format, held: Format) -> bool:
    """Tell whether a format can hold anything of what another holds, blobs and depos as points, too."""
    made = {"points"} if {"blobs", "depos"} & set(held.kinds) else set()
    return bool(set(target.kinds) & (set(held.kinds) | made))


@dataclass
class Conversion:
    """The events of a file as another format can hold them; what is left out is counted."""

    source: DataFile
    target: Format
    drift_speed: float  # mm/us, for blobs that become points
    ident: int | None = None  # of the only event to write; None: all
    num_written: int = 0  # events so far
    num_empty: int = 0  # events of which nothing can be kept
    left_out: Counter[str] = field(default_factory=Counter)  # kinds of contents, with the number of events
    as_points: Counter[str] = field(default_factory=Counter)  # kinds that became points

    def write(self, path: Path, each: Callable[[], Any] = lambda: None) -> None:
        """Write the file, calling ``each`` after every event; raises DataError where nothing can be kept."""
        assert self.target.write
        self.target.write(path, self.events(each))

    def events(self, each: Callable[[], Any]) -> Iterator[Contents]:
        """Yield what the target can hold of each event."""
        for event in self.source:
            if self.ident not in (None, event.ident):
                continue
            kept = self.kept(event)
            if any(kept.kinds()):
                self.num_written += 1
                yield kept
            else:
                self.num_empty += 1
            each()
        if not self.num_written:
            which = "no event of it has anything" if self.ident is None else f"no event {self.ident}, or it has nothing"
            raise DataError(f"{self.source.source}: {which} that the format '{self.target.name}' holds")

    def kept(self, event: Contents) -> Contents:
        """Return what the target can hold of an event."""
        made = self.points_of(event)
        lost = [kind for kind in event.kinds() if kind not in self.target.kinds]
        self.as_points.update(kind for kind in lost if kind in made)
        self.left_out.update(kind for kind in lost if kind not in made)
        points = dict(event.points) | {name: cloud for clouds in made.values() for name, cloud in clouds.items()}
        changes: dict[str, Any] = {kind: EMPTY[kind] for kind in lost} | ({"points": points} if made else {})
        return replace(event, **changes)

    def points_of(self, event: Contents) -> dict[str, dict[str, PointCloud]]:
        """Return blobs and depos as points, by kind and name, where the target holds points but not them."""
        if "points" not in self.target.kinds:
            return {}
        made = {}
        if event.blobs and "blobs" not in self.target.kinds:
            made["blobs"] = {name: as_points(graph, self.drift_speed) for name, graph in event.blobs.items()}
        if event.depos is not None and "depos" not in self.target.kinds:
            latest = event.depos.latest()
            made["depos"] = {"depos": PointCloud(latest.position, {"charge": -latest.charge})}
        return made

    def losses(self) -> Iterator[str]:
        """Yield a line for each thing that was not kept."""
        name = f"the format '{self.target.name}'"
        for kind, count in self.as_points.items():
            how = f", with x = slice time × {self.drift_speed:g} mm/µs" if kind == "blobs" else ""
            yield f"{kind} became points in {several(count)}{how}"
        for kind, count in self.left_out.items():
            but = ", but for what was made of them on reading" if kind == "tensors" and self.num_written else ""
            yield f"{kind} left out in {several(count)}{but}: {name} does not hold them"
        if self.num_empty:
            yield f"{several(self.num_empty)} with nothing to keep left out"
        if self.target.loses:
            yield f"not kept in {name}: {self.target.loses}"


def several(count: int) -> str:
    """Return a number of events in words."""
    return f"{count} event{'s' * (count != 1)}"
