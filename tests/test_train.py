"""The training entry: what a run leaves behind, and how it goes on where it stopped."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

TINY = (
    "data.crop=[64,64]",
    "data.crops_per_plane=1",
    "trainer.max_epochs=3",
    "trainer.threads=1",
    "evaluation.figures=false",
)


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start a training in a process of its own, as a user would."""
    command = [sys.executable, "-m", "wirecell_ml.train", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    """Return what a training printed, once it ended with ``status``."""
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == status, printed
    return printed


def losses(run: Path) -> dict[tuple[str, bool], tuple[str, ...]]:
    """Return every logged step and epoch of a run, to the last digit."""
    rows: dict[tuple[str, bool], tuple[str, ...]] = {}
    for version in sorted(run.glob("csv/version_*")):
        for row in csv.DictReader((version / "metrics.csv").read_text().splitlines()):
            rows[row["step"], bool(row["val/loss"])] = (row["train/loss"], row["val/loss"], row["val/dice"])
    return rows


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Return the weights that a run ended with."""
    held: dict[str, torch.Tensor] = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
    return held


def interrupt(run: Path, number: signal.Signals, extra: tuple[str, ...] = ()) -> None:
    """Start a training, send it a signal in its second epoch, and wait until it has checkpointed."""
    process = start(*TINY, f"hydra.run.dir={run}", *extra)
    deadline = time.monotonic() + 120
    while not (run / "best.ckpt").exists():
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    assert f"resume={run}" in finish(process, status=75)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that was never interrupted."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    finish(start(*TINY, f"hydra.run.dir={run}"))
    return run


def test_a_run_keeps_what_is_needed_to_tell_it_from_another(whole: Path) -> None:
    kept = json.loads((whole / "provenance.json").read_text())
    assert {"commit", "config_digest", "data_digest", "host", "packages"} <= kept.keys()
    assert {len(kept["config_digest"]), len(kept["data_digest"])} == {64}
    for name in (".hydra/config.yaml", "split.json", "best.ckpt", "last.ckpt", "evaluation/metrics.json", "train.log"):
        assert (whole / name).stat().st_size > 0
    assert list(whole.glob("tensorboard/version_0/events.*"))


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_an_interrupted_run_goes_on_bit_for_bit(whole: Path, tmp_path: Path, number: signal.Signals) -> None:
    run = tmp_path / "broken"
    interrupt(run, number)
    assert len(losses(run)) < len(losses(whole))
    finish(start(f"resume={run}"))
    assert losses(run) == losses(whole)
    assert all(torch.equal(value, weights(run)[name]) for name, value in weights(whole).items())


def test_a_finished_run_can_be_made_longer(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "longer"
    finish(start(*TINY, "trainer.max_epochs=1", "scheduler=constant", f"hydra.run.dir={run}"))
    finish(start(f"resume={run}", "trainer.max_epochs=2"))
    epochs = {key for key in losses(run) if key[1]}
    assert len(epochs) == 2
    assert len(losses(run)) < len(losses(whole))


def test_a_resumed_run_keeps_its_config_and_split(tmp_path: Path) -> None:
    run = tmp_path / "broken"
    interrupt(run, signal.SIGUSR1, ("seed=5", "data.split.seed=6"))
    before = [(run / name).read_text() for name in (".hydra/config.yaml", "split.json")]
    finish(start(f"resume={run}"))
    assert [(run / name).read_text() for name in (".hydra/config.yaml", "split.json")] == before


def test_the_flat_config_of_a_run_gives_the_same_run_again(whole: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    flat = os.path.relpath(whole / ".hydra")
    finish(start("--config-path", flat, "--config-name", "config", f"hydra.run.dir={again}"))
    assert losses(again) == losses(whole)
    assert OmegaConf.load(again / ".hydra/config.yaml") == OmegaConf.load(whole / ".hydra/config.yaml")


def test_two_processes_share_every_epoch(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "ddp"
    finish(start(*TINY, "trainer=ddp", "trainer.accelerator=cpu", f"hydra.run.dir={run}"))
    steps = [key for key in losses(run) if not key[1]]
    steps_alone = [key for key in losses(whole) if not key[1]]
    assert len(steps) == len(steps_alone) / 2
    assert (run / "evaluation" / "metrics.json").exists()


def test_hydras_multirun_trains_once_for_each_value(tmp_path: Path) -> None:
    finish(start("-m", *TINY, "trainer.max_epochs=1", "optimizer.lr=1e-3,1e-2", f"hydra.sweep.dir={tmp_path}"))
    assert losses(tmp_path / "0") != losses(tmp_path / "1")
