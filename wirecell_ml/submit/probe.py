"""A unit that tells what a site is like: the program of ``python -m wirecell_ml.submit check``.

Its parameter says what it looks at: "worker" (machine and Python), "mailbox" (the shared folder), "torch" (the packages
and the GPUs). What it found is in facts.json, in its own folder.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROBES: dict[str, Callable[[Path], dict[str, Any]]] = {}


def worker(_: Path) -> dict[str, Any]:
    """Return what the machine is."""
    import psutil

    import wirecell_ml

    return {
        "host": platform.node(),
        "cores of the unit": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "not limited"),
        "memory of the machine": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "python": f"{platform.python_version()} at {sys.executable}",
        "code": str(Path(wirecell_ml.__file__).parents[1]),
    }


def mailbox(unit: Path) -> dict[str, Any]:
    """Return how the shared folder behaves."""
    mark, link = unit / "probe", unit / "probe-link"
    began = time.time()
    mark.write_text("probe")
    written = time.time()
    os.link(mark, link)
    try:
        os.link(mark, link)
        refused = False
    except FileExistsError:
        refused = True
    assert refused, f"{unit}: a second link of one name was not refused: results could be written twice"
    return {
        "write": f"{1000 * (written - began):.1f} ms",
        "first link wins": refused,
        "clock of the folder": f"{mark.stat().st_mtime - began:+.2f} s from this machine's",
    }


def torch_probe(_: Path) -> dict[str, Any]:
    """Return what torch sees, after one step of a small network."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = torch.nn.Conv2d(3, 8, 3, padding=1).to(device)
    began = time.time()
    network(torch.randn(1, 3, 256, 256, device=device)).square().mean().backward()
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        "torch": torch.__version__,
        "GPUs": ", ".join(gpus) or "none",
        "threads": torch.get_num_threads(),
        "a small step": f"{1000 * (time.time() - began):.0f} ms on {device}",
    }


PROBES.update(worker=worker, mailbox=mailbox, torch=torch_probe)


def main() -> None:
    """Run the probe that the parameters name."""
    here = Path.cwd()
    unit = here.parents[1]
    name = json.loads((unit / "params.json").read_text())["probe"]
    (here / "facts.json").write_text(json.dumps(PROBES[name](unit)))
    (here / "summary.json").write_text(json.dumps({"metrics": {"probed": 1.0}}))


if __name__ == "__main__":
    main()
