"""A Kubernetes of the tests' own, and what can happen to it: daemons die, pods are evicted, logins expire."""

import base64
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import yaml
from kubernetes import client, config

from tests.engine import apart, private_engine, start_engine
from tests.object_store import Door, answers, installed
from tests.sweeping import order, wait_for
from wirecell_ml.paths import PACKAGE
from wirecell_ml.submit.kubernetes.documents import BATCH, TOKEN
from wirecell_ml.submit.site import Container, KubernetesSettings, Site
from wirecell_ml.submit.study import Study

FOLDER = Path.home() / ".cache" / "wirecell_ml" / "faults_kubernetes"  # not where a user's sweeps may run
PORT = "16850"
STORE_PORT = "16859"
IMAGE = "localhost/wirecell:1"  # a shell and empty folders: the programs are this machine's
NODE = "node"
SIGNAL_S = 20
LEEWAY_S = 60  # that the API server grants a token beyond its end
ENDED = ("Succeeded", "Failed")


def folders() -> list[str]:
    """Return the folders that pods must see: this project, its Python, and what tests write."""
    wanted = [Path(sys.prefix), Path(sys.base_prefix), PACKAGE.parent, Path(tempfile.gettempdir())]
    return sorted({str(path.resolve()) for path in wanted if not path.resolve().is_relative_to("/usr")})


def volumes() -> list[dict[str, str]]:
    """Return these folders as volumes of a site."""
    return [{"host": "/usr", "at": "/usr", "read_only": "true"}, *({"host": one, "at": one} for one in folders())]


def programs_alone() -> str:
    """Return the setting of a site whose pods see programs, and nothing that tests write."""
    return as_setting([one for one in volumes() if one["at"] != str(Path(tempfile.gettempdir()).resolve())])


def as_setting(given: Sequence[dict[str, str]]) -> str:
    """Return volumes as a user would type them."""
    typed = ["{" + ",".join(f"{name}:'{value}'" for name, value in one.items()) + "}" for one in given]
    return f"site.kubernetes.volumes=[{','.join(typed)}]"


