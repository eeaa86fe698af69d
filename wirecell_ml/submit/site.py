"""Sites: where jobs can run, as ``configs/site/*.yaml`` describes it."""

from dataclasses import asdict, dataclass, field

from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.submit.job import Resources
from wirecell_ml.submit.secret import check_no_secret
from wirecell_ml.submit.states import Patience


@dataclass
class Container:
    """The container that units run in."""

    engine: str = "apptainer"  # apptainer, podman, docker
    image: str = "???"  # by digest, so that it never changes: docker://…@sha256:…, or a .sif file
    options: list[str] = field(default_factory=list)  # for the engine, e.g. [--nv] for GPUs


@dataclass
class Policy:
    """How long what is waited for, and how often what is tried again."""

    poll_s: float = 5.0  # between questions to the batch system
    heartbeat_s: float = 10.0  # between signs of life of a unit
    lease_s: float = 120.0  # a unit without a sign of life for so long is lost
    grace_s: float = 30.0  # a job that ended without a word may still have one on its way
    queue_minutes: float | None = None  # a job that did not start by then is cancelled and sent again; null: never
    silence_minutes: float | None = 10.0  # what waits at a silent site goes to others after so long; null: it waits
    preemptions: int = 20  # attempts at a unit that may be pre-empted, lost or never start
    failures: int = 2  # attempts at a unit that may crash
    more_memory: float = 2.0  # factor for the one attempt after memory ran out
    backoff_s: float = 5.0  # before the next attempt after a crash, and before the batch system is asked again

    def patience(self) -> Patience:
        """Return what an attempt is judged by."""
        return Patience(self.lease_s, self.grace_s, seconds(self.queue_minutes), seconds(self.silence_minutes))


def seconds(minutes: float | None) -> float | None:
    """Return a time in seconds; None stays None."""
    return None if minutes is None else 60 * minutes


@dataclass
class Cost:
    """What a site takes; zero where nobody counts."""

    core_hour: float = 0.0
    gpu_hour: float = 0.0
    currency: str = ""


@dataclass
class HTCondorSettings:
    """What only an HTCondor pool is asked for."""

    requirements: str | None = None  # ClassAd expression over machines, e.g. HasSingularity =?= true
    attributes: dict[str, str] = field(default_factory=dict)  # further lines of the submit file, e.g. +DESIRED_Sites


@dataclass
class KubernetesSettings:
    """What only a Kubernetes cluster is asked for."""

    context: str | None = None  # of the kubeconfig; null: its current one
    namespace: str = "default"
    queue: str | None = None  # LocalQueue of Kueue
    service_account: str | None = None  # that the pods run as; null: the namespace's default, with no token mounted
    volumes: list[dict[str, str]] = field(default_factory=list)  # {claim or host, at, read_only}: shared with the pods
    secrets: list[str] = field(default_factory=list)  # names of Secrets whose keys become variables of the pods
    node_selector: dict[str, str] = field(default_factory=dict)


@dataclass
class PandaSettings:
    """What only PanDA is asked for."""

    url: str = "???"  # of the server: https://host:port
    vo: str = "???"  # virtual organisation, with its role: dune, dune.production
    queue: str | None = None  # PanDA site to pin the task to; null: PanDA chooses
    working_group: str | None = None
    task_vo: str = "wlcg"  # virtual organisation of the tasks, as the server's JEDI is set up for; often not vo
    scope: str = "user"  # first words of the names of tasks and logs, as the data management wants them: user.NICKNAME
    transform: str | None = None  # address of runGen; null: the server's own
    secrets: bool = False  # give the secrets that the user left with PanDA to each job
    processing_type: str = "wirecell-hpo"
    priority: int = 900


@dataclass
class AwsBatchSettings:
    """What only AWS Batch is asked for."""

    region: str = "???"
    queue: str = "???"  # job queue
    definition: str | None = None  # job definition, NAME or NAME:REVISION; null: one is registered for the container
    role: str | None = None  # ARN of the role of the jobs
    execution_role: str | None = None  # ARN of the role that fetches the image and the secrets
    secrets: dict[str, str] = field(default_factory=dict)  # variable → ARN in Secrets Manager or the parameter store
    endpoint: str | None = None  # of the service; null: Amazon's own


