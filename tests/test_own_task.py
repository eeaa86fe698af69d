"""A task and data of a stranger's own, through every entry that a training goes through."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.conftest import Ended, Entry
from tests.own_task import NUM_POINTS, ShotData, SideTask
from tests.test_bad_input import refused
from wirecell_ml import publish, rehearse, train
from wirecell_ml.curves import read_curves, read_log, write_curves
from wirecell_ml.data import SplitSettings
from wirecell_ml.errors import ConfigError
from wirecell_ml.evaluating import EVALUATIONS, draw_curves, module_of
from wirecell_ml.models import RoiTask, constant
from wirecell_ml.paths import shipped

CONFIGS = {
    "data": """
        _target_: tests.own_task.ShotData
        num_events: 12
        split: {_target_: wirecell_ml.data.SplitSettings, validation: 2, test: 2, seed: 1, file: null}
        batch_size: 2
        num_workers: 0
        seed: ${seed}
        """,
    "model": "{_target_: torch.nn.Linear, in_features: 2, out_features: 1}",
    "task": "{_target_: tests.own_task.SideTask}",
}
OWN = (
    *("data=mine", "model=mine", "task=mine", "monitor=val/accuracy", "optimizer.lr=0.1"),
    *("trainer.accelerator=cpu", "trainer.max_epochs=3"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of the stranger's configs."""
    for group, text in CONFIGS.items():
        (tmp_path / "mine" / group).mkdir(parents=True)
        OmegaConf.save(OmegaConf.create(text), tmp_path / "mine" / group / "mine.yaml")
    return tmp_path / "mine"


@pytest.fixture
def run_own(entry: Callable[..., Ended], folder: Path) -> Entry:
    return lambda *settings: entry(train.main, "--config-dir", str(folder), *OWN, *settings)


@pytest.fixture
def run(run_own: Entry, tmp_path: Path) -> Path:
    """Return a run that has ended."""
    assert run_own(f"hydra.run.dir={tmp_path / 'run'}", "logger.tensorboard=null").status == 0
    return tmp_path / "run"


def test_it_trains_and_learns_and_says_what_it_cannot_be_measured_by(run_own: Entry, tmp_path: Path) -> None:
    ended = run_own(f"hydra.run.dir={tmp_path / 'run'}", "latency=true")
    assert ended.status == 0, ended
    assert "12 events: 8 train, 2 validation, 2 test\n" in ended.output
    assert f"there is no evaluation for SideTask; what it logged is in {tmp_path / 'run'}" in ended.output
    assert "train/loss" in ended.error
    assert "val/accuracy" in ended.error
    metrics = json.loads((tmp_path / "run" / "summary.json").read_text())["metrics"]
    assert metrics.keys() == {*SideTask.metrics, "parameters", "latency_s"}
    assert metrics["val/accuracy"] > 0.8


def test_it_is_resumed(run_own: Entry, run_resume: Entry, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert run_own(f"hydra.run.dir={run}", "scheduler=constant").status == 0
    assert run_resume(f"resume={run}", "trainer.max_epochs=4").status == 0
    assert json.loads((run / "summary.json").read_text())["epochs"] == 4


def test_the_curve_of_its_own_metric_is_drawn(run: Path, tmp_path: Path) -> None:
    cfg = OmegaConf.create({"monitor": "val/accuracy", "monitor_mode": "max"})
    write_curves(tmp_path / "training.csv", read_log(run), SideTask.metrics)
    rows = read_curves(tmp_path / "training.csv")
    assert [float(row["val/accuracy"]) > 0 for row in rows] == [True] * 3
    task = SideTask(torch.nn.Linear(2, 1), torch.optim.SGD, constant)
    draw_curves(tmp_path / "training.png", rows, task, cfg)
    assert (tmp_path / "training.png").stat().st_size > 10_000


def test_to_evaluate_or_publish_it_is_refused(
    run: Path, run_evaluate: Entry, entry: Callable[..., Ended], tmp_path: Path
) -> None:
    refused(run_evaluate(f"run={run}"), "there is no evaluation for SideTask. Known here: RoiTask")
    zoo = tmp_path / "zoo"
    ended = entry(publish.main, "files=unused", f"zoo={zoo}", f"run={run}")
    refused(ended, "nothing here publishes networks of tests.own_task.SideTask. Known here: RoiTask")
    assert not zoo.exists()


@pytest.fixture
def flat(folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write the flat config of a training of the stranger's."""

    def write(*overrides: str) -> Path:
        with initialize_config_dir(str(shipped("configs").absolute()), version_base="1.3"):
            cfg = compose("train", [f"hydra.searchpath=[file://{folder}]", *OWN, *overrides])
        OmegaConf.save(cfg, tmp_path / "flat.yaml")
        return tmp_path / "flat.yaml"

    return write


def test_it_is_rehearsed(flat: Callable[..., Path]) -> None:
    rehearsal = rehearse.rehearse(flat("latency=true"))
    assert rehearsal.metrics == [*SideTask.metrics, "parameters", "latency_s"]
    assert rehearsal.parameters == 3


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("model.in_features=3", "torch.nn.Linear and the loss do not take a point of two coordinates"),
        ("monitor=val/dice", "monitor: 'val/dice' is not logged. Did you mean 'val/loss'?"),
        ("+data.files=somewhere", "data.files: tests.own_task.ShotData takes no 'files'"),
        ("data._target_=builtins.dict", "data: builtins.dict is no wirecell_ml.data.EventData"),
        ("task._target_=builtins.dict", "task: builtins.dict is no wirecell_ml.models.Task"),
        ("data=dnnroi", "and the loss do not take an image of 3 tags, 16 channels and 16 slices"),
    ],
)
def test_what_does_not_fit_is_refused(flat: Callable[..., Path], override: str, line: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(line)):
        rehearse.rehearse(flat(override))


def test_an_epoch_that_is_resumed_has_the_batches_that_were_left() -> None:
    data = ShotData(12, SplitSettings(2, 2, 1), 2, 0, seed=1)
    data.setup()
    whole = [batch.places for batch in data.train_dataloader()]
    data.load_state_dict({"batches_done": 3})
    (left,) = (batch.places for batch in data.train_dataloader())
    assert left.shape == (2, NUM_POINTS, 2)
    assert torch.equal(left, whole[3])
    assert len(list(data.train_dataloader())) == len(whole) == 4


def test_the_split_treats_every_category_alike() -> None:
    data = ShotData(12, SplitSettings(2, 2, 1), 2, 0, seed=1)
    data.setup()
    assert {shot.category for shot in data.selected("validation")} == {"even", "odd"}
    assert data.identity("test")["events"] == sorted(data.split.test)


def test_an_evaluation_is_that_of_the_task_or_of_what_it_inherits_from() -> None:
    own = type("OwnTask", (RoiTask,), {})
    namesake = type("RoiTask", (SideTask,), {"__module__": "mine"})
    found = module_of(own, EVALUATIONS)
    assert found is not None
    assert found.__name__ == "wirecell_ml.evaluation"
    assert module_of(namesake, EVALUATIONS) is None
