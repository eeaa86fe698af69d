"""Rehearsals: what a training will report, and what is wrong with it, before anything is trained."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.conftest import Ended, Entry
from wirecell_ml.paths import shipped
from wirecell_ml.rehearse import main

CONFIGS = shipped("configs").absolute()
LOGGED = ["train/loss", "val/loss", "val/dice", "val/efficiency", "val/purity"]
MODELS = sorted(path.stem for path in (CONFIGS / "model").glob("*.yaml") if "in_channels" in path.read_text())

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the flat config of some overrides."""

    def flat(name: str, *overrides: str) -> Path:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            cfg = compose("train", [f"data.cache={tmp_path / 'cache'}", *overrides])
        OmegaConf.save(cfg, tmp_path / f"{name}.yaml")
        return tmp_path / f"{name}.yaml"

    return flat


@pytest.fixture
def rehearse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Entry:
    """Run the entry in this process."""

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["rehearse", *arguments])
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        return Ended(status, *capsys.readouterr())

    return run


def test_a_rehearsal_says_what_trainings_report_and_how_large_they_are(write: Write, rehearse: Entry) -> None:
    paths = [write("one", "latency=true"), write("two", "latency=true", "model.widths=[4,8]")]
    ended = rehearse(*map(str, paths))
    assert (ended.status, ended.error) == (0, "")
    said = json.loads(ended.output)
    assert said["metrics"] == [*LOGGED, "parameters", "latency_s"]
    assert said["parameters"][0] > said["parameters"][1] > 0


def test_only_what_all_trainings_report_counts(write: Write, rehearse: Entry) -> None:
    ended = rehearse(str(write("one", "latency=true")), str(write("two")))
    assert json.loads(ended.output)["metrics"] == [*LOGGED, "parameters"]


@pytest.mark.parametrize("model", MODELS)
def test_every_network_for_plane_images_can_be_rehearsed(model: str, write: Write, rehearse: Entry) -> None:
    assert rehearse(str(write(model, f"model={model}"))).status == 0


def test_a_rehearsal_writes_nothing(write: Write, rehearse: Entry, tmp_path: Path) -> None:
    path = write("one")
    assert rehearse(str(path)).status == 0
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("modell=1", "Key 'modell' not in 'TrainSettings'"),
        ("model.widths=wide", "model.widths=wide: wirecell_ml.models.RoiNet takes Sequence[int] here"),
        ("monitor=val/dcie", "monitor: 'val/dcie' is not logged. Did you mean 'val/dice'?"),
        ("model.in_channels=2", "and the loss do not take an image of 3 tags"),
        ("data.planes=[X]", "data.planes: protodune_sp has no plane 'X'"),
        ("data.files=/nowhere", "/nowhere: no such file or folder"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_config(
    override: str, line: str, write: Write, rehearse: Entry, tmp_path: Path
) -> None:
    good, bad = write("good"), tmp_path / "bad.yaml"
    OmegaConf.save(OmegaConf.merge(OmegaConf.load(good), OmegaConf.from_dotlist([override])), bad)
    ended = rehearse(str(good), str(bad))
    assert (ended.status, ended.output) == (2, "")
    assert ended.error.startswith(f"error: {bad}: ")
    assert line in ended.error
    assert ended.error.count("\n") == 1


def test_a_config_that_is_not_there_is_named(rehearse: Entry, tmp_path: Path) -> None:
    ended = rehearse(str(tmp_path / "none.yaml"))
    assert ended.status == 2
    assert ended.error == f"error: {tmp_path / 'none.yaml'}: no such file. Give the flat config of a training\n"


def test_a_config_that_is_no_yaml_is_named(rehearse: Entry, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: [1,\n")
    ended = rehearse(str(tmp_path / "bad.yaml"))
    assert ended.status == 2
    assert ended.error.startswith(f"error: {tmp_path / 'bad.yaml'}: ")


def test_a_learning_rate_below_zero_is_refused(write: Write, rehearse: Entry) -> None:
    ended = rehearse(str(write("one", "optimizer.lr=-1")))
    assert ended.status == 2
    assert "optimizer: torch.optim.AdamW or the schedule cannot be made: Invalid learning rate: -1" in ended.error
