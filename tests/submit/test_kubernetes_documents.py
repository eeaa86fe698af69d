"""Kubernetes: what would be sent, and what is made of what the cluster says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.backend_contract import SMALL
from tests.records import RECORDS, check_record, read_site
from wirecell_ml.errors import ConfigError, SubmitError
from wirecell_ml.submit.backend import Refused, Unavailable, make_backend
from wirecell_ml.submit.job import Batch, Job, Resources
from wirecell_ml.submit.kubernetes import reading
from wirecell_ml.submit.kubernetes.api import Cluster
from wirecell_ml.submit.kubernetes.nodes import quantity
from wirecell_ml.submit.running import of_driver
from wirecell_ml.submit.site import Container, KubernetesSettings, Site
from wirecell_ml.submit.states import JobState

DIGEST = f"ghcr.io/dune/wirecell_ml@sha256:{'0' * 64}"


def there(**own: Any) -> Site:
    """Return a site that nobody is asked about."""
    return Site(
        name="cluster", kind="kubernetes", container=Container(image=DIGEST), kubernetes=KubernetesSettings(**own)
    )


def sent(site: Site, *command: str, resources: Resources = SMALL) -> Any:
    """Return the one Job that would be sent."""
    batch = Batch("roinet-0a1b2c", (Job("roinet-0a1b2c-0", command),), resources, Path("jobs"))
    (job,) = yaml.safe_load_all(make_backend(site).render(batch))
    return job


def pod_of(job: Any) -> Any:
    """Return what a Job says of its pod."""
    return job["spec"]["template"]["spec"]


def test_what_is_sent_is_on_record(tmp_path: Path) -> None:
    site = read_site(RECORDS / "kubernetes" / "site.yaml")
    check_record(site, RECORDS / "kubernetes" / "jobs.yaml", tmp_path)


def test_a_job_is_tried_once_and_again_only_after_an_eviction() -> None:
    spec = sent(there(), "true")["spec"]
    assert spec["backoffLimit"] == 0
    assert spec["podReplacementPolicy"] == "Failed"
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")


def test_a_job_for_kueue_waits_until_it_is_admitted() -> None:
    job = sent(there(queue="gpus"), "true")
    assert job["spec"]["suspend"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert not sent(there(), "true")["spec"]["suspend"]


def test_a_gpu_of_a_model_is_asked_for_on_nodes_that_have_it() -> None:
    site = replace(there(node_selector={"zone": "a"}), gpu_model="NVIDIA-H200")
    pod = pod_of(sent(site, "true", resources=Resources(cores=2, memory_gb=1.5, gpus=1)))
    assert pod["nodeSelector"] == {"zone": "a", "nvidia.com/gpu.product": "NVIDIA-H200"}
    sizes = {"cpu": "2", "memory": "1500M", "nvidia.com/gpu": "1"}
    assert pod["containers"][0]["resources"] == {"requests": sizes, "limits": sizes}


def test_a_pod_has_no_more_rights_than_it_needs() -> None:
    pod = pod_of(sent(there(), "true"))
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod_of(sent(there(service_account="mine"), "true"))["automountServiceAccountToken"] is True


def test_secrets_are_named_and_never_read() -> None:
    job = sent(replace(there(secrets=["bucket"]), environment={"KUBECONFIG": "/home/you/login"}), "true")
    container = pod_of(job)["containers"][0]
    assert container["envFrom"] == [{"secretRef": {"name": "bucket"}}]
    assert "KUBECONFIG" not in [one["name"] for one in container["env"]], "which is the driver's own"


def test_an_image_without_a_digest_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        make_backend(replace(there(), container=Container(image="docker://host:5000/wirecell_ml:v1")))
    assert str(caught.value) == (
        "site.container.image=host:5000/wirecell_ml:v1: a tag may mean another image tomorrow. Write its digest, "
        "host:5000/wirecell_ml@sha256:…, or localhost/… for one that the nodes have"
    )


def test_a_site_without_an_image_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"site\.container: Kubernetes runs units in an image"):
        make_backend(replace(there(), container=None))


@pytest.mark.parametrize(
    ("volume", "said"),
    [
        ({"claim": "data", "on": "/data"}, r"site\.kubernetes\.volumes\[0\]: 'on' is not known"),
        ({"claim": "data"}, r"site\.kubernetes\.volumes\[0\]: write {claim: NAME, at: FOLDER}, or"),
        ({"claim": "data", "host": "/data", "at": "/data"}, "write {claim: NAME, at: FOLDER}, or"),
    ],
)
def test_a_volume_that_is_none_is_refused(volume: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_backend(there(volumes=[volume]))


@pytest.mark.parametrize(
    ("text", "number"), [("2", 2), ("1930m", 1.93), ("16265340Ki", 16265340 * 1024), ("4G", 4e9), ("1e3", 1000)]
)
def test_sizes_of_nodes_are_numbers(text: str, number: float) -> None:
    assert quantity(text) == pytest.approx(number)


def pod_in(phase: str, node: str = "", **container: Any) -> Any:
    """Return the document of a pod, as far as it is read."""
    status = {"phase": phase, "containerStatuses": [{"state": container}]}
    return {
        "metadata": {"creationTimestamp": "2026-01-01"},
        "spec": {"nodeName": node} if node else {},
        "status": status,
    }


def job_in(*conditions: str, suspend: bool = False) -> Any:
    """Return the document of a Job, as far as it is read."""
    held = [{"type": one, "status": "True"} for one in conditions]
    return {"metadata": {"name": "a-0"}, "spec": {"suspend": suspend}, "status": {"conditions": held}}


@pytest.mark.parametrize(
    ("job", "pods", "state"),
    [
        (job_in(), [], JobState.WAITING),
        (job_in(), [pod_in("Pending")], JobState.WAITING),
        (job_in(), [pod_in("Pending", "node")], JobState.RUNNING),  # its image is fetched
        (job_in(), [pod_in("Pending", "node", waiting={"reason": "ErrImagePull"})], JobState.HELD),
        (job_in(), [pod_in("Failed", "node")], JobState.WAITING),  # another pod may follow
        (job_in(), [pod_in("Failed", "node"), pod_in("Running", "node")], JobState.RUNNING),
        (job_in("Failed"), [pod_in("Failed", "node")], JobState.ENDED),
        (job_in("Failed"), [pod_in("Failed", terminated={"reason": "OOMKilled"})], JobState.OUT_OF_MEMORY),
        (job_in("Complete"), [], JobState.ENDED),
        (None, [pod_in("Running", "node")], JobState.RUNNING),  # deleted, and still at its checkpoint
        (None, [pod_in("Pending")], JobState.ENDED),
    ],
)
def test_a_job_and_its_pods_say_one_state(job: Any, pods: list[Any], state: JobState) -> None:
    assert reading.state_of(job, pods) is state


def test_a_job_without_a_pod_says_why() -> None:
    assert reading.why(job_in(suspend=True), []) == "suspended: its queue has not admitted it yet"
    assert reading.why(job_in(), []) == "no pod yet: kubectl describe job a-0 says why"


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    site = replace(there(), environment={"KUBECONFIG": str(tmp_path / "nowhere")})
    with pytest.raises(SubmitError, match="site cluster: no login to a cluster"):
        make_backend(site).check(SMALL)


@pytest.mark.parametrize("data", [b"{}", b"", b"<html>", b"[]", b'{"items": []}', b'{"items": 1, "metadata": {}}'])
def test_an_answer_that_is_no_list_is_no_answer(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cluster, "ask", lambda *_, **__: data)
    with pytest.raises(Unavailable, match="the API server of Kubernetes: its answer is no list of documents"):
        make_backend(there()).states(["a-0"])


def test_a_list_of_nothing_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cluster, "ask", lambda *_, **__: b'{"items": null, "metadata": {}}')
    assert make_backend(there()).states(["a-0"]) == {}


def test_who_has_no_kubeconfig_at_all_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "nowhere"))
    with pytest.raises(SubmitError, match=r"no login to a cluster: .* Keep its kubeconfig at ~/\.kube/config"):
        make_backend(there()).check(SMALL)


def test_a_driver_without_a_login_in_its_pod_is_not_sent(tmp_path: Path) -> None:
    alone = Batch("roinet-driver", (Job("roinet-driver-0", ("true",)),), SMALL, tmp_path, alone=True)
    with pytest.raises(Refused, match=r"Name a service account .* in site\.kubernetes\.service_account"):
        make_backend(there()).submit(alone)


def test_the_job_of_a_driver_is_in_the_image_of_the_site_where_all_jobs_are() -> None:
    assert of_driver(there()).container == Container(image=DIGEST)
    assert of_driver(replace(there(), kind="slurm")).container is None, "where sbatch is, and not in the image"


def test_a_driver_is_not_sent_where_jobs_do_not_see_the_study() -> None:
    with pytest.raises(ConfigError, match="driver=job: jobs at cluster do not see the folder of the study"):
        of_driver(replace(there(), mailbox="s3://bucket/mail"))
