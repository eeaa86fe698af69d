"""Bad input: one line that says where, what, and what would be right, and exit status 2."""

import json
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from tests.conftest import NUM_CHANNELS, NUM_TICKS, TINY, Ended, Entry, WriteEvents
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.hdf5 import write_frame

ZEROS = np.zeros((NUM_CHANNELS, NUM_TICKS), np.float32)


def refused(ended: Ended, *parts: str) -> None:
    """Assert that an entry ended with status 2 and one last line that holds ``parts``; what came before is progress."""
    assert ended.status == 2, ended
    (line,) = [line for line in ended.error.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in ended.error
    for part in parts:
        assert part in line


@pytest.fixture
def files(write_events: WriteEvents) -> Path:
    """Write six good events and return the file of their inputs."""
    return write_events("0", range(6))


def test_good_files_train(files: Path, run_train: Entry) -> None:
    assert files.is_file()
    assert run_train().status == 0


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("model.depht=6", "no setting 'model.depht'. Known here: in_channels, norm, widths"),
        ("model.widhts=[4]", "no setting 'model.widhts'. Did you mean 'widths'?"),
        ("trainer.max_epoch=3", "no setting 'trainer.max_epoch'. Did you mean 'max_epochs'?"),
        ("trainer.max_epochs=ten", "trainer.max_epochs: Value 'ten' of type 'str' could not be converted to Integer"),
        (
            "+model.skip=true",
            "model.skip: wirecell_ml.models.RoiNet takes no 'skip'. Known here: in_channels, norm, widths",
        ),
        ("model.widths=wide", "model.widths=wide: wirecell_ml.models.RoiNet takes Sequence[int] here"),
        ("model=rionet", "no model named 'rionet'. Did you mean 'roinet'?"),
        ("model._target_=torch.Nothing", "cannot import 'torch.Nothing'"),
        ("monitor=val/dcie", "monitor: 'val/dcie' is not logged. Did you mean 'val/dice'?"),
        ("detector=protodune_h", "no detector named 'protodune_h'. Did you mean 'protodune_hd'?"),
        ("data.planes=[X]", "data.planes: protodune_sp has no plane 'X'"),
        ("data.scale=[4000]", "data.scale has 1 values for 3 tags"),
        ("evaluation.matching=loose", "evaluation.matching: 'loose' is not known. Known here: exact, published"),
    ],
)
def test_an_override_that_is_wrong(files: Path, run_train: Entry, override: str, line: str) -> None:
    assert files.is_file()
    refused(run_train(override), line)


