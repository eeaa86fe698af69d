"""TorchScript files: written without traces of this machine, and read without running a stranger's code."""

import hashlib
import os
import re
import warnings
import zipfile
import zlib
from pathlib import Path

import torch
from torch import nn

from wirecell_ml.errors import DataError

# What TorchScript can call to touch files, and a getattr whose name is not spelled out, which could be any of it.
# Looked for before loading, since torch.jit.load runs a class's __setstate__
TOUCHES_FILES = re.compile(rb'\b(?:save|load|from_file)\b|\bgetattr\b(?!\([\w.]+, "\w*"\))')


def compiled(module: nn.Module) -> torch.jit.ScriptModule:
    """Return ``module`` scripted in evaluation mode and frozen: its answers are the same, bit for bit.

    Raises DataError for a module that TorchScript cannot express.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # torch would rather have torch.export; WCT loads TorchScript
        try:
            frozen: torch.jit.ScriptModule = torch.jit.freeze(torch.jit.script(module.eval()), optimize_numerics=False)
        except (RuntimeError, torch.jit.frontend.FrontendError) as error:
            reason = str(error).strip().splitlines()[0]
            raise DataError(f"{type(module).__name__} cannot be written as TorchScript: {reason}") from error
    return frozen


def save(module: torch.jit.ScriptModule, path: Path) -> str:
    """Write ``module`` to ``path`` and return the SHA-256 of the file.

    The debug records that torch adds name the source files of this machine, and are left out.
    """
    whole = path.with_name(path.name + ".partial")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(module, str(whole))
    lean = path.with_name(path.name + ".lean.partial")
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(lean, "w") as target:
        for member in source.infolist():
            if not member.filename.endswith(".debug_pkl"):
                target.writestr(member, source.read(member))
    whole.unlink()
    os.replace(lean, path)  # noqa: PTH105
    return sha256(path)


def load(path: Path) -> torch.jit.ScriptModule:
    """Return the TorchScript module in ``path``, on the CPU, in the mode that it was saved in.

    Raises DataError, before anything is loaded, for what is not TorchScript, and for code that touches files.
    """
    check_archive(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            module: torch.jit.ScriptModule = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise DataError(
                f"{path}: damaged, or written by a newer torch than {torch.__version__} ({reason})"
            ) from error
    return module


def check_archive(path: Path) -> None:
    """Raise DataError unless ``path`` is a TorchScript archive whose code leaves files alone; nothing is unpickled."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"{path}: not TorchScript, and left unopened since a pickle can run code. "
            "Wire-Cell loads what torch.jit.save wrote; write it with python -m wirecell_ml.export or adopt"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            code = {name: archive.read(name) for name in names if re.search(r"/code/.*\.py$", name, re.I | re.S)}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
        raise DataError(f"{path}: damaged or truncated, copy it again ({error})") from error
    if len(set(names)) < len(names):
        raise DataError(
            f"{path}: holds two members of one name, so that what is checked need not be what runs; refused"
        )
    if not code:
        raise DataError(
            f"{path}: a pickle of torch.save without TorchScript code, left unopened since it can run code. "
            "Wire-Cell loads what torch.jit.save wrote; write it with python -m wirecell_ml.export or adopt"
        )
    for name, text in code.items():
        found = TOUCHES_FILES.search(text)
        if found:
            raise DataError(f"{path}: its code names '{found[0].decode()}' in {name}, which touches files; refused")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
