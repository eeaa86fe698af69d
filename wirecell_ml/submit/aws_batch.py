"""AWS Batch: a job each, found by its name. Tried against moto, which answers as AWS does; never run on AWS itself.

A job has the token as its name, and all jobs of a batch are found by one list of names. An array would be found alike,
but the commands of all its jobs together may have 8 kB only. SubmitJob takes no token that makes it safe to repeat, so
nothing is sent before a look for its name, and the client tries nothing again by itself.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wirecell_ml.errors import ConfigError, SubmitError, suggest
from wirecell_ml.submit.backend import Expired, Refused, Unavailable
from wirecell_ml.submit.job import Batch, Job, Resources, batches_of
from wirecell_ml.submit.secret import hide, keys_of_aws
from wirecell_ml.submit.site import AwsBatchSettings, Site
from wirecell_ml.submit.states import JobState

TIMEOUT_S = 30  # of one question
LOG_GROUP = "/aws/batch/job"
LOG_LINES = 10_000  # of a job, its last
LARGEST = {"memory_gb": 32_768.0, "gpus": 16}  # of any machine that EC2 rents; what a queue really has it does not say
FARGATE = {"cores": 16, "memory_gb": 120.0, "gpus": 0}
LIMITS = {"cores": "{:g} cores", "memory_gb": "machines of at most {:g} GB", "gpus": "machines of at most {:g} GPUs"}
DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")
STATES = {
    "SUBMITTED": JobState.WAITING,
    "PENDING": JobState.WAITING,
    "RUNNABLE": JobState.WAITING,
    "STARTING": JobState.RUNNING,
    "RUNNING": JobState.RUNNING,
    "SUCCEEDED": JobState.ENDED,
    "FAILED": JobState.ENDED,
}
LIVE = (JobState.WAITING, JobState.RUNNING, JobState.HELD)
NEVER = "MISCONFIGURATION:"  # how the reason of a job begins that Batch will never start
LOGINS = re.compile("Expired|UnrecognizedClient|InvalidClientToken|NoCredentials|SSO|TokenRetrieval|LoginRefresh")
BUSY = re.compile("Throttl|TooManyRequests|RequestLimit|SlowDown|Timeout|Unavailable|InternalFailure|ServerException")


@dataclass(frozen=True)
class AwsJob:
    """What Batch says of a job."""

    token: str
    number: str  # jobId
    state: JobState
    why: str


class AwsBatch:
    """A job queue of AWS Batch, as the credentials of whoever runs this may use it."""

    def __init__(self, site: Site) -> None:
        self.site = site

    @property
    def settings(self) -> AwsBatchSettings:
        """What the site says of AWS."""
        if self.site.aws is None:
            raise ConfigError(f"site.aws: {self.site.name} says neither region nor queue. docs/site_aws.md shows how")
        return self.site.aws

    def render(self, batch: Batch) -> str:
        """Return the job definition, if one is made, and each request as JSON."""
        made = [] if self.settings.definition else [definition(self.site)]
        sent = [request(job, batch, self.site) for job in batch.jobs]
        return "".join(json.dumps(one, indent=1, ensure_ascii=False) + "\n" for one in [*made, *sent])

    def submit(self, batch: Batch) -> None:
        """Send the jobs that are not there yet; a batch that runs ``alone`` waits for no other, but is not sent."""
        batch_jobs = self.find([job.token for job in batch.jobs])
        there = {job.token for job in batch_jobs if job.state in LIVE or not batch.alone}
        self.define()
        for count, job in enumerate(job for job in batch.jobs if job.token not in there):
            try:
                self.ask("batch", "submit_job", **request(job, batch, self.site))
            except Refused as error:
                if count == 0 and not there:
                    raise
                raise Unavailable(f"only some of {len(batch.jobs)} jobs were taken: {error}") from error

    def define(self) -> None:
        """Register the job definition of the site, unless one is named or it is there; its name holds its digest."""
        if self.settings.definition:
            return
        wanted = definition(self.site)
        name = wanted["jobDefinitionName"]
        found = self.ask("batch", "describe_job_definitions", jobDefinitionName=name, status="ACTIVE")
        if not found["jobDefinitions"]:
            self.ask("batch", "register_job_definition", **wanted)

    def states(self, tokens: Collection[str]) -> dict[str, JobState]:
        """Return what Batch says; it forgets a job some days after its end."""
        found: dict[str, JobState] = {}
        for job in self.find(tokens):
            if found.get(job.token) not in LIVE:
                found[job.token] = job.state
        return found

    def cancel(self, tokens: Collection[str]) -> None:
        """End jobs: one that runs gets SIGTERM, and SIGKILL as long after it as its machine is set up for."""
        for job in self.find(tokens):
            if job.state in LIVE:
                self.ask("batch", "terminate_job", jobId=job.number, reason="not needed any more")

    def find(self, tokens: Collection[str]) -> Iterator[AwsJob]:
        """Yield every job of these tokens."""
        wanted = set(tokens)
        for name in batches_of(wanted):
            for held in self.listed(f"{name}-*"):
                if held["jobName"] in wanted:
                    yield aws_job(held)

    def listed(self, pattern: str) -> Iterator[dict[str, Any]]:
        """Yield the summaries of all jobs whose name matches."""
        wanted = {"jobQueue": self.settings.queue, "filters": [{"name": "JOB_NAME", "values": [pattern]}]}
        page: dict[str, Any] = {}
        while True:
            said = self.ask("batch", "list_jobs", **wanted, **page)
            yield from said["jobSummaryList"]
            if not said.get("nextToken"):
                return
            page = {"nextToken": said["nextToken"]}

    def room(self, resources: Resources, open_jobs: int) -> int:  # noqa: ARG002  (the queue holds jobs of any size)
        """Return how many jobs more may be queued."""
        return self.site.queue_room(open_jobs)

    def check(self, resources: Resources) -> None:
        """Raise SubmitError where there is no such queue, or no machine for such a job."""
        if self.site.mailbox is None and not self.settings.definition:
            raise SubmitError(
                f"site.mailbox: {self.site.name} and this machine share no folder. Write s3://BUCKET/FOLDER, or name a "
                "job definition with a file system that both see in site.aws.definition"
            )
        limits = self.limits(self.queue())
        for name, limit in LIMITS.items():
            wanted = getattr(resources, name)
            if wanted > limits[name]:
                said = limit.format(limits[name])
                raise SubmitError(f"site.resources.{name}={wanted:g}: {self.site.name} has {said}. Ask for less")
        self.define()

    def queue(self) -> dict[str, Any]:
        """Return the job queue; raises SubmitError where there is none, or it takes no jobs."""
        name = self.settings.queue
        queues = self.ask("batch", "describe_job_queues")["jobQueues"]
        found: list[dict[str, Any]] = [one for one in queues if name in (one["jobQueueName"], one["jobQueueArn"])]
        if not found:
            known = [str(one["jobQueueName"]) for one in queues]
            raise SubmitError(f"site.aws.queue: {self.site.name} has no queue '{name}'.{suggest(name, known)}")
        if found[0]["state"] != "ENABLED":
            raise SubmitError(f"site.aws.queue: '{name}' takes no jobs: {found[0].get('statusReason') or 'disabled'}")
        return found[0]

    def limits(self, queue: dict[str, Any]) -> dict[str, float]:
        """Return the most that a job in a queue can have."""
        names = [one["computeEnvironment"] for one in queue["computeEnvironmentOrder"]]
        places = self.ask("batch", "describe_compute_environments", computeEnvironments=names)["computeEnvironments"]
        resources = [place.get("computeResources", {}) for place in places]
        if all("FARGATE" in held.get("type", "") for held in resources):
            return dict(FARGATE)
        return LARGEST | {"cores": max(held.get("maxvCpus", 0) for held in resources)}

    def outlook(self, resources: Resources) -> float | None:  # noqa: ARG002
        """Return None: Batch starts machines as it needs them, and says nothing of when."""
        return None

    def explain(self, token: str) -> str:
        """Return the reason that Batch gives for the state of a job."""
        return next((job.why for job in self.find([token])), "")

    def fetch(self, tokens: Collection[str], folder: Path) -> None:
        """Bring the last lines that ended jobs have left in CloudWatch."""
        missing = {token for token in tokens if not (folder / f"{token}.log").exists()}
        for job in self.find(missing):
            if job.state in LIVE or not (text := self.log(job.number)):
                continue
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{job.token}.log").write_text(text)

    def log(self, number: str) -> str:
        """Return the last lines of a job, nothing where it has left none."""
        (held,) = self.ask("batch", "describe_jobs", jobs=[number])["jobs"]
        stream = held.get("container", {}).get("logStreamName")
        if not stream:
            return ""
        try:
            said = self.ask("logs", "get_log_events", logGroupName=LOG_GROUP, logStreamName=stream, limit=LOG_LINES)
        except Refused:  # no such stream, or we may not read it
            return ""
        return "".join(f"{event['message']}\n" for event in said["events"])

    def ask(self, service: str, question: str, **words: Any) -> Any:
        """Return an answer of AWS; raises Expired, Unavailable or Refused."""
        with translated():
            return getattr(self.client(service), question)(**words)

    def client(self, service: str) -> Any:
        """Return a client that asks once and does not wait for ever."""
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise SubmitError(
                f"site {self.site.name}: AWS needs boto3. Install it: pip install 'wirecell_ml[aws]'"
            ) from error
        patience = Config(connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"total_max_attempts": 1})
        session = boto3.Session(region_name=self.settings.region)
        return session.client(service, endpoint_url=self.settings.endpoint, config=patience)


@contextmanager
def translated() -> Iterator[None]:
    """Raise our word for what went wrong with a question to AWS."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        held = error.response["Error"]
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raise meaning(str(held.get("Code")), status, hide(str(held.get("Message")), keys_of_aws())) from error
    except BotoCoreError as error:
        kind = type(error).__name__
        raise (
            Expired(f"{error}. Renew it: aws sso login") if LOGINS.search(kind) else Unavailable(str(error))
        ) from error


