"""Frame files of any format that we read, told apart by their names."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from wirecell_ml.data import archive, hdf5
from wirecell_ml.data.frame import Frame
from wirecell_ml.errors import DataError

HDF5_SUFFIXES = (".h5", ".hdf5")
SUFFIXES = (*archive.SUFFIXES, *HDF5_SUFFIXES)


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
