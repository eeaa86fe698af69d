"""AWS Batch, as far as moto goes: it takes, lists, describes and ends jobs as AWS does, and runs none of them."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.aws_batch import DEFINITION, QUEUE, REGION, aws_batch, client, post
from tests.aws_batch import waiting as aws_batch_waiting
from tests.backend_contract import ODD, SMALL, Contract, batch_of, lines_below, tokens, units
from tests.records import RECORDS, check_record, read_site
from wirecell_ml.errors import ConfigError, SubmitError
from wirecell_ml.submit.aws_batch import AwsBatch, aws_job, definition, job_state, meaning
from wirecell_ml.submit.backend import Expired, Refused, Unavailable, make_backend
from wirecell_ml.submit.job import Batch, Resources
from wirecell_ml.submit.site import AwsBatchSettings, Container, Site
from wirecell_ml.submit.states import JobState

IMAGE = f"registry.example/wirecell_ml@sha256:{'0' * 64}"
DEAD = "http://127.0.0.1:16891"  # where nobody listens


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with aws_batch() as address:
        yield address


@pytest.fixture
def site(moto: str, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    return Site(name="cloud", kind="aws", aws=AwsBatchSettings(REGION, QUEUE, DEFINITION, endpoint=moto))


@pytest.fixture
def waiting() -> Iterator[None]:
    """Let jobs that are sent from now on wait."""
    post("/moto-api/config", {"batch": {"use_docker": True}})
    with aws_batch_waiting():
        yield
    post("/moto-api/config", {"batch": {"use_docker": False}})


def sent(batch: Batch) -> list[dict[str, Any]]:
    """Return what AWS knows of the jobs of a batch, in their order."""
    batch_client = client("batch")
    found = []
    for token in tokens(batch):
        listed = batch_client.list_jobs(jobQueue=QUEUE, filters=[{"name": "JOB_NAME", "values": [token]}])
        numbers = [held["jobId"] for held in listed["jobSummaryList"]]
        assert len(numbers) == 1, "one job for each token"
        found += batch_client.describe_jobs(jobs=numbers)["jobs"]
    return found


class TestAwsBatch(Contract):
    """The promises that moto can keep as they are; those that need a job to run are kept as far as AWS is asked."""

    @pytest.fixture
    def site(self, site: Site) -> Site:
        return site

    def test_every_job_runs_under_its_own_token(self, site: Site, tmp_path: Path) -> None:
        """Moto runs nothing, so no job has a result: each is there under its token."""
        _, batch = units(tmp_path, 3)
        make_backend(site).submit(batch)
        assert [held["jobName"] for held in sent(batch)] == tokens(batch)

    @pytest.mark.usefixtures("waiting")
    def test_a_backend_keeps_nothing(self, site: Site, tmp_path: Path) -> None:
        """Moto's jobs never run, so they are found while they wait."""
        _, batch = units(tmp_path, 2)
        make_backend(site).submit(batch)
        another = make_backend(site)
        assert another.states([*tokens(batch), "nobody-000000-0"]) == dict.fromkeys(tokens(batch), JobState.WAITING)

    @pytest.mark.usefixtures("waiting")
    def test_a_cancelled_job_checkpoints(self, site: Site, tmp_path: Path) -> None:
        """Nothing runs that could checkpoint: AWS is asked to end this job, and not the other."""
        _, batch = units(tmp_path, 2)
        backend = make_backend(site)
        backend.submit(batch)
        backend.cancel(tokens(batch)[:1])
        assert [backend.explain(token) for token in tokens(batch)] == ["not needed any more", ""]

    def test_a_job_that_has_ended_neither_waits_nor_runs(self, site: Site, tmp_path: Path) -> None:
        """It leaves no result, since it did not run."""
        _, batch = units(tmp_path, 1)
        make_backend(site).submit(batch)
        assert make_backend(site).states(tokens(batch)) == {tokens(batch)[0]: JobState.ENDED}

    def test_words_arrive_as_they_were_sent(self, site: Site, tmp_path: Path) -> None:
        """They arrive at AWS, which gives a container its command as a list."""
        batch = batch_of(tmp_path, [["tell", *ODD], ["tell", *reversed(ODD)]])
        make_backend(site).submit(batch)
        assert [tuple(held["container"]["command"]) for held in sent(batch)] == [job.command for job in batch.jobs]

    def test_the_environment_of_the_site_arrives(self, site: Site, tmp_path: Path) -> None:
        """It arrives at AWS."""
        own = {"FLAVOUR": 'it\'s "ν" $HOME'}
        batch = batch_of(tmp_path, [["true"]])
        make_backend(replace(site, environment=own)).submit(batch)
        (held,) = sent(batch)
        found = {pair["name"]: pair["value"] for pair in held["container"]["environment"]}
        assert found | own | {"OMP_NUM_THREADS": "1"} == found

    def test_what_a_job_prints_is_kept(self, site: Site, tmp_path: Path) -> None:
        """CloudWatch is told by the test what the job would have printed."""
        batch = batch_of(tmp_path, [["true"]] * 2)
        backend = make_backend(site)
        backend.submit(batch)
        for held in sent(batch):
            speak(held["container"]["logStreamName"], f"{held['jobName']} spoke")
        backend.fetch(tokens(batch), batch.folder)
        assert sorted(lines_below(batch.folder)) == [f"{token} spoke" for token in tokens(batch)]
        speak(sent(batch)[0]["container"]["logStreamName"], "again")
        backend.fetch(tokens(batch), batch.folder)
        assert len(lines_below(batch.folder)) == 2, "what is here is not fetched again"


