"""What several tests need: tiny frame files of any content, and the entries run in this process."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
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
TINY = (  # a training of one step: two planes of 16 channels and 30 slices, three events
    "detector.channels_per_apa=32",
    "detector.planes.U=[0,16]",
    "detector.planes.V=[16,32]",
    "data.crop=[16,16]",
    "data.crops_per_plane=1",
    "data.split.validation=1",
    "data.split.test=1",
    "data.batch_size=2",
    "model.widths=[4,8]",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=1",
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
    """Run an entry with some settings."""

    def __call__(self, *settings: str) -> Ended: ...


class WriteEvents(Protocol):
    """Write events to ``g4-rec-<name>.h5`` and ``g4-tru-<name>.h5``, some waveforms replaced by tag."""

    def __call__(self, name: str, idents: range, **change: Samples) -> Path: ...


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a skipped test count as a failure in CI, where every engine can be installed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter and reporter.stats.get("skipped"):
        reporter.write_line("tests were skipped in CI, where none may be", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def waveforms(ident: int) -> dict[str, Samples]:
    """Return the waveforms of an event by tag: a track in noise, what flags and traditional ROIs see of it, the truth.

    In the truth every second channel of the track is one that they do not see.
    """
    truth = np.zeros((NUM_CHANNELS, NUM_TICKS), np.float32)
    truth[10:22, 100:200] = 1000
    noise = np.random.default_rng(ident).normal(scale=100, size=truth.shape).astype(np.float32)
    seen = truth * (np.arange(NUM_CHANNELS) % 2)[:, None].astype(np.float32)
    return {"loose_lf0": truth + noise, "mp2_roi0": seen, "mp3_roi0": seen, "gauss0": seen, "ductor0": truth}


@pytest.fixture
def write_events(tmp_path: Path) -> WriteEvents:
    folder = tmp_path / "files"
    folder.mkdir()

    def write(name: str, idents: range, **change: Samples) -> Path:
        for ident in idents:
            for tag, samples in (waveforms(ident) | change).items():
                kind = "tru" if tag == "ductor0" else "rec"
                frame = Frame(samples, np.arange(len(samples), dtype=np.int32), 0.0, TICK_NS)
                write_frame(folder / f"g4-{kind}-{name}.h5", ident, tag, frame)
        return folder / f"g4-rec-{name}.h5"

    return write


@pytest.fixture
def run_train(entry: Callable[..., Ended], tmp_path: Path) -> Entry:
    """Train in a folder of its own, on the files that ``write_events`` wrote there."""
    places = (f"data.files={tmp_path / 'files'}", f"data.cache={tmp_path / 'cache'}")
    return lambda *settings: entry(train.main, *TINY, *places, *settings)


@pytest.fixture
def run_resume(entry: Callable[..., Ended]) -> Entry:
    """Train with nothing but the given settings."""
    return lambda *settings: entry(train.main, *settings)


@pytest.fixture
def run_evaluate(entry: Callable[..., Ended]) -> Entry:
    return lambda *settings: entry(evaluate.main, *settings)


@pytest.fixture
def entry(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    logging_kept: None,  # noqa: ARG001
) -> Callable[..., Ended]:
    """Run an entry as its command does, in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def run(main: Callable[[], Any], *settings: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["wirecell_ml", *settings])
        GlobalHydra.instance().clear()
        status = 0
        try:
            cli.run(main)
        except SystemExit as ended:
            status = int(ended.code or 0)
        return Ended(status, *capsys.readouterr())

    return run


@pytest.fixture
def logging_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave logging as it was before Hydra set it up."""
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:], root.level = handlers, level
