"""What Kubernetes says of jobs, in our words: from the documents of a Job and its pods."""

from collections.abc import Sequence
from typing import Any

from wirecell_ml.submit.kubernetes.documents import Document
from wirecell_ml.submit.states import JobState

UNSTARTABLE = {  # reasons for which a container waits that waiting does not mend
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
}
ENDED = ("Succeeded", "Failed")  # phases of pods
LONGEST = 500  # characters of what is said


def state_of(job: Document | None, pods: Sequence[Document]) -> JobState:
    """Return the state of a job from its Job and its pods; one of them may be gone, not all."""
    if any(phase(pod) == "Running" for pod in pods):
        return JobState.RUNNING
    if job is None or condition(job, "Complete") or condition(job, "Failed"):
        return JobState.OUT_OF_MEMORY if any(out_of_memory(pod) for pod in pods) else JobState.ENDED
    pending = [pod for pod in pods if phase(pod) == "Pending"]
    if any(unstartable(pod) for pod in pending):
        return JobState.HELD
    return JobState.RUNNING if any(has_node(pod) for pod in pending) else JobState.WAITING


def why(job: Document | None, pods: Sequence[Document]) -> str:
    """Return what is said of a job, in a line: why its newest pod waits or how it ended; "" where all is well."""
    if not pods:
        failed = condition(job, "Failed") if job else None
        return line(failed) if failed else without_pods(job)
    pod = max(pods, key=lambda one: str(one["metadata"]["creationTimestamp"]))
    unscheduled = condition(pod, "PodScheduled", "False")
    said = [line(one) for kind in ("waiting", "terminated") for one in containers(pod, kind)]
    return "; ".join(filter(None, [line(pod["status"]), line(unscheduled or {}), *said]))[:LONGEST]


def without_pods(job: Document | None) -> str:
    """Return why a Job has no pod."""
    if job is None or condition(job, "Complete"):
        return ""
    if job["spec"].get("suspend"):
        return "suspended: its queue has not admitted it yet"
    return f"no pod yet: kubectl describe job {job['metadata']['name']} says why"


def line(said: Document) -> str:
    """Return reason, exit status and message of a condition or state, in one line; "" for an end without a fault."""
    status = said.get("exitCode")
    if status == 0:
        return ""
    parts = [said.get("reason", ""), "" if status is None else f"exit status {status}", said.get("message", "")]
    return ": ".join(" ".join(str(part).split()) for part in parts if part)


def condition(document: Document, kind: str, status: str = "True") -> Document | None:
    """Return a condition of a Job or pod, or None where it does not hold."""
    found: list[Document] = document["status"].get("conditions") or []
    return next((one for one in found if one["type"] == kind and one["status"] == status), None)


def phase(pod: Document) -> str:
    """Return the phase of a pod; a new one has yet to get it."""
    return str(pod["status"].get("phase", "Pending"))


def containers(pod: Document, kind: str) -> list[dict[str, Any]]:
    """Return the states of that kind that containers of a pod are in."""
    statuses = pod["status"].get("containerStatuses") or []
    return [one["state"][kind] for one in statuses if kind in (one.get("state") or {})]


def has_node(pod: Document) -> bool:
    """Return whether a pod waits for no node any more: it is being started, or runs and its node has yet to say so."""
    return bool(pod["spec"].get("nodeName"))


def unstartable(pod: Document) -> bool:
    """Return whether a pod can't be started."""
    return any(one.get("reason") in UNSTARTABLE for one in containers(pod, "waiting"))


def out_of_memory(pod: Document) -> bool:
    """Return whether the kernel ended a pod for its memory."""
    return any(one.get("reason") == "OOMKilled" for one in containers(pod, "terminated"))