def speak(stream: str, line: str) -> None:
    """Write a line as a job would."""
    logs = client("logs")
    groups = [one["logGroupName"] for one in logs.describe_log_groups()["logGroups"]]
    if "/aws/batch/job" not in groups:
        logs.create_log_group(logGroupName="/aws/batch/job")
    streams = logs.describe_log_streams(logGroupName="/aws/batch/job")["logStreams"]
    if stream not in [one["logStreamName"] for one in streams]:
        logs.create_log_stream(logGroupName="/aws/batch/job", logStreamName=stream)
    event = {"timestamp": int(time.time() * 1000), "message": line}
    logs.put_log_events(logGroupName="/aws/batch/job", logStreamName=stream, logEvents=[event])


def test_what_is_sent_is_on_record(tmp_path: Path) -> None:
    site = read_site(RECORDS / "aws" / "site.yaml")
    check_record(site, RECORDS / "aws" / "requests.json", tmp_path)


def test_a_batch_that_was_sent_before_is_not_sent_twice(site: Site, tmp_path: Path) -> None:
    _, batch = units(tmp_path, 3)
    first = replace(batch, jobs=batch.jobs[:2])
    make_backend(site).submit(first)
    make_backend(site).submit(batch)
    assert len(sent(batch)) == 3


@pytest.mark.usefixtures("waiting")
def test_a_driver_is_sent_again_only_once_the_one_before_has_ended(site: Site, tmp_path: Path) -> None:
    _, batch = units(tmp_path, 1)
    alone = replace(batch, alone=True)
    make_backend(site).submit(alone)
    make_backend(site).submit(alone)
    assert len(sent(alone)) == 1


def test_a_job_says_how_large_it_is_and_how_long_it_may_take(site: Site, tmp_path: Path) -> None:
    _, batch = units(tmp_path, 1, Resources(cores=4, memory_gb=15, gpus=2, minutes=30))
    make_backend(site).submit(batch)
    assert sent(batch)[0]["timeout"] == {"attemptDurationSeconds": 30 * 60 + site.signal_s}
    asked = json.loads(make_backend(site).render(batch))  # moto does not tell the rest
    needs = {need["type"]: need["value"] for need in asked["containerOverrides"]["resourceRequirements"]}
    assert needs == {"VCPU": "4", "MEMORY": "14305", "GPU": "2"}
    assert asked["retryStrategy"] == {"attempts": 1}


def made(site: Site) -> Site:
    """Return the site with a container in place of a job definition of the user's own."""
    assert site.aws
    secrets = {"TOKEN": "arn:aws:secretsmanager:eu-central-1:1:secret:token"}
    settings = replace(site.aws, definition=None, role="arn:aws:iam::1:role/unit", secrets=secrets)
    return replace(site, container=Container("docker", IMAGE), aws=settings, mailbox="s3://bucket/mail")


def test_a_job_definition_is_made_once_for_a_container(site: Site, tmp_path: Path) -> None:
    for _ in range(2):
        _, batch = units(tmp_path, 1)
        make_backend(made(site)).submit(batch)
    name = definition(made(site))["jobDefinitionName"]
    (found,) = client("batch").describe_job_definitions(jobDefinitionName=name)["jobDefinitions"]
    assert found["containerProperties"]["image"] == IMAGE
    assert found["containerProperties"]["jobRoleArn"] == "arn:aws:iam::1:role/unit"
    assert found["containerProperties"]["secrets"][0]["valueFrom"].startswith("arn:"), "where it is, not what it is"
    assert sent(batch)[0]["jobDefinition"] == found["jobDefinitionArn"]


