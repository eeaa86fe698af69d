"""PanDA's queues: whether one takes jobs of a size, and how long those wait."""

from collections.abc import Mapping, Sequence
from typing import Any

from wirecell_ml.errors import SubmitError, suggest
from wirecell_ml.submit.job import Resources
from wirecell_ml.submit.panda.reading import number
from wirecell_ml.submit.panda.task import settings
from wirecell_ml.submit.site import Site

LIMITS = {  # setting → the queue's own name for it, its units in one of ours, and how its limit is said
    "cores": ("coreCount", 1, "queues of at most {:g} cores"),
    "memory_gb": ("maxrss", 1000, "queues of at most {:g} GB"),
    "minutes": ("maxtime", 60, "a limit of {:g} minutes"),
}


def check_image(site: Site) -> None:
    """Raise SubmitError for a container that can change while a study runs; a file in CVMFS does not."""
    image = site.container.image if site.container else "/"
    if "@sha256:" not in image and not image.startswith("/"):
        raise SubmitError(
            f"site.container.image: '{image}' can change while a study runs. Name it by digest: IMAGE@sha256:…"
        )


def queues(known: Mapping[str, Mapping[str, Any]], site: Site) -> list[Mapping[str, Any]]:
    """Return the queues that a task may go to; raises SubmitError where there is none."""
    queue = settings(site).queue
    if queue is not None and queue not in known:
        raise SubmitError(f"site.panda.queue: {site.name} has no queue '{queue}'.{suggest(queue, known)}")
    found = [spec for name, spec in known.items() if queue in (None, name) and spec.get("status") == "online"]
    if not found:
        where = f"queue {queue} of {site.name} is not" if queue else f"no queue of {site.name} is"
        raise SubmitError(f"site.panda.queue: {where} online. Ask later, or name another one")
    return found


def check_size(resources: Resources, site: Site, found: Sequence[Mapping[str, Any]]) -> None:
    """Raise SubmitError where a job is too large for each queue; a limit of 0 is none."""
    for name, (attribute, unit, words) in LIMITS.items():
        most = max((number(spec.get(attribute)) or float("inf")) / unit for spec in found)
        wanted = getattr(resources, name)
        if wanted > most:
            limit = words.format(most)
            raise SubmitError(
                f"site.resources.{name}={wanted:g}: {site.name} has {limit}. Ask for less, or for another queue"
            )
    if resources.gpus > 1:
        raise SubmitError(
            f"site.resources.gpus={resources.gpus}: {site.name} has 1 for a job: PanDA can be told the kind of a "
            "GPU, and no number"
        )


def outlook_s(jobs: Mapping[str, Mapping[str, int]], minutes: int, queue: str | None) -> float | None:
    """Return how long those before a new job take if each runs for ``minutes``, None where none runs."""
    here = [counted for name, counted in jobs.items() if queue in (None, name)]
    waiting, running = (sum(counted.get(state, 0) for counted in here) for state in ("activated", "running"))
    if not waiting:
        return 0.0
    return 60.0 * minutes * waiting / running if running else None