@dataclass(frozen=True)
class KubernetesCluster:
    """A cluster of one node on this machine, by the kubeconfig of its administrator."""

    kubeconfig: Path

    @cached_property
    def client(self) -> Any:
        """The client of its administrator."""
        configuration = client.Configuration()
        load: Any = config.load_kube_config
        load(str(self.kubeconfig), client_configuration=configuration)
        return client.ApiClient(configuration)

    def ask(self, method: str, path: str, body: object = None, kind: str = "application/json") -> dict[str, Any]:
        """Return the answer to a request of its administrator."""
        headers = {"Content-Type": kind, "Accept": "application/json"}
        words = self.client.param_serialize(
            method, path, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        response = self.client.call_api(*words)
        assert response.status < 300, response.read()
        found: dict[str, Any] = json.loads(response.read())
        return found

    def site(self, kubeconfig: Path | None = None, namespace: str = "default") -> Site:
        """Return the cluster as a site, for its administrator or for who has that kubeconfig."""
        return Site(
            name="cluster",
            kind="kubernetes",
            signal_s=SIGNAL_S,
            container=Container(image=IMAGE),
            environment={"KUBECONFIG": str(kubeconfig or self.kubeconfig)},
            kubernetes=KubernetesSettings(namespace=namespace, volumes=volumes()),
        )

    def order(self, folder: Path, name: str, *settings: str, kubeconfig: Path | None = None) -> Study:
        """Write a study of dummy units of half the node that runs here."""
        own = (
            f"site.environment.KUBECONFIG='{kubeconfig or self.kubeconfig}'",
            as_setting(volumes()),
            "site.resources.cores=1",
            f"site.signal_s={SIGNAL_S}",
            "site.policy.lease_s=20",  # a machine that has much else to do stops no heart for so long
        )
        return order(folder, *own, *settings, name=name, site="kubernetes_local")

    def jobs(self, name: str) -> list[dict[str, Any]]:
        """Return the Jobs whose names begin with ``name``."""
        found = self.ask("GET", "/apis/batch/v1/namespaces/default/jobs")["items"]
        return [job for job in found if job["metadata"]["name"].startswith(name)]

    def pods(self, name: str) -> list[dict[str, Any]]:
        """Return the pods of the tokens that begin with ``name``, in the order in which they were made."""
        found = self.ask("GET", "/api/v1/namespaces/default/pods", None)["items"]
        ours = [pod for pod in found if pod["metadata"]["labels"].get(TOKEN, "").startswith(name)]
        return sorted(ours, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def live(self, name: str) -> list[str]:
        """Return the names of the pods that wait or run, and may go on, for the tokens that begin with ``name``."""
        pods = [pod for pod in self.pods(name) if "deletionTimestamp" not in pod["metadata"]]
        return [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] not in ENDED]

    def runs(self, token: str) -> bool:
        """Return whether the cluster says that a pod runs: before, this old kubelet ends it without any grace."""
        return any(pod["status"]["phase"] == "Running" for pod in self.pods(token))

    def evict(self, token: str) -> None:
        """Let the pod of a token make room, as an administrator who empties a node does."""
        wait_for(lambda: self.runs(token), 60)
        (name,) = self.live(token)
        body = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": name, "namespace": "default"}}
        self.ask("POST", f"/api/v1/namespaces/default/pods/{name}/eviction", body)

    def run_twice(self, token: str) -> None:
        """Start the job of a token a second time beside the first, as Kubernetes says that it may."""
        (job,) = self.jobs(token)
        name = f"{token}-again"
        spec = {name: job["spec"][name] for name in ("backoffLimit", "template")}
        spec["template"]["metadata"]["labels"] = {BATCH: job["metadata"]["labels"][BATCH], TOKEN: token}
        body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}
        self.ask("POST", "/apis/batch/v1/namespaces/default/jobs", body)

    def patch_node(self, change: Mapping[str, object], what: str = "") -> None:
        """Change the node, or its ``/status``."""
        self.ask("PATCH", f"/api/v1/nodes/{NODE}{what}", change, "application/merge-patch+json")

    @contextmanager
    def nothing_starts(self) -> Iterator[None]:
        """Let the node take no pod more, as an administrator does."""
        self.patch_node({"spec": {"unschedulable": True}})
        try:
            yield
        finally:
            self.patch_node({"spec": {"unschedulable": False}})

    def is_ready(self) -> bool:
        """Return whether the node is ready."""
        conditions = self.ask("GET", f"/api/v1/nodes/{NODE}")["status"]["conditions"]
        return {"Ready": "True"}.items() <= {one["type"]: one["status"] for one in conditions}.items()

    @contextmanager
    def object_store(self) -> Iterator[str]:
        """Run an object store that pods can reach, and yield its address."""
        host = self.address()
        words = [str(installed()), "-H", host, "-p", STORE_PORT]
        with (self.kubeconfig.parent / "moto.log").open("ab") as log:
            server = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            wait_for(lambda: answers(f"http://{host}:{STORE_PORT}"))
            yield f"http://{host}:{STORE_PORT}"
        finally:
            server.kill()
            server.wait()

    def address(self) -> str:
        """Return the address of the node, which pods can reach."""
        addresses = self.ask("GET", f"/api/v1/nodes/{NODE}")["status"]["addresses"]
        return str(next(one["address"] for one in addresses if one["type"] == "InternalIP"))

    @contextmanager
    def door(self) -> Iterator[Door]:
        """Let pods reach the API server, which listens to this machine alone."""
        door = Door(int(PORT), self.address())
        try:
            yield door
        finally:
            door.close()

    def daemon(self, name: str) -> psutil.Process:
        """Return the process of a daemon."""
        return psutil.Process(int((self.kubeconfig.parent / f"{name}.pid").read_text()))

    def kill(self, name: str) -> None:
        """Kill a daemon."""
        process = self.daemon(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def start_again(self) -> None:
        """Start the daemons that have died."""
        with apart("kubernetes", FOLDER, PORT):
            start_engine("kubernetes")
        wait_for(self.is_ready, 120)

    def account(self, namespace: str, name: str) -> str:
        """Return a token of a service account, as the API server gives it away."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        return str(self.ask("POST", path, body)["status"]["token"])

    def trust_default_account(self) -> None:
        """Let the default service account do everything in its namespace."""
        binding = {
            "metadata": {"generateName": "trusted-"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        }
        self.ask("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", binding)

    def shortened(self, token: str, seconds: float) -> str:
        """Return a token like that one that is good for some seconds only: so short ones are given to nobody."""
        head, claims, _ = token.split(".")
        held = json.loads(base64.urlsafe_b64decode(claims + "=="))
        held["exp"] = int(time.time() + seconds) - LEEWAY_S
        signed = f"{head}.{encoded(json.dumps(held).encode())}"
        key = self.kubeconfig.parent / "accounts.key"
        words = ["openssl", "dgst", "-sha256", "-sign", str(key)]
        return (
            f"{signed}.{encoded(subprocess.run(words, input=signed.encode(), capture_output=True, check=True).stdout)}"
        )

    def write_login(self, path: Path, token: str, door: Door | None = None) -> Path:
        """Write the kubeconfig of who has a token, and maybe takes a door that pods see, and return its path."""
        held = yaml.safe_load(self.kubeconfig.read_text())
        held["users"][0]["user"] = {"token": token}
        if door:
            trusted = base64.b64encode((self.kubeconfig.parent / "server.crt").read_bytes()).decode()
            server = door.address.replace("http:", "https:")
            held["clusters"][0]["cluster"] = {"server": server, "certificate-authority-data": trusted}
        new = path.with_suffix(".new")
        new.write_text(yaml.safe_dump(held))
        new.replace(path)
        return path

    def name_image(self, name: str) -> None:
        """Give the image that the node has another name."""
        address = str(self.kubeconfig.parent / "containerd.sock")
        words = ["ctr", "--address", address, "--namespace", "k8s.io", "images", "tag", IMAGE, name]
        subprocess.run(words, capture_output=True, check=True)

    def forget(self) -> None:
        """Remove every job, and its pods at once: this old kubelet may take minutes over one that just ends."""
        self.ask("DELETE", "/apis/batch/v1/namespaces/default/jobs?propagationPolicy=Background")
        self.ask("DELETE", "/api/v1/namespaces/default/pods?gracePeriodSeconds=0")


def encoded(data: bytes) -> str:
    """Return bytes as a part of a token."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextmanager
def private_kubernetes() -> Iterator[KubernetesCluster]:
    """Start a Kubernetes of the tests' own, in which nobody minds what dies, and stop it in the end."""
    with private_engine("kubernetes", FOLDER, PORT) as variables:
        yield KubernetesCluster(Path(variables["WIRECELL_ML_KUBECONFIG"]))