@pytest.mark.parametrize("image", ["wirecell_ml", "wirecell_ml:latest", "wirecell_ml@sha256:00"])
def test_an_image_that_may_change_is_refused(site: Site, tmp_path: Path, image: str) -> None:
    changing = replace(made(site), container=Container("docker", image))
    with pytest.raises(ConfigError, match="needs an image by its digest"):
        make_backend(changing).render(units(tmp_path, 1)[1])


def test_an_unknown_queue_is_named_with_the_near_one(site: Site) -> None:
    assert site.aws
    with pytest.raises(SubmitError, match=r"has no queue 'wirecel'\. Did you mean 'wirecell'\?"):
        make_backend(replace(site, aws=replace(site.aws, queue="wirecel"))).check(SMALL)


def test_a_job_for_an_unknown_definition_is_refused(site: Site, tmp_path: Path) -> None:
    assert site.aws
    unknown = replace(site, aws=replace(site.aws, definition="nothing"))
    with pytest.raises(Refused, match="ClientException"):
        make_backend(unknown).submit(units(tmp_path, 1)[1])


def test_a_site_that_shares_no_folder_needs_a_mailbox(site: Site) -> None:
    with pytest.raises(SubmitError, match=r"site\.mailbox: .* Write s3://BUCKET/FOLDER"):
        make_backend(replace(made(site), mailbox=None)).check(SMALL)
    make_backend(made(site)).check(SMALL)


def test_a_service_that_is_away_has_not_refused(site: Site, tmp_path: Path) -> None:
    assert site.aws
    away = AwsBatch(replace(site, aws=replace(site.aws, endpoint=DEAD)))
    batch = units(tmp_path, 1)[1]
    for ask in (
        lambda: away.submit(batch),
        lambda: away.states(tokens(batch)),
        lambda: away.cancel(tokens(batch)),
        lambda: away.check(SMALL),
        lambda: away.fetch(tokens(batch), tmp_path),
    ):
        with pytest.raises(Unavailable, match="Could not connect"):
            ask()


def test_who_has_no_login_is_told_so(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(Expired, match=r"Unable to locate credentials.*aws sso login"):
        make_backend(site).states(["some-000000-0"])


@pytest.mark.parametrize(
    ("code", "status", "means"),
    [
        ("ExpiredTokenException", 400, Expired),
        ("ExpiredToken", 403, Expired),
        ("UnrecognizedClientException", 403, Expired),
        ("InvalidClientTokenId", 403, Expired),
        ("TooManyRequestsException", 429, Unavailable),
        ("ThrottlingException", 400, Unavailable),
        ("RequestLimitExceeded", 503, Unavailable),
        ("ServerException", 500, Unavailable),
        ("Whatever", 502, Unavailable),
        ("ClientException", 400, Refused),
        ("AccessDeniedException", 403, Refused),
        ("ValidationException", 400, Refused),
    ],
)
def test_an_answer_has_a_meaning(code: str, status: int, means: type[Exception]) -> None:
    assert type(meaning(code, status, "so it is")) is means


@pytest.mark.parametrize(
    ("status", "why", "means"),
    [
        ("SUBMITTED", "", JobState.WAITING),
        ("PENDING", "", JobState.WAITING),
        ("RUNNABLE", "", JobState.WAITING),
        ("RUNNABLE", "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - no machine is large enough", JobState.HELD),
        ("STARTING", "", JobState.RUNNING),
        ("RUNNING", "", JobState.RUNNING),
        ("SUCCEEDED", "", JobState.ENDED),
        ("FAILED", "Host EC2 (instance i-0a1b) terminated.", JobState.ENDED),
        ("FAILED", "CannotPullContainerError: no such manifest", JobState.ENDED),
        ("FAILED", "OutOfMemoryError: Container killed due to memory usage", JobState.OUT_OF_MEMORY),
    ],
)
def test_every_state_has_a_meaning(status: str, why: str, means: JobState) -> None:
    assert job_state(status, why) is means


def test_the_reason_of_the_container_says_more_than_that_of_the_job() -> None:
    held = {"jobName": "a-0", "jobId": "1", "status": "FAILED", "statusReason": "Essential container in task exited"}
    killed = {"container": {"exitCode": 137, "reason": "OutOfMemoryError: Container killed"}}
    assert aws_job(held).why == "Essential container in task exited"
    assert aws_job(held | killed).state is JobState.OUT_OF_MEMORY
