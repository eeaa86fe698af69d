"""What is sent to Kubernetes: a batch/v1 Job for each job of a batch, as a function of batch and site alone.

A server drops the fields that it is too old for: ttlSecondsAfterFinished before 1.23, suspend before 1.24,
podFailurePolicy before 1.31, podReplacementPolicy before 1.34.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.submit.job import Batch, Job
from wirecell_ml.submit.site import Site

BATCH, TOKEN = "wirecell-ml/batch", "wirecell-ml/token"  # labels of jobs and their pods
QUEUE = "kueue.x-k8s.io/queue-name"
GPU, GPU_MODEL = "nvidia.com/gpu", "nvidia.com/gpu.product"
KEPT_S = 7 * 86400  # that an ended job, with what it printed, stays in the cluster
OVERTIME_S = 900  # that a pod may outlive its minutes, of which the first may go into fetching its image
CLIENT = {"KUBECONFIG"}  # variables of ours alone, not of the pods
TAG = re.compile(r"[:@][^:/]*$")
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
LOCAL = "localhost/"  # begin of the name of an image that only the node has, and no registry
VOLUME = {"claim", "host", "at", "read_only"}
REPLACED = {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}

Document = dict[str, Any]


def documents(batch: Batch, site: Site) -> list[Document]:
    """Return the Jobs of a batch."""
    return [document(job, batch, site) for job in batch.jobs]


def document(job: Job, batch: Batch, site: Site) -> Document:
    """Return the Job of one job; a second one of its name is never taken, so that it can't be sent twice."""
    labels = {"app.kubernetes.io/managed-by": "wirecell_ml", BATCH: batch.name, TOKEN: job.token}
    queue = {QUEUE: site.kubernetes.queue} if site.kubernetes.queue else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job.token, "namespace": site.kubernetes.namespace, "labels": labels | queue},
        "spec": {
            "backoffLimit": 0,
            "podFailurePolicy": REPLACED,  # a pod that is evicted starts again; one that fails does not
            "podReplacementPolicy": "Failed",  # not before the pod that it replaces is gone
            "suspend": bool(queue),
            "ttlSecondsAfterFinished": KEPT_S,
            "template": {"metadata": {"labels": labels}, "spec": pod(job, batch, site)},
        },
    }


def pod(job: Job, batch: Batch, site: Site) -> Document:
    """Return the pod of a job."""
    own, volumes = site.kubernetes, site.kubernetes.volumes
    models = {GPU_MODEL: site.gpu_model} if batch.resources.gpus and site.gpu_model else {}
    selector = own.node_selector | models
    return {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": 60 * batch.resources.minutes + OVERTIME_S,
        "terminationGracePeriodSeconds": site.signal_s,
        "shareProcessNamespace": True,  # so that no job is process 1, to which signals mean nothing
        "enableServiceLinks": False,
        "automountServiceAccountToken": own.service_account is not None,
        **({"serviceAccountName": own.service_account} if own.service_account else {}),
        **({"nodeSelector": selector} if selector else {}),
        "containers": [container(job, batch, site)],
        "volumes": [
            {"name": "shm", "emptyDir": {"medium": "Memory"}},  # the default, 64 MB, is too little for data loaders
            *(volume(number, given) for number, given in enumerate(volumes)),
        ],
    }


def container(job: Job, batch: Batch, site: Site) -> Document:
    """Return the one container of a pod."""
    name = image(site)
    sizes = {"cpu": str(batch.resources.cores), "memory": f"{round(1000 * batch.resources.memory_gb)}M"}
    gpus = {GPU: str(batch.resources.gpus)} if batch.resources.gpus else {}
    variables = {"OMP_NUM_THREADS": str(batch.resources.cores)} | site.environment
    mounts = [
        {"name": f"volume-{number}", "mountPath": given["at"], "readOnly": is_read_only(given)}
        for number, given in enumerate(site.kubernetes.volumes)
    ]
    return {
        "name": "unit",
        "image": name,
        "imagePullPolicy": "Never" if name.startswith(LOCAL) else "IfNotPresent",
        "command": [literal(word) for word in prepared(job.command, site.setup)],
        "env": [{"name": key, "value": literal(variables[key])} for key in variables if key not in CLIENT],
        "envFrom": [{"secretRef": {"name": secret}} for secret in site.kubernetes.secrets],
        "resources": {"requests": sizes | gpus, "limits": sizes | gpus},
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}, *mounts],  # noqa: S108
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def prepared(command: Sequence[str], setup: Sequence[str]) -> list[str]:
    """Return a command that runs after the shell lines of a site."""
    return ["sh", "-ec", "\n".join([*setup, 'exec "$0" "$@"']), *command] if setup else list(command)


def literal(text: str) -> str:
    """Return text that stands for itself where Kubernetes would put variables in."""
    return text.replace("$", "$$")


def volume(number: int, given: Mapping[str, str]) -> Document:
    """Return a volume of a pod: a claim, or a folder of the node."""
    if "claim" in given:
        return {"name": f"volume-{number}", "persistentVolumeClaim": {"claimName": given["claim"]}}
    return {"name": f"volume-{number}", "hostPath": {"path": given["host"]}}


def is_read_only(given: Mapping[str, str]) -> bool:
    """Return whether pods may only read a volume."""
    return str(given.get("read_only", False)).lower() == "true"


def image(site: Site) -> str:
    """Return the image that units run in; raises ConfigError for one that may change from one pod to the next."""
    if site.container is None:
        raise ConfigError("site.container: Kubernetes runs units in an image. Write {image: …@sha256:…}")
    name = site.container.image.removeprefix("docker://")
    if not DIGEST.search(name) and not name.startswith(LOCAL):
        raise ConfigError(
            f"site.container.image={name}: a tag may mean another image tomorrow. Write its digest, "
            f"{TAG.sub('', name)}@sha256:…, or {LOCAL}… for one that the nodes have"
        )
    return name


def check_volumes(site: Site) -> None:
    """Raise ConfigError for a volume that is none."""
    for number, given in enumerate(site.kubernetes.volumes):
        where = f"site.kubernetes.volumes[{number}]"
        for name in given:
            if name not in VOLUME:
                raise ConfigError(f"{where}: '{name}' is not known.{suggest(name, VOLUME)}")
        if "at" not in given or len({"claim", "host"} & set(given)) != 1:
            raise ConfigError(f"{where}: write {{claim: NAME, at: FOLDER}}, or {{host: FOLDER, at: FOLDER}}")
