"""What can go wrong on Kubernetes, done to a real one: after each fault every trial has ended exactly once."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import runner
from tests.driving import LONG_S, attempts, driven, follows, long, starts, states, token_of, went_on
from tests.kubernetes_cluster import KubernetesCluster, programs_alone
from tests.object_store import make_bucket, who_we_are
from tests.sweeping import check_exactly_once, driver_process, record_fault, wait_for
from wirecell_ml.submit.backend import Expired, Unavailable
from wirecell_ml.submit.kubernetes.api import Answered, Cluster
from wirecell_ml.submit.mailbox import UnitBox
from wirecell_ml.submit.study import Study, open_study


@pytest.fixture(autouse=True)
def cluster(kubernetes: KubernetesCluster) -> Iterator[KubernetesCluster]:
    """A cluster that is whole before each test, and remembers nothing of it after."""
    yield kubernetes
    kubernetes.start_again()
    kubernetes.forget()


def settle(kubernetes: KubernetesCluster, study: Study, trials: int) -> dict[str, int]:
    """Return the counts of a study whose trials have each ended once, and of which no pod is left."""
    wait_for(lambda: not kubernetes.live(f"{study.name}-"), LONG_S)
    return check_exactly_once(study, trials)


def at_work(study: Study, *numbers: int) -> None:
    """Wait until units have done an epoch in their first start, and can checkpoint."""
    boxes = [study.order().box(number) for number in numbers]
    wait_for(lambda: all(has_reported(box) for box in boxes), LONG_S)


def has_reported(box: UnitBox) -> bool:
    """Return whether a unit has written a line of progress."""
    path = box.progress(1)
    return path.exists() and path.stat().st_size > 0


def test_pod_evicted(kubernetes: KubernetesCluster, tmp_path: Path) -> None:
    study = kubernetes.order(tmp_path, "evicted", "trials=2", *long(120, 0.1))
    with driven(study):
        at_work(study, 0)
        kubernetes.evict(token_of(study, 0))
    counts = settle(kubernetes, study, 2)
    assert counts["done"] == 2
    assert went_on(study, 0), "from its checkpoint"
    record_fault("pod evicted", "the eviction API, for a running pod", counts)


def test_job_deleted_by_hand(kubernetes: KubernetesCluster, tmp_path: Path) -> None:
    study = kubernetes.order(tmp_path, "deleted", "trials=2", *long(120, 0.1))
    with driven(study):
        at_work(study, 0)
        token = token_of(study, 0)
        wait_for(lambda: kubernetes.runs(token), LONG_S)
        kubernetes.ask("DELETE", f"/apis/batch/v1/namespaces/default/jobs/{token}?propagationPolicy=Background")
    counts = settle(kubernetes, study, 2)
    assert states(study, 0) == ["PREEMPTED", "SUCCEEDED"]
    assert went_on(study, 0), "from its checkpoint"
    record_fault("job deleted", "kubectl delete job, while it runs", counts)


def test_node_lost(kubernetes: KubernetesCluster, tmp_path: Path) -> None:
    """One unit dies with its node; another works on, though nobody hears of its pod any more."""
    study = kubernetes.order(tmp_path, "lostnode", "trials=2", "site.policy.lease_s=10", *long(120, 0.1))
    with driven(study):
        at_work(study, 0, 1)
        kubernetes.kill("kubelet")
        runner(token_of(study, 0)).kill()
        wait_for(lambda: states(study, 0)[:1] == ["LOST"], LONG_S)
        wait_for(lambda: states(study, 1) == ["SUCCEEDED"], LONG_S)
        kubernetes.start_again()
    counts = settle(kubernetes, study, 2)
    assert counts["done"] == 2
    record_fault("node lost on Kubernetes", "SIGKILL of the kubelet and of one of two runners", counts)


def test_api_server_down(kubernetes: KubernetesCluster, tmp_path: Path) -> None:
    study = kubernetes.order(tmp_path, "silent", "trials=4", "site.in_flight=2", *long(30, 0.1))
    with driven(study):
        at_work(study, 0, 1)
        kubernetes.kill("kube-apiserver")
        wait_for(lambda: states(study, 0) == states(study, 1) == ["SUCCEEDED"], LONG_S)
        assert study.order().box(2).result() is None, "there was no work left"
        kubernetes.start_again()
    counts = settle(kubernetes, study, 4)
    assert counts == {"trials": 4, "attempts": 4, "done": 4, "lost": 0, "doubled": 0}
    record_fault("API server down", "SIGKILL in the midst of a sweep, started again", counts)


def test_answer_lost(kubernetes: KubernetesCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API server takes a job, and its answer does not come, because the connection is cut on this side."""
    real, sent = Cluster.ask, list[str]()

    def ask(self: Cluster, method: str, path: str, query: Mapping[str, str], body: Any = None) -> bytes:
        answer = real(self, method, path, query, body)
        if method == "POST":
            sent.append(body["metadata"]["name"])
            if len(sent) == 1:
                raise Unavailable("cut")
        return answer

    study = kubernetes.order(tmp_path, "unheard", "trials=2")
    monkeypatch.setattr(Cluster, "ask", ask)
    with driven(study):
        pass
    counts = settle(kubernetes, study, 2)
    assert counts == {"trials": 2, "attempts": 2, "done": 2, "lost": 0, "doubled": 0}
    assert follows(study, "AMBIGUOUS") == {"SUBMITTED", "PLANNED"}, "one was there, the other was never sent"
    assert sorted(sent) == sorted(str(attempts(study, number)[0].token) for number in range(2)), "no job was sent twice"
    record_fault("answer of the API server lost", "the connection is cut after a job was taken", counts)


