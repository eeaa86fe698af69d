"""The zoo: published networks are what was published, and nothing else is built."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import wirecell_ml
from wirecell_ml.data.blob_data import as_graph, network_inputs
from wirecell_ml.data.blob_files import Job, Names, read_job
from wirecell_ml.errors import ConfigError, DataError
from wirecell_ml.models import RoiFinder, zoo
from wirecell_ml.paths import shipped

NAMES = sorted(zoo.read_index(shipped("models")))
BLOB_FILES = Names("clusters-tru5-*.npz", "clusters-img-*.npz")
ROI_FINDERS = [name for name in NAMES if not name.startswith("blob")]
BLOB_NETWORKS = [name for name in NAMES if name.startswith("blob")]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of a small published folder, which may be tampered with."""
    shutil.copy(shipped("models") / "index.toml", tmp_path)
    shutil.copytree(shipped("models") / "roinet_small_pdsp", tmp_path / "roinet_small_pdsp")
    return tmp_path / "roinet_small_pdsp"


@pytest.mark.parametrize("name", ROI_FINDERS)
def test_a_published_network_is_ready_to_use(name: str) -> None:
    finder = wirecell_ml.load_published(name)
    assert isinstance(finder, RoiFinder)
    assert not finder.training
    with torch.no_grad():
        probability = finder(torch.zeros(1, 3, 17, 23))
    assert probability.shape == (1, 1, 17, 23)
    assert probability.max() < 0.5  # nothing is found in silence


@pytest.mark.parametrize("name", BLOB_NETWORKS)
def test_a_published_blob_network_tells_real_blobs_from_ghosts(name: str) -> None:
    network = wirecell_ml.load_published(name)
    event = next(iter(read_job(Job(shipped("data") / "blobs" / "clusters-apa0-0.tar.xz", bundled=True), BLOB_FILES)))
    graph = as_graph(event, ghost_below=100)
    with torch.no_grad():
        logit, log_charge = network(*network_inputs(graph))
    real = graph["blob"].real > 0
    assert ((logit > 0) == real).float().mean() > 0.9
    assert log_charge.shape == logit.shape


def test_a_name_that_is_not_published_has_a_near_one() -> None:
    with pytest.raises(ConfigError, match=r"no published model 'roinet_psdp'\. Did you mean 'roinet_pdsp'"):
        wirecell_ml.load_published("roinet_psdp")


@pytest.mark.parametrize("file", zoo.FILES)
def test_a_file_that_was_changed_is_refused(copy: Path, file: str) -> None:
    (copy / file).write_bytes((copy / file).read_bytes() + b"\n")
    with pytest.raises(DataError, match="not the file that was published, its SHA-256 differs"):
        zoo.check_digests(copy, zoo.read_index(copy.parent)[copy.name])


@pytest.mark.parametrize("target", ["os.system", "wirecell_ml.cli.os.system", "torch.nn.Conv2d", "wirecell_ml.cli.run"])
def test_a_config_that_names_anything_but_our_networks_builds_nothing(copy: Path, target: str) -> None:
    cfg = OmegaConf.load(copy / "config.yaml")
    cfg.model._target_ = target
    OmegaConf.save(cfg, copy / "config.yaml")
    with pytest.raises(ConfigError, match=re.escape(f"model is '{target}', which is no network of wirecell_ml")):
        zoo.load_network(copy)


def test_weights_of_another_network_are_refused(copy: Path) -> None:
    shutil.copy(shipped("models") / "roinet_pdsp" / "weights.safetensors", copy)
    with pytest.raises(DataError, match=r"not the weights of its config\.yaml"):
        zoo.load_network(copy)


def test_damaged_weights_are_refused(copy: Path) -> None:
    (copy / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(DataError, match="no safetensors file, or damaged"):
        zoo.load_network(copy)
