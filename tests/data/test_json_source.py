"""JSON files: plain or compressed, within bounds, and told by their keys."""

import bz2
import gzip
import json
import lzma
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from wirecell_ml.data import json_source
from wirecell_ml.data.json_source import beginning, is_json, keys_in, parsed, read_json
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd.compress,
}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def written(folder: Path, content: bytes) -> Source:
    (folder / "file").write_bytes(content)
    return Source.of(folder / "file")


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_packing_is_told_by_its_content(tmp_path: Path, packing: str) -> None:
    source = written(tmp_path, PACKINGS[packing](b'{"Store": [1, 2.5]}'))
    assert read_json(source) == {"Store": [1, 2.5]}
    assert beginning(source) == b'{"Store": [1, 2.5]}'


@settings(max_examples=40, deadline=None)
@given(VALUES)
def test_it_reads_what_the_standard_library_writes(value: Any) -> None:
    assert parsed(json.dumps(value).encode(), "file") == value


def test_literals_that_are_no_json_are_read_as_python_writes_them() -> None:
    low, high, none = parsed(b"[-Infinity, Infinity, NaN]", "file")
    assert (low, high) == (-math.inf, math.inf)
    assert math.isnan(none)


@pytest.mark.parametrize("packing", ["gzip", "bzip2", "xz", "zstd"])
@pytest.mark.parametrize("percent", [1, 10, 50, 90, 99])
def test_a_cut_file_is_refused(tmp_path: Path, packing: str, percent: int) -> None:
    content = PACKINGS[packing](json.dumps([i * 0.1 for i in range(1000)]).encode())
    source = written(tmp_path, content[: len(content) * percent // 100])
    with pytest.raises(DataError, match=r"file: (damaged|not JSON|the file is empty)"):
        read_json(source)


@pytest.mark.parametrize("packing", ["gzip", "bzip2", "xz", "zstd"])
def test_a_bomb_is_refused_before_it_takes_memory(
    tmp_path: Path, packing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_source, "FREE_BYTES", 1 << 16)
    source = written(tmp_path, PACKINGS[packing](b"[" + b" " * (1 << 24) + b"]"))
    with pytest.raises(DataError, match="unpacks to more than"):
        read_json(source)


def test_more_values_than_fit_in_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_source, "MOST_VALUES", 1000)
    with pytest.raises(DataError, match="file: 1001 values; at most 1000"):
        parsed(b"[" + b",".join([b"0"] * 1001) + b"]", "file")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"NaN",
        b"[NaN," + b"1" * 5000 + b"]",
        b"1" * 5000,
        b'"\\ud800"',
        b"\xff\xfeNaN",
        b"\x80",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_what_is_no_json_is_refused_in_one_line(text: bytes) -> None:
    with pytest.raises(DataError, match="file: not JSON") as caught:
        parsed(text, "file")
    assert "\n" not in str(caught.value)


def test_a_zip_is_no_json_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="file: a zip archive; expected a JSON file"):
        read_json(written(tmp_path, b"PK\x03\x04 and so on"))


@pytest.mark.parametrize(
    ("start", "told"), [(b' \n{"a"', True), (b"\xef\xbb\xbf[1", True), (b"# a", False), (b"", False)]
)
def test_json_is_told_by_its_first_letter(start: bytes, told: bool) -> None:
    assert is_json(start) is told


def test_keys_of_the_two_outermost_objects_are_told_once_each() -> None:
    text = b'{"0": {"category": "a:b{", "particles": [{"kind": {"x": 1}}, {"kind": 2}]}, "1": {}, "\\"": [[1, {"y": 0'
    assert keys_in(text) == ("0", "0.category", "0.particles", "1", '\\"', '\\".[].[].y')
    assert keys_in(b'[{"name": "u", "samples": [1, 2]}, {"name": "v"') == ("[].name", "[].samples")


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200))
def test_keys_of_any_bytes_are_text(start: bytes) -> None:
    assert all(isinstance(key, str) for key in keys_in(start))


@pytest.mark.parametrize("start", [b'"' * 65536, b'"\\' * 32768, b"[" * 30000 + b":" * 35536, b'{"a":' * 13000])
def test_no_text_takes_long_to_look_at(start: bytes) -> None:
    begun = time.process_time()
    keys_in(start)
    assert time.process_time() - begun < 1
