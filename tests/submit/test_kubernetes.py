"""The backend of Kubernetes: what it would send, what it makes of answers, and its promises on a real cluster."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from tests.backend_contract import SLOW, SMALL, Contract, batch_of, tokens, units, written
from tests.kubernetes_cluster import NODE, KubernetesCluster
from tests.sweeping import wait_for
from wirecell_ml.errors import ConfigError, SubmitError
from wirecell_ml.paths import PACKAGE
from wirecell_ml.submit.backend import Refused, Unavailable, make_backend
from wirecell_ml.submit.job import Batch, Job, Resources
from wirecell_ml.submit.kubernetes import api, reading
from wirecell_ml.submit.kubernetes.nodes import quantity
from wirecell_ml.submit.local import RUNNER
from wirecell_ml.submit.site import Container, KubernetesSettings, Site
from wirecell_ml.submit.states import JobState

DIGEST = f"ghcr.io/dune/wirecell_ml@sha256:{'0' * 64}"
RECORD = PACKAGE.parent / "submit" / "sites" / "kubernetes"
STUDY = Path("/shared/sweeps/roinet")
HUNGRY = "held = bytearray(900_000_000)"


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
    loaded = OmegaConf.merge(OmegaConf.structured(Site), OmegaConf.load(RECORD / "site.yaml"))
    site = OmegaConf.to_object(loaded)
    assert isinstance(site, Site)
    start = ["env", f"PYTHONPATH={STUDY}/code/0123456789ab", str(site.python), "-P", "-m", RUNNER]
    names = [f"roinet-0a1b2c-{number}" for number in range(2)]
    jobs = [Job(name, (*start, f"{STUDY}/units/{number:06d}", "1", name)) for number, name in enumerate(names)]
    now = tmp_path / "jobs.yaml"
    now.write_text(make_backend(site).render(Batch("roinet-0a1b2c", tuple(jobs), site.resources, STUDY / "jobs")))
    kept = (RECORD / "jobs.yaml").read_text() if (RECORD / "jobs.yaml").is_file() else ""
    assert now.read_text() == kept, f"what is sent has changed. If that is meant, accept it: cp {now} {RECORD}"


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


class TestKubernetes(Contract):
    @pytest.fixture
    def site(self, kubernetes: KubernetesCluster) -> Iterator[Site]:
        yield kubernetes.site()
        kubernetes.forget()

    def test_sent_again_a_job_is_the_same_job(self, site: Site, kubernetes: KubernetesCluster, tmp_path: Path) -> None:
        boxes, batch = units(tmp_path, 2)
        make_backend(site).submit(batch)
        make_backend(site).submit(batch)
        wait_for(lambda: all(box.result() for box in boxes), 120)
        assert sorted(job["metadata"]["name"] for job in kubernetes.jobs(batch.name)) == tokens(batch)
        assert len(kubernetes.pods(batch.name)) == 2

    def test_a_job_whose_memory_runs_out_says_so(self, site: Site, tmp_path: Path) -> None:
        batch = batch_of(tmp_path, [[sys.executable, "-c", HUNGRY]])
        backend = make_backend(site)
        backend.submit(batch)
        ((token,)) = tokens(batch)
        wait_for(lambda: backend.states([token]).get(token) is JobState.OUT_OF_MEMORY, 120)
        assert "OOMKilled" in backend.explain(token)

    def test_an_image_that_cannot_be_fetched_holds_a_job(self, site: Site, tmp_path: Path) -> None:
        nowhere = Container(image=f"127.0.0.1:1/nobody@sha256:{'0' * 64}")
        batch = batch_of(tmp_path, [["true"]])
        backend = make_backend(replace(site, container=nowhere))
        backend.submit(batch)
        (token,) = tokens(batch)
        wait_for(lambda: backend.states([token]).get(token) is JobState.HELD, 120)
        assert "127.0.0.1:1" in backend.explain(token)

    def test_a_node_that_there_is_not_is_waited_for_and_said(self, site: Site, tmp_path: Path) -> None:
        far = replace(site, kubernetes=replace(site.kubernetes, node_selector={"zone": "mars"}))
        batch = batch_of(tmp_path, [["true"]])
        backend = make_backend(far)
        backend.submit(batch)
        (token,) = tokens(batch)
        wait_for(lambda: backend.explain(token).startswith("Unschedulable: "), 120)
        assert backend.states([token]) == {token: JobState.WAITING}
        with pytest.raises(SubmitError, match=r"site\.kubernetes\.node_selector: cluster has no node with zone=mars"):
            backend.check(SMALL)

    def test_why_a_job_ended_is_its_last_words(self, site: Site, tmp_path: Path) -> None:
        batch = batch_of(tmp_path, [["sh", "-c", "echo no such luck; exit 3"]])
        backend = make_backend(site)
        backend.submit(batch)
        (token,) = tokens(batch)
        wait_for(lambda: backend.states([token]).get(token) is JobState.ENDED, 120)
        assert backend.explain(token) == "Error: exit status 3: no such luck"

    def test_a_program_that_is_not_there_ends_its_job(self, site: Site, tmp_path: Path) -> None:
        batch = batch_of(tmp_path, [["no-such-program"]])
        backend = make_backend(site)
        backend.submit(batch)
        (token,) = tokens(batch)
        wait_for(lambda: backend.states([token]).get(token) is JobState.ENDED, 120)
        assert "no-such-program" in backend.explain(token)

    def test_setup_goes_before_the_unit(self, site: Site, tmp_path: Path) -> None:
        prepared = replace(site, setup=["export FLAVOUR=strange", "cd /usr"])
        tell = "import json, os, sys; json.dump([os.getcwd(), os.environ['FLAVOUR']], open(sys.argv[1], 'w'))"
        make_backend(prepared).submit(batch_of(tmp_path, [[sys.executable, "-c", tell, str(tmp_path / "0")]]))
        assert written(tmp_path / "0") == ["/usr", "strange"]

    def test_a_secret_arrives_as_variables(self, site: Site, kubernetes: KubernetesCluster, tmp_path: Path) -> None:
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bucket"}, "stringData": {"KEY": "open"}}
        kubernetes.ask("POST", "/api/v1/namespaces/default/secrets", secret)
        own = replace(site, kubernetes=replace(site.kubernetes, secrets=["bucket"]))
        tell = "import json, os, sys; json.dump([os.environ['KEY']], open(sys.argv[1], 'w'))"
        try:
            make_backend(own).submit(batch_of(tmp_path, [[sys.executable, "-c", tell, str(tmp_path / "0")]]))
            assert written(tmp_path / "0") == ["open"]
        finally:
            kubernetes.ask("DELETE", "/api/v1/namespaces/default/secrets/bucket")

    def test_a_gpu_is_given_to_one_job_at_a_time(
        self, site: Site, kubernetes: KubernetesCluster, tmp_path: Path
    ) -> None:
        label = {"nvidia.com/gpu.product": "NVIDIA-H200"}
        kubernetes.patch_node({"metadata": {"labels": label}})
        kubernetes.patch_node({"status": {"capacity": {"nvidia.com/gpu": "1"}}}, "/status")
        _, batch = units(tmp_path, 2, replace(SMALL, gpus=1, memory_gb=0.2))
        own = replace(site, gpu_model="NVIDIA-H200", environment=site.environment | SLOW)
        backend = make_backend(own)
        wait_for(lambda: gpus(kubernetes) == "1", 60)
        backend.check(batch.resources)
        with pytest.raises(
            SubmitError, match=r"site\.gpu_model: cluster has no GPU 'H200'. Did you mean 'NVIDIA-H200'"
        ):
            make_backend(replace(own, gpu_model="H200")).check(batch.resources)
        backend.submit(batch)
        try:
            one_of_two = [JobState.RUNNING, JobState.WAITING]
            wait_for(lambda: sorted(backend.states(tokens(batch)).values()) == one_of_two, 120)
            said = ["", "Unschedulable: "]  # once the other one's pod says that it runs
            wait_for(lambda: sorted(backend.explain(token)[:15] for token in tokens(batch)) == said, 120)
        finally:
            backend.cancel(tokens(batch))
            kubernetes.patch_node({"status": {"capacity": {"nvidia.com/gpu": "0"}}}, "/status")

    def test_what_the_namespace_may_not_have_is_refused(
        self, site: Site, kubernetes: KubernetesCluster, tmp_path: Path
    ) -> None:
        kubernetes.ask("POST", "/api/v1/namespaces/default/resourcequotas", quota(jobs=1))
        batch = batch_of(tmp_path, [["true"]] * 2)
        try:
            wait_for(lambda: "used" in kubernetes.ask("GET", QUOTA)["status"], 60)
            with pytest.raises(Unavailable, match=r"only 1 of 2 jobs were taken: .*exceeded quota"):
                make_backend(site).submit(batch)
            with pytest.raises(Refused, match="exceeded quota"):
                make_backend(site).submit(batch_of(tmp_path, [["true"]]))
            with pytest.raises(SubmitError, match=r"Kubernetes would refuse such a job: .*exceeded quota"):
                make_backend(site).check(SMALL)
        finally:
            kubernetes.ask("DELETE", QUOTA)

    def test_a_namespace_that_is_not_there_is_refused(self, site: Site) -> None:
        elsewhere = replace(site, kubernetes=replace(site.kubernetes, namespace="nowhere"))
        with pytest.raises(SubmitError, match='would refuse such a job: namespaces "nowhere" not found'):
            make_backend(elsewhere).check(SMALL)

    def test_a_context_that_is_not_there_is_named_with_the_near_one(self, site: Site) -> None:
        elsewhere = replace(site, kubernetes=replace(site.kubernetes, context="admni"))
        with pytest.raises(SubmitError, match=r"the kubeconfig has no 'admni'\. Did you mean 'admin'"):
            make_backend(elsewhere).check(SMALL)

    def test_jobs_are_seen_however_many_answers_that_takes(
        self, site: Site, kubernetes: KubernetesCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api, "PAGE", 10)
        batch = batch_of(tmp_path, [["true"]] * 35)
        backend = make_backend(site)
        with kubernetes.nothing_starts():
            backend.submit(batch)
            assert backend.states(tokens(batch)) == dict.fromkeys(tokens(batch), JobState.WAITING)
            backend.cancel(tokens(batch))
            wait_for(lambda: backend.states(tokens(batch)) == {}, 120)


QUOTA = "/api/v1/namespaces/default/resourcequotas/few"


def quota(jobs: int) -> dict[str, Any]:
    """Return a limit on the number of jobs of a namespace."""
    hard = {"count/jobs.batch": str(jobs)}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": hard}}


def gpus(kubernetes: KubernetesCluster) -> str:
    """Return how many GPUs the node says that it has."""
    allocatable = kubernetes.ask("GET", f"/api/v1/nodes/{NODE}")["status"]["allocatable"]
    return str(allocatable.get("nvidia.com/gpu", "0"))
