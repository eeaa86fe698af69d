"""The API server of a cluster: the few requests that are made of it, and what its answers mean."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from typing import Any

from wirecell_ml.errors import SubmitError, suggest
from wirecell_ml.submit.backend import Expired, Refused, Unavailable
from wirecell_ml.submit.job import pieces
from wirecell_ml.submit.kubernetes.documents import BATCH, Document
from wirecell_ml.submit.site import Site

TIMEOUT_S = (5, 30)  # to connect, to answer
NAMES_AT_ONCE = 100  # batches in one question
PAGE = 500  # documents in one answer
LONGEST_LOG_LINES = 50_000
NOT_THERE, ALREADY = 404, 409
NO_LOGIN = 401
BUSY = 429
SILENT = 500  # and above
NOBODY = "system:anonymous"  # whom a server takes us for that was shown no login


class Cluster:
    """The API server that a site means. It is asked as whoever the kubeconfig says."""

    def __init__(self, site: Site) -> None:
        self.site, self.namespace = site, site.kubernetes.namespace

    @cached_property
    def client(self) -> Any:
        """The client of the API server; made anew once its login is no longer good."""
        library = load_library()
        configuration = library.client.Configuration()
        path = self.site.environment.get("KUBECONFIG")
        try:
            library.config.load_config(
                **({"config_file": path} if path else {}),
                context=self.site.kubernetes.context,
                client_configuration=configuration,
            )
        except library.config.ConfigException as error:
            raise SubmitError(f"site {self.site.name}: {self.no_context(library, path) or error}") from error
        configuration.retries = False
        return library.client.ApiClient(configuration)

    def no_context(self, library: Any, path: str | None) -> str:
        """Return that the kubeconfig has no such context, "" where that is not what is wrong."""
        try:
            contexts, _ = library.config.list_kube_config_contexts(path)
        except library.config.ConfigException:
            return ""
        names = {str(one["name"]) for one in contexts}
        wanted = self.site.kubernetes.context
        if wanted is None or wanted in names:
            return ""
        return f"site.kubernetes.context: no context '{wanted}'.{suggest(wanted, names)}"

    def create(self, job: Document, dry_run: bool = False) -> None:
        """Create a Job; one of its name that is there already is the same one, sent before."""
        more = {"dry_run": "All"} if dry_run else {}
        with self.meaning():
            try:
                self.batch.create_namespaced_job(self.namespace, job, **self.options, **more)
            except load_library().client.ApiException as error:
                if error.status != ALREADY:
                    raise

    def delete(self, token: str) -> None:
        """Delete a Job; its pod is told to end, and has its grace for that."""
        with self.meaning():
            try:
                self.batch.delete_namespaced_job(token, self.namespace, propagation_policy="Background", **self.options)
            except load_library().client.ApiException as error:
                if error.status != NOT_THERE:
                    raise

    def jobs(self, batches: Sequence[str]) -> list[Document]:
        """Return the Jobs of batches."""
        return self.listed(self.batch.list_namespaced_job, batches)

    def pods(self, batches: Sequence[str]) -> list[Document]:
        """Return the pods of batches."""
        return self.listed(self.core.list_namespaced_pod, batches)

    def listed(self, call: Any, batches: Sequence[str]) -> list[Document]:
        """Return the documents of batches."""
        found: list[Document] = []
        for some in pieces(batches, NAMES_AT_ONCE):
            found += self.all_pages(call, self.namespace, label_selector=f"{BATCH} in ({','.join(some)})")
        return found

    def nodes(self) -> list[Document]:
        """Return the nodes; raises Refused where we may not see them."""
        return self.all_pages(self.core.list_node)

    def all_pages(self, call: Any, *words: str, **more: str) -> list[Document]:
        """Return the documents of a list, however many answers that takes."""
        found: list[Document] = []
        following = ""
        while True:
            with self.meaning():
                answer = json.loads(call(*words, limit=PAGE, _continue=following, **more, **self.options).data)
            found += answer["items"]
            following = answer["metadata"].get("continue", "")
            if not following:
                return found

    def log(self, pod: str) -> bytes | None:
        """Return what a pod has printed, its last lines; None where the node that knows it does not say."""
        with self.meaning():
            try:
                answer = self.core.read_namespaced_pod_log(
                    pod, self.namespace, tail_lines=LONGEST_LOG_LINES, **self.options
                )
            except load_library().client.ApiException as error:
                if error.status == NO_LOGIN:
                    raise
                return None
        return bytes(answer.data)

    @property
    def options(self) -> dict[str, Any]:
        """What every request has: its answer is JSON, read by us, and does not take for ever."""
        return {"_preload_content": False, "_request_timeout": TIMEOUT_S}

    @property
    def batch(self) -> Any:
        """The requests about Jobs."""
        return load_library().client.BatchV1Api(self.client)

    @property
    def core(self) -> Any:
        """The requests about pods and nodes."""
        return load_library().client.CoreV1Api(self.client)

    @contextmanager
    def meaning(self) -> Iterator[None]:
        """Raise Unavailable, Expired or Refused for an answer that means it."""
        library, http = load_library(), import_module("urllib3").exceptions
        try:
            yield
        except library.client.ApiException as error:
            said = message(error)
            if error.status == NO_LOGIN or NOBODY in said:
                self.__dict__.pop("client", None)  # the kubeconfig may have a new login by the next time
                raise Expired(
                    f"Kubernetes takes no request under this login any more ({said}). Log in again, as your cluster "
                    "says (its web page, or kubectl get jobs)"
                ) from error
            if error.status == BUSY or (error.status or SILENT) >= SILENT:
                raise Unavailable(f"the API server of Kubernetes: {said}") from error
            raise Refused(said) from error
        except http.HTTPError as error:
            raise Unavailable(f"the API server of Kubernetes does not answer: {error}") from error


def message(error: Any) -> str:
    """Return what the API server says of a request that failed, in one line."""
    try:
        said = json.loads(error.body)["message"]
    except (ValueError, KeyError, TypeError):
        said = error.reason or f"status {error.status}"
    return " ".join(str(said).split())


def load_library() -> Any:
    """Return the Python client of Kubernetes; raises SubmitError where it isn't installed."""
    try:
        return import_module("kubernetes")
    except ImportError as error:
        raise SubmitError("Kubernetes needs its Python client: pip install 'wirecell_ml[k8s]'") from error
