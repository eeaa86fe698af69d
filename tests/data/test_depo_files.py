"""Depo files: both layouts, priors kept, and what is no depos is refused."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tests.reading import ReaderContract, assert_same_events, same
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.depo_files import FORMAT, read, write
from wirecell_ml.data.depos import DepoSet
from wirecell_ml.data.formats import Format
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

Arrays = dict[str, NDArray[Any]]


def depos_like(num: int, seed: int = 0) -> DepoSet:
    rng = np.random.default_rng(seed)
    return depos_of(rng.normal(size=(num, 7)).astype(np.float32), rng.integers(-9, 2000, (num, 4)).astype(np.int32))


def depos_of(data: NDArray[np.float32], info: NDArray[np.int32]) -> DepoSet:
    time, charge, *place, along, across = data.T
    ident, pdg, generation, child = info.T
    return DepoSet(time, charge, np.stack(place, 1), along, across, ident, pdg, generation, child)


def tracks_like(num: int) -> dict[str, NDArray[Any]]:
    ends = np.arange(3.0 * num, dtype=np.float32).reshape(num, 3)
    return {"pmin": ends, "pmax": ends + 1, "tmin": np.arange(num), "step": np.ones(num)}


class TestContract(ReaderContract):
    def format(self) -> Format:
        return FORMAT

    def events(self) -> list[Contents]:
        tracks = {"track_info": tracks_like(2)}
        return [
            Contents(4, depos=depos_like(9)),
            Contents(-1, depos=depos_like(7, 1), tables=tracks),
            Contents(0, depos=depos_like(1)),
        ]


def wct_arrays(num: int, ident: int = 0) -> Arrays:
    """Return what DepoFileSink writes of one event: column j of depo i holds i + j / 10."""
    data = np.arange(num)[:, None] + np.arange(7) / 10
    return {
        f"depo_data_{ident}": np.asfortranarray(data, np.float32),
        f"depo_info_{ident}": np.asfortranarray(np.arange(num)[:, None] * 10 + np.arange(4), np.int32),
    }


def store(path: Path, held: Arrays) -> Path:
    np.savez(path, allow_pickle=False, **held)
    return path


def one_event(path: Path) -> DepoSet:
    (event,) = read(Source.of(path))
    assert event.depos is not None
    return event.depos


def fault_of(path: Path) -> str:
    with pytest.raises(DataError) as refused:
        list(read(Source.of(path)))
    return str(refused.value).removeprefix(f"{path}: ")


def test_the_columns_are_those_of_wire_cell(tmp_path: Path) -> None:
    depos = one_event(store(tmp_path / "depos.npz", wct_arrays(5)))
    every = np.arange(5, dtype=np.float32)
    np.testing.assert_allclose(depos.time_ns, every)
    np.testing.assert_allclose(depos.charge, every + 0.1, rtol=1e-6)
    np.testing.assert_allclose(depos.position.T, [every + 0.2, every + 0.3, every + 0.4], rtol=1e-6)
    np.testing.assert_allclose([depos.extent_long, depos.extent_tran], [every + 0.5, every + 0.6], rtol=1e-6)
    assert depos.ident.tolist() == [0, 10, 20, 30, 40]
    assert depos.pdg.tolist() == [1, 11, 21, 31, 41]
    assert depos.generation.tolist() == [2, 12, 22, 32, 42]
    assert depos.child.tolist() == [3, 13, 23, 33, 43]
    assert {array.dtype.name for array in vars(depos).values()} == {"float32", "int32"}


@pytest.mark.parametrize("num", [0, 1, 3, 4, 7, 20])
def test_both_layouts_hold_the_same_depos(num: int, tmp_path: Path) -> None:
    arrays = wct_arrays(num)
    today = one_event(store(tmp_path / "today.npz", arrays))
    older = one_event(store(tmp_path / "older.npz", {name: array.T for name, array in arrays.items()}))
    assert len(today) == num
    assert same(today, older)


def test_priors_stay_beside_what_they_became(tmp_path: Path) -> None:
    arrays = wct_arrays(4)
    arrays["depo_info_0"][:, 2] = [0, 1, 0, 1]
    depos = one_event(store(tmp_path / "depos.npz", arrays))
    assert depos.generation.tolist() == [0, 1, 0, 1]
    assert depos.latest().ident.tolist() == [0, 20]


@pytest.mark.parametrize(
    ("data", "info"), [((7, 7), (7, 7)), ((7, 5), (5, 4)), ((5, 7), (4, 4)), ((7,), (4,)), ((5, 6), (5, 4))]
)
def test_arrays_that_fit_neither_layout_are_refused(
    data: tuple[int, ...], info: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / "depos.npz"
    store(path, {"depo_data_3": np.zeros(data, np.float32), "depo_info_3": np.zeros(info, np.int32)})
    assert fault_of(path) == (
        f"event 3: depo_data has shape {data} and depo_info {info}; "
        "expected (depo, 7) and (depo, 4), or else (7, depo) and (4, depo)"
    )


@pytest.mark.parametrize("missing", ["depo_data", "depo_info"])
def test_an_event_needs_both_arrays(missing: str, tmp_path: Path) -> None:
    held = wct_arrays(3)
    del held[f"{missing}_0"]
    path = store(tmp_path / "depos.npz", held)
    assert fault_of(path) == f"event 0 has no {missing}; depo_data and depo_info go together"


def test_numbers_of_another_type_are_refused(tmp_path: Path) -> None:
    held = wct_arrays(3)
    path = store(tmp_path / "depos.npz", {**held, "depo_info_0": held["depo_info_0"].astype(float)})
    assert fault_of(path) == "member 'depo_info_0.npy' holds float64; expected int32 or what fits in it"


def test_an_event_whose_members_are_scattered_is_refused(tmp_path: Path) -> None:
    one, other = wct_arrays(3, 0), wct_arrays(3, 1)
    path = store(tmp_path / "depos.npz", {**one, **other, "track_info_0": np.zeros(2, [("step", float)])})
    assert fault_of(path) == "event 0 comes twice; the members of one event must follow one another"


def test_a_file_without_depos_is_refused_beside_what_it_holds(tmp_path: Path) -> None:
    path = store(tmp_path / "depos.npz", {"depo_data": np.zeros(3), "else": np.zeros(2)})
    assert fault_of(path) == "no depos in it, but 'depo_data.npy', 'else.npy'; expected 'depo_data_<ident>.npy'"


def test_other_members_are_skipped(tmp_path: Path) -> None:
    held = {"notes": np.array(["a"]), **wct_arrays(2, 7), "frame_*_7": np.zeros(3)}
    (event,) = read(Source.of(store(tmp_path / "depos.npz", held)))
    assert (event.ident, list(event.kinds())) == (7, ["depos"])


def test_tracks_of_toyzero_are_a_table(tmp_path: Path) -> None:
    kinds: Any = [("pmin", "f4", 3), ("tmin", "f4"), ("eper", "i8")]
    tracks = np.array([((1, 2, 3), 4, 5), ((6, 7, 8), 9, 10)], kinds)
    (event,) = read(Source.of(store(tmp_path / "depos.npz", {**wct_arrays(2), "track_info_0": tracks})))
    table = event.tables["track_info"]
    assert {name: column.tolist() for name, column in table.items()} == {
        "pmin": [[1, 2, 3], [6, 7, 8]],
        "tmin": [4, 9],
        "eper": [5, 10],
    }


@pytest.mark.parametrize("tracks", [np.zeros(3), np.zeros((2, 2), [("a", "f4")]), np.zeros(2, [("a", "U3")])])
def test_tracks_that_are_no_records_of_numbers_are_refused(tracks: NDArray[Any], tmp_path: Path) -> None:
    path = store(tmp_path / "depos.npz", {**wct_arrays(2), "track_info_0": tracks})
    assert fault_of(path).startswith(f"event 0: track_info is {tracks.shape} of ")


@settings(max_examples=40, deadline=None)
@given(
    data=st.integers(0, 9).flatmap(lambda num: arrays(np.float32, (num, 7))),
    ident=st.integers(-(10**18) + 1, 10**18 - 1),
)
def test_what_is_written_is_what_wire_cell_would_read(data: NDArray[np.float32], ident: int) -> None:
    info = np.arange(4 * len(data), dtype=np.int32).reshape(len(data), 4)
    event = Contents(ident, depos=depos_of(data, info))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "depos.npz"
        write(path, [event])
        with np.load(path) as held:
            assert held.files == [f"depo_data_{ident}", f"depo_info_{ident}"]
            np.testing.assert_array_equal(held[f"depo_data_{ident}"], data)
            np.testing.assert_array_equal(held[f"depo_info_{ident}"], info)
            assert (held[f"depo_data_{ident}"].dtype.str, held[f"depo_info_{ident}"].dtype.str) == ("<f4", "<i4")
        assert_same_events(list(read(Source.of(path))), [event])


@pytest.mark.parametrize(
    ("event", "fault"),
    [
        (Contents(1), "event 1 holds nothing; expected depos"),
        (Contents(1, tables={"track_info": tracks_like(1)}), "event 1 holds tables, track_info; expected depos"),
        (
            Contents(1, depos=depos_like(2), tables={"T_kine": {}}),
            "event 1 holds depos, tables, T_kine; expected depos",
        ),
        (
            Contents(1, frames={"a": Frame(np.zeros((1, 2), np.float32), np.zeros(1, np.int32), 0, 1)}),
            "event 1 holds frames; expected depos, tables",
        ),
    ],
)
def test_what_a_depo_file_cannot_hold_is_not_written(event: Contents, fault: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=fault):
        write(tmp_path / "depos.npz", [event])
    assert not any(tmp_path.iterdir())


def test_an_event_is_not_written_twice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="event 3 comes twice"):
        write(tmp_path / "depos.npz", [Contents(3, depos=depos_like(2))] * 2)