def test_login_expires(kubernetes: KubernetesCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token of a driver ends in the midst of its sweep; its owner logs in again, and it goes on."""
    real, heard = Cluster.meant, list[Exception]()

    def meant(self: Cluster, answer: Answered) -> Exception:
        heard.append(real(self, answer))
        return heard[-1]

    monkeypatch.setattr(Cluster, "meant", meant)
    kubernetes.trust_default_account()
    good = kubernetes.account("default", "default")
    login = kubernetes.write_login(tmp_path / "login", good)
    study = kubernetes.order(tmp_path, "expired", "trials=6", "site.in_flight=2", *long(100, 0.1), kubeconfig=login)
    kubernetes.write_login(login, kubernetes.shortened(good, 10))
    with driven(study):
        wait_for(lambda: any(isinstance(error, Expired) for error in heard), LONG_S)
        assert study.order().box(5).result() is None, "there was no work left"
        kubernetes.write_login(login, good)
    counts = settle(kubernetes, study, 6)
    assert counts == {"trials": 6, "attempts": 6, "done": 6, "lost": 0, "doubled": 0}
    record_fault("login expired", "a token that is good for 10 s; then a new one in the kubeconfig", counts)


def test_image_that_is_not_there(kubernetes: KubernetesCluster, tmp_path: Path) -> None:
    study = kubernetes.order(tmp_path, "noimage", "trials=2", "site.container.image=localhost/late:1")
    with driven(study):
        wait_for(lambda: "LOST" in follows(study, "SUBMITTED"), LONG_S)
        kubernetes.name_image("localhost/late:1")
    counts = settle(kubernetes, study, 2)
    assert counts["done"] == 2
    record_fault("image that cannot be fetched", "pods held back until the image was there", counts)


def test_pod_pending_for_ever(kubernetes: KubernetesCluster, tmp_path: Path) -> None:
    study = kubernetes.order(tmp_path, "pending", "trials=2", "site.policy.queue_minutes=0.1")
    with driven(study), kubernetes.nothing_starts():
        wait_for(lambda: "CANCELLED" in follows(study, "SUBMITTED"), LONG_S)
        first = attempts(study, 0)[0].token
        wait_for(lambda: not kubernetes.jobs(str(first)), LONG_S)
    counts = settle(kubernetes, study, 2)
    assert counts["done"] == 2
    record_fault("pod pending for ever", "no node takes pods; cancelled after queue_minutes, sent again", counts)


def test_job_started_twice(kubernetes: KubernetesCluster, tmp_path: Path) -> None:
    study = kubernetes.order(tmp_path, "twice", "trials=1", *long(120, 0.1))
    with driven(study):
        at_work(study, 0)
        first = runner(token_of(study, 0))
        kubernetes.run_twice(token_of(study, 0))
        wait_for(lambda: starts(study, 0) == 2, LONG_S)
        wait_for(lambda: not first.is_running(), LONG_S)
    counts = settle(kubernetes, study, 1)
    assert counts == {"trials": 1, "attempts": 1, "done": 1, "lost": 0, "doubled": 0}
    assert not (study.order().box(0).attempt(1) / "run-1" / "summary.json").exists(), "the first stopped"
    record_fault("job started twice on Kubernetes", "a second Job with the command of a running one", counts)


def test_pod_evicted_that_shares_no_folder(
    kubernetes: KubernetesCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pods see programs, no folder of the study, and the keys of an object store in a Secret."""
    keys = who_we_are("")
    del keys["AWS_ENDPOINT_URL"]
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store"}, "stringData": keys}
    kubernetes.ask("POST", "/api/v1/namespaces/default/secrets", secret)
    with kubernetes.object_store() as address:
        mailbox = (
            f"site.mailbox=s3://{make_bucket(address)}/sweeps",
            f"+site.environment.AWS_ENDPOINT_URL='{address}'",
        )
        own = (*mailbox, "site.kubernetes.secrets=[store]", programs_alone(), "site.resources.memory_gb=0.3")
        study = kubernetes.order(tmp_path, "faraway", "trials=2", *own, *long(120, 0.1))
        with driven(study):
            at_work(study, 0)
            kubernetes.evict(token_of(study, 0))
        counts = settle(kubernetes, study, 2)
    assert counts["done"] == 2
    assert went_on(study, 0), "from its checkpoint"
    record_fault("pod evicted, object store as mailbox", "the eviction API, for a running pod", counts)


def test_driver_as_a_job(kubernetes: KubernetesCluster, tmp_path: Path) -> None:
    """It is sent again once it has ended, to make the study longer, though Kubernetes keeps what has ended."""
    kubernetes.trust_default_account()
    with kubernetes.door() as door:
        login = kubernetes.write_login(tmp_path / "login", kubernetes.account("default", "default"), door)
        study = kubernetes.order(tmp_path, "asjob", "trials=2", kubeconfig=login)
        for trials in (2, 3):
            with driver_process(study, f"trials={trials}", "driver=job") as sender:
                assert sender.wait(LONG_S) == 0
            wait_for(lambda: complete(kubernetes, "asjob-driver-0"), LONG_S)
            assert len(study.ledger().units(study.name)) == trials
    counts = settle(kubernetes, open_study(study.name, tmp_path), 3)
    assert counts == {"trials": 3, "attempts": 3, "done": 3, "lost": 0, "doubled": 0}
    record_fault("driver as a job on Kubernetes", "nothing: the driver itself runs in a pod, twice", counts)


def complete(kubernetes: KubernetesCluster, token: str) -> bool:
    """Return whether the Job of a token has ended well."""
    return [job["status"].get("succeeded") for job in kubernetes.jobs(token)] == [1]
