"""The training entry: what a run leaves behind, and how it goes on where it stopped."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from tests.conftest import Entry, WriteEvents
from wirecell_ml.paths import PACKAGE, shipped
from wirecell_ml.progress import append, plain, read_progress
from wirecell_ml.provenance import config_digest
from wirecell_ml.schema import checked, load_flat

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


def epochs(run: Path) -> list[int]:
    """Return the epoch of every line of progress."""
    return [json.loads(line)["epoch"] for line in (run / "progress.jsonl").read_text().splitlines()]


def summary(run: Path) -> dict[str, Any]:
    held: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return held


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


def test_every_validation_leaves_a_line_of_progress(whole: Path) -> None:
    rows = read_progress(whole / "progress.jsonl")
    steps = [int(step) for step, validated in losses(whole) if validated]
    assert epochs(whole) == [1, 2, 3]
    assert [row["step"] for row in rows] == [step + 1 for step in steps]
    for row, step in zip(rows, steps, strict=True):
        assert set(row["metrics"]) == {"train/loss", "val/loss", "val/dice", "val/efficiency", "val/purity"}
        assert row["metrics"]["train/loss"] == pytest.approx(float(losses(whole)[str(step), False][0]))
        assert row["metrics"]["val/dice"] == pytest.approx(float(losses(whole)[str(step), True][2]))


def test_the_summary_is_of_the_epoch_that_is_kept(whole: Path) -> None:
    held = summary(whole)
    kept = torch.load(whole / "best.ckpt", weights_only=True)["epoch"] + 1
    assert (held["epochs"], held["best_epoch"]) == (3, kept)
    assert f"RoiNet, {held['metrics'].pop('parameters'):,} parameters" in (whole / "train.log").read_text()
    assert held["metrics"] == read_progress(whole / "progress.jsonl")[kept - 1]["metrics"]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_an_interrupted_run_goes_on_bit_for_bit(whole: Path, tmp_path: Path, number: signal.Signals) -> None:
    run = tmp_path / "broken"
    interrupt(run, number)
    assert len(losses(run)) < len(losses(whole))
    finish(start(f"resume={run}"))
    assert losses(run) == losses(whole)
    assert epochs(run) == [1, 2, 3]
    assert summary(run) == summary(whole)
    assert all(torch.equal(value, weights(run)[name]) for name, value in weights(whole).items())


def test_a_finished_run_can_be_made_longer(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "longer"
    finish(start(*TINY, "trainer.max_epochs=1", "scheduler=constant", f"hydra.run.dir={run}"))
    finish(start(f"resume={run}", "trainer.max_epochs=2"))
    assert len({key for key in losses(run) if key[1]}) == 2
    assert epochs(run) == [1, 2]
    assert summary(run)["epochs"] == 2
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
    assert epochs(run) == [1, 2, 3]


def test_hydras_multirun_trains_once_for_each_value(tmp_path: Path) -> None:
    finish(start("-m", *TINY, "trainer.max_epochs=1", "optimizer.lr=1e-3,1e-2", f"hydra.sweep.dir={tmp_path}"))
    assert losses(tmp_path / "0") != losses(tmp_path / "1")


@pytest.fixture
def run(write_events: WriteEvents, tmp_path: Path) -> Path:
    """Write six events, and return where to train on them."""
    write_events("0", range(6))
    return tmp_path / "run"


def test_a_trial_leaves_the_test_events_alone_and_times_its_network(run: Path, run_train: Entry) -> None:
    assert run_train(f"hydra.run.dir={run}", "evaluate=false", "latency=true").status == 0
    assert not (run / "evaluation").exists()
    assert 0 < summary(run)["metrics"]["latency_s"] < 60


def test_a_network_is_timed_only_if_asked_for(run: Path, run_train: Entry) -> None:
    assert run_train(f"hydra.run.dir={run}").status == 0
    assert "latency_s" not in summary(run)["metrics"]
    assert (run / "evaluation" / "metrics.json").is_file()


def test_a_metric_to_be_small_is_best_where_it_is_smallest(run: Path, run_train: Entry) -> None:
    settings = ("monitor=val/loss", "monitor_mode=min", "trainer.max_epochs=4", "evaluate=false")
    assert run_train(f"hydra.run.dir={run}", *settings).status == 0
    rows = [row["metrics"]["val/loss"] for row in read_progress(run / "progress.jsonl")]
    assert summary(run)["metrics"]["val/loss"] == min(rows)


def test_a_run_stopped_in_its_first_epoch_is_validated_and_summarized(run: Path, run_train: Entry) -> None:
    settings = ("data.crops_per_plane=4", "trainer.max_steps=1", "scheduler=constant", "evaluate=false")
    assert run_train(f"hydra.run.dir={run}", *settings).status == 0
    (row,) = read_progress(run / "progress.jsonl")
    assert row["step"] == 1
    assert summary(run)["metrics"]["val/dice"] == row["metrics"]["val/dice"]


def test_a_finished_run_from_before_there_was_progress_can_be_resumed(
    run: Path, run_train: Entry, run_resume: Entry
) -> None:
    assert run_train(f"hydra.run.dir={run}", "evaluate=false").status == 0
    (run / "progress.jsonl").unlink()
    assert run_resume(f"resume={run}", "latency=true").status == 0
    assert summary(run)["best_epoch"] is None
    assert {"parameters", "latency_s"} == summary(run)["metrics"].keys()


def test_a_loss_that_is_no_number_ends_the_training_for_good(run: Path, run_train: Entry) -> None:
    settings = ("optimizer=sgd", "optimizer.lr=1e30", "trainer.gradient_clip=null", "trainer.max_epochs=50")
    ended = run_train(f"hydra.run.dir={run}", *settings)
    assert ended.status == 2
    assert "error: the loss became NaN or infinite at step " in ended.error
    assert "Lower optimizer.lr" in ended.error
    assert "Traceback" not in ended.error
    assert not (run / "summary.json").exists()


def test_what_is_no_number_is_null_in_progress() -> None:
    metrics = {"a": torch.tensor(0.5), "b": torch.tensor(torch.nan), "c": torch.tensor(-torch.inf)}
    assert plain(metrics) == {"a": 0.5, "b": None, "c": None}


def test_a_torn_line_of_progress_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    path.write_text('{"epoch": 1, "step": 4}\n{"epoch": 2, "st')
    append(path, '{"epoch": 2, "step": 8}')
    append(path, '{"epoch": 2, "step": 9}')
    assert read_progress(path) == [{"epoch": 1, "step": 4}, {"epoch": 2, "step": 9}]


@pytest.mark.parametrize("path", sorted(shipped("models").glob("*/config.yaml")), ids=lambda path: path.parent.name)
def test_a_published_config_older_than_a_setting_takes_its_default(path: Path) -> None:
    cfg = checked(load_flat(path))
    assert (cfg.evaluate, cfg.latency) == (True, False)


def test_what_is_measured_at_the_end_makes_no_other_run(whole: Path) -> None:
    cfg = checked(load_flat(whole / ".hydra" / "config.yaml"))
    digest = config_digest(cfg)
    cfg.evaluate, cfg.latency = False, True
    assert config_digest(cfg) == digest


def test_a_copy_of_the_code_knows_its_commit(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    ask = [sys.executable, "-c", "from wirecell_ml.provenance import git_commit; print(git_commit())"]
    for content, answer in ((None, "None"), ("0123abc+changes\n", "0123abc+changes")):
        if content:
            (tmp_path / "COMMIT").write_text(content)
        said = subprocess.run(ask, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        assert said.strip() == answer
