"""Blob data: true and solved files of one job, paired blob by blob and kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.blob_graphs import small_graph
from wirecell_ml.data import BlobData, SplitSettings
from wirecell_ml.data.blobs import BlobGraph
from wirecell_ml.errors import DataError
from wirecell_ml.paths import shipped

Make = Callable[..., BlobData]
TRUE = [100.0, 250.0, 0.0]


def members(graph: BlobGraph, ident: int, charge: list[float], rows: list[int]) -> dict[str, Any]:
    """Return the arrays of a cluster file, its blobs in ``rows`` with a charge each; no event is a copy of another."""
    graph.nodes["a"][:, 2] += ident
    blobs = graph.nodes["b"][rows].copy()
    blobs[:, 2] = [charge[row] for row in rows]
    arrays: dict[str, Any] = {f"cluster_{ident}_bnodes": blobs}
    if rows == [0, 1, 2]:
        arrays |= {f"cluster_{ident}_{code}nodes": array for code, array in graph.nodes.items() if code != "b"}
        for codes, pairs in graph.edges.items():
            numbered = np.column_stack([np.arange(pairs.shape[1]), pairs.T]).astype(np.int32)
            arrays[f"cluster_{ident}_{codes}edges"] = numbered
    return arrays


def save(path: Path, *events: dict[str, Any]) -> None:
    held = {name: array for event in events for name, array in event.items()}
    np.savez(path, allow_pickle=False, **held)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one job of four events; the solved file lacks the ghost, and has its blobs in another order."""
    place = tmp_path / "files"
    place.mkdir()
    save(place / "clusters-tru5-x.npz", *(members(small_graph(), ident, TRUE, [0, 1, 2]) for ident in range(4)))
    save(
        place / "clusters-img-x.npz", *(members(small_graph(), ident, [95.0, 200.0, 3.0], [1, 0]) for ident in range(4))
    )
    return place


@pytest.fixture
def make(folder: Path, tmp_path: Path) -> Make:
    def build(**change: Any) -> BlobData:
        settings: dict[str, Any] = {
            "files": str(folder),
            "truth": "clusters-tru5-*.npz",
            "solved": "clusters-img-*.npz",
            "chain": "truth-*.npz",
            "particles": "meta-*.json",
            "ghost_below": 50.0,
            "split": SplitSettings(validation=1, test=1, seed=1),
            "batch_size": 1,
            "num_workers": 0,
            "cache": str(tmp_path / "cache"),
            "seed": 1,
        }
        return BlobData(**settings | change)

    return build


def test_blobs_pair_by_ident_and_not_by_row(make: Make) -> None:
    truth = make().events()[0].load().truth
    assert truth.ident.tolist() == [7, 8, 9]
    assert truth.charge.tolist() == TRUE
    assert truth.solved.tolist() == [95, 200, -1]


def test_the_centre_of_the_corners_and_the_start_of_the_slice_are_where_a_blob_is(make: Make) -> None:
    assert make().events()[0].load().truth.position.tolist() == [[0, 5, 2], [2, 5, 2], [0, 5, 2]]


def test_the_split_is_by_whole_events(make: Make) -> None:
    data = make()
    data.setup()
    parts = [set(data.split.train), set(data.split.validation), set(data.split.test)]
    assert [len(part) for part in parts] == [2, 1, 1]
    assert set.union(*parts) == {f"clusters-tru5-x.npz:{ident}" for ident in range(4)}


def test_files_are_read_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    before = make().events()
    monkeypatch.setattr("wirecell_ml.data.blob_data.read_job", None)
    assert make().events() == before


def test_the_chain_and_the_categories_come_from_the_files_beside(folder: Path, make: Make) -> None:
    table = np.array([[7, 0, 0, 90], [8, 0, 0, -1], [9, 0, 0, -1]], np.float32)
    np.savez(folder / "truth-x.npz", truth_0=table)
    (folder / "meta-x.json").write_text('{"0": {"category": "vertex", "particles": []}}')
    events = make().events()
    assert events[0].load().truth.chain.tolist() == [90, -1, -1]
    assert [event.category for event in events] == ["vertex", "all", "all", "all"]


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda f: (f / "clusters-img-x.npz").unlink(), "clusters-img-x.npz: no such file"),
        (lambda f: (f / "clusters-tru5-x.npz").unlink(), "no file called clusters-tru5-\\*.npz, and no archive"),
        (lambda f: save(f / "clusters-img-x.npz", members(small_graph(), 0, TRUE, [0])), "no event 1, which is in"),
        (lambda f: (f / "truth-x.npz").write_bytes(b"PK"), "truth-x.npz"),
        (lambda f: np.savez(f / "truth-x.npz", truth_0=np.zeros(3)), "expected an array truth_0 of \\(blob, 4\\)"),
        (lambda f: (f / "meta-x.json").write_text("[]"), "expected JSON of {ident: {category: …}}"),
    ],
)
def test_files_that_do_not_fit_are_refused(folder: Path, make: Make, spoil: Callable[[Path], Any], fault: str) -> None:
    spoil(folder)
    with pytest.raises(DataError, match=fault) as refused:
        make().events()
    assert "\n" not in str(refused.value)


def test_a_blob_of_another_job_is_refused(folder: Path, make: Make) -> None:
    graph = small_graph()
    graph.nodes["b"][:, 1] += 100
    save(folder / "clusters-img-x.npz", *(members(graph, ident, TRUE, [0, 1]) for ident in range(4)))
    with pytest.raises(DataError, match=r"event 0: 107 is no blob of the truth\. Give files of one job"):
        make().events()


@pytest.mark.parametrize(
    ("charge", "fault"),
    [([np.nan, 1.0, 1.0], "1 of 3 blobs have no true charge"), ([0.0] * 3, "no blob has true charge")],
)
def test_truth_that_is_none_is_refused(folder: Path, make: Make, charge: list[float], fault: str) -> None:
    save(folder / "clusters-tru5-x.npz", *(members(small_graph(), ident, charge, [0, 1, 2]) for ident in range(4)))
    with pytest.raises(DataError, match=fault):
        make().setup()


def test_the_sample_is_a_bundle_of_both_files(make: Make) -> None:
    events = make(files=str(shipped("data") / "blobs")).events()
    assert {event.category for event in events} == {"cosmic", "prolonged", "vertex", "shower", "iso"}
    blobs = events[0].load().truth
    assert np.isfinite(blobs.chain).all()
    assert 0.5 < np.corrcoef(blobs.charge, blobs.solved)[0, 1] < 1
