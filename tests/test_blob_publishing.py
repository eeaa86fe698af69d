"""Publishing a blob network: it enters a zoo whose page and table hold what was measured, and answers as it did."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import Ended
from tests.test_blob_training import QUICK
from wirecell_ml import blob_publishing, publish, train
from wirecell_ml.deploy import blob_export
from wirecell_ml.deploy.source import load_trained
from wirecell_ml.errors import DataError
from wirecell_ml.models import BlobGNN, zoo
from wirecell_ml.paths import shipped
from wirecell_ml.publishing import overview

FILES = shipped("data") / "blobs"
ENTRY = {"README.md", "card.json", "config.yaml", "figures", "metrics.json", "provenance.json", "split.json"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("published")


@pytest.fixture
def folder(place: Path, entry: Callable[..., Ended]) -> Path:
    """Return a zoo that holds one trained network, ``tiny``, beside the run that it was; it is made once."""
    if not (place / "zoo" / "README.md").exists():
        settings = (f"data.cache={place / 'cache'}", f"hydra.run.dir={place / 'run'}", "evaluation.figures=true")
        assert entry(train.main, *QUICK, *settings).status == 0
        ended = entry(publish.main, f"files={FILES}", f"run={place / 'run'}", "name=tiny", f"zoo={place / 'zoo'}")
        assert ended.status == 0, ended
    return place / "zoo"


def test_a_published_network_is_described_by_its_numbers_and_answers_as_it_did(folder: Path) -> None:
    tiny, run = folder / "tiny", folder.parent / "run"
    assert {path.name for path in tiny.iterdir()} >= ENTRY
    metrics = json.loads((tiny / "metrics.json").read_text())
    measured = json.loads((run / "evaluation" / "metrics.json").read_text())
    assert metrics["finders"] == measured["finders"]
    assert metrics["threshold"] == measured["threshold"]

    numbers = blob_publishing.numbers(metrics, "network")
    written, listed = (tiny / "README.md").read_text(), (folder / "README.md").read_text()
    assert written == blob_publishing.page(tiny)
    assert listed == overview(folder, ["tiny"])
    assert all(number in written and number in listed for number in numbers)
    assert "| kept, 2 events |" in listed
    assert {path.name for path in (tiny / "figures").iterdir()} >= {"curves.png", "training.png"}

    inputs = blob_export.example()
    before, after = load_trained(str(run)).network.eval(), load_trained(str(tiny)).network.eval()
    assert isinstance(after, BlobGNN)
    with torch.inference_mode():
        assert all(torch.equal(one, other) for one, other in zip(before(*inputs), after(*inputs), strict=True))


def test_load_published_gives_the_network_as_it_was_trained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "shipped", lambda _: folder)
    network = zoo.load_published("tiny")
    assert not network.training
    blobs, *others = blob_export.example()
    with torch.inference_mode():
        logit, log_charge = network(blobs, *others)
    assert logit.shape == log_charge.shape == (len(blobs),)
    held = json.loads((folder.parent / "run" / "features.json").read_text())
    assert network.state_dict()["blob_scale.mean"].tolist() == [mean for mean, _ in held["blob"].values()]


def test_a_published_file_that_was_changed_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = Path(shutil.copytree(folder, tmp_path / "changed"))
    monkeypatch.setattr(zoo, "shipped", lambda _: changed)
    with (changed / "tiny" / "weights.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match="not the file that was published"):
        zoo.load_published("tiny")