def test_a_missing_file(run_train: Entry, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.h5"
    refused(run_train(f"data.files={missing}"), f"{missing}: no such file or folder")


def test_a_folder_without_inputs(run_train: Entry, tmp_path: Path) -> None:
    refused(
        run_train(f"data.files={tmp_path}"), f"{tmp_path}: no file called *rec*.h5 in this folder", "data.inputs_glob"
    )


def test_an_empty_file(files: Path, run_train: Entry) -> None:
    files.write_bytes(b"")
    refused(run_train(), f"{files}: the file is empty")


def test_a_truncated_file(files: Path, run_train: Entry) -> None:
    files.write_bytes(files.read_bytes()[:-1000])
    refused(run_train(), str(files), "damaged or truncated, write or copy it again")


def test_a_file_that_is_not_hdf5(files: Path, run_train: Entry) -> None:
    files.write_text("wirecell")
    refused(run_train(), f"{files}: not an HDF5 file", "HDF5FrameTap")


def test_a_missing_tag(files: Path, run_train: Entry) -> None:
    wrong = run_train("data.tags=[loose_lf1,mp2_roi0,mp3_roi0]")
    refused(wrong, f"{files}: event 0: no dataset 'frame_loose_lf1'. Did you mean 'frame_loose_lf0'? Known here: ")


def test_a_tag_that_is_zero_throughout(write_events: WriteEvents, run_train: Entry) -> None:
    path = write_events("0", range(6), mp2_roi0=ZEROS)
    refused(run_train(), f"{path}: 'mp2_roi0' is zero in all its 6 events", "data.tags")


def test_truth_that_does_not_pair(files: Path, run_train: Entry) -> None:
    truth = files.with_name("g4-tru-0.h5")
    with h5py.File(truth, "a") as file:
        for ident in list(file):
            file.move(ident, str(100 + int(ident)))
    refused(run_train(), f"{files} has events 0..5 and {truth} 100..105: none pair", "data.pair_by=order")
    assert run_train("data.pair_by=order").status == 0


def test_holes_are_counted_and_left_out(files: Path, run_train: Entry) -> None:
    with h5py.File(files.with_name("g4-tru-0.h5"), "a") as file:
        del file["2"]
    assert f"{files}: 1 events have inputs or truth only and are left out" in run_train().output


def test_truth_of_another_shape(files: Path, run_train: Entry) -> None:
    truth = files.with_name("g4-tru-0.h5")
    truth.unlink()
    for ident in range(6):
        samples = np.ones((NUM_CHANNELS, NUM_TICKS // 2), np.float32)
        write_frame(truth, ident, "ductor0", Frame(samples, np.arange(NUM_CHANNELS, dtype=np.int32), 0.0, 500.0))
    refused(run_train(), f"{files}: event 0: the waveforms of plane U have different shapes", "do not pair")


def test_a_frame_whose_orientation_cannot_be_told(files: Path, run_train: Entry) -> None:
    shutil.rmtree(files.parent)
    files.parent.mkdir()
    square = Frame(np.ones((32, 32), np.float32), np.arange(32, dtype=np.int32), 0.0, 500.0)
    for ident in range(6):
        for tag in ("loose_lf0", "mp2_roi0", "mp3_roi0", "gauss0", "ductor0"):
            write_frame(files, ident, tag, square)
    refused(run_train(), "event 0: 'frame_loose_lf0' is square, (32, 32)", "data.orientation=channel_tick")


def test_channels_outside_the_file(files: Path, run_train: Entry) -> None:
    outside = run_train("detector.planes.U=[16,64]")
    refused(
        outside,
        f"{files}: event 0: plane U: channels 16..63 are outside the file, which holds 0..31",
        "configs/detector",
    )


def test_ticks_outside_the_file(files: Path, run_train: Entry) -> None:
    refused(run_train("data.tick_range=[0,6000]"), f"{files}: event 0", "are outside the file, which holds 300")


def test_nan_in_inputs(write_events: WriteEvents, run_train: Entry) -> None:
    spoilt = np.ones((NUM_CHANNELS, NUM_TICKS), np.float32)
    spoilt[7, 120:123] = np.nan
    path = write_events("0", range(6), loose_lf0=spoilt)
    refused(
        run_train(),
        f"{path}: event 0: 'loose_lf0' has 1 values that are NaN or infinite in plane U",
        "channel 7, slice 12",
    )


def test_truth_masked_by_what_was_found_is_a_warning(write_events: WriteEvents, run_train: Entry) -> None:
    track = ZEROS.copy()
    track[8:24, 100:200] = 1000
    write_events("0", range(6), gauss0=track, ductor0=track)
    ended = run_train()
    assert ended.status == 0
    warning = next(line for line in ended.output.splitlines() if "masked" in line)
    assert "the truth was masked by 'gauss0'" in warning
    assert "efficiency is 1 by construction" in warning


def test_a_split_with_an_event_in_two_parts(files: Path, run_train: Entry, tmp_path: Path) -> None:
    keys = [f"{files.name}:{ident}" for ident in range(6)]
    path = tmp_path / "leaky.json"
    path.write_text(json.dumps({"train": keys[:4], "validation": keys[4:], "test": keys[:1]}))
    refused(run_train(f"data.split.file={path}"), f"the split leaks: {keys[0]} is in 'test', and it is in 'train'")


def test_a_copy_of_an_event_under_another_name(files: Path, run_train: Entry, tmp_path: Path) -> None:
    for kind in ("rec", "tru"):
        shutil.copy(files.with_name(f"g4-{kind}-0.h5"), files.with_name(f"g4-{kind}-1.h5"))
    first, copies = ([f"g4-rec-{n}.h5:{ident}" for ident in range(6)] for n in (0, 1))
    path = tmp_path / "leaky.json"
    path.write_text(json.dumps({"train": first, "validation": copies[:1], "test": copies[1:]}))
    refused(
        run_train(f"data.split.file={path}"), f"the split leaks: {copies[0]} is in 'validation'", first[0], "Remove one"
    )


def test_a_file_that_is_no_split(files: Path, run_train: Entry) -> None:
    refused(run_train(f"data.split.file={files}"), f"{files}: not a split file")


def test_a_split_that_leaves_nothing_to_train_on(files: Path, run_train: Entry) -> None:
    assert files.is_file()
    refused(run_train("data.split.test=5"), "1 validation and 5 test events leave none of 6 to train on")


@pytest.fixture
def run(files: Path, run_train: Entry, tmp_path: Path) -> Path:
    """Return a finished run."""
    assert files.is_file()
    assert run_train(f"hydra.run.dir={tmp_path / 'run'}").status == 0
    return tmp_path / "run"


def test_resuming_with_another_model(run: Path, run_resume: Entry) -> None:
    refused(run_resume(f"resume={run}", "model=unet"), "'model=unet' would make it another run", "start a new run")


def test_resuming_from_the_checkpoint_of_another_model(run: Path, run_resume: Entry) -> None:
    held = torch.load(run / "last.ckpt", weights_only=True)
    held["state_dict"] = {f"other.{name}": value for name, value in held["state_dict"].items()}
    torch.save(held, run / "last.ckpt")
    refused(run_resume(f"resume={run}"), f"{run / 'last.ckpt'} is of another model than RoiNet", "began with")


def test_resuming_what_is_no_run(run_resume: Entry, tmp_path: Path) -> None:
    refused(
        run_resume(f"resume={tmp_path}"),
        f"resume={tmp_path}: no run here",
        "Give the directory that the training wrote",
    )


def test_a_damaged_checkpoint(run: Path, run_resume: Entry) -> None:
    (run / "last.ckpt").write_bytes(b"nothing")
    refused(run_resume(f"resume={run}"), f"{run / 'last.ckpt'}: not a checkpoint of ours, or damaged")


def test_evaluating_what_is_no_run(run_evaluate: Entry, tmp_path: Path) -> None:
    refused(run_evaluate(f"run={tmp_path}"), f"run={tmp_path}: no run here")


def test_evaluating_nothing(run_evaluate: Entry) -> None:
    refused(run_evaluate(), "no value for run. Give it as run=…")


def test_a_run_directory_that_cannot_be_written(files: Path, run_train: Entry) -> None:
    below = files / "run"  # a folder below a file: refused to everyone, root included
    refused(run_train(f"hydra.run.dir={below}"), str(files), "cannot write: ", "hydra.run.dir=")


@pytest.mark.parametrize("full", ["run", "cache"])
def test_a_full_disk(files: Path, tmp_path: Path, full: str) -> None:
    """Files of this process may grow to 20 kB and no further: the same fault, at any place, without a disk to fill."""
    limit = 20_000
    room = {"run": "hydra.run.dir", "cache": "data.cache"}
    places = {name: tmp_path / f"{name}-{full}" for name in room}
    prepared = [f"{room[name]}={path}" for name, path in places.items()]
    settings = [*TINY, f"data.files={files.parent}", *prepared]
    if full == "run":  # the images are there already, so that the run directory is what is full
        subprocess.run([sys.executable, "-m", "wirecell_ml.train", *settings], check=True, capture_output=True)
        settings[-2] = f"hydra.run.dir={tmp_path / 'second'}"
    ended = subprocess.run(
        [sys.executable, "-m", "wirecell_ml.train", *settings],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: limit_files(limit),
    )
    refused(Ended(ended.returncode, ended.stdout, ended.stderr), "cannot write: ", "Free some space")


def limit_files(size: int) -> None:
    """Let files of this process grow to ``size`` bytes, beyond which a write fails instead of killing it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
