"""The evaluation entry: what it writes, and that its numbers are those of the definitions."""

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from wirecell_ml import training
from wirecell_ml.data.hdf5 import read_frame
from wirecell_ml.errors import DataError
from wirecell_ml.evaluating import evaluate_run
from wirecell_ml.models.metrics import DEFINITIONS, Counts, count
from wirecell_ml.paths import shipped
from wirecell_ml.schema import EvaluateSettings, checked


def settings(*overrides: str) -> DictConfig:
    """Return evaluation settings as the command line makes them."""
    with initialize_config_dir(str(shipped("configs")), version_base="1.3"):
        return checked(compose("evaluate", ["run=unused", *overrides]), EvaluateSettings)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of a few steps on the sample."""
    folder = tmp_path_factory.mktemp("run")
    with initialize_config_dir(str(shipped("configs")), version_base="1.3"):
        cfg = compose(
            "train", ["trainer.max_steps=3", "trainer.max_epochs=1", "data.crop=[64,64]", "trainer.progress=false"]
        )
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
    training.prepare(checked(cfg), folder).start()
    return folder


@pytest.fixture(scope="module")
def metrics(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the metrics of that run at a threshold that finds something."""
    return evaluate_run(run, settings("threshold=0.5", "figures=false"), output=tmp_path_factory.mktemp("evaluation"))


def test_traditional_numbers_are_those_of_a_plain_loop_over_the_files(metrics: dict[str, Any]) -> None:
    pooled = Counts()
    for key in metrics["events"]:
        name, ident = key.split(":")
        inputs = shipped("data") / name
        found = read_frame(inputs, int(ident), "gauss0").samples[:800] != 0
        true = read_frame(inputs.with_name(name.replace("rec", "tru")), int(ident), "ductor0").samples[:800] > 100
        pooled += count(found, true)
    traditional = metrics["planes"]["U"]["traditional"]
    assert {name: traditional[name] for name in pooled.ratios()} == pytest.approx(pooled.ratios(), abs=1e-12)


def test_every_number_has_a_versioned_definition(metrics: dict[str, Any]) -> None:
    for finder in metrics["planes"]["all"].values():
        assert finder.keys() <= metrics["definitions"].keys()
    assert all(int(definition["version"]) >= 1 for definition in DEFINITIONS.values())
    assert len(metrics["data_digest"]) == 64


def test_the_working_threshold_is_a_point_of_the_scan(metrics: dict[str, Any]) -> None:
    at_half = next(row for row in metrics["scan"]["V"] if row["threshold"] == 0.5)
    network = metrics["planes"]["V"]["network"]
    assert all(network[name] == at_half[name] for name in at_half.keys() - {"threshold"})


def test_angle_bins_hold_tracks_of_both_planes(metrics: dict[str, Any]) -> None:
    assert {row["plane"] for row in metrics["angles"]} == {"U", "V"}
    assert all(0 <= row["traditional"] <= 1 and row["true_pixels"] > 0 for row in metrics["angles"])


def test_published_matching_gives_other_numbers_and_says_so(run: Path, metrics: dict[str, Any], tmp_path: Path) -> None:
    published = evaluate_run(run, settings("matching=published", "figures=false"), output=tmp_path)
    assert published["matching"] == "published"
    exact, shifted = (found["planes"]["U"]["traditional"]["roi_efficiency"] for found in (metrics, published))
    assert shifted < exact


def test_other_files_are_all_measured(run: Path, tmp_path: Path) -> None:
    copy_sample(tmp_path)
    with h5py.File(tmp_path / "g4-tru-9.h5", "a") as file:
        for ident in file:  # other events: one pixel of each holds more charge
            file[ident]["frame_ductor0"][300, 300] += 2
    measured = evaluate_run(run, settings("figures=false"), files=str(tmp_path), output=tmp_path / "out")
    assert len(measured["events"]) == 8
    assert measured["angles"] == []  # no generator truth beside these files
    assert measured["categories"].keys() == {"all"}


def test_events_that_the_run_was_trained_on_are_refused(run: Path, tmp_path: Path) -> None:
    copy_sample(tmp_path)
    with pytest.raises(DataError, match=r"the split leaks: event .*, but the run was trained on it"):
        evaluate_run(run, settings("figures=false"), files=str(tmp_path), output=tmp_path / "out")


def copy_sample(folder: Path) -> None:
    """Copy eight events of the sample under another name."""
    for kind in ("rec", "tru"):
        shutil.copy(shipped("data") / f"g4-{kind}-1.h5", folder / f"g4-{kind}-9.h5")


def test_without_a_traditional_roi_nothing_is_made_up(run: Path, tmp_path: Path) -> None:
    cfg = OmegaConf.load(run / ".hydra" / "config.yaml")
    OmegaConf.update(cfg, "data.traditional_tag", None)
    other = shutil.copytree(run, tmp_path / "run")
    OmegaConf.save(cfg, other / ".hydra" / "config.yaml")
    (other / "split.json").write_text((run / "split.json").read_text().replace('"digests"', '"digests before"'))
    measured = evaluate_run(other, settings("angle_edges_deg=[0,90]"), output=tmp_path / "out")
    assert all(finders.keys() == {"network"} for finders in measured["planes"].values())
    assert (tmp_path / "out" / "purity.png").exists()


def test_figures_are_drawn_for_each_category_and_plane(run: Path, tmp_path: Path) -> None:
    measured = evaluate_run(run, settings("split=validation", "angle_edges_deg=[0,45,90]"), output=tmp_path)
    names = {path.name for path in tmp_path.glob("*.png")}
    events = {
        f"{view}-{kind}-{plane}.png"
        for view in ("event", "close-up")
        for kind in measured["categories"]
        for plane in "UV"
    }
    assert names == events | {"angle.png", "purity.png", "categories.png", "training.png"}
    assert np.all([path.stat().st_size > 10_000 for path in tmp_path.glob("*.png")])
    assert json.loads((tmp_path / "metrics.json").read_text()) == measured
