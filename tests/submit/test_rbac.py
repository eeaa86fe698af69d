"""The rights that we ask a Kubernetes cluster for: enough for a driver and no more, tried on a real API server."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.backend_contract import SLOW, SMALL, tokens, units
from tests.kubernetes_cluster import KubernetesCluster
from tests.sweeping import wait_for
from wirecell_ml.errors import SubmitError
from wirecell_ml.paths import PACKAGE
from wirecell_ml.submit.backend import Expired, make_backend
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.states import JobState

RIGHTS = PACKAGE.parent / "submit" / "kubernetes"
NAMESPACE, ACCOUNT = "sweeps", "wirecell-ml"
PLACES = {
    "ServiceAccount": f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts",
    "Role": f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles",
    "RoleBinding": f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/rolebindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}
CAN = [
    *(("batch", "jobs", verb) for verb in ("create", "get", "list", "watch", "delete")),
    *(("", kind, verb) for kind in ("pods", "pods/log") for verb in ("get", "list", "watch")),
]
CANNOT = [
    ("", "secrets", "get"),
    ("", "secrets", "list"),
    ("", "pods", "create"),
    ("", "pods", "delete"),
    ("", "pods/exec", "create"),
    ("", "pods/exec", "get"),
    ("", "pods/attach", "create"),
    ("", "pods/portforward", "create"),
    ("", "configmaps", "get"),
    ("", "serviceaccounts/token", "create"),
    ("", "nodes", "list"),
    ("", "persistentvolumeclaims", "create"),
    ("apps", "deployments", "create"),
    ("batch", "jobs", "update"),
    ("batch", "jobs", "patch"),
    ("batch", "jobs", "deletecollection"),
    ("batch", "cronjobs", "create"),
    ("rbac.authorization.k8s.io", "roles", "create"),
    ("rbac.authorization.k8s.io", "rolebindings", "create"),
]


def apply(kubernetes: KubernetesCluster, document: dict[str, Any]) -> None:
    """Create what a document describes."""
    kubernetes.ask("POST", PLACES[document["kind"]], document)


@pytest.fixture(scope="module")
def granted(kubernetes: KubernetesCluster) -> Iterator[KubernetesCluster]:
    """The cluster, in which the rights of rbac.yaml are given in a namespace."""
    kubernetes.ask("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    for document in yaml.safe_load_all((RIGHTS / "rbac.yaml").read_text()):
        if document["kind"] == "RoleBinding":
            document["subjects"][0]["namespace"] = NAMESPACE  # as kubectl --namespace fills it in
        apply(kubernetes, document)
    yield kubernetes
    kubernetes.ask("DELETE", f"/api/v1/namespaces/{NAMESPACE}")


@pytest.fixture
def site(granted: KubernetesCluster, tmp_path: Path) -> Site:
    """The namespace as a site, for who has these rights alone."""
    login = granted.write_login(tmp_path / "login", granted.account(NAMESPACE, ACCOUNT))
    return granted.site(login, NAMESPACE)


def allowed(kubernetes: KubernetesCluster, right: tuple[str, str, str], namespace: str) -> bool:
    """Return what the API server says of a right of the account."""
    group, resource, verb = right
    kind, _, part = resource.partition("/")
    wanted = {"group": group, "resource": kind, "subresource": part, "verb": verb, "namespace": namespace}
    spec = {"user": f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}", "resourceAttributes": wanted}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    answer = kubernetes.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    return bool(answer["status"]["allowed"])


@pytest.mark.parametrize("right", CAN, ids="-".join)
def test_what_a_driver_needs_it_may_do_in_its_namespace_alone(
    granted: KubernetesCluster, right: tuple[str, str, str]
) -> None:
    assert allowed(granted, right, NAMESPACE)
    assert not allowed(granted, right, "default")


@pytest.mark.parametrize("right", CANNOT, ids="-".join)
def test_what_a_driver_does_not_need_it_may_not_do(granted: KubernetesCluster, right: tuple[str, str, str]) -> None:
    assert not allowed(granted, right, NAMESPACE)


def test_these_rights_are_enough(site: Site, tmp_path: Path) -> None:
    (first, second), batch = units(tmp_path, 2)
    backend = make_backend(replace(site, environment=site.environment | SLOW))
    backend.check(SMALL)
    backend.submit(batch)
    running = dict.fromkeys(tokens(batch), JobState.RUNNING)
    wait_for(lambda: backend.states(tokens(batch)) == running, 120)
    wait_for(lambda: first.progress(1).exists() and second.progress(1).exists(), 120)
    wait_for(lambda: backend.explain(tokens(batch)[0]) == "", 120)  # no more that its container is being made
    backend.cancel(tokens(batch))
    wait_for(lambda: first.note(1) is not None and second.note(1) is not None, 120)


def test_these_rights_let_printed_words_be_read(site: Site, tmp_path: Path) -> None:
    _, batch = units(tmp_path, 1)
    backend = make_backend(site)
    backend.submit(batch)
    (token,) = tokens(batch)

    def fetched() -> bool:
        if backend.states([token]).get(token) is JobState.ENDED:
            backend.fetch([token], tmp_path / "jobs")
        return (tmp_path / "jobs" / f"{token}.log").exists()

    wait_for(fetched, 120)


def test_another_namespace_is_refused(site: Site) -> None:
    elsewhere = replace(site, kubernetes=replace(site.kubernetes, namespace="default"))
    with pytest.raises(SubmitError, match=r"would refuse such a job: .*cannot create resource .jobs"):
        make_backend(elsewhere).check(SMALL)


def test_without_the_right_to_see_nodes_a_size_is_not_checked_and_with_it_it_is(
    site: Site, granted: KubernetesCluster
) -> None:
    large = replace(SMALL, cores=1001)
    make_backend(site).check(large)
    role = yaml.safe_load((RIGHTS / "nodes.yaml").read_text())
    apply(granted, role)
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}
    named = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role["metadata"]["name"]}
    binding = {"metadata": {"name": ACCOUNT}, "subjects": [subject], "roleRef": named, "kind": "ClusterRoleBinding"}
    apply(granted, binding)
    try:
        wait_for(lambda: refused(site, large), 60)
    finally:
        granted.ask("DELETE", f"{PLACES['ClusterRoleBinding']}/{ACCOUNT}")
        granted.ask("DELETE", f"{PLACES['ClusterRole']}/{role['metadata']['name']}")


def refused(site: Site, resources: Any) -> bool:
    """Return whether a size is said to be too large."""
    try:
        make_backend(site).check(resources)
    except SubmitError as error:
        return "site.resources.cores=1001: cluster has nodes of at most" in str(error)
    return False


def test_a_login_that_is_none_has_expired(granted: KubernetesCluster, tmp_path: Path) -> None:
    login = granted.write_login(tmp_path / "other", "nobody")
    backend = make_backend(granted.site(login, NAMESPACE))
    with pytest.raises(Expired, match=r"Kubernetes does not accept this login any more .* Log in again"):
        backend.states(["nobody-000000-0"])
    granted.write_login(login, granted.account(NAMESPACE, ACCOUNT))
    assert backend.states(["nobody-000000-0"]) == {}, "the kubeconfig is read again"
