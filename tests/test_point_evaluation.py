"""What is measured of neutrino points, and a training on points from files to figures."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Ended
from wirecell_ml import point_figures, train
from wirecell_ml.point_evaluation import DEFINITIONS, Cuts, Judged, best_cut, finders, measures

QUICK = (
    *("data=clus_points", "task=points", "monitor=val/ap", "trainer.max_epochs=1", "trainer.accelerator=cpu"),
    *("trainer.progress=false", "logger=none", "data.split.validation=1", "data.split.test=2"),
)


def some_points() -> Judged:
    return Judged(
        category=np.array(["vertex", "vertex", "cosmic", "cosmic"]),
        features=np.arange(16, dtype=np.float32).reshape(4, 4),
        charge=np.array([1.0, 3.0, 2.0, 2.0]),
        neutrino=np.array([True, True, False, False]),
        score=np.array([0.9, 0.4, 0.6, 0.1]),
    )


def test_points_are_counted_and_weighed_with_charge() -> None:
    points = some_points()
    found = measures(points.score > 0.5, points.neutrino, points.charge)
    assert [found[name] for name in ("neutrino_found", "neutrino_missed", "cosmic_found", "cosmic_left")] == [1] * 4
    assert (found["precision"], found["recall"], found["f1"]) == (0.5, 0.5, 0.5)
    assert found["charge_precision"] == pytest.approx(1 / 3)
    assert found["charge_recall"] == 0.25


def test_a_feature_can_mean_neutrino_where_it_is_small() -> None:
    cuts = Cuts(score=0.5, feature=1, sign=-1, value=-6.0)  # y of the four points: 1, 5, 9, 13
    assert cuts.text == "y < 6"
    assert finders(some_points(), cuts)["one feature"]["f1"] == 1


def test_calling_everything_neutrino_is_as_precise_as_neutrinos_are_many() -> None:
    found = finders(some_points(), Cuts(0.5, 0, 1, 0.0))["all neutrino"]
    assert (found["precision"], found["recall"], found["average_precision"]) == (0.5, 1, 0.5)


def test_the_best_cut_lies_between_the_points_that_it_parts() -> None:
    f1, cut = best_cut(np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, True, False, False]))
    assert f1 == 1
    assert 0.2 < cut < 0.8


@pytest.fixture
def clus_files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(5):
        dice = np.random.default_rng(number)
        label = np.arange(40, dtype=np.int64) % 4 - 2
        points = np.c_[dice.normal(size=(40, 3)), 1000 + 500 * label, np.zeros(40)].astype(np.float32)
        blobs = np.zeros((1, 38), np.float32)
        np.savez(folder / f"rec-lab-apa0-{number}.npz", allow_pickle=False, points=points, blobs=blobs, is_nu=label)
    return folder


@pytest.mark.parametrize("model", ["pointnet", "edgenet"])
def test_a_run_ends_with_metrics_a_table_and_figures(
    entry: Callable[..., Ended], clus_files: Path, tmp_path: Path, model: str
) -> None:
    run = tmp_path / "run"
    ended = entry(train.main, *QUICK, f"data.files={clus_files}", f"model={model}", f"hydra.run.dir={run}")
    assert ended.status == 0, ended
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text())
    assert (metrics["points"], metrics["neutrino"]) == (40, 20)  # of 80, half have no label
    assert metrics["definitions"].keys() == DEFINITIONS.keys()
    assert metrics["overlaid"].keys() == metrics["finders"].keys() == {"network", "one feature", "all neutrino"}
    assert len(metrics["by_event"]) == 2
    assert "neutrino" in (run / "evaluation" / "table.txt").read_text()
    pictures = {path.name for path in (run / "evaluation").glob("*.png")}
    assert {"event-1.png", "event-2.png", "curves.png"} <= pictures


def test_nothing_is_laid_over_events_where_none_has_neutrinos(entry: Callable[..., Ended], clus_files: Path) -> None:
    run, split = clus_files.parent / "run", clus_files.parent / "split.json"
    for number in (3, 4):  # these are measured
        path = clus_files / f"rec-lab-apa0-{number}.npz"
        arrays = dict(np.load(path))
        np.savez(path, allow_pickle=False, **arrays | {"is_nu": np.zeros(40, np.int64)})
    names = [f"rec-lab-apa0-{number}.npz" for number in range(5)]
    split.write_text(json.dumps({"train": names[:2], "validation": names[2:3], "test": names[3:]}))
    ended = entry(
        train.main,
        *QUICK,
        f"data.files={clus_files}",
        "model=pointnet",
        f"data.split.file={split}",
        f"hydra.run.dir={run}",
    )
    assert ended.status == 0, ended
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text())
    assert metrics["overlaid"] == {}
    assert metrics["finders"]["network"]["recall"] == 0


def test_an_event_without_neutrinos_can_be_drawn(tmp_path: Path) -> None:
    path = tmp_path / "event.png"
    point_figures.event_display(path, "nothing", np.zeros((1, 3)), np.zeros(1, np.int8), np.zeros(1))
    assert path.stat().st_size > 0
