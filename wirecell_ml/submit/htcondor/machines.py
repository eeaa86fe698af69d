"""The machines of a pool: what they have, what of it is free, and which jobs no machine could take."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wirecell_ml.errors import SubmitError, suggest
from wirecell_ml.submit.job import Resources
from wirecell_ml.submit.site import Site

ELASTIC = "GLIDEIN_Site"  # of machines that come when jobs wait for them: those of now say little about those to come
ATTRIBUTES = (
    *("TotalSlotCpus", "TotalSlotMemory", "TotalSlotGPUs", "Cpus", "Memory", "GPUs", "GPUs_DeviceName"),
    *("State", "SlotType", ELASTIC),
)
LIMITS = {  # setting → how its limit is said
    "cores": "machines of at most {:g} cores",
    "memory_gb": "machines of at most {:g} GB",
    "gpus": "machines of at most {:g} GPUs",
}


@dataclass(frozen=True)
class Machine:
    """What one slot of a pool has, of which jobs may have parts."""

    has: Resources
    free: Resources
    gpu_model: str  # "" without GPUs, and where they differ
    elastic: bool

    def fits(self, resources: Resources, gpu_model: str | None) -> bool:
        """Return whether a job could start here now."""
        right = not resources.gpus or not gpu_model or is_model(gpu_model, self.gpu_model)
        return right and all(getattr(resources, name) <= getattr(self.free, name) for name in LIMITS)


def machine(ad: dict[str, Any]) -> Machine:
    """Return a machine from its ad."""
    has = size(ad, "TotalSlot")
    free = size(ad, "") if ad.get("SlotType") == "Partitionable" or ad.get("State") == "Unclaimed" else Resources(0, 0)
    return Machine(has, free, str(ad.get("GPUs_DeviceName", "")), ELASTIC in ad)


def size(ad: dict[str, Any], prefix: str) -> Resources:
    """Return the cores, memory and GPUs of an ad that stand under names with a prefix."""
    cores, megabytes, gpus = (ad.get(prefix + name, 0) for name in ("Cpus", "Memory", "GPUs"))
    return Resources(int(cores), megabytes / 1000, int(gpus or 0))


def is_model(wanted: str, model: str) -> bool:
    """Return whether a GPU is of a model, whose name is part of the device's."""
    return wanted.casefold() in model.casefold()


def check_size(resources: Resources, site: Site, machines: Sequence[Machine]) -> None:
    """Raise SubmitError where a job is too large for every machine: it would wait for ever."""
    if resources.gpus and site.gpu_model:
        check_model(site.gpu_model, site, machines)
    for name, limit in LIMITS.items():
        wanted = getattr(resources, name)
        most = max((getattr(one.has, name) for one in machines), default=math.inf)
        if wanted > most:
            allowed = " that its requirements allow" if site.htcondor.requirements else ""
            raise SubmitError(
                f"site.resources.{name}={wanted:g}: {site.name} has {limit.format(most)}{allowed}. Ask for less"
            )


def check_model(model: str, site: Site, machines: Sequence[Machine]) -> None:
    """Raise SubmitError where the pool has GPUs, and none is of a model."""
    models = {one.gpu_model for one in machines if one.gpu_model}
    mixed = any(one.has.gpus and not one.gpu_model for one in machines)
    if models and not mixed and not any(is_model(model, one) for one in models):
        raise SubmitError(f"site.gpu_model: {site.name} has no GPU '{model}'.{suggest(model, models)}")
