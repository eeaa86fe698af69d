"""Where a file is: paths and URLs are read alike, and what cannot be opened is said in one line."""

import os
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from threading import Thread

import fsspec
import numpy as np
import pytest

import wirecell_ml.data
from wirecell_ml.data import plain_arrays
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError


def content(place: str | Path | Source) -> bytes:
    with Source.of(place).opened() as file:
        return file.read()


def fault_of(place: str | Path) -> str:
    with pytest.raises(DataError) as refused:
        content(place)
    assert "\n" not in str(refused.value)
    return str(refused.value).removeprefix(f"{place}: ")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a file%20.npz"
    path.write_bytes(b"0123456789")
    return path


def test_a_file_is_read_by_its_path_or_url(file: Path) -> None:
    for place in (file, str(file), Source.of(file), file.as_uri()):
        assert content(place) == b"0123456789"
        assert Source.of(place).path == file
        assert Source.of(place).name == "a file%20.npz"


def test_the_home_folder_may_be_a_tilde(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(file.parent))
    assert Source.of(f"~/{file.name}").url == str(file)


def test_a_source_is_itself(file: Path) -> None:
    source = Source.of(file)
    assert Source.of(source) is source
    assert str(source) == str(file)


def test_a_file_elsewhere_has_no_path() -> None:
    source = Source.of("https://example.org/data/frames.npz?token=a/b")
    assert source.path is None
    assert source.name == "frames.npz"


def test_a_file_elsewhere_is_read(file: Path) -> None:
    fsspec.filesystem("memory").pipe("/here.npz", file.read_bytes())
    assert content("memory://here.npz") == b"0123456789"
    with Source.of("memory://here.npz").opened() as held:
        held.seek(7)
        assert held.read() == b"789"


def test_what_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe("/empty.npz", b"")
    (tmp_path / "empty").touch()
    assert fault_of(tmp_path / "nowhere") == "no such file"
    assert fault_of(tmp_path) == "a folder; name a file in it"
    assert fault_of(tmp_path / "empty") == "the file is empty; write it again"
    assert fault_of("memory://nowhere.npz") == "no such file"
    assert fault_of("memory://empty.npz") == "the file is empty; write it again"
    assert fault_of("nonsense://a") == "cannot be opened (Protocol not known: nonsense)"


def test_a_url_whose_package_is_missing_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise ImportError("Install fsspec-xrootd")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    fault = fault_of("root://server//a.root")
    assert fault == "a package is missing for this kind of URL (Install fsspec-xrootd)"


def test_a_file_that_may_not_be_read_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", forbidden)
    assert fault_of(file) == "cannot be opened (Permission denied)"


def test_a_reader_that_is_left_halfway_closes_its_file(file: Path) -> None:
    def lines() -> Iterator[bytes]:
        with Source.of(file).opened() as held:
            while part := held.read(1):
                yield part

    reader = lines()
    assert next(reader) == b"0"
    num_open = len(list(Path("/proc/self/fd").iterdir()))
    reader.close()  # type: ignore[attr-defined]  # it is a generator
    assert len(list(Path("/proc/self/fd").iterdir())) == num_open - 1


class Ranged(SimpleHTTPRequestHandler):
    """A web server that sends parts of files."""

    num_sent = 0

    def do_GET(self) -> None:
        body = Path(self.translate_path(self.path)).read_bytes()
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        part = body[int(first) : int(last) + 1]
        Ranged.num_sent += len(part)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranged, directory=str(tmp_path))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("name", ["a.npz", "a.tar"])
def test_of_a_file_on_the_web_only_what_is_read_is_sent(name: str, served: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, 3 << 20, np.uint8)
    plain_arrays.write(tmp_path / name, [Contents(ident, arrays={"noise": noise}) for ident in range(8)])
    Ranged.num_sent = 0
    (event,) = islice(wirecell_ml.data.open(f"{served}/{name}"), 1)
    np.testing.assert_array_equal(event.arrays["noise"], noise)
    assert 3 << 20 < Ranged.num_sent < 10 << 20 < (tmp_path / name).stat().st_size
