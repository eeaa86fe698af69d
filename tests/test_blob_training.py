"""A training on the blobs of the sample, through every entry: trained, measured, resumed, rehearsed, refused."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.conftest import Ended, Entry
from tests.test_bad_input import refused
from wirecell_ml import rehearse, train
from wirecell_ml.data.blob_features import ACTIVITY_FEATURES, BLOB_FEATURES
from wirecell_ml.errors import ConfigError
from wirecell_ml.models import BlobTask
from wirecell_ml.models.blob_metrics import DEFINITIONS
from wirecell_ml.paths import shipped

QUICK = (
    *("experiment=blobgnn_quick", "trainer.max_epochs=1", "trainer.accelerator=cpu", "trainer.progress=false"),
    *("scheduler=constant", "logger.tensorboard=null", "evaluation.figures=false", "model.hidden=8", "model.rounds=1"),
)
FINDERS = {"network", "solved-charge cut", "kept", "full chain"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the tests share: the cache, and one run for all."""
    return tmp_path_factory.mktemp("blobs")


@pytest.fixture
def run_quick(entry: Callable[..., Ended], place: Path) -> Entry:
    return lambda *settings: entry(train.main, *QUICK, f"data.cache={place}", *settings)


@pytest.fixture
def run(run_quick: Entry, place: Path, tmp_path: Path) -> Path:
    """Return a run that has ended, a copy of its own for each test."""
    if not (place / "run" / "evaluation").exists():
        ended = run_quick(f"hydra.run.dir={place / 'run'}")
        assert ended.status == 0, ended
        assert "7 events: 3 train, 2 validation, 2 test; " in ended.output
    return Path(shutil.copytree(place / "run", tmp_path / "run"))


def measured(run: Path, folder: str = "evaluation") -> dict[str, Any]:
    """Return the metrics of a run."""
    held: dict[str, Any] = json.loads((run / folder / "metrics.json").read_text())
    return held


def test_a_run_holds_its_split_its_scales_and_a_summary(run: Path) -> None:
    split = json.loads((run / "split.json").read_text())
    assert [len(split[part]) for part in ("train", "validation", "test")] == [3, 2, 2]
    features = json.loads((run / "features.json").read_text())
    assert list(features["blob"]) == list(BLOB_FEATURES)
    assert list(features["activity"]) == list(ACTIVITY_FEATURES)
    assert all(deviation > 0 for kind in features.values() for _, deviation in kind.values())
    summary = json.loads((run / "summary.json").read_text())
    assert summary["metrics"].keys() == {*BlobTask.metrics, "parameters"}
    assert summary["epochs"] == 1


def test_every_finder_is_measured_on_the_same_blobs(run: Path) -> None:
    metrics = measured(run)
    assert metrics["finders"].keys() == FINDERS
    assert metrics["matched"].keys() == FINDERS - {"network"}
    assert metrics["definitions"].keys() == DEFINITIONS.keys()
    assert sorted(metrics["events"]) == sorted(json.loads((run / "split.json").read_text())["test"])
    assert 0 < metrics["real"] < metrics["blobs"]
    numbers = [value for finder in metrics["finders"].values() for value in finder.values()]
    assert all(0 <= value <= 1 for value in numbers)
    assert "BlobGNN" in (run / "evaluation" / "table.txt").read_text()


def test_to_evaluate_again_gives_the_same_numbers(run: Path, run_evaluate: Entry) -> None:
    again = run_evaluate(f"run={run}", f"output={run / 'again'}", "figures=false")
    assert again.status == 0, again
    assert measured(run, "again") == measured(run)


def test_figures_are_drawn_of_the_events_that_were_asked_for(run: Path, run_evaluate: Entry) -> None:
    ended = run_evaluate(f"run={run}", f"output={run / 'drawn'}", "split=validation", "threshold=0.4")
    assert ended.status == 0, ended
    names = {path.name for path in (run / "drawn").glob("*.png")}
    assert {"curves.png", "scores.png", "charge.png", "categories.png", "training.png"} < names
    metrics = measured(run, "drawn")
    assert metrics["split"] == "validation"
    assert metrics["threshold"] == 0.4


def test_events_that_it_was_trained_on_are_refused_as_others(run: Path, run_evaluate: Entry) -> None:
    files = shipped("data") / "blobs"
    refused(run_evaluate(f"run={run}", f"files={files}", "figures=false"), "was trained on")


def test_a_resumed_run_is_as_one_that_never_stopped(run_quick: Entry, run_resume: Entry, tmp_path: Path) -> None:
    resumed, whole = tmp_path / "resumed", tmp_path / "whole"
    assert run_quick(f"hydra.run.dir={resumed}", "evaluate=false").status == 0
    assert run_resume(f"resume={resumed}", "trainer.max_epochs=2", "evaluate=true").status == 0
    assert run_quick(f"hydra.run.dir={whole}", "trainer.max_epochs=2").status == 0
    assert json.loads((resumed / "summary.json").read_text()) == json.loads((whole / "summary.json").read_text())
    assert measured(resumed)["finders"] == measured(whole)["finders"]


@pytest.fixture
def rehearsed(place: Path, tmp_path: Path) -> Callable[..., rehearse.Rehearsal]:
    """Rehearse the experiment with some settings."""

    def run(*settings: str) -> rehearse.Rehearsal:
        with initialize_config_dir(str(shipped("configs").absolute()), version_base="1.3"):
            cfg = compose("train", ["experiment=blobgnn_quick", f"data.cache={place}", *settings])
        OmegaConf.save(cfg, tmp_path / "flat.yaml")
        return rehearse.rehearse(tmp_path / "flat.yaml")

    return run


def test_it_is_rehearsed(rehearsed: Callable[..., rehearse.Rehearsal]) -> None:
    rehearsal = rehearsed()
    assert rehearsal.metrics == [*BlobTask.metrics, "parameters"]
    assert rehearsal.parameters > 10_000


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (["model.blob_features=5"], "model: wirecell_ml.models.BlobGNN and the loss do not take a graph of 2 blobs"),
        (["data=dnnroi"], "model: wirecell_ml.models.BlobGNN and the loss do not take an image"),
        (["model=roinet"], "model.in_channels: Interpolation key 'data.tags' not found"),
    ],
)
def test_what_does_not_fit_is_seen_by_rehearsing(
    settings: list[str], line: str, rehearsed: Callable[..., rehearse.Rehearsal]
) -> None:
    with pytest.raises(ConfigError, match=re.escape(line)):
        rehearsed(*settings)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("data.truth=nothing-*.npz", "clusters-apa0-0.tar.xz: holds no nothing-*.npz with its clusters-img-*.npz. Set"),
        ("data.solved=nothing-*.npz", "clusters-apa0-0.tar.xz: holds no clusters-tru5-*.npz with its nothing-*.npz"),
        ("data.files=nowhere", "nowhere: no such file or folder"),
        ("data.split.test=7", "data.split: 2 validation and 7 test events leave none of 7 to train on"),
        ("monitor=val/dice", "monitor: 'val/dice' is not logged"),
        ("model.rouns=2", "no setting 'model.rouns'. Did you mean 'rounds'?"),
    ],
)
def test_a_mistake_is_one_line(override: str, line: str, run_quick: Entry) -> None:
    refused(run_quick(override), line)
