"""The stand-in for PanDA: as strict as the real server, and understood by the real client."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backend_contract import SMALL, batch_of
from tests.panda_standin import Standin, standin_at
from tests.sweeping import wait_for
from wirecell_ml.submit.backend import Expired, Refused
from wirecell_ml.submit.panda import task
from wirecell_ml.submit.panda.rest import Server
from wirecell_ml.submit.site import PandaSettings, Site

SEND = """
import json, sys
from pandaclient import Client
parameters = json.loads(sys.argv[1])
answers = {"put": Client.putFile(sys.argv[2], useCacheSrv=True)}
answers["sent"] = Client.insertTaskParams(parameters, properErrorCode=True)
answers["again"] = Client.insertTaskParams(parameters, properErrorCode=True)
print(json.dumps(answers))
"""
ASK = """
import json, sys
from pandaclient import Client
answers = {
    "status": Client.getTaskStatus(1),
    "files": Client.get_files_in_datasets(1),
    "details": Client.getJediTaskDetails({"jediTaskID": 1}, False, True),
    "kill": Client.killTask(1),
    "none": Client.getTaskStatus(99),
}
print(json.dumps(answers))
"""


@pytest.fixture
def standin() -> Iterator[Standin]:
    with standin_at() as standin:
        yield standin


@pytest.fixture
def server(standin: Standin) -> Server:
    return Server(standin.address, "dune", standin.issuer.mint())


def parameters(standin: Standin, folder: Path) -> dict[str, Any]:
    """Return the parameters of a task of two jobs."""
    site = Site(name="grid", kind="panda", panda=PandaSettings(url=standin.address, vo="dune"))
    return task.parameters(batch_of(folder, [["true"]] * 2, SMALL), site)


def client(standin: Standin, script: str, *words: str) -> dict[str, Any]:
    """Return what the real panda-client answers."""
    pytest.importorskip("pandaclient")
    url = f"{standin.address}/server/panda"
    environment = {
        "PANDA_URL": url,
        "PANDA_URL_SSL": url,
        "PANDACACHE_URL": url,
        "PANDA_BEHIND_REAL_LB": "1",
        "PANDA_AUTH": "oidc",
        "PANDA_AUTH_VO": "dune",
        "PANDA_AUTH_ID_TOKEN": standin.issuer.mint(),
    }
    command = [sys.executable, "-c", script, *words]
    ended = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    answers: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return answers


def test_the_real_client_can_work_with_it(standin: Standin, tmp_path: Path) -> None:
    standin.panda.faults.asleep = True
    (tmp_path / "jobO.tar.gz").write_bytes(b"a sandbox of some bytes")
    sent = client(standin, SEND, json.dumps(parameters(standin, tmp_path)), str(tmp_path / "jobO.tar.gz"))
    assert sent["put"] == [0, "True"]
    assert sent["sent"] == [0, [0, "succeeded. new jediTaskID=1"]]
    assert sent["again"][1][0] == 1
    standin.panda.faults.asleep = False
    wait_for(lambda: standin.panda.tasks[1].status == "running")
    seen = client(standin, ASK)
    assert seen["status"] == [0, "running"]
    assert [file["status"] for file in seen["files"][1][0]["files"]] == ["running", "running"]
    assert seen["details"][1]["statistics"] in ("activated*2", "picked*2")
    assert seen["kill"][1][0] is True
    assert seen["none"] == [255, None], "which a server that is down gives, too"
    assert standin.wrongs == []


@pytest.mark.parametrize(
    ("endpoint", "values", "wrong"),
    [
        ("task/fly", {}, "forbidden"),
        ("task/kill", {"task_id": "1"}, "Type error"),
        ("task/kill", {}, "Argument error"),
        ("task/kill", {"task_id": 1, "now": True}, "Argument error"),
        ("task/get_status", {"task_id": 1}, "expecting GET, received POST"),
        ("pilot/update_job", {"job_id": 1, "job_status": "running"}, "production or pilot role"),
    ],
)
def test_what_no_server_takes_is_an_error_and_put_down(
    standin: Standin, server: Server, endpoint: str, values: dict[str, Any], wrong: str
) -> None:
    with pytest.raises(Refused, match=wrong):
        server.post(endpoint, values)
    assert len(standin.wrongs) == 1
    assert wrong in standin.wrongs[0]


def test_nobody_is_let_in_without_a_good_token(standin: Standin) -> None:
    good = standin.issuer.mint()
    for vo, token in (("dune", good[:-10]), ("atlas", good), ("dune.production", good), ("", good)):
        with pytest.raises(Expired, match="Token authentication failed"):
            Server(standin.address, vo, token).get("task/get_status", task_id=1)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"colour": "blue"}, r"unknown parameters \['colour'\]"),
        ({"nFiles": 3}, "as many inputs as nFiles says"),
        ({"coreCount": "1"}, "coreCount is no int"),
        ({"jobParameters": []}, "the name of the input is nowhere"),
    ],
)
def test_a_task_that_jedi_would_not_refine_is_broken(
    standin: Standin, server: Server, tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    server.post("task/submit", {"task_parameters": parameters(standin, tmp_path) | change})
    wait_for(lambda: standin.panda.tasks[1].status == "broken")
    assert re.search(why, str(standin.panda.tasks[1].error))


def test_a_node_without_a_gpu_gets_no_job_that_wants_one(standin: Standin, server: Server, tmp_path: Path) -> None:
    wants = {"architecture": json.dumps({"gpu_spec": {"vendor": "nvidia"}}), "site": "TEST_QUEUE"}
    server.post("task/submit", {"task_parameters": parameters(standin, tmp_path) | wants})
    wait_for(lambda: len(standin.panda.jobs) == 2 and standin.panda.jobs[1].status == "activated")
    asked = {"site_name": "TEST_QUEUE", "prod_source_label": "user", "target_architecture": {"gpus": []}}
    with pytest.raises(Refused, match="No jobs in PanDA"):
        server.post("pilot/acquire_jobs", asked)
    asked["target_architecture"] = {"gpus": [{"vendor": "NVIDIA", "model": "NVIDIA A100"}]}
    assert len(server.post("pilot/acquire_jobs", asked)["jobs"]) == 1


def test_a_task_of_a_name_that_has_ended_would_be_started_again(
    standin: Standin, server: Server, tmp_path: Path
) -> None:
    """This is why a batch of ours is never sent twice under one name."""
    order = {"task_parameters": parameters(standin, tmp_path)}
    assert server.post("task/submit", order) == 1
    standin.panda.tasks[1].status = "done"
    assert server.post("task/submit", order) == 1
    assert len(standin.panda.tasks) == 1