SETTINGS = {  # of one kind of site only, by the name that they have in a site
    "htcondor": HTCondorSettings,
    "kubernetes": KubernetesSettings,
    "panda": PandaSettings,
    "aws": AwsBatchSettings,
}


@dataclass
class Site:
    """One place where jobs can run. No secrets in it."""

    name: str = "???"
    kind: str = "???"  # local, slurm, htcondor, kubernetes, panda, pbs, aws
    mailbox: str | None = None  # where units write; null: the folder of the study, which the workers share
    resources: Resources = field(default_factory=Resources)  # of one unit
    driver: Resources = field(default_factory=lambda: Resources(cores=1, memory_gb=2.0, minutes=1440))  # driver=job
    in_flight: int | None = (
        None  # units queued or running at once; null: as many as the machine holds (local), 1000 (batch)
    )
    array_limit: int = 1000  # jobs in one array
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None  # features of the nodes, e.g. gpu&hbm80g
    gpu_model: str | None = None  # e.g. a100
    options: list[str] = field(default_factory=list)  # further words of the batch system, e.g. --reservation=dune
    signal_s: int = 90  # so long before its time is over a unit is told to checkpoint
    setup: list[str] = field(default_factory=list)  # shell lines before the unit: module load …, source …/activate
    python: str | None = None  # interpreter on the worker; null: the one that submits
    container: Container | None = None
    environment: dict[str, str] = field(default_factory=dict)  # of the units and of the batch system's commands
    paths: dict[str, str] = field(default_factory=dict)  # begin of a path here → of the same place at the site
    htcondor: HTCondorSettings = field(default_factory=HTCondorSettings)
    kubernetes: KubernetesSettings = field(default_factory=KubernetesSettings)
    panda: PandaSettings | None = None
    aws: AwsBatchSettings | None = None
    policy: Policy = field(default_factory=Policy)
    cost: Cost = field(default_factory=Cost)

    def queue_room(self, open_jobs: int) -> int:
        """Return how many jobs more may be put into the queue of a batch system that has ``open_jobs`` of ours."""
        limit = self.array_limit if self.in_flight is None else self.in_flight
        return max(0, min(self.array_limit, limit - open_jobs))


KINDS = {  # kind of a site → the class that speaks with it, imported when a site of that kind is used
    "local": "local.Local",
    "slurm": "slurm.Slurm",
    "htcondor": "htcondor.backend.HTCondor",
    "kubernetes": "kubernetes.backend.Kubernetes",
    "panda": "panda.backend.Panda",
    "pbs": "pbs.Pbs",
    "aws": "aws_batch.AwsBatch",
}
ENGINES = ("apptainer", "docker", "podman")


def check_site(site: Site) -> None:
    """Raise ConfigError for what no site can mean."""
    check_no_secret(asdict(site), "site")
    if site.kind not in KINDS:
        raise ConfigError(f"site.kind: '{site.kind}' is not known.{suggest(site.kind, KINDS)}")
    if site.container and site.container.engine not in ENGINES:
        engine = site.container.engine
        raise ConfigError(f"site.container.engine: '{engine}' is not known.{suggest(engine, ENGINES)}")
    if site.resources.cores < 1 or site.resources.minutes < 1 or site.resources.memory_gb <= 0:
        raise ConfigError("site.resources: cores, memory_gb and minutes are at least 1, and gpus at least 0")
    if site.array_limit < 1 or (site.in_flight is not None and site.in_flight < 1):
        raise ConfigError("site: in_flight and array_limit are at least 1, or nothing could be sent")
    if site.policy.lease_s < 2 * site.policy.heartbeat_s:
        raise ConfigError(
            f"site.policy.lease_s={site.policy.lease_s:g} is shorter than two heartbeats: living units would count as "
            f"lost. Write at least {2 * site.policy.heartbeat_s:g}"
        )
