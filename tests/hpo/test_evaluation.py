"""The evaluation command, and a whole search of iDDS's HPO service with both commands of ours."""

import json
import math
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.hpo.conftest import with_programs
from tests.idds_server import ORGANISATION, running_server
from tests.sweeping import wait_for
from wirecell_ml.errors import ConfigError
from wirecell_ml.hpo.evaluation import read_evaluation
from wirecell_ml.paths import PACKAGE

RATE = "optimizer.lr"
EVALUATE = (sys.executable, "-m", "wirecell_ml.hpo.evaluation")
DUMMY = ("program=dummy_unit", "objective=val/dice")
STEER = (sys.executable, "-m", "wirecell_ml.hpo.steering")
PLACES = ("input=%IN", "output=%OUT", "points=%NUM_POINTS", "max_points=%MAX_POINTS")
SPACE = {RATE: {"method": "loguniform", "dimension": {"low": 1e-4, "high": 1e-1}}}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Start where the pilot starts a command, in a folder of its own, with the input that it leaves there."""
    monkeypatch.chdir(tmp_path)
    Path("input.json").write_text(json.dumps({RATE: 1e-2}))
    return tmp_path


def evaluated(*words: str, **environment: str) -> tuple[int, dict[str, Any]]:
    """Return the exit status of an evaluation, and what it leaves for the service."""
    ended = subprocess.run([*EVALUATE, *words], check=False, env=with_programs() | environment)
    said: dict[str, Any] = json.loads(Path("output.json").read_text())
    return ended.returncode, said


def quality(rate: float) -> float:
    """Return what the dummy reports at a learning rate."""
    return 1 - (math.log10(rate) + 2.5) ** 2


def test_what_is_maximised_is_a_loss_with_the_other_sign() -> None:
    assert evaluated(*DUMMY, "direction=maximize") == (0, {"status": 0, "loss": pytest.approx(-quality(1e-2))})
    assert evaluated(*DUMMY, "direction=minimize") == (0, {"status": 0, "loss": pytest.approx(quality(1e-2))})


def test_a_training_that_fails_has_a_status_and_a_message_and_no_loss() -> None:
    status, said = evaluated(*DUMMY, DUMMY_EXIT="3")
    assert status == said["status"] == 3
    assert "told to end with 3" in said["message"]
    assert "loss" not in said


def test_a_mistake_in_a_setting_is_told_apart() -> None:
    status, said = evaluated(*DUMMY, DUMMY_EXIT="2")
    assert status == said["status"] == 2


def test_a_training_that_does_not_report_the_objective_has_no_loss() -> None:
    status, said = evaluated("program=dummy_unit", "objective=val/dise")
    assert status == said["status"] == 1
    assert "no number for val/dise. Did you mean 'val/dice'?" in said["message"]


def test_it_goes_on_from_its_checkpoint_after_a_signal() -> None:
    slow = with_programs() | {"DUMMY_EPOCHS": "4", "DUMMY_EPOCH_S": "1"}
    with subprocess.Popen([*EVALUATE, *DUMMY], env=slow) as job:
        wait_for(lambda: bool(list(Path("evaluation").glob("*/attempt-1/run-1/progress.jsonl"))))
        job.send_signal(signal.SIGTERM)
    assert job.returncode == 75
    assert json.loads(Path("output.json").read_text())["status"] == 75
    assert evaluated(*DUMMY, DUMMY_EPOCHS="4")[1]["loss"] == pytest.approx(-quality(1e-2))
    (resumed,) = Path("evaluation").glob("*/attempt-1/run-2/progress.jsonl")
    epochs = [json.loads(line)["epoch"] for line in resumed.read_text().splitlines()]
    assert epochs == [1, 2, 3, 4], "it has the epochs from before the signal, each once"


def test_another_point_does_not_find_the_result_of_the_one_before() -> None:
    first = evaluated(*DUMMY)
    Path("input.json").write_text(json.dumps({RATE: 3e-3}))
    assert evaluated(*DUMMY) != first
    Path("input.json").write_text(json.dumps({RATE: 1e-2}))
    assert evaluated(*DUMMY, DUMMY_EXIT="3") == first, "a result is never made twice"


def test_settings_of_the_point_and_of_the_command_line_are_those_of_the_training() -> None:
    Path("input.json").write_text(json.dumps({RATE: 0.02, "model.widths": [12, 24], "optimizer": "sgd"}))
    read = read_evaluation(["experiment=roinet_pdsp", "trainer.max_epochs=3"])
    assert read.config["optimizer"]["lr"] == 0.02
    assert read.config["optimizer"]["_target_"].endswith("SGD")
    assert read.config["model"]["widths"] == [12, 24]
    assert read.config["trainer"]["max_epochs"] == 3
    assert (read.objective, read.direction) == ("val/dice", "maximize"), "what the training monitors"


@pytest.mark.parametrize(
    ("point", "words", "line"),
    [
        ({"optimizer.lrr": 0.1}, [], "no setting 'optimizer.lrr'. Did you mean 'lr'"),
        ([1], [], "no point"),
        ({RATE: 0.1}, ["direction=up"], "direction=up is not known"),
        ({RATE: 0.1}, ["program=nowhere_at_all"], "program=nowhere_at_all: no such module"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(point: Any, words: list[str], line: str) -> None:
    Path("input.json").write_text(json.dumps(point))
    with pytest.raises(ConfigError, match=line):
        read_evaluation(words)
    assert not Path("evaluation").exists()


def search(folder: Path, most: int, points: int, **environment: str) -> dict[str, Any]:
    """Run a search by the released code of iDDS: its tables, its files and its REST service, with commands of ours."""
    server = running_server()
    python_path = f"PYTHONPATH={PACKAGE.parent}"
    order = {
        "folder": str(folder / "search"),
        "space": SPACE,
        "max_points": most,
        "points": points,
        "steering": shlex.join(["env", python_path, *STEER, *PLACES, "sampler=random"]),
        "evaluation": shlex.join([*EVALUATE, *DUMMY]),
        "host": server.url,
        "auth": {"auth_type": "oidc", "oidc_token": server.token(), "vo": ORGANISATION},
    }
    path = folder / "order.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(order))
    command = [server.python, Path(__file__).parents[1] / "engines" / "idds_hpo.py", path]
    known = with_programs() | {"IDDS_CONFIG": str(server.folder / "idds.cfg")} | environment
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=known)
    assert ended.returncode == 0, ended.stderr
    result: dict[str, Any] = json.loads(path.with_suffix(".result").read_text())
    return result


def test_a_search_of_the_service_ends_after_so_many_points_each_with_its_own_loss(folder: Path) -> None:
    result = search(folder, most=5, points=2)
    assert result["generations"] == [2, 2, 1]
    rates = [point["parameters"][RATE] for point in result["known"]]
    assert len(set(rates)) == 5
    assert [point["loss"] for point in result["known"]] == pytest.approx([-quality(rate) for rate in rates])


def test_a_search_goes_on_past_points_whose_training_fails(folder: Path) -> None:
    result = search(folder, most=3, points=2, DUMMY_EXIT="3")
    assert result["generations"] == [2, 1]
    assert [point["loss"] for point in result["known"]] == [None, None, None]
    assert [said["status"] for said in result["said"].values()] == [3, 3, 3]


def test_phpo_passes_our_commands_and_our_space_on_as_they_are(folder: Path) -> None:
    steering = shlex.join(["python", *STEER[1:], *PLACES])
    evaluation = shlex.join(["python", *EVALUATE[1:], "experiment=roinet_pdsp", "trainer.max_epochs=30"])
    Path("space.json").write_text(json.dumps({RATE: "tag(log, interval(1e-4, 1e-1))"}))
    words = [
        *("--steeringExec", steering, "--steeringContainer", "docker://nowhere/steering"),
        *("--evaluationExec", evaluation, "--evaluationContainer", "docker://nowhere/evaluation"),
        *("--searchSpaceFile", "space.json", "--outDS", "user.nobody.search", "--maxPoints", "7"),
    ]
    program = (
        "import json, os, sys; os.chdir(sys.argv.pop(1)); from pandaclient import PhpoScript; words = sys.argv[1:]; "
        "print(json.dumps(PhpoScript.main(get_taskparams=True, ext_args=words, dry_mode=True)))"
    )
    task = json.loads(running_server().run(program, str(folder), *words, PANDA_BEHIND_REAL_LB="1").splitlines()[-1])
    request = task["hpoRequestData"]
    assert request["arguments"] == steering
    assert request["opt_space"] == json.loads(Path("space.json").read_text())
    said = " ".join(str(parameter.get("value")) for parameter in task["jobParameters"])
    assert evaluation in unquote(said)
