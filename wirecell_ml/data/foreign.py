"""Files that hold no data but lie beside it: what to say of one that somebody opens all the same."""

import re
from collections.abc import Sequence

SCRIPT = re.compile(r"[^/]+/(code/.*|constants\.pkl)")  # members that only TorchScript has
TENSOR = re.compile(r"[^/]+/data/[0-9]+")  # come first in TorchScript, after data.pkl in what torch.save writes
WEIGHTS = re.compile(r"[^/]+/data\.pkl")
JSONNET = (".jsonnet", ".libsonnet")
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")  # bytes that no text has


def model_in(members: Sequence[str]) -> str | None:
    """Return what kind of network an archive that begins with such members is; None if it is none."""
    first = members[0] if members else ""
    if TENSOR.fullmatch(first) or any(map(SCRIPT.fullmatch, members)):
        return "a TorchScript model, no data; python -m wirecell_ml.export check=FILE looks at it"
    if WEIGHTS.fullmatch(first):
        return "weights or a checkpoint of PyTorch, no data"
    return None


def told_by(start: bytes, name: str) -> str:
    """Return what a file seems to be that begins with ``start`` and is no container of data."""
    if name.endswith(JSONNET):
        return "a Jsonnet configuration of wire-cell, no data"
    if not CONTROL.search(start):
        return "text, no data"
    return f"begins with {start[:8]!r}"
