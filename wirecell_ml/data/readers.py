"""The one door: a file of any known format is opened by what is in it, and its events come one at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path

from wirecell_ml.data import archive, container, foreign, hdf5, hdf5_access
from wirecell_ml.data.container import brief
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.json_source import beginning, is_json, keys_in
from wirecell_ml.data.source import Source
from wirecell_ml.errors import ConfigError, DataError, suggest

MODULES = {  # by kind of container, what is asked in this order whether it knows a file
    "archive": (
        *("archive", "depo_files", "cluster_numpy", "cluster_json", "tensor_files", "bee", "clus_points"),
        *("bundle", "plain_arrays"),
    ),
    "hdf5": ("pixels", "numl", "gnn_files", "hdf5"),
    "root": ("magnify", "prototype"),
    "json": ("cluster_json", "bee", "generator", "wires", "field_response", "noise_spectra", "waveforms"),
}
HDF5_SUFFIXES = (".h5", ".hdf5")
SUFFIXES = (*container.SUFFIXES, *HDF5_SUFFIXES)
MOST_NAMES = 100
MOST_PASSED = 1 << 20  # bytes of a tar that are unpacked to see names only


@dataclass(frozen=True)
class DataFile:
    """A file of a known format; iterating reads it, one event at a time."""

    source: Source
    format: Format

    def __iter__(self) -> Iterator[Contents]:
        return self.format.read(self.source)


def open(  # noqa: A001  (the word for it: wirecell_ml.data.open)
    place: str | Path | Source,
    format: str | None = None,  # noqa: A002
) -> DataFile:
    """Open a file by its path or URL, of the format that its content tells or that is named.

    Raises DataError where it is missing, empty or of no known format, ConfigError for an unknown ``format``.
    """
    source = Source.of(place)
    if format is not None:
        known = {one.name: one for one in formats()}
        if format not in known:
            raise ConfigError(f"format {format!r} is not known.{suggest(format, known)}")
        return DataFile(source, known[format])
    seen = peek(source)
    for one in formats(seen.container):
        if one.recognises(seen):
            return DataFile(source, one)
    raise DataError(f"{source}: {unknown(seen)}")


def formats(kind: str | None = None) -> Iterator[Format]:
    """Yield the formats that files of a kind of container may have, or all, each once."""
    modules = MODULES[kind] if kind else dict.fromkeys(name for names in MODULES.values() for name in names)
    for name in modules:
        held: Format = import_module(f"wirecell_ml.data.{name}").FORMAT
        yield held


def peek(source: Source) -> Peek:
    """Return the little of a file that tells its format; raises DataError where it is no container that is known."""
    with source.opened() as file:
        is_tree, start = hdf5_access.is_hdf5(file), file.read(512)
        file.seek(0)
        if is_tree:
            return Peek("hdf5", hdf5_names(source))
        if start.startswith(b"root"):
            return Peek("root", root_names(source))
        kind = container.kind_of(file, source)
    if kind == ".zip":
        return Peek("archive", tuple(member.name for member in islice(container.members(source), MOST_NAMES)))
    if is_json(text := beginning(source)):
        return Peek("json", keys_in(text))
    if kind == ".tar" and text[257:262] != b"ustar" and not source.name.endswith(".tar"):
        seems = foreign.told_by(text, source.name)
        raise DataError(f"{source}: {seems}; known are zip and tar archives, HDF5, ROOT and JSON")
    return Peek("archive", tuple(tar_names(source)))


def tar_names(source: Source) -> Iterator[str]:
    """Yield the first few names of members in a tar."""
    passed = 0
    for member in islice(container.members(source), 5):
        yield member.name
        passed += member.size
        if passed > MOST_PASSED:
            return


def hdf5_names(source: Source) -> tuple[str, ...]:
    """Return the first names in an HDF5 file, and then those in its first group as ``group/name``."""
    with hdf5_access.opened(source) as file:
        first = islice(hdf5_access.groups(file), 1)
        inner = (f"{name}/{key}" for name, group in first for key in islice(hdf5_access.names(group), MOST_NAMES))
        return (*islice(hdf5_access.names(file), MOST_NAMES), *inner)


def root_names(source: Source) -> tuple[str, ...]:
    """Return the names of the objects in a ROOT file."""
    from wirecell_ml.data.root_files import keys, opened  # uproot takes half a second to import

    with opened(source) as folder:
        return tuple(keys(folder))


def unknown(seen: Peek) -> str:
    """Return what to say of a file of no known format."""
    if model := foreign.model_in(seen.names):
        return model
    held = brief(", ".join(map(ascii, seen.names[:5])) or "nothing")
    known = ", ".join(one.name for one in formats(seen.container))
    return f"holds {held}, as no known format does; those of this kind ({seen.container}) are {known}"


def read_events(path: Path, tags: Sequence[str]) -> Iterator[tuple[int, dict[str, Frame]]]:
    """Yield the ident and the frames of each event in ``path``, by tag, one event at a time.

    A tag that an event does not hold is left out of its frames. Raises DataError for what cannot be read.
    """
    if path.name.endswith(HDF5_SUFFIXES):
        return read_hdf5(path, tags)
    return archive.read_events(path, tags)


def read_hdf5(path: Path, tags: Sequence[str]) -> Iterator[tuple[int, dict[str, Frame]]]:
    """Yield the events of a file of HDF5FrameTap."""
    for ident in hdf5.idents(path):
        held = hdf5.tags(path, ident)
        yield ident, {tag: hdf5.read_frame(path, ident, tag) for tag in tags if tag in held}


def find_frame_files(files: Sequence[str]) -> list[Path]:
    """Return the frame files that ``files`` name: themselves, those of a folder, or those of a glob, each once.

    Raises DataError where there is none, and where two have the same name without its suffix.
    """
    found = {path.resolve(): path for name in files for path in expand(Path(name).expanduser())}
    paths = sorted(found.values(), key=lambda path: (len(path.name), path.name))
    names = [stem(path) for path in paths]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise DataError(f"{twice}: two files have this name, and their results would have one, too; rename one")
    return paths


def expand(path: Path) -> list[Path]:
    """Return the frame files that one path stands for."""
    if path.is_dir():
        found = [one for one in sorted(path.iterdir()) if one.name.endswith(SUFFIXES)]
    elif any(sign in path.name for sign in "*?["):
        found = sorted(path.parent.glob(path.name))
    elif path.is_file():
        found = [path]
    else:
        raise DataError(f"{path}: no such file or folder")
    if not found:
        raise DataError(f"{path}: no frame files here. Known suffixes: {', '.join(SUFFIXES)}")
    return found


def stem(path: Path) -> str:
    """Return the name of a frame file without its suffix, which may be double."""
    suffix = next((one for one in sorted(SUFFIXES, key=len, reverse=True) if path.name.endswith(one)), path.suffix)
    return path.name.removesuffix(suffix)
