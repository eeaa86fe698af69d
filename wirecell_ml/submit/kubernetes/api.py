"""The API server of a cluster: the few requests that are made of it, and what its answers mean.

The Python client of Kubernetes knows how to log in; what is asked and answered are plain documents.
"""

import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from wirecell_ml.errors import SubmitError, suggest
from wirecell_ml.submit.backend import Expired, Refused, Unavailable
from wirecell_ml.submit.job import pieces
from wirecell_ml.submit.kubernetes.documents import BATCH, Document
from wirecell_ml.submit.secret import hide
from wirecell_ml.submit.site import Site

TIMEOUT_S = (5, 30)  # to connect, to answer
NAMES_AT_ONCE = 100  # batches in one question
PAGE = 500  # documents in one answer
LOG_LINES = 50_000  # that are kept of what a pod prints
NO_LOGIN, NOT_THERE, ALREADY, BUSY, SILENT = 401, 404, 409, 429, 500  # status of an answer
LOGIN = "BearerToken"  # as the client calls a token
IN_POD = "KUBERNETES_SERVICE_HOST"  # variable that every pod has
NOBODY = "system:anonymous"  # whom a server takes us for that was shown no login


class Answered(Exception):  # noqa: N818
    """The API server answered with a status that is no success."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class Cluster:
    """The API server that a site means. It is asked as whoever the kubeconfig says."""

    def __init__(self, site: Site) -> None:
        self.site, self.namespace = site, site.kubernetes.namespace

    def log_in(self) -> None:
        """Read the kubeconfig; raises SubmitError where it has no login for us."""
        self.client = self.connect()

    def create(self, job: Document, dry_run: bool = False) -> None:
        """Create a Job; one of its name that is there already is the same one, sent before."""
        query = {"dryRun": "All"} if dry_run else {}
        self.request("POST", self.path("jobs"), query, job, fine=(ALREADY,))

    def delete(self, token: str) -> None:
        """Delete a Job, if it is there; its pod is told to end, and has its grace for that."""
        query = {"propagationPolicy": "Background"}
        self.request("DELETE", f"{self.path('jobs')}/{token}", query, fine=(NOT_THERE,))

    def jobs(self, batches: Sequence[str]) -> list[Document]:
        """Return the Jobs of batches."""
        return self.listed("jobs", batches)

    def pods(self, batches: Sequence[str]) -> list[Document]:
        """Return the pods of batches."""
        return self.listed("pods", batches)

    def nodes(self) -> list[Document]:
        """Return the nodes; raises Refused where we may not see them."""
        return self.all_pages("/api/v1/nodes", {})

    def log(self, pod: str) -> bytes | None:
        """Return what a pod has printed, its last lines; None where the node that knows it does not say."""
        try:
            return self.ask("GET", f"{self.path('pods')}/{pod}/log", {"tailLines": str(LOG_LINES)})
        except Answered as answer:
            if is_expired(answer):
                raise self.meant(answer) from answer
            return None

    def path(self, kind: str) -> str:
        """Return where the jobs or pods of our namespace are."""
        group = "/apis/batch/v1" if kind == "jobs" else "/api/v1"
        return f"{group}/namespaces/{self.namespace}/{kind}"

    def listed(self, kind: str, batches: Sequence[str]) -> list[Document]:
        """Return the jobs or pods of batches."""
        found: list[Document] = []
        for some in pieces(batches, NAMES_AT_ONCE):
            found += self.all_pages(self.path(kind), {"labelSelector": f"{BATCH} in ({','.join(some)})"})
        return found

    def all_pages(self, path: str, query: Mapping[str, str]) -> list[Document]:
        """Return the documents of a list, however many answers that takes."""
        found: list[Document] = []
        following = ""
        while True:
            page = {"limit": str(PAGE)} | ({"continue": following} if following else {})
            documents, following = page_of(self.request("GET", path, {**query, **page}))
            found += documents
            if not following:
                return found

    def request(
        self, method: str, path: str, query: Mapping[str, str], body: object = None, fine: Sequence[int] = ()
    ) -> bytes:
        """Return the answer to a request, also one of a ``fine`` status; raises what any other failure means."""
        try:
            return self.ask(method, path, query, body)
        except Answered as answer:
            if answer.status in fine:
                return b""
            raise self.meant(answer) from answer

    def meant(self, answer: Answered) -> Exception:
        """Return the exception that an answer means."""
        if is_expired(answer):
            return self.expired(str(answer))
        if answer.status >= SILENT or answer.status in (0, BUSY):
            return Unavailable(f"the API server of Kubernetes: {answer}")
        return Refused(str(answer))

    def expired(self, said: str) -> Expired:
        """Return the exception for a login that is not good, and forget it."""
        self.__dict__.pop("client", None)  # the kubeconfig may have a new one by the next time
        return Expired(
            f"Kubernetes does not accept this login any more ({said}). Log in again, as you did for kubectl: the "
            "kubeconfig is read again"
        )

    def ask(self, method: str, path: str, query: Mapping[str, str], body: object = None) -> bytes:
        """Return the answer to a request; raises Answered for one that failed, Unavailable where there is none."""
        client, (insecure, silent) = self.client, failures()
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        words = client.param_serialize(
            method, path, query_params=list(query.items()), header_params=headers, body=body, auth_settings=[LOGIN]
        )
        try:
            response = client.call_api(*words, _request_timeout=TIMEOUT_S)
            data = bytes(response.read())
        except insecure as error:
            raise Unavailable(f"the API server of Kubernetes: {' '.join(str(error).split())}") from error
        except silent as error:
            raise Unavailable(f"the API server of Kubernetes does not answer: {error}") from error
        except ValueError:  # whose text shows the token
            raise self.expired("the token has characters that no token has") from None
        if not 200 <= response.status < 300:
            secrets = client.configuration.api_key.values()
            raise Answered(response.status, hide(message(data), secrets) or f"status {response.status}")
        return data

    @cached_property
    def client(self) -> Any:
        """What knows the address of the API server and our login; raises Unavailable where the kubeconfig is away."""
        try:
            return self.connect()
        except SubmitError as error:
            raise Unavailable(str(error)) from error

    def connect(self) -> Any:
        """Return a client for the login in the kubeconfig; raises SubmitError where there is none."""
        library = load_library()
        configuration = library.client.Configuration()
        path = self.site.environment.get("KUBECONFIG")
        try:
            load_login(library.config, path, self.site.kubernetes.context, configuration)
        except library.config.ConfigException as error:
            said = self.no_context(library, path) or (
                f"no login to a cluster: {error}. Keep its kubeconfig at ~/.kube/config, or let KUBECONFIG name it"
            )
            raise SubmitError(f"site {self.site.name}: {said}") from error
        configuration.retries = False
        return library.client.ApiClient(configuration)

    def no_context(self, library: Any, path: str | None) -> str:
        """Return that the kubeconfig has no such context, "" where that is not what is wrong."""
        try:
            contexts, _ = library.config.list_kube_config_contexts(path)
        except library.config.ConfigException:
            return ""
        names, wanted = {str(one["name"]) for one in contexts}, self.site.kubernetes.context
        if wanted is None or wanted in names:
            return ""
        return f"site.kubernetes.context: the kubeconfig has no '{wanted}'.{suggest(wanted, names)}"


def load_login(config: Any, path: str | None, context: str | None, configuration: Any) -> None:
    """Read the login of a kubeconfig, or, in a pod that sees none, that of the pod's service account."""
    usual = Path(config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION).expanduser()
    if IN_POD in os.environ and path is None and not usual.exists():
        config.load_incluster_config(client_configuration=configuration)
    else:
        config.load_kube_config(config_file=path, context=context, client_configuration=configuration)


