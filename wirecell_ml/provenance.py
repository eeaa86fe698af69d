"""Where a result comes from: the code, the config, the data and the machine."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from wirecell_ml import __version__
from wirecell_ml.paths import PACKAGE

PACKAGES = ("torch", "lightning", "hydra-core", "h5py", "numpy")


def digest(value: Any) -> str:
    """Return the SHA-256 of ``value`` written as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def config_digest(cfg: DictConfig) -> str:
    """Return the digest of a config, less where its files lie on this machine and what is measured at the end."""
    settings: Any = OmegaConf.to_container(cfg)
    for name in ("resume", "evaluate", "latency"):
        del settings[name]
    for name in ("files", "cache"):
        settings["data"].pop(name, None)
    return digest(settings)


def git_commit() -> str | None:
    """Return the commit of the code that runs, with ``+changes`` where files of a checkout differ from it.

    A copy of a checkout says it in its file ``COMMIT``; without one the answer is None.
    """
    checkout = PACKAGE.parent
    if not (checkout / ".git").exists():
        kept = checkout / "COMMIT"
        return kept.read_text().strip() if kept.is_file() else None
    try:
        commit = git(checkout, "rev-parse", "HEAD")
        return commit + ("+changes" if git(checkout, "status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def git(folder: Path, *arguments: str) -> str:
    """Return what ``git`` prints in ``folder``."""
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603


def record(path: Path, cfg: DictConfig, data_digest: str, **facts: Any) -> None:
    """Write to ``path``, as JSON, everything needed to tell this run from another."""
    facts_of_run = {
        "wirecell_ml": __version__,
        "commit": git_commit(),
        "config_digest": config_digest(cfg),
        "data_digest": data_digest,
        "arguments": sys.argv[1:],
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        **facts,
    }
    path.write_text(json.dumps(facts_of_run, indent=2) + "\n")
