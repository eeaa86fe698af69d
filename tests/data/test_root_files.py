"""ROOT files that mean harm, and all the ways in which they are packed."""

import resource
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import uproot
from uproot.source.chunk import Chunk
from uproot.source.cursor import Cursor

from wirecell_ml.data import root_events, root_files, root_trees
from wirecell_ml.data.root_files import opened
from wirecell_ml.data.root_trees import trees
from wirecell_ml.errors import DataError

VALUES = np.arange(20_000) % 7


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.root"


def write(path: Path, packing: Any = None, baskets: int = 1) -> None:
    """Write a tree of some baskets by plain uproot."""
    with uproot.recreate(path, compression=packing) as file:
        tree = file.mktree("T", {"x": VALUES.dtype})
        for part in np.split(VALUES, baskets):
            tree.extend({"x": part})


def read(path: Path) -> Any:
    """Return the column of the tree."""
    with opened(path) as file:
        tree = trees(file, path)["T"]
        return tree.read(0, tree.rows)["x"]


@pytest.mark.parametrize("packing", [None, uproot.ZLIB(1), uproot.LZMA(1), uproot.LZ4(1), uproot.ZSTD(1)])
def test_every_packing_is_read(path: Path, packing: Any) -> None:
    write(path, packing, baskets=4)
    np.testing.assert_array_equal(read(path), VALUES)


@pytest.mark.parametrize("packing", [uproot.ZLIB(1), uproot.LZMA(1), uproot.LZ4(1), uproot.ZSTD(1)])
def test_a_wrong_byte_in_packed_data_is_noticed_or_harmless(path: Path, packing: Any) -> None:
    write(path, packing)
    content = bytearray(path.read_bytes())
    with uproot.open(path) as file:
        place = file["T"]["x"].member("fBasketSeek")[0]
    for offset in range(80, 200):
        content[place + offset] ^= 255
        path.write_bytes(content)
        content[place + offset] ^= 255
        try:
            assert len(read(path)) == len(VALUES)
        except DataError as error:
            assert str(error).startswith(str(path))  # noqa: PT017


def test_a_block_unpacks_to_no_more_than_it_declares() -> None:
    packer = zlib.compressobj(1)
    zeros = b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(256)), packer.flush()])
    header = b"ZL\x08" + len(zeros).to_bytes(3, "little") + (10).to_bytes(3, "little")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Exception, match="whole buffer"):
        unpack(header + zeros, 10)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # kilobytes


def test_blocks_that_hold_more_or_less_than_the_whole_are_refused() -> None:
    packed = zlib.compress(b"0123456789")
    block = b"ZL\x08" + len(packed).to_bytes(3, "little") + (10).to_bytes(3, "little") + packed
    assert unpack(2 * block, 20) == b"0123456789" * 2
    for size in (9, 15, 30):
        with pytest.raises(ValueError, match=r"due|declared"):
            unpack(2 * block, size)


def unpack(content: bytes, size: int) -> bytes:
    """Return a chunk unpacked by what uproot uses."""
    source = SimpleNamespace(file_path="x")
    chunk = Chunk.wrap(source, np.frombuffer(content, np.uint8))
    return bytes(uproot.compression.decompress(chunk, Cursor(0), {}, len(content), size).raw_data)


def test_what_is_unpacked_at_a_time_is_limited(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, uproot.ZLIB(1))
    monkeypatch.setattr(root_files, "MOST_BYTES", 100_000)
    with pytest.raises(DataError, match="more than 100000 bytes to unpack at a time"):
        read(path)


def test_rows_that_a_file_declares_are_limited(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path)
    monkeypatch.setattr(root_trees, "MOST_BYTES", 100_000)
    with pytest.raises(DataError, match="20000 rows have more than 100000 bytes"):
        read(path)
    monkeypatch.setattr(root_events, "MOST_UNNAMED", 100)
    with pytest.raises(DataError, match="20000 events without numbers"), opened(path) as file:
        root_events.plan({"Trun": trees(file, path)["T"]})


def test_two_baskets_in_one_place_do_not_hang(path: Path) -> None:
    write(path, baskets=2)
    with uproot.open(path) as file:
        places = file["T"]["x"].member("fBasketSeek")[:2].tolist()
    content = path.read_bytes()
    assert struct.pack(">2q", *places) in content
    path.write_bytes(content.replace(struct.pack(">2q", *places), struct.pack(">2q", places[0], places[0])))
    with pytest.raises(DataError, match="two baskets of 'x' are in one place"):
        read(path)


def test_no_class_that_a_file_describes_is_made() -> None:
    path = Path(__file__).with_name("nested_vectors.root")
    with uproot.open(path) as file:
        assert "TTree" in file.file.streamers
    with opened(path) as file:
        assert not file.file.streamers


def test_an_object_is_read_in_its_latest_cycle(path: Path) -> None:
    with uproot.recreate(path) as file:
        for value in (1, 2):
            file.mktree("T", {"x": np.int32}).extend({"x": np.array([value], np.int32)})
    assert read(path).tolist() == [2]


def test_too_many_objects_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path)
    monkeypatch.setattr(root_files, "MOST_KEYS", 0)
    with pytest.raises(DataError, match="1 objects in it; at most 0 are read"):
        read(path)


def test_what_is_no_root_file_is_refused(path: Path) -> None:
    for content in (b"root", b"root" + bytes(1000), b"rootroot" * 100, b"hello"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged, truncated or no ROOT file"):
            read(path)
