"""The AWS Batch of the tests: moto's, in a process of its own, with a queue; it runs jobs only with machines."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from tests.object_store import answers, folder, installed, missing
from tests.sweeping import wait_for
from wirecell_ml.paths import PACKAGE

ADDRESS = "http://127.0.0.1:16890"
REGION, QUEUE, DEFINITION, CORES = "eu-central-1", "wirecell", "shared-folder", 256


@contextmanager
def aws_batch(machines: bool = False) -> Iterator[str]:
    """Run an AWS Batch with a queue and a job definition, maybe with machines for its jobs, and yield its address."""
    if find_spec("boto3") is None:
        missing("no boto3 here: pip install 'wirecell_ml[aws]'")
    port = ADDRESS.rpartition(":")[2]
    alone = [str(installed()), "-H", "127.0.0.1", "-p", port]
    with (folder() / "batch.log").open("ab") as log:
        words = [sys.executable, "-m", "tests.aws_machines", "127.0.0.1", port] if machines else alone
        server = subprocess.Popen(words, cwd=PACKAGE.parent, stdout=log, stderr=log)
    try:
        wait_for(lambda: answers(ADDRESS))
        post("/moto-api/config", {"batch": {"use_docker": machines}})
        furnish()
        yield ADDRESS
    finally:
        server.kill()
        server.wait()


def post(path: str, held: Any) -> None:
    """Tell moto something about itself."""
    kind = {"Content-Type": "application/json"}
    request = urllib.request.Request(ADDRESS + path, json.dumps(held).encode(), kind)  # noqa: S310
    urllib.request.urlopen(request, timeout=30).close()  # noqa: S310


@contextmanager
def waiting() -> Iterator[None]:
    """Let jobs wait for a machine."""
    model = {"model_name": "batch::job"}
    transition = {"progression": "manual", "times": 10**6}
    post("/moto-api/state-manager/set-transition", {**model, "transition": transition})
    try:
        yield
    finally:
        post("/moto-api/state-manager/unset-transition", model)


def client(service: str) -> Any:
    """Return a client of the tests' own."""
    import boto3

    keys = {"aws_access_key_id": "tests", "aws_secret_access_key": "tests"}
    return boto3.client(service, region_name=REGION, endpoint_url=ADDRESS, **keys)


def furnish() -> None:
    """Make a compute environment, a queue and a job definition."""
    vpc = client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    net = client("ec2").create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    group = client("ec2").create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
    role = client("iam").create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    client("iam").create_instance_profile(InstanceProfileName="batch")
    profile = client("iam").get_instance_profile(InstanceProfileName="batch")["InstanceProfile"]["Arn"]
    sizes = {"minvCpus": 0, "maxvCpus": CORES, "desiredvCpus": 0, "instanceTypes": ["optimal"], "instanceRole": profile}
    batch = client("batch")
    batch.create_compute_environment(
        computeEnvironmentName="spot",
        type="MANAGED",
        serviceRole=role,
        computeResources={"type": "SPOT", "subnets": [net], "securityGroupIds": [group], **sizes},
    )
    batch.create_job_queue(
        jobQueueName=QUEUE,
        state="ENABLED",
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": "spot"}],
    )
    batch.register_job_definition(
        jobDefinitionName=DEFINITION,
        type="container",
        containerProperties={"image": "wirecell_ml", "vcpus": 1, "memory": 512},
    )