def meaning(code: str, status: int, said: str) -> Exception:
    """Return our word for an answer of AWS that is no success."""
    if LOGINS.search(code):
        return Expired(f"{code}: {said}. Renew it: aws sso login")
    if status >= 500 or status == 429 or BUSY.search(code):
        return Unavailable(f"{code}: {said}")
    return Refused(f"{code}: {said}")


def aws_job(held: dict[str, Any]) -> AwsJob:
    """Return a job from its summary."""
    why = held.get("container", {}).get("reason") or held.get("statusReason") or ""
    return AwsJob(held["jobName"], held["jobId"], job_state(held["status"], why), " ".join(why.split()))


def job_state(status: str, why: str) -> JobState:
    """Return our word for a state of Batch, and the reason for it."""
    if status == "FAILED" and why.startswith("OutOfMemory"):
        return JobState.OUT_OF_MEMORY
    if status == "RUNNABLE" and why.startswith(NEVER):
        return JobState.HELD
    return STATES[status]


def definition(site: Site) -> dict[str, Any]:
    """Return the job definition of a site: what all its jobs have in common."""
    assert site.aws
    if site.container is None or not DIGEST.fullmatch(site.container.image):
        raise ConfigError(
            f"site.container.image: {site.name} needs an image by its digest, NAME@sha256:…, so that it never changes"
        )
    properties = {
        "image": site.container.image,
        "command": ["true"],
        "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "512"}],
        **({"jobRoleArn": site.aws.role} if site.aws.role else {}),
        **({"executionRoleArn": site.aws.execution_role} if site.aws.execution_role else {}),
        "secrets": [{"name": name, "valueFrom": place} for name, place in sorted(site.aws.secrets.items())],
    }
    digest = hashlib.sha256(json.dumps(properties, sort_keys=True).encode()).hexdigest()[:12]
    return {"jobDefinitionName": f"wirecell-ml-{digest}", "type": "container", "containerProperties": properties}


def request(job: Job, batch: Batch, site: Site) -> dict[str, Any]:
    """Return what AWS is asked to run for a job; whoever runs too long is ended after the time that it has itself."""
    assert site.aws
    size = batch.resources
    needs = {"VCPU": size.cores, "MEMORY": round(1000 * size.memory_gb * 1000**2 / 1024**2), "GPU": size.gpus or None}
    environment = {"OMP_NUM_THREADS": str(size.cores)} | site.environment
    return {
        "jobName": job.token,
        "jobQueue": site.aws.queue,
        "jobDefinition": site.aws.definition or definition(site)["jobDefinitionName"],
        "containerOverrides": {
            "command": list(job.command),
            "environment": [{"name": name, "value": value} for name, value in environment.items()],
            "resourceRequirements": [
                {"type": kind, "value": str(value)} for kind, value in needs.items() if value is not None
            ],
        },
        "retryStrategy": {"attempts": 1},
        "timeout": {"attemptDurationSeconds": 60 * size.minutes + site.signal_s},
    }