def is_expired(answer: Answered) -> bool:
    """Return whether the API server does not know who we are, as after the end of a login."""
    return answer.status == NO_LOGIN or NOBODY in str(answer)


def page_of(data: bytes) -> tuple[list[Document], str]:
    """Return the documents of an answer, and where the next answer begins; raises Unavailable for one that is none."""
    try:
        held = json.loads(data)
        return list(held["items"] or []), str(held["metadata"].get("continue") or "")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        said = " ".join(data[:100].decode(errors="replace").split())
        raise Unavailable(f"the API server of Kubernetes: its answer is no list of documents: {said}") from error


def message(data: bytes) -> str:
    """Return what the API server says of a request that failed, in one line; "" where it says nothing."""
    try:
        said = json.loads(data)["message"]
    except (ValueError, KeyError, TypeError):
        said = data[:500].decode(errors="replace")
    return " ".join(str(said).split())


def failures() -> tuple[type[Exception], type[Exception]]:
    """Return what the client raises where it can't trust the API server, and where that does not answer."""
    return load_library().client.ApiException, import_module("urllib3").exceptions.HTTPError


def load_library() -> Any:
    """Return the Python client of Kubernetes; raises SubmitError where it isn't installed."""
    try:
        return import_module("kubernetes")
    except ImportError as error:
        raise SubmitError("Kubernetes needs its Python client: pip install 'wirecell_ml[k8s]'") from error
