"""Bundles: archives of archives."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import wirecell_ml.data
from wirecell_ml.data import container
from wirecell_ml.data.bundle import inner_files, read
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError


def npz(**arrays: list[float]) -> bytes:
    """Return a zip of arrays, as numpy writes it."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: np.array(values) for name, values in arrays.items()})
    return buffer.getvalue()


def tar(path: Path, **members: bytes) -> Path:
    """Write a tar whose members are named ``<name>.npz``, or as they are where they have a suffix."""
    with tarfile.open(path, "w:xz" if path.suffix == ".xz" else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


TRUE, FOUND = npz(charge_3=[1.0, 2.0], charge_4=[3.0]), npz(charge_3=[1.5, 2.5], charge_4=[3.5])


@pytest.mark.parametrize("name", ["job.tar.xz", "job.tar", "download"])
def test_the_events_of_the_inner_files_come_in_turn_under_their_names(tmp_path: Path, name: str) -> None:
    opened = wirecell_ml.data.open(tar(tmp_path / name, **{"job/true.npz": TRUE, "job/found.npz": FOUND}))
    events = list(opened)
    assert opened.format.name == "bundle"
    assert [event.ident for event in events] == [3, 4, 3, 4]
    assert [list(event.arrays) for event in events] == [["true/charge"]] * 2 + [["found/charge"]] * 2
    assert events[3].arrays["found/charge"].tolist() == [3.5]


def test_a_zip_can_be_a_bundle_and_what_lies_beside_the_data_is_passed_over(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "job.zip", "w") as archive:
        archive.writestr("README.md", "how it was made")
        archive.writestr("true.npz", TRUE)
    assert [event.ident for event in wirecell_ml.data.open(tmp_path / "job.zip")] == [3, 4]


def test_inner_files_are_sources_of_their_own(tmp_path: Path) -> None:
    path = tar(tmp_path / "job.tar", **{"sub/true.npz": TRUE, "sub/found.npz": FOUND})
    true, found = inner_files(path)
    assert [str(true), true.name, true.path] == [f"{path}/sub/true.npz", "true.npz", None]
    assert Source.of(found) is found
    assert [event.arrays["charge"].tolist() for event in wirecell_ml.data.open(found)] == [[1.5, 2.5], [3.5]]


def test_the_first_inner_file_comes_before_the_rest_is_read(tmp_path: Path) -> None:
    path = tar(tmp_path / "job.tar", **{"true.npz": TRUE, "found.npz": FOUND})
    path.write_bytes(path.read_bytes()[: len(TRUE) + 1024])
    events = read(Source.of(path))
    assert next(events).ident == 3
    with pytest.raises(DataError, match=r"job.tar: damaged, truncated or no .tar after member 'true.npz'"):
        list(events)


def test_a_bundle_inside_a_bundle_is_refused(tmp_path: Path) -> None:
    inner = tar(tmp_path / "inner.tar", **{"true.npz": TRUE}).read_bytes()
    with pytest.raises(DataError, match=r"outer.tar/inner.tar: a bundle inside a bundle; unpack the outer one"):
        list(wirecell_ml.data.open(tar(tmp_path / "outer.tar", **{"inner.tar": inner})))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", r"job.tar/true.npz: the file is empty"),
        (b"no archive at all", r"job.tar/true.npz: "),
        (TRUE[:300], r"job.tar/true.npz: damaged, truncated or no .zip"),
        (npz(), r"job.tar/true.npz: "),
    ],
    ids=["empty", "text", "cut", "without arrays"],
)
def test_the_inner_file_that_is_wrong_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        list(wirecell_ml.data.open(tar(tmp_path / "job.tar", **{"true.npz": content})))


def test_an_inner_file_that_is_too_large_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tar(tmp_path / "job.tar", **{"true.npz": TRUE})
    monkeypatch.setattr(container, "MOST_BYTES", 100)
    with pytest.raises(DataError, match="at most 100 are read"):
        list(inner_files(path))


def test_an_archive_without_files_of_data_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"job.tar: no file of data in it, but 'notes'; expected .npz"):
        list(inner_files(tar(tmp_path / "job.tar", notes=b"")))
