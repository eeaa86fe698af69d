"""The worker's part of a calibration: what it tries, and that what it measures is measured."""

import json
from pathlib import Path

import pytest

from tests.conftest import TINY, WriteEvents
from wirecell_ml import measuring
from wirecell_ml.calibration import Bench, Way, counts, measured, try_batches, try_workers
from wirecell_ml.composing import Bases, as_yaml
from wirecell_ml.schema import checked, load_flat

WAY = {"batch": 2, "threads": 2, "gpus": 0, "precision": "32", "measure_s": 0.01}


@pytest.fixture
def config(write_events: WriteEvents, tmp_path: Path) -> Path:
    """The flat config of a tiny training."""
    files = write_events("some", range(1, 4)).parent
    places = (f"data.files={files}", f"data.cache={tmp_path / 'cache'}")
    (tmp_path / "config.yaml").write_text(as_yaml(Bases.composed({}, (*TINY, *places)).flat({})))
    return tmp_path / "config.yaml"


@pytest.mark.parametrize(
    ("most", "tried"),
    [(1, [1]), (2, [1, 2]), (4, [1, 2, 3, 4]), (7, [1, 2, 3, 4, 6, 7]), (16, [1, 2, 3, 4, 6, 8, 12, 16])],
)
def test_numbers_of_workers_double_and_have_one_between(most: int, tried: list[int]) -> None:
    assert counts(most) == tried


def bench(config: Path, known: dict[Way, float | None]) -> Bench:
    """Return a bench on which everything has been measured already."""
    return Bench(config, seconds=1.0, progress=config.with_name("progress.jsonl"), known=known)


def test_batches_grow_until_they_gain_nothing(config: Path) -> None:
    steps = {1: 0.1, 2: 0.11, 4: 0.12, 8: 0.24}  # seconds; of 8 a second takes no more than of 4
    known: dict[Way, float | None] = {Way(batch, 2): seconds for batch, seconds in steps.items()}
    used = bench(config, dict(known))
    try_batches(used, Way(2, 2))
    assert used.known == known, "16 was not tried"


@pytest.mark.parametrize("last", [None, 1.5], ids=["memory", "time"])
def test_batches_grow_until_memory_or_time_is_over(config: Path, last: float | None) -> None:
    known = {Way(1, 2): 0.1, Way(2, 2): last}
    used = bench(config, dict(known))
    try_batches(used, Way(8, 2))
    assert used.known == known


def test_more_gpus_have_more_batches(config: Path) -> None:
    known: dict[Way, float | None] = {Way(4 * number, 8, number): 0.1 for number in (1, 2, 3, 4)}
    used = bench(config, dict(known))
    try_workers(used, Way(4, 8, 4))
    assert used.known == known


def test_a_step_is_measured_once_and_written_down(config: Path) -> None:
    used = bench(config, {})
    seconds = used.step_s(Way(2, 1))
    assert seconds is not None
    assert used.step_s(Way(2, 1)) == seconds
    (line,) = config.with_name("progress.jsonl").read_text().splitlines()
    step = json.loads(line)["step"]
    assert (step["batch"], step["threads"], step["seconds"]) == (2, 1, seconds)
    assert 0.1 < step["memory_gb"] < 8


def test_a_training_that_ends_badly_is_no_measurement(config: Path) -> None:
    assert measured(["step", str(config), json.dumps(WAY | {"batch": "many"})], {}) is None


def test_processes_share_their_gradients_and_end_together(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config.parent)
    found = measuring.several(2, "cpu", checked(load_flat(config)), WAY)
    assert found["seconds"] > 0
    assert found["memory_gb"] > 0.1
