"""What several tests need: tiny frame files of any content, and the entries run in this process."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from numpy.typing import NDArray

from wirecell_ml import cli, evaluate, train
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.hdf5 import write_frame

NUM_CHANNELS, NUM_TICKS, TICK_NS = 32, 300, 500.0
TAGS = ("loose_lf0", "mp2_roi0", "mp3_roi0", "gauss0")
TINY = (  # a training of one step on one plane of 32 channels and 30 slices
    "detector.channels_per_apa=32",
    "detector.planes.U=[0,32]",
    "data.planes=[U]",
    "data.crop=[16,16]",
    "data.crops_per_plane=1",
    "data.split.validation=1",
    "data.split.test=1",
    "model.widths=[4,8]",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=1",
    "trainer.max_steps=1",
    "trainer.progress=false",
    "logger=none",
    "evaluation.figures=false",
)

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Ended:
    """How an entry ended."""

    status: int
    output: str
    error: str


class Entry(Protocol):
    """Run an entry with these settings."""

    def __call__(self, *settings: str) -> Ended: ...


class WriteEvents(Protocol):
    """Write events ``idents`` to g4-rec-<name>.h5 and g4-tru-<name>.h5; ``change`` replaces waveforms by tag."""

    def __call__(self, name: str, idents: range, **change: Samples) -> Path: ...


def frame(samples: Samples) -> Frame:
    """Return a frame with the channels 0, 1, … and one tick to a column."""
    return Frame(samples, np.arange(len(samples), dtype=np.int32), 0.0, TICK_NS)


def waveforms(ident: int) -> dict[str, Samples]:
    """Return the waveforms of an event, by tag: noise, a track on four channels, and flags that see half of it."""
    dice = np.random.default_rng(ident)
    truth = np.zeros((NUM_CHANNELS, NUM_TICKS), np.float32)
    truth[8:12, 100:200] = 1000
    half = truth.copy()
    half[8:10] = 0
    noise = dice.normal(scale=100, size=truth.shape).astype(np.float32)
    return dict(zip(TAGS, (truth + noise, half, half, half), strict=True)) | {"ductor0": truth}


@pytest.fixture
def write_events(tmp_path: Path) -> WriteEvents:
    def write(name: str, idents: range, **change: Samples) -> Path:
        folder = tmp_path / "files"
        folder.mkdir(exist_ok=True)
        for ident in idents:
            for tag, samples in (waveforms(ident) | change).items():
                kind = "tru" if tag == "ductor0" else "rec"
                write_frame(folder / f"g4-{kind}-{name}.h5", ident, tag, frame(samples))
        return folder / f"g4-rec-{name}.h5"

    return write


@pytest.fixture
def run_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Entry:
    """Run ``wirecell_ml.train`` in this process and an empty folder, on the tiny files if a test wrote them."""
    def run(*settings: str) -> Ended:
        return ended("train", train.main, settings)
    ...
