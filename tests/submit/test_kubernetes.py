"""The backend of Kubernetes keeps its promises, on a real cluster."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.backend_contract import SLOW, SMALL, Contract, batch_of, tokens, units, written
from tests.kubernetes_cluster import NODE, KubernetesCluster
from tests.sweeping import wait_for
from wirecell_ml.errors import SubmitError
from wirecell_ml.submit.backend import Refused, Unavailable, make_backend
from wirecell_ml.submit.kubernetes import api
from wirecell_ml.submit.site import Container, Site
from wirecell_ml.submit.states import JobState

FIND_ITSELF = """
import json, sys
from wirecell_ml.submit.job import batch_of
from wirecell_ml.submit.kubernetes.api import Cluster
from wirecell_ml.submit.site import Site

jobs = Cluster(Site(name="here", kind="kubernetes")).jobs([batch_of(sys.argv[2])])
json.dump([job["metadata"]["name"] for job in jobs], open(sys.argv[1], "w"))
"""
HUNGRY = "held = bytearray(900_000_000)"


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

    def test_a_pod_that_sees_no_kubeconfig_is_its_service_account(
        self, site: Site, kubernetes: KubernetesCluster, tmp_path: Path
    ) -> None:
        kubernetes.trust_default_account()
        with kubernetes.door() as door:
            server = {"KUBERNETES_SERVICE_HOST": door.host, "KUBERNETES_SERVICE_PORT": str(door.own)}
            own = replace(site.kubernetes, service_account="default")
            batch = batch_of(tmp_path, [[sys.executable, "-c", FIND_ITSELF, str(tmp_path / "0")]])
            make_backend(replace(site, environment=site.environment | server, kubernetes=own)).submit(batch)
            assert written(tmp_path / "0") == tokens(batch)

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
