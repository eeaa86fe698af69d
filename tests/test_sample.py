"""The shipped sample and the published run: their files are what their manifests and metrics say."""

import hashlib
import json
import tomllib
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from wirecell_ml.data.events import find_events
from wirecell_ml.data.particles import read_tracks
from wirecell_ml.models import zoo
from wirecell_ml.paths import shipped
from wirecell_ml.schema import checked, load_flat

SAMPLE = shipped("data")
PUBLISHED = Path(__file__).parents[1] / "models" / "roinet_pdsp"


def test_the_manifest_names_every_file_with_its_digest() -> None:
    files = tomllib.loads((SAMPLE / "manifest.toml").read_text())["file"]
    assert {file["name"] for file in files} == {path.name for path in [*SAMPLE.glob("g4-*"), *SAMPLE.glob("*/*")]}
    for file in files:
        held = (SAMPLE / file["path"]).read_bytes()
        assert (len(held), hashlib.sha256(held).hexdigest()) == (file["bytes"], file["sha256"])


def test_the_sample_has_all_five_categories_in_24_events() -> None:
    events = find_events(str(SAMPLE), "*rec*.h5")
    categories = {read_tracks(event.particles, event.ident)[0] for event in events if event.particles}
    assert len(events) == 24
    assert categories == {"cosmic", "prolonged", "vertex", "shower", "iso"}


def test_the_published_config_still_fits_the_code() -> None:
    cfg = checked(load_flat(PUBLISHED / "config.yaml"))
    assert cfg.name == PUBLISHED.name


@pytest.mark.parametrize("plane", ["U", "V"])
def test_the_published_network_beats_the_traditional_roi(plane: str) -> None:
    measured = json.loads((PUBLISHED / "metrics.json").read_text())["planes"][plane]
    network, traditional = measured["network"], measured["traditional"]
    assert network["pixel_dice"] > max(0.94, traditional["pixel_dice"])
    assert network["roi_efficiency"] > traditional["roi_efficiency"]
    assert network["roi_purity"] >= traditional["roi_purity"]


def test_no_published_test_event_was_trained_on() -> None:
    split = json.loads((PUBLISHED / "split.json").read_text())
    measured = set(json.loads((PUBLISHED / "metrics.json").read_text())["events"])
    assert measured == set(split["test"])
    assert not measured & {*split["train"], *split["validation"]}


@pytest.mark.parametrize("name", zoo.read_index(PUBLISHED.parent))
def test_the_experiment_is_what_was_published(name: str) -> None:
    published = checked(load_flat(PUBLISHED.parent / name / "config.yaml"))
    with initialize_config_dir(str(shipped("configs")), version_base="1.3"):
        composed = compose("train", [f"experiment={name}", f"data.files={published.data.files}"])
    for later in ("readout_ticks", "wire_order"):  # facts of the detector that a config may be too old to hold
        published.detector[later] = composed.detector[later]
    assert composed == published
