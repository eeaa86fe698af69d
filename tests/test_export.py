"""Export: from a run, or a published model, to a folder that a Wire-Cell job can use."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from tests.conftest import Ended, Entry, WriteEvents
from tests.test_bad_input import refused
from wirecell_ml import export, load_published
from wirecell_ml.data.archive import read_events
from wirecell_ml.deploy import torchscript
from wirecell_ml.deploy.card import read_card
from wirecell_ml.deploy.replay import choices, run_plane, summary
from wirecell_ml.deploy.rules import RULES
from wirecell_ml.paths import shipped

RunMain = Callable[..., Ended]


@pytest.fixture
def run(write_events: WriteEvents, run_train: Entry, tmp_path: Path) -> Path:
    """Train a tiny network and return its run directory."""
    write_events("0", range(6))
    assert run_train(f"hydra.run.dir={tmp_path / 'run'}", "name=tiny").status == 0
    return tmp_path / "run"


@pytest.fixture
def run_export(entry: RunMain) -> Entry:
    """Export; a network of one step of training has not learned the ends of images, hence accept=[ends] below."""
    return lambda *settings: entry(export.main, *settings)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export the published RoiNet once, by the function that the entry calls."""
    from wirecell_ml.deploy.exporting import Options, export_run

    return export_run("roinet_pdsp", tmp_path_factory.mktemp("export") / "roinet_pdsp", Options())


def test_a_run_becomes_a_folder_with_model_card_and_snippets(run: Path, run_export: Entry) -> None:
    ended = run_export(f"run={run}", "accept=[ends]")
    assert ended.status == 0, ended
    names = {path.name for path in (run / "export").iterdir()}
    assert names == {"model.ts", "card.json", "card.md", "dnnroi.jsonnet", "config.pbtxt"}
    assert read_card(run / "export" / "card.json").metrics["events"] == 1


def test_every_rule_is_printed_with_what_was_seen(run: Path, run_export: Entry) -> None:
    output = run_export(f"run={run}", "accept=[ends]").output
    assert all(f" {rule}: " in output for rule in RULES)


def test_the_published_model_holds_every_rule(published: Path) -> None:
    card = read_card(published / "card.json")
    assert {one["rule"] for one in card.contract if one["passed"]} == set(RULES)


def test_the_card_promises_the_charge_that_the_replay_finds(published: Path) -> None:
    card, module = read_card(published / "card.json"), torchscript.load(published / "model.ts")
    _, frames = next(read_events(shipped("data") / card.replay["file"]))
    for plane, promised in card.replay["planes"].items():
        found = summary(run_plane(frames, plane, module, card, choices(card)))
        assert found["charge"] == pytest.approx(promised["charge"], rel=1e-6)
        assert found["rois"] == promised["rois"]
        assert found["ticks"] == promised["ticks"]
        assert found["charge"] > 1e6


