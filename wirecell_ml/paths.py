"""Where the files that ship with the code are found: inside the wheel, or beside the package in a checkout."""

from pathlib import Path

PACKAGE = Path(__file__).parent
INSIDE = {
    "configs": PACKAGE / "configs",
    "data": PACKAGE / "data" / "_shipped",
    "models": PACKAGE / "models" / "_shipped",
    "submit": PACKAGE / "submit" / "_shipped",
}


def shipped(name: str) -> Path:
    """Return the folder ``name``, a key of ``INSIDE``, that was shipped with this installation."""
    inside = INSIDE[name]
    return inside if inside.is_dir() else PACKAGE.parent / name
