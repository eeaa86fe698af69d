"""Plain arrays: archives of .npy members that no other format knows."""

import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import wirecell_ml.data
from tests.reading import ReaderContract, assert_same_events
from wirecell_ml.data import plain_arrays
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

DTYPES = hnp.scalar_dtypes() | hnp.unicode_string_dtypes(max_len=5)
ARRAYS = hnp.arrays(
    DTYPES.filter(lambda dtype: dtype.kind in plain_arrays.KINDS), hnp.array_shapes(min_dims=0, min_side=0, max_side=4)
)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\\"), min_size=1, max_size=8).filter(str.isprintable)
EVENTS = st.dictionaries(
    st.integers(-(10**17), 10**17), st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=3), min_size=1, max_size=3
)


class TestContract(ReaderContract):
    def format(self) -> Format:
        return plain_arrays.FORMAT

    def events(self) -> list[Contents]:
        noise = np.random.default_rng(0)
        return [
            Contents(7, arrays={"truth": noise.random((50, 4)).astype(np.float32), "found_3": np.arange(5)}),
            Contents(-2, arrays={"truth": np.zeros((0, 4), np.float32), "flags": np.array([True, False])}),
            Contents(3, arrays={"scalar": np.array(1.5), "names": np.array(["μ", "e"]), "phase": np.array([1j])}),
        ]


def written(folder: Path, **arrays: Any) -> Source:
    np.savez(folder / "some.npz", **arrays)
    return Source.of(folder / "some.npz")


def test_arrays_that_are_numbered_are_of_events(tmp_path: Path) -> None:
    source = written(tmp_path, truth_0=[0.5], found_0=[1], truth_10=[1.5, 2.5])
    first, second = wirecell_ml.data.open(source)
    assert (first.ident, list(first.arrays)) == (0, ["truth", "found"])
    assert (second.ident, second.arrays["truth"].tolist()) == (10, [1.5, 2.5])


@pytest.mark.parametrize(
    "names",
    [("tensor_in", "tensor_out"), ("truth_0", "truth_1", "bias"), ("a_0", "a_1", "b_0"), ("a_b_x1",)],
    ids=lambda names: "-".join(names),
)
def test_arrays_of_which_not_all_are_numbered_event_by_event_are_one_event(tmp_path: Path, names: tuple[str]) -> None:
    (event,) = wirecell_ml.data.open(written(tmp_path, **{name: [1, 2] for name in names}))
    assert event.ident == 0
    assert tuple(event.arrays) == names


@pytest.mark.parametrize("names", [("a_0", "b_1", "b"), ("a_0", "b_1", "c_0")], ids="-".join)
def test_a_tar_whose_first_array_is_numbered_must_go_on_so(tmp_path: Path, names: tuple[str, ...]) -> None:
    buffer = BytesIO()
    np.save(buffer, np.zeros(3))
    with tarfile.open(tmp_path / "some.tar", "w") as tar:
        for name in names:
            info = tarfile.TarInfo(f"{name}.npy")
            info.size = len(buffer.getvalue())
            tar.addfile(info, BytesIO(buffer.getvalue()))
    events = iter(wirecell_ml.data.open(tmp_path / "some.tar"))
    assert list(next(events).arrays) == ["a"]
    with pytest.raises(DataError, match=r"some.tar: (member 'b.npy' has no event number|event 0 comes twice)"):
        list(events)


@settings(max_examples=40, deadline=None)
@given(EVENTS)
def test_any_arrays_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, held: dict[int, dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("arrays") / "some.npz"
    events = [Contents(ident, arrays=arrays) for ident, arrays in held.items()]
    plain_arrays.write(path, events)
    native = [
        Contents(ident, arrays={name: array.astype(array.dtype.newbyteorder("=")) for name, array in arrays.items()})
        for ident, arrays in held.items()
    ]
    assert_same_events(list(plain_arrays.read(Source.of(path))), native)


def test_objects_are_refused_and_not_unpickled(tmp_path: Path) -> None:
    source = written(tmp_path, truth=np.array([{"a": 1}], object))
    with pytest.raises(DataError, match=r"some.npz: member 'truth.npy' holds object; expected numbers"):
        list(plain_arrays.read(source))


def test_an_archive_without_arrays_is_told_by_what_it_holds(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "some.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("notes"))
    with pytest.raises(DataError, match=r"some.tar: no array in it, but 'notes'; expected '<name>_<ident>.npy'"):
        list(plain_arrays.read(Source.of(tmp_path / "some.tar")))


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        (
            [Contents(1, arrays={"a": np.array([{}], object)})],
            "event 1: array 'a' holds object; expected numbers or text",
        ),
        ([Contents(1, arrays={"a\n": np.zeros(1)})], r"event 1: array 'a\\n' cannot be written; use a printable name"),
        ([Contents(1, arrays={"a": np.zeros(1)})] * 2, "event 1 comes twice; give all its arrays at once"),
    ],
    ids=["objects", "name", "twice"],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path: Path, events: list[Contents], fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        plain_arrays.write(tmp_path / "out.npz", events)
    assert not list(tmp_path.iterdir())