def test_the_exported_file_is_the_published_network_bit_for_bit(published: Path) -> None:
    image = 1000 * torch.randn(1, 3, 51, 77, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exported, network = torchscript.load(published / "model.ts")(image), load_published("roinet_pdsp")(image)
    assert torch.equal(exported, network)


def test_a_check_of_the_exported_file_with_its_card_passes(published: Path, run_export: Entry) -> None:
    ended = run_export(f"check={published / 'model.ts'}", f"card={published / 'card.json'}")
    assert ended.status == 0, ended
    assert "BROKEN" not in ended.output


def test_a_broken_rule_is_refused_with_what_cpp_would_do(published: Path, run_export: Entry, tmp_path: Path) -> None:
    path = tmp_path / "logits.ts"
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(torch.jit.script(torch.nn.Conv2d(3, 1, 1).eval()), str(path))
    card = json.loads((published / "card.json").read_text())
    card["model"].pop("sha256")
    (tmp_path / "card.json").write_text(json.dumps(card))
    ended = run_export(f"check={path}")
    refused(ended, f"{path} breaks the contract with Wire-Cell: probability")
    assert RULES["probability"][1] in ended.output


def test_the_documentation_lists_every_rule() -> None:
    text = (Path(__file__).parents[1] / "docs" / "deploy.md").read_text()
    assert [rule for rule, (demand, otherwise) in RULES.items() if f"| {demand} | {otherwise} |" not in text] == []


def test_a_refused_export_leaves_no_folder(run: Path, run_export: Entry) -> None:
    checkpoint = torch.load(run / "best.ckpt", weights_only=True)
    checkpoint["state_dict"] = {name: value * torch.nan for name, value in checkpoint["state_dict"].items()}
    torch.save(checkpoint, run / "best.ckpt")
    refused(run_export(f"run={run}"), "tiny breaks the contract with Wire-Cell: ", "probability")
    assert not [path for path in run.iterdir() if "export" in path.name]


def test_onnx_gives_the_same_probabilities_at_any_size(run: Path, run_export: Entry) -> None:
    assert run_export(f"run={run}", "accept=[ends]", "onnx=true").status == 0
    session = onnxruntime.InferenceSession(run / "export" / "model.onnx")
    module = torchscript.load(run / "export" / "model.ts")
    for shape in ((1, 3, 16, 30), (1, 3, 33, 41), (2, 3, 20, 1)):
        image = 1000 * torch.randn(shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            np.testing.assert_allclose(session.run(None, {"images": image.numpy()})[0], module(image), atol=1e-5)


class TestBadInput:
    """Whatever is wrong is one line and exit status 2."""

    def test_neither_run_nor_check(self, run_export: Entry) -> None:
        refused(run_export(), "give run=… to export a run, or check=… to check a TorchScript file")

    def test_an_unknown_published_name(self, run_export: Entry) -> None:
        refused(run_export("run=roinet_pds"), "no published model 'roinet_pds'. Did you mean 'roinet_pdsp'?")

    def test_a_folder_that_is_no_run(self, run_export: Entry, tmp_path: Path) -> None:
        refused(run_export(f"run={tmp_path}"), f"run={tmp_path}: no run here")

    def test_a_rule_that_is_none(self, run_export: Entry) -> None:
        refused(run_export("run=roinet_pdsp", "accept=[end]"), "accept: there is no rule 'end'. Did you mean 'ends'?")

    def test_a_file_that_is_no_torchscript(self, run_export: Entry, tmp_path: Path) -> None:
        (tmp_path / "model.ts").write_text("no model")
        refused(run_export(f"check={tmp_path / 'model.ts'}"), "not TorchScript, and left unopened")

    def test_a_pickle_is_refused_unopened(self, run_export: Entry, tmp_path: Path) -> None:
        torch.save({"weights": torch.zeros(3)}, tmp_path / "model.ts")
        refused(run_export(f"check={tmp_path / 'model.ts'}"), "a pickle of torch.save", "left unopened")

    def test_a_card_of_another_file(self, published: Path, run_export: Entry) -> None:
        dummy = shipped("data") / "dnnroi" / "dummy-unet.ts"
        ended = run_export(f"check={dummy}", f"card={published / 'card.json'}")
        refused(ended, f"{dummy}: not the file that its card 'roinet_pdsp' describes")

    def test_a_card_with_other_tags_does_not_fit(self, published: Path, run_export: Entry, tmp_path: Path) -> None:
        card = json.loads((published / "card.json").read_text())
        card["intags"] = card["intags"][:2]
        (tmp_path / "card.json").write_text(json.dumps(card))
        ended = run_export(f"check={published / 'model.ts'}", f"card={tmp_path / 'card.json'}")
        refused(ended, "breaks the contract with Wire-Cell: runs")

    def test_a_model_without_a_card(self, run_export: Entry) -> None:
        dummy = shipped("data") / "dnnroi" / "dummy-unet.ts"
        refused(run_export(f"check={dummy}"), "card.json: no such file")
