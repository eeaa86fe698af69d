"""HDF5 opened with care: nothing that a stranger's file says opens another file or takes much memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
import pytest

from wirecell_ml.data import container
from wirecell_ml.data.hdf5_access import created, dataset, groups, names, opened, subgroup, values
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

Change = Callable[[h5py.File], object]


def store(path: Path, change: Change) -> Path:
    with h5py.File(path, "w") as file:
        change(file)
    return path


def fault_of(path: Path, name: str, **settings: Any) -> str:
    with opened(path) as file, pytest.raises(DataError) as refused:
        dataset(file, name, "here", **settings)
    assert str(refused.value).startswith("here: ")
    return str(refused.value).removeprefix("here: ")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (3,))
    file.create_virtual_dataset("x", layout)


def linked(file: h5py.File) -> None:
    file["x"] = h5py.ExternalLink("other.h5", "/x")


def cyclic(file: h5py.File) -> None:
    file["x"] = h5py.SoftLink("/x")


def outside(file: h5py.File) -> None:
    file.create_dataset("x", (3,), "f4", external=[("other.raw", 0, 12)])


ELSEWHERE = [
    (linked, "'x' is a link to elsewhere, which is not followed; copy the data into it"),
    (cyclic, "'x' is a link to elsewhere, which is not followed; copy the data into it"),
    (outside, "'x' has its data in another file, which is not opened; copy them into this one"),
    (virtual, "'x' has its data in another file, which is not opened; copy them into this one"),
]


@pytest.mark.parametrize(("change", "fault"), ELSEWHERE)
def test_data_in_another_file_are_not_read(
    change: Change, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with h5py.File("other.h5", "w") as file:
        file["x"] = np.arange(3, dtype=np.float32)
    Path("other.raw").write_bytes(b"a secret, say")
    assert fault_of(store(tmp_path / "a.h5", change), "x") == fault


def test_a_link_to_another_file_does_not_even_open_it(tmp_path: Path) -> None:
    store(tmp_path / "a.h5", linked)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w"), opened(tmp_path / "a.h5") as file:  # no second time while it is open for writing
        assert list(groups(file)) == []
        assert list(names(file)) == ["x"]
        with pytest.raises(DataError, match="'x' is a link to elsewhere"):
            subgroup(file, "x", "here")


@pytest.mark.parametrize(
    ("held", "fault"),
    [
        ({"shape": (10**7, 10**7), "dtype": "f4", "chunks": (64, 64)}, "declares 400000000000000 bytes; at most"),
        ({"shape": (10**4, 10**4), "dtype": "f4", "chunks": (64, 64)}, "declares 400000000 bytes, but 0 are stored"),
        ({"shape": (10**4, 10**4), "dtype": "f4"}, "declares 400000000 bytes, but 0 are stored; write it again"),
        ({"shape": (3,), "dtype": "f4", "chunks": (10**7,), "maxshape": (None,)}, "declares 40000000 bytes, but 0"),
        ({"data": ["a", "b"]}, "holds object; expected numbers"),
        ({"data": np.zeros(3, [("a", "f4")])}, "holds [('a', '<f4')]; expected numbers"),
        ({"data": np.zeros(3, complex)}, "holds complex128; expected numbers"),
        ({"shape": (1,), "dtype": h5py.vlen_dtype(float)}, "holds object; expected numbers"),
        ({"data": h5py.Empty("f4")}, "is no array"),
    ],
)
def test_a_dataset_that_is_not_safe_to_read_is_refused(held: dict[str, Any], fault: str, tmp_path: Path) -> None:
    path = store(tmp_path / "a.h5", lambda file: file.create_dataset("x", **held))
    assert fault_of(path, "x").startswith(f"'x' {fault}")


def test_other_kinds_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    records = np.array([(1, 2.5)], [("a", "i4"), ("b", "f4")])
    path = store(tmp_path / "a.h5", lambda file: file.create_dataset("x", data=records))
    with opened(path) as file:
        np.testing.assert_array_equal(values(file, "x", "here", kinds="V"), records)


def test_records_with_references_to_more_are_no_records(tmp_path: Path) -> None:
    kinds = np.dtype([("a", h5py.string_dtype())])
    path = store(tmp_path / "a.h5", lambda file: file.create_dataset("x", (3,), kinds))
    assert "expected numbers" in fault_of(path, "x", kinds="V")


def test_what_is_packed_well_is_read(tmp_path: Path) -> None:
    path = store(
        tmp_path / "a.h5",
        lambda file: file.create_dataset("x", data=np.zeros((800, 6000), "f4"), compression="gzip", shuffle=True),
    )
    assert path.stat().st_size < 60_000
    with opened(path) as file:
        assert values(file, "x", "here").shape == (800, 6000)


def test_fill_values_are_read_up_to_a_size(tmp_path: Path) -> None:
    path = store(tmp_path / "a.h5", lambda file: file.create_dataset("x", (500, 500), "f4", fillvalue=7))
    with opened(path) as file:
        assert np.all(values(file, "x", "here") == 7)


def test_a_dataset_larger_than_memory_should_take_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path / "a.h5", lambda file: file.create_dataset("x", data=np.zeros(300)))
    monkeypatch.setattr(container, "MOST_BYTES", 1000)
    assert fault_of(path, "x") == "'x' declares 2400 bytes; at most 1000 are read"
    with opened(path) as file:
        assert dataset(file, "x", "here", most=2400).shape == (300,)  # for what is read in parts


def test_numbers_come_in_the_byte_order_of_this_machine(tmp_path: Path) -> None:
    path = store(tmp_path / "a.h5", lambda file: file.create_dataset("x", data=np.arange(3, dtype=">i4")))
    with opened(path) as file:
        held = values(file, "x", "here")
    assert held.dtype.isnative
    assert held.tolist() == [0, 1, 2]


def test_what_is_missing_is_named_beside_what_is_there(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file.create_dataset("hits", data=np.zeros(3))
        file.create_group("event")

    path = store(tmp_path / "a.h5", fill)
    assert fault_of(path, "hit") == "no dataset 'hit'. Did you mean 'hits'? Known here: event, hits"
    assert fault_of(path, "event/x") == "no dataset 'event/x'. Did you mean 'event'? Known here: event, hits"
    assert fault_of(path, "event") == "'event' is no array"
    with opened(path) as file:
        assert [name for name, _ in groups(file)] == ["event"]
        with pytest.raises(DataError, match="here: no group 'events'"):
            subgroup(file, "events", "here")
        with pytest.raises(DataError, match="here: 'hits' is no group"):
            subgroup(file, "hits", "here")


def test_a_name_that_is_no_text_is_damage(tmp_path: Path) -> None:
    store(tmp_path / "a.h5", lambda file: file.id.links.create_soft(b"\xff\xfe", b"/"))
    with pytest.raises(DataError, match=r"a\.h5: damaged or truncated"), opened(tmp_path / "a.h5") as file:
        list(names(file))


def test_a_file_may_be_behind_a_url(tmp_path: Path) -> None:
    path = store(tmp_path / "a.h5", lambda file: file.create_dataset("x", data=np.arange(3)))
    fsspec.filesystem("memory").pipe("/access.h5", path.read_bytes())
    for place in (path, str(path), Source.of(path), "memory://access.h5", path.as_uri()):
        with opened(place) as file:
            assert values(file, "x", "here").tolist() == [0, 1, 2]


def test_other_data_may_come_before_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=1024) as file:
        file["x"] = np.arange(3)
    with opened(tmp_path / "a.h5") as file:
        assert values(file, "x", "here").tolist() == [0, 1, 2]


def test_a_new_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"before")

    def fail() -> None:
        with created(path) as file:
            file["x"] = np.arange(3)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_bytes() == b"before"
    with created(path) as file:
        file["x"] = np.arange(3)
        assert path.read_bytes() == b"before"
    with opened(path) as file:
        assert list(names(file)) == ["x"]
    assert list(tmp_path.iterdir()) == [path]
