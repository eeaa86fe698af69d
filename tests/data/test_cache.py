"""The cache: exactly what the files hold, whole or not at all, and new where a file is new."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tests.conftest import WriteEvents
from wirecell_ml.data import RoiData
from wirecell_ml.data.cache import PlaneCache, exact, load
from wirecell_ml.data.dataset import PlaneDataset
from wirecell_ml.data.events import Event, find_events
from wirecell_ml.data.planes import Layout
from wirecell_ml.errors import DataError
from wirecell_ml.paths import shipped

TAGS = ("loose_lf0", "mp2_roi0", "mp3_roi0")
LAYOUT = Layout(TAGS, "ductor0", "gauss0", {"U": (0, 16), "V": (16, 32)}, tick_ns=500.0, tick_per_slice=10)


@pytest.fixture
def events(write_events: WriteEvents) -> list[Event]:
    return find_events(str(write_events("0", range(2))), "*rec*.h5")


@pytest.fixture
def cache(tmp_path: Path) -> PlaneCache:
    return PlaneCache(tmp_path / "cache", LAYOUT)


def in_processes(*targets: Callable[[], None]) -> list[int | None]:
    """Run functions at the same time, each in a process of its own, and return their exit statuses."""
    processes = [multiprocessing.get_context("fork").Process(target=target) for target in targets]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


@pytest.mark.parametrize(("plane", "rows"), [("U", slice(0, 800)), ("V", slice(800, 1600))])
def test_images_of_the_sample_are_bit_for_bit_what_its_files_hold(sample: RoiData, plane: str, rows: slice) -> None:
    items = [item for part in ("train", "validation", "test") for item in sample.items(part) if item.plane == plane]
    images = PlaneDataset(items, sample.target)
    assert len(items) == 24
    for i, item in enumerate(items):
        name, ident = item.key.split(":")
        with (
            h5py.File(shipped("data") / name) as inputs,
            h5py.File(shipped("data") / name.replace("rec", "tru")) as truth,
        ):
            waveforms = np.stack([inputs[f"{ident}/frame_{tag}"][()].T[rows] for tag in TAGS]).astype(np.float32)
            true = truth[f"{ident}/frame_ductor0"][()].T[rows] > 100
            traditional = inputs[f"{ident}/frame_gauss0"][()].T[rows]
        np.testing.assert_array_equal(images[i].images, waveforms / np.float32(4000))
        np.testing.assert_array_equal(images[i].targets[0], true)
        np.testing.assert_array_equal(load(item.place, plane, "traditional"), traditional)


@given(arrays(np.float32, 8))
def test_values_are_stored_bit_for_bit(values: NDArray[np.float32]) -> None:
    finite = np.nan_to_num(values)
    assert exact(finite).astype(np.float32).tobytes() == finite.tobytes()


@pytest.mark.parametrize(
    ("value", "stored"), [(0.5, np.float16), (2049, np.float32), (0.1, np.float32), (1e5, np.float32)]
)
def test_half_precision_is_used_only_where_it_is_exact(value: float, stored: type) -> None:
    assert exact(np.array([0, value], np.float32)).dtype == stored


def test_a_second_filling_reads_nothing(cache: PlaneCache, events: list[Event]) -> None:
    cache.fill(events, progress=False)
    written = {path: path.stat().st_mtime_ns for path in cache.folder.rglob("*.npy")}
    cache.fill(events, progress=False)
    assert written == {path: path.stat().st_mtime_ns for path in cache.folder.rglob("*.npy")}
    assert len(written) == 2 * 2 * 3  # events, planes, arrays


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_an_event_is_whole_or_absent_when_the_process_that_writes_it_is_killed(
    cache: PlaneCache, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def save(path: Path, array: NDArray[np.float32]) -> None:
        if len(written) == 2:
            os._exit(9)
        written.append(path.name)
        path.write_bytes(array.tobytes())

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", save)
        assert in_processes(lambda: cache.fill(events, progress=False)) == [9]
    assert not cache.place(events[0]).exists()
    cache.fill(events, progress=False)
    assert cache.summary(events[0]).shapes == {"U": [3, 16, 30], "V": [3, 16, 30]}


def test_an_event_that_is_refused_leaves_nothing_behind(cache: PlaneCache, write_events: WriteEvents) -> None:
    spoilt = np.full((32, 300), np.nan, np.float32)
    events = find_events(str(write_events("9", range(1), ductor0=spoilt)), "*rec*.h5")
    with pytest.raises(DataError, match=r"g4-tru-9\.h5: event 0: 'ductor0' has 480 values that are NaN or infinite"):
        cache.fill(events, progress=False)
    assert not list(cache.folder.rglob("*.npy"))


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_two_processes_may_fill_it_at_once(cache: PlaneCache, events: list[Event]) -> None:
    barrier: Barrier = multiprocessing.get_context("fork").Barrier(2)

    def fill() -> None:
        barrier.wait(60)
        for event in events:
            cache.fill([event], progress=False)

    assert in_processes(fill, fill) == [0, 0]
    for event in events:
        assert cache.summary(event).shapes == {"U": [3, 16, 30], "V": [3, 16, 30]}
        assert list(cache.place(event).parent.iterdir()) == [cache.place(event)]  # nothing unfinished


def test_a_changed_file_is_read_anew(cache: PlaneCache, write_events: WriteEvents) -> None:
    path = write_events("0", range(1))
    cache.fill(old := find_events(str(path), "*rec*.h5"), progress=False)
    before = cache.summary(old[0]), cache.place(old[0])
    with h5py.File(path, "a") as file:
        file["0/frame_loose_lf0"][0, 0] += 1
    os.utime(path)  # h5py may write within the resolution of the clock
    cache.fill(old, progress=False)
    assert cache.place(old[0]) != before[1]
    assert cache.summary(old[0]).digest != before[0].digest


def test_another_layout_has_images_of_its_own(tmp_path: Path) -> None:
    other = Layout(TAGS, "ductor0", "gauss0", {"U": (0, 16)}, tick_ns=500.0, tick_per_slice=5)
    assert PlaneCache(tmp_path, LAYOUT).folder != PlaneCache(tmp_path, other).folder


def test_a_copy_of_an_event_has_the_same_digest(cache: PlaneCache, write_events: WriteEvents) -> None:
    write_events("1", range(1))
    events = find_events(str(write_events("2", range(1)).parent), "*rec*.h5")
    cache.fill(events, progress=False)
    assert len({cache.summary(event).digest for event in events}) == 1
    assert len({cache.place(event) for event in events}) == 2
