"""What the nodes of a cluster have, and whether a job fits on one of them."""

import math
import re
from collections.abc import Sequence

from wirecell_ml.errors import SubmitError, suggest
from wirecell_ml.submit.job import Resources
from wirecell_ml.submit.kubernetes.documents import GPU, GPU_MODEL, Document
from wirecell_ml.submit.site import Site

UNITS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
UNITS |= {f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTP", 1)}
QUANTITY = re.compile(r"([0-9.]+(?:[eE][0-9]+)?)([A-Za-z]*)")

LIMITS = {  # setting → name in Kubernetes, how many of ours one of theirs is, how the limit is said
    "cores": ("cpu", 1.0, "nodes of at most {:g} cores"),
    "memory_gb": ("memory", 1e-9, "nodes of at most {:.1f} GB"),
    "gpus": (GPU, 1.0, "nodes of at most {:g} GPUs"),
}


def check_size(resources: Resources, site: Site, nodes: Sequence[Document]) -> None:
    """Raise SubmitError where no node that the site selects could take a job of this size: it would wait for ever."""
    selected = select(nodes, site)
    models = {labels(node)[GPU_MODEL] for node in selected if GPU_MODEL in labels(node)}
    if resources.gpus and site.gpu_model:
        if site.gpu_model not in models:
            raise SubmitError(
                f"site.gpu_model: {site.name} has no GPU '{site.gpu_model}'.{suggest(site.gpu_model, models)}"
            )
        selected = [node for node in selected if labels(node).get(GPU_MODEL) == site.gpu_model]
    for name, (theirs, factor, said) in LIMITS.items():
        wanted = getattr(resources, name)
        most = max((factor * quantity(node["status"]["allocatable"].get(theirs, "0")) for node in selected), default=0)
        if wanted > most:
            raise SubmitError(f"site.resources.{name}={wanted:g}: {site.name} has {said.format(most)}. Ask for less")


def select(nodes: Sequence[Document], site: Site) -> list[Document]:
    """Return the nodes that the site selects; raises SubmitError where there is none."""
    wanted = site.kubernetes.node_selector
    found = [node for node in nodes if wanted.items() <= labels(node).items()]
    if not found:
        has = {f"{name}={value}" for node in nodes for name, value in labels(node).items() if name in wanted}
        raise SubmitError(
            f"site.kubernetes.node_selector: {site.name} has no node with "
            f"{', '.join(f'{name}={value}' for name, value in wanted.items())}. "
            f"These labels have the values: {', '.join(sorted(has)) or 'none'}"
        )
    return found


def labels(node: Document) -> dict[str, str]:
    """Return the labels of a node."""
    found: dict[str, str] = node["metadata"].get("labels") or {}
    return found


def quantity(text: str) -> float:
    """Return the number that Kubernetes writes as 1930m, 16265340Ki or 2."""
    match = QUANTITY.fullmatch(text)
    return float(match[1]) * UNITS[match[2]] if match and match[2] in UNITS else math.inf
