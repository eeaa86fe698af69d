"""What travels with a job: a snapshot of the code, taken when a study is made. A later edit changes no job of it."""

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from wirecell_ml.errors import ConfigError
from wirecell_ml.paths import PACKAGE
from wirecell_ml.provenance import git_commit
from wirecell_ml.submit.parcel import LEFT_OUT

DIGEST_CHARACTERS = 12
LARGEST_BYTES = 50_000_000  # of a package of the user's own


def snapshot(study: Path, modules: Iterable[str] = ()) -> Path:
    """Copy our code, and the user's ``modules``, below ``study``; return the folder, named by its digest."""
    sources = dict(code_files(modules))
    target = study / "code" / digest(sources)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        copy = Path(folder) / "code"
        for name, source in sources.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy / name)
        (copy / "COMMIT").write_text(git_commit() or "unknown")
        copy.rename(target)
    return target


def code_files(modules: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Yield the name in a snapshot, and the place, of every file of code and configs."""
    yield from files_below(PACKAGE, PACKAGE.name)
    if not (PACKAGE / "configs").is_dir():
        yield from files_below(PACKAGE.parent / "configs", "configs")
    for module in sorted(set(modules)):
        yield from user_files(module)


def files_below(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    """Yield every file below ``folder``, under the name ``name``; what is hidden, as .env and .git, is not code."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and not LEFT_OUT & set(path.parts) and path.suffix != ".pyc":
            yield f"{name}/{path.relative_to(folder)}", path


def user_files(module: str) -> Iterator[tuple[str, Path]]:
    """Yield the files of a top-level module of the user's own; an installed one is on the worker already.

    Raises ConfigError for one that cannot be imported, or is too large to be copied.
    """
    spec = find_spec(module)
    if spec is None:
        raise ConfigError(f"cannot import '{module}'. Install it, or put its folder on PYTHONPATH")
    place = Path(spec.submodule_search_locations[0]) if spec.submodule_search_locations else Path(str(spec.origin))
    if not place.exists() or installed(place):
        return
    found = list(files_below(place, module)) if place.is_dir() else [(place.name, place)]
    if sum(path.stat().st_size for _, path in found) > LARGEST_BYTES:
        raise ConfigError(
            f"{place}: more than {LARGEST_BYTES / 1e6:.0f} MB to copy to the jobs. Install '{module}' instead"
        )
    yield from found


def installed(place: Path) -> bool:
    """Return whether a module belongs to the Python that runs this."""
    return any(place.is_relative_to(Path(root).resolve()) for root in {sys.prefix, sys.base_prefix})


def digest(sources: dict[str, Path]) -> str:
    """Return the digest of files by name and content."""
    total = hashlib.sha256()
    for name, source in sorted(sources.items()):
        total.update(f"{name} {hashlib.sha256(source.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()[:DIGEST_CHARACTERS]


def modules_of(config: Any) -> set[str]:
    """Return the top-level modules that the ``_target_`` entries of a flat config name."""
    if isinstance(config, dict):
        own = {str(config["_target_"]).partition(".")[0]} if "_target_" in config else set()
        return own.union(*(modules_of(value) for value in config.values())) - {PACKAGE.name}
    return set().union(*(modules_of(value) for value in config)) if isinstance(config, list) else set()
