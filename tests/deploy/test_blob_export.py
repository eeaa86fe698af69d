"""Export of blob networks: what is written is TorchScript that a job can run, or nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from wirecell_ml.data.blob_features import ACTIVITY_FEATURES, BLOB_FEATURES
from wirecell_ml.deploy import blob_export, torchscript
from wirecell_ml.deploy.source import Trained
from wirecell_ml.errors import RunError
from wirecell_ml.models import BlobGNN, BlobMLP

CONFIG = {"detector": {"name": "protodune_sp", "apa": 0}, "data": {"ghost_below": 100}}
LOAD = """
import sys, torch
model = torch.jit.load(sys.argv[1])
inputs = torch.load(sys.argv[2], weights_only=True)
print(float((model(*inputs)[0] - torch.load(sys.argv[3], weights_only=True)).abs().max()))
"""


class Careless(BlobMLP):
    """A network that writes on what it is given."""

    def forward(
        self,
        blobs: Tensor,
        activities: Tensor,  # noqa: ARG002
        planes: Tensor,  # noqa: ARG002
        pairs: Tensor,  # noqa: ARG002
        neighbours: Tensor,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        blobs[:, 0] = 0.0
        return blobs[:, 1], blobs[:, 2]


def trained(network: nn.Module) -> Trained:
    torch.manual_seed(1)
    return Trained("mine", Path(), OmegaConf.create(CONFIG), network, None, {})


@pytest.fixture(scope="module")
def inputs() -> Any:
    return blob_export.example()


@pytest.mark.parametrize("network", [BlobGNN(19, 4, 8, 2), BlobMLP(19, 8, 1)])
def test_every_check_holds_for_our_networks(network: nn.Module, tmp_path: Path) -> None:
    folder = blob_export.export(trained(network), tmp_path / "out")
    card = json.loads((folder / "card.json").read_text())
    assert all(check["passed"] for check in card["checks"])
    assert {check["rule"] for check in card["checks"]} >= {"parity", "inputs untouched", "any size"}
    assert card["blob_features"] == list(BLOB_FEATURES)
    assert card["activity_features"] == list(ACTIVITY_FEATURES)
    assert (folder / "README.md").read_text().startswith("# mine\n")


def test_another_process_finds_the_same(tmp_path: Path, inputs: Any) -> None:
    network = BlobGNN(19, 4, 8, 2).eval()
    folder = blob_export.export(trained(network), tmp_path / "out")
    torch.save(list(inputs), tmp_path / "inputs.pt")
    torch.save(network(*inputs)[0].sigmoid(), tmp_path / "wanted.pt")
    paths = [folder / "model.ts", tmp_path / "inputs.pt", tmp_path / "wanted.pt"]
    command = [sys.executable, "-W", "ignore", "-c", LOAD, *map(str, paths)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(ended.stdout) < 1e-5


def test_a_network_that_changes_its_inputs_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"mine cannot be exported: .*inputs untouched"):
        blob_export.export(trained(Careless(19, 8, 1)), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_file_names_no_place_of_this_machine(tmp_path: Path) -> None:
    folder = blob_export.export(trained(BlobGNN(19, 4, 8, 2)), tmp_path / "out")
    assert str(Path(__file__).parents[2]).encode() not in (folder / "model.ts").read_bytes()
    assert torchscript.sha256(folder / "model.ts") == json.loads((folder / "card.json").read_text())["model"]["sha256"]
