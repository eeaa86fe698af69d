"""Arrays in containers: their types and their order in memory, and nothing that is no array of numbers."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from wirecell_ml.data.container import Member, members
from wirecell_ml.data.npy import npy_bytes, read_array
from wirecell_ml.errors import DataError

NUMBERS = st.sampled_from(["i1", "<i2", ">i4", "u8", "f2", "<f4", ">f8", "?"])


def member_of(array: NDArray[Any]) -> Member:
    """Return a member that numpy wrote."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return member_with(buffer.getvalue())


def member_with(content: bytes, size: int | None = None) -> Member:
    return Member("a.npy", len(content) if size is None else size, lambda: io.BytesIO(content), "here: member 'a.npy'")


def fault_of(member: Member, **settings: Any) -> str:
    with pytest.raises(DataError) as refused:
        read_array(member, **settings)
    return str(refused.value).removeprefix("here: member 'a.npy' ")


@settings(max_examples=40, deadline=None)
@given(
    array=NUMBERS.flatmap(lambda kind: arrays(kind, array_shapes(min_dims=0, min_side=0, max_side=4))),
    by_column=st.booleans(),
)
def test_any_numbers_are_read_as_they_were_written(array: NDArray[Any], by_column: bool) -> None:
    held = read_array(member_of(np.array(array, order="F" if by_column else "C")))
    np.testing.assert_array_equal(held, array)
    assert held.dtype == array.dtype.newbyteorder("=")
    assert held.flags.f_contiguous if by_column else held.flags.c_contiguous
    assert held.flags.writeable
    np.testing.assert_array_equal(np.load(io.BytesIO(npy_bytes(held))), array)


@pytest.mark.parametrize(
    ("written", "settings", "held"),
    [
        ("i2", {}, "int16"),
        ("i2", {"dtype": np.float32}, "float32"),
        ("i2", {"dtype": np.float32, "kept": [np.dtype(np.int16)]}, "int16"),
        (">i2", {"dtype": np.float32, "kept": [np.dtype(np.int16)]}, "int16"),
        ("i1", {"dtype": np.float32, "kept": [np.dtype(np.int16)]}, "float32"),
        ("U3", {"kinds": "U"}, "str96"),
    ],
)
def test_an_array_is_of_the_type_that_is_asked_for(written: str, settings: dict[str, Any], held: str) -> None:
    assert read_array(member_of(np.zeros((2, 3), written)), **settings).dtype.name == held


@pytest.mark.parametrize(
    ("array", "settings", "fault"),
    [
        (np.zeros(2), {"dtype": np.float32}, "holds float64; expected float32 or what fits in it"),
        (np.zeros(2, np.int64), {"dtype": np.int32}, "holds int64; expected int32 or what fits in it"),
        (np.zeros(2, complex), {}, "holds complex128; expected numbers"),
        (np.array(["a"]), {}, "holds <U1; expected numbers"),
        (np.array([print]), {}, "holds object; expected numbers"),
    ],
)
def test_an_array_of_another_type_is_refused_and_never_unpickled(
    array: NDArray[Any], settings: dict[str, Any], fault: str
) -> None:
    assert fault_of(member_of(array), **settings).startswith(fault)


def test_bytes_are_never_taken_for_addresses_of_objects() -> None:
    content = npy_bytes(np.zeros(3, np.int64)).replace(b"'<i8'", b"'|O' ")
    for asked in ({"dtype": object}, {"kinds": "O"}):
        assert fault_of(member_with(content), **asked).startswith("is damaged, truncated or no .npy; copy it again")


def test_an_array_shorter_than_its_member_says_is_refused() -> None:
    content = npy_bytes(np.arange(1000.0))
    assert fault_of(member_with(content[:-1], len(content))).startswith("is damaged, truncated or no .npy; copy it")
    assert fault_of(member_with(content[:-1])) == "declares shape (1000,) of float64, 8000 bytes, but it holds 7999"
    assert fault_of(member_with(content + b"1")) == "declares shape (1000,) of float64, 8000 bytes, but it holds 8001"


def test_the_checksum_of_a_zip_is_looked_at(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as packed:
        packed.writestr("a.npy", npy_bytes(np.zeros(100_000)))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[500_000] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"member 'a\.npy' is damaged, truncated or no \.npy; copy it again .*CRC"):
        [read_array(member) for member in members(tmp_path / "a.npz")]
