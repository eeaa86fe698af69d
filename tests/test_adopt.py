"""Adoption: checkpoints of other projects go through the same export and check as ours."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import Ended, Entry
from tests.test_bad_input import refused
from wirecell_ml import adopt
from wirecell_ml.deploy import torchscript
from wirecell_ml.deploy.card import read_card
from wirecell_ml.models import RoiFinder, UNet, legacy

WIDTHS, UP_WIDTHS = [4, 8, 8], [4, 4]


@pytest.fixture
def run_adopt(entry: Callable[..., Ended]) -> Entry:
    return lambda *settings: entry(adopt.main, *settings)


@pytest.fixture
def network() -> UNet:
    torch.manual_seed(0)
    return UNet(3, WIDTHS, UP_WIDTHS, "batch").eval()


@pytest.fixture
def checkpoint(network: UNet, tmp_path: Path) -> Path:
    """Write the network as Pytorch-UNet names its weights."""
    theirs = {ours: name for name, ours in legacy.pytorch_unet(len(UP_WIDTHS)).items()}
    state = {legacy.renamed(name, theirs): tensor for name, tensor in network.state_dict().items()}
    torch.save(state, tmp_path / "CP50.pth")
    return tmp_path / "CP50.pth"


def test_a_checkpoint_is_exported_with_the_same_answers(
    checkpoint: Path, network: UNet, run_adopt: Entry, tmp_path: Path
) -> None:
    ended = run_adopt(f"checkpoint={checkpoint}", "norm=batch", "accept=[ends]", "output=out")
    assert ended.status == 0, ended
    image = 1000 * torch.randn(1, 3, 33, 41, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = RoiFinder(network, [4000.0] * 3)(image)
        assert torch.equal(torchscript.load(tmp_path / "out" / "model.ts")(image), wanted)


def test_the_card_says_where_the_weights_come_from(checkpoint: Path, run_adopt: Entry, tmp_path: Path) -> None:
    assert run_adopt(f"checkpoint={checkpoint}", "accept=[ends]", "name=mine").status == 0
    card = read_card(tmp_path / "exports" / "mine" / "card.json")
    assert card.training["family"] == "Pytorch-UNet U-Net"
    assert card.training["checkpoint_sha256"] == torchscript.sha256(checkpoint)
    assert any("no metrics" in limit for limit in card.limits)


def test_what_was_mapped_is_printed(checkpoint: Path, run_adopt: Entry) -> None:
    output = run_adopt(f"checkpoint={checkpoint}", "accept=[ends]").output
    assert "inc.conv.conv.0.weight" in output
    assert "downs.0.0.weight" in output
    assert "left out: " in output  # statistics of batches, which images of their own make unneeded


def test_a_pickle_with_code_is_refused_unopened(run_adopt: Entry, tmp_path: Path) -> None:
    torch.save(UNet(3, WIDTHS, UP_WIDTHS, "batch"), tmp_path / "whole.pth")
    refused(run_adopt(f"checkpoint={tmp_path / 'whole.pth'}"), "refused unopened", "wirecell_ml.models.unet.UNet")


def test_settings_that_do_not_fit_the_checkpoint(checkpoint: Path, run_adopt: Entry) -> None:
    one = f"checkpoint={checkpoint}"
    refused(run_adopt(one, "tags=[loose_lf]"), "tags: the checkpoint has 3 input channels, but there are 1 tags")
    refused(run_adopt(one, "detector=protodune"), "detector: 'protodune' is not known. Did you mean 'protodune_")
    refused(run_adopt(one, "planes=[X]"), "planes: protodune_sp has no plane 'X'. Known here: U, V, W")
    refused(run_adopt(one, "norm=layer"), "norm: 'layer' is not known")
    refused(run_adopt("checkpoint=nowhere.pth"), "nowhere.pth: no such file")
