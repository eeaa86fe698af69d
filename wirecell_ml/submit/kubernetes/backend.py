"""Kubernetes: a Job per unit, in one namespace."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

import yaml

from wirecell_ml.errors import SubmitError
from wirecell_ml.submit.backend import Refused, Unavailable
from wirecell_ml.submit.job import Batch, Resources, batches_of
from wirecell_ml.submit.kubernetes import reading
from wirecell_ml.submit.kubernetes.api import Cluster
from wirecell_ml.submit.kubernetes.documents import TOKEN, Document, check_volumes, documents, image
from wirecell_ml.submit.kubernetes.nodes import check_size
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.states import JobState

UNFOLDED = 100_000  # characters of a line
OVER = (JobState.ENDED, JobState.OUT_OF_MEMORY)


class Kubernetes:
    """A namespace of a cluster."""

    def __init__(self, site: Site) -> None:
        image(site)
        check_volumes(site)
        self.site, self.cluster = site, Cluster(site)

    def render(self, batch: Batch) -> str:
        """Return the Jobs of a batch as YAML."""
        text: str = yaml.safe_dump_all(documents(batch, self.site), sort_keys=False, allow_unicode=True, width=UNFOLDED)
        return text

    def submit(self, batch: Batch) -> None:
        """Create the Jobs of a batch, one after the other; a driver's, once the one before has ended."""
        if batch.alone:
            self.make_way(batch)
        for number, document in enumerate(documents(batch, self.site)):
            try:
                self.cluster.create(document)
            except Refused as error:
                if number == 0:
                    raise
                raise Unavailable(f"only {number} of {len(batch.jobs)} jobs were taken: {error}") from error

    def make_way(self, batch: Batch) -> None:
        """Remove the Jobs of a batch that have ended, whose names they would keep; raises Refused without a login."""
        if self.site.kubernetes.service_account is None and "KUBECONFIG" not in self.site.environment:
            raise Refused(
                "it would have no login in its pod. Name a service account that has submit/kubernetes/rbac.yaml "
                "in site.kubernetes.service_account, or a kubeconfig that pods see in site.environment.KUBECONFIG"
            )
        ended = [token for token, state in self.states([job.token for job in batch.jobs]).items() if state in OVER]
        self.cancel(ended)

    def states(self, tokens: Collection[str]) -> dict[str, JobState]:
        """Return what Jobs and pods say; a pod may outlive its Job for the grace that it has to end."""
        jobs, pods = self.look(tokens)
        return {token: reading.state_of(jobs.get(token), pods.get(token, [])) for token in jobs.keys() | pods.keys()}

    def look(self, tokens: Collection[str]) -> tuple[dict[str, Document], dict[str, list[Document]]]:
        """Return the Job, and the pods, of each token that has some."""
        batches = batches_of(tokens)
        try:
            jobs = by_token(self.cluster.jobs(batches), tokens)
            pods = by_token(self.cluster.pods(batches), tokens)
        except Refused as error:
            raise Unavailable(f"Kubernetes does not let us see jobs: {error}") from error
        return {token: found[0] for token, found in jobs.items()}, pods

    def cancel(self, tokens: Collection[str]) -> None:
        """Delete Jobs: a pod is told to end, and killed after ``signal_s``."""
        for token in tokens:
            self.cluster.delete(token)

    def room(self, resources: Resources, open_jobs: int) -> int:  # noqa: ARG002  (a namespace holds jobs of any size)
        """Return how many jobs more may be queued."""
        return self.site.queue_room(open_jobs)

    def check(self, resources: Resources) -> None:
        """Raise SubmitError where no node has this size, as far as we may see nodes, or where such a job is refused."""
        self.cluster.log_in()
        with suppress(Refused):  # who may not see nodes learns of a job that is too large from its waiting
            check_size(resources, self.site, self.cluster.nodes())
        batch = Batch.of("check", [["true"]], resources, Path())
        try:
            self.cluster.create(documents(batch, self.site)[0], dry_run=True)
        except Refused as error:
            raise SubmitError(f"site {self.site.name}: Kubernetes would refuse such a job: {error}") from error

    def outlook(self, resources: Resources) -> float | None:  # noqa: ARG002
        """Return nothing: Kubernetes does not foretell when a job would start."""
        return None

    def explain(self, token: str) -> str:
        """Return why a pod waits, or how it ended."""
        jobs, pods = self.look([token])
        return reading.why(jobs.get(token), pods.get(token, []))

    def fetch(self, tokens: Collection[str], folder: Path) -> None:
        """Write what the pods of ended jobs have printed to TOKEN.log."""
        wanted = [token for token in tokens if not (folder / f"{token}.log").exists()]
        for token, pods in self.look(wanted)[1].items():
            if all(reading.phase(pod) in reading.ENDED for pod in pods):
                self.write_log(folder / f"{token}.log", pods)

    def write_log(self, path: Path, pods: Iterable[Document]) -> None:
        """Write what pods have printed, in the order in which they began."""
        ordered = sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
        printed = [self.cluster.log(pod["metadata"]["name"]) for pod in ordered]
        if any(one is not None for one in printed):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(one or b"" for one in printed))


def by_token(found: Iterable[Document], tokens: Collection[str]) -> dict[str, list[Document]]:
    """Return documents by their token, those of ``tokens`` alone; any other has none."""
    wanted, sorted_out = set(tokens), defaultdict[str, list[Document]](list)
    for document in found:
        token = document["metadata"]["labels"].get(TOKEN, "")
        if token in wanted:
            sorted_out[token].append(document)
    return sorted_out
