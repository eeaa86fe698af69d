"""Strings of any length in HDF5, and what a wrong byte does to them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirecell_ml.data import hdf5_text
from wirecell_ml.data.hdf5_access import opened
from wirecell_ml.data.hdf5_text import TEXT, Text, can_be_written, is_text
from wirecell_ml.errors import DataError

WORDS = ["primary", "", "μIoni", "conv" * 2000, "a"] * 5
LAYOUTS: list[dict[str, Any]] = [
    {},
    {"chunks": (4, 1)},
    {"chunks": (4, 1), "compression": "gzip"},
    {"chunks": (64, 1), "maxshape": (None, 1), "compression": "gzip", "shuffle": True},
]


def saved(path: Path, words: list[str], **how: Any) -> Path:
    """Write words by h5py as a column."""
    block = how.pop("userblock_size", 0)
    with h5py.File(path, "w", userblock_size=block) as file:
        file.create_dataset("x", data=np.array(words, object)[:, None], dtype=h5py.string_dtype(), **how)
    return path


@contextmanager
def text(path: Path, name: str = "x") -> Iterator[Text]:
    """Give the text of a file."""
    with opened(path) as file, path.open("rb") as stream:
        yield Text(file[name], stream, f"{path}: {name}")


@pytest.mark.parametrize("how", [*LAYOUTS, {"userblock_size": 512}, {"userblock_size": 512, **LAYOUTS[2]}])
def test_rows_are_those_that_were_written_however_they_are_stored(tmp_path: Path, how: dict[str, Any]) -> None:
    with text(saved(tmp_path / "a.h5", WORDS, **how)) as words:
        for first, end in ((0, 25), (3, 4), (3, 9), (24, 25), (5, 5)):
            found = words.rows(first, end)
            assert found.dtype == TEXT
            assert found.tolist() == [[word] for word in WORDS[first:end]]


@pytest.mark.parametrize("chunks", [None, (3,)])
def test_what_was_never_written_is_empty(tmp_path: Path, chunks: tuple[int] | None) -> None:
    for block in (0, 512):
        with h5py.File(tmp_path / "a.h5", "w", userblock_size=block) as file:
            file.create_dataset("x", (7,), h5py.string_dtype(), chunks=chunks)
        with text(tmp_path / "a.h5") as words:
            assert words.rows().tolist() == [""] * 7


def test_text_is_told_from_other_things(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        kinds = {"text": h5py.string_dtype(), "fixed": "S4", "number": "f4", "list": h5py.vlen_dtype(np.int32)}
        held = {name: file.create_dataset(name, (2,), kind) for name, kind in kinds.items()}
        assert [name for name, dataset in held.items() if is_text(dataset)] == ["text"]


def test_a_damaged_heap_is_refused_and_does_not_run_for_ever(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.h5", ["u", "v"])
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    for place, value in ((heap, 0), (heap + 4, 9), (heap + 15, 255), (heap + 16, 0), (heap + 24, 2), (heap + 25, 1)):
        path.write_bytes(content[:place] + bytes([value]) + content[place + 1 :])
        with text(path) as words, pytest.raises(DataError, match=f"^{path}: x"):
            words.rows()


def test_a_heap_that_is_named_in_every_row_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.h5", ["a", "b", "c"])
    monkeypatch.setattr(hdf5_text, "MOST_PASSES", 1)
    with text(path) as words:
        assert words.rows().tolist() == [["a"], ["b"], ["c"]]


def test_heaps_are_searched_so_many_times_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.h5", ["a" * 5000, "b" * 5000] * 20)
    monkeypatch.setattr(hdf5_text, "MOST_HELD", 0)
    monkeypatch.setattr(hdf5_text, "MOST_PASSES", 0.9)
    with text(path) as words, pytest.raises(DataError, match="its strings lie over each other"):
        words.rows()


def test_a_long_string_that_many_rows_name_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.h5", ["a" * 99, "b" * 99])
    with text(path) as words:
        monkeypatch.setattr(hdf5_text, "MOST_CHARACTERS", 100)
        assert words.rows(0, 1).tolist() == [["a" * 99]]
        with pytest.raises(DataError, match="holds more than 100 bytes of text"):
            words.rows()
        monkeypatch.setattr(hdf5_text, "MOST_TEXTS", 1)
        with pytest.raises(DataError, match="has 2 strings; at most 1"):
            words.rows()
    message = r"has chunks of \(8, 1\); at most 1 strings"
    path = saved(tmp_path / "b.h5", ["a"], chunks=(8, 1), maxshape=(None, 1))
    with text(path) as words, pytest.raises(DataError, match=message):
        words.rows()


def test_other_ways_to_store_text_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        words = np.array([["a", "b"]] * 4, object)
        file.create_dataset("lzf", data=words, dtype=h5py.string_dtype(), chunks=(4, 2), compression="lzf")
        file.create_dataset("cut", data=words, dtype=h5py.string_dtype(), chunks=(4, 1))
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_layout(h5py.h5d.COMPACT)
        kind = h5py.h5t.py_create(h5py.string_dtype(), logical=True)
        compact = h5py.Dataset(h5py.h5d.create(file.id, b"compact", kind, h5py.h5s.create_simple((2,)), plan))
        compact[...] = ["a", "b"]
    for name, message in (("lzf", "packed by filter 32000"), ("cut", "expected whole rows"), ("compact", "own descr")):
        with text(tmp_path / "a.h5", name) as held, pytest.raises(DataError, match=message):
            held.rows()


def test_text_with_a_null_cannot_be_written() -> None:
    assert can_be_written(np.array(["a", ""], TEXT))
    assert not can_be_written(np.array(["a", "b\0c"], TEXT))
    assert not can_be_written(np.array(["a"]))


@settings(max_examples=40, deadline=None)
@given(
    words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=30),
    how=st.sampled_from(LAYOUTS[:1] + LAYOUTS[3:]),
)
def test_any_words_are_read_as_h5py_reads_them(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], how: dict[str, Any]
) -> None:
    path = saved(tmp_path_factory.mktemp("text") / "a.h5", words, **how)
    with text(path) as found, h5py.File(path) as file:
        assert found.rows().ravel().tolist() == file["x"].asstr()[()].ravel().tolist() == words


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_wrong_bytes_are_refused_or_give_text(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    path, dice = saved(tmp_path_factory.mktemp("text") / "a.h5", WORDS[:3], chunks=(2, 1)), np.random.default_rng(seed)
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    places = dice.integers(len(content) // 2, len(content), 20)  # chunks and the heap are there
    content[places] = dice.integers(0, 256, len(places))
    path.write_bytes(content.tobytes())
    try:
        with text(path) as found:
            assert found.rows().shape == (3, 1)
    except DataError as error:
        assert str(error).startswith(str(path))  # noqa: PT017  (some bytes matter)
