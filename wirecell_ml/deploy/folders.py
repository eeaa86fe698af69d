"""Folders that appear whole or not at all."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wirecell_ml.errors import ConfigError


@contextmanager
def whole_folder(folder: Path, name: str) -> Iterator[Path]:
    """Give an empty folder that takes the place of ``folder`` at the end, unless something is raised before.

    Raises ConfigError for the ``name`` of a model that jobs and files cannot be called by.
    """
    if not re.fullmatch(r"[\w.-]+", name):
        raise ConfigError(f"name: '{name}' must be letters, digits, '_', '-' and '.': jobs and files are called by it")
    unfinished = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)  # noqa: PTH105
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
