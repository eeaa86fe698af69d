"""The one door: a file is opened by its content, and one of no known format says what it is instead."""

import bz2
import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import uproot

import wirecell_ml.data
from tests.reading import counted
from wirecell_ml.data import archive, depo_files, hdf5
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Peek
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.readers import MODULES, find_frame_files, formats, peek, read_events, stem
from wirecell_ml.data.source import Source
from wirecell_ml.errors import ConfigError, DataError
from wirecell_ml.paths import shipped

KINDS = {"frames", "masks", "depos", "blobs", "points", "tensors", "tables", "arrays"}


def some_events(num: int = 2) -> list[Contents]:
    frame = Frame(np.arange(12, dtype=np.float32).reshape(3, 4), np.arange(3, dtype=np.int32), 0.0, 500.0)
    return [Contents(ident, frames={"gauss0": frame, "wiener0": frame}) for ident in range(num)]


def fault_of(place: str | Path, **settings: Any) -> str:
    with pytest.raises(DataError) as refused:
        wirecell_ml.data.open(place, **settings)
    assert "\n" not in str(refused.value)
    return str(refused.value).removeprefix(f"{place}: ")


def zipped(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name in names:
            packed.writestr(name, b"1")
    return path


def tarred(path: Path, **sizes: int) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, size in sizes.items():
            info = tarfile.TarInfo(name)
            info.size = size
            tar.addfile(info, io.BytesIO(bytes(size)))
    return path


class TestFormats:
    def test_every_format_has_a_name_of_its_own(self) -> None:
        every = list(formats())
        assert (
            len({one.name for one in every})
            == len(every)
            == len({name for names in MODULES.values() for name in names})
        )

    def test_every_format_says_what_it_holds_and_is_written_under(self) -> None:
        for one in formats():
            assert one.kinds, one.name
            assert set(one.kinds) <= KINDS, one.name
            assert one.suffixes, one.name
            assert all(suffix.startswith(".") for suffix in one.suffixes), one.name
            assert one.title, one.name

    def test_no_format_takes_what_another_kind_of_container_holds(self) -> None:
        names = ("frame_gauss0_0.npy", "0/frame_gauss0", "hu_raw0", "nodes", "depo_data_0.npy")
        for one in formats():
            assert not one.recognises(Peek("nothing", names)), one.name


class TestPeek:
    def test_a_zip_shows_its_members(self, tmp_path: Path) -> None:
        assert peek(Source.of(zipped(tmp_path / "any", "a", "b/c"))) == Peek("archive", ("a", "b/c"))

    def test_a_tar_shows_its_first_members(self, tmp_path: Path) -> None:
        path = tarred(tmp_path / "any", **{str(number): 1 for number in range(9)})
        assert peek(Source.of(path)) == Peek("archive", ("0", "1", "2", "3", "4"))

    def test_a_tar_is_not_unpacked_to_show_more_members(self, tmp_path: Path) -> None:
        path = tarred(tmp_path / "any", small=1000, large=8 << 20, other=1)
        with counted(path) as (url, files):
            assert peek(Source.of(url)) == Peek("archive", ("small", "large"))
        assert sum(file.num_read for file in files) < 1 << 20

    def test_hdf5_shows_its_keys_and_those_of_its_first_group(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "any", "w") as file:
            file["a"] = np.zeros(3)
            file["b/x"] = file["b/y"] = np.zeros(3)
            file["c/z"] = np.zeros(3)
        assert peek(Source.of(tmp_path / "any")) == Peek("hdf5", ("a", "b", "c", "b/x", "b/y"))

    def test_root_shows_its_objects(self, tmp_path: Path) -> None:
        with uproot.recreate(tmp_path / "any.root") as file:
            file.mktree("T_bad", {"chid": "int32"})
            file["hu_raw0"] = np.histogram2d([1], [2])
        assert set(peek(Source.of(tmp_path / "any.root")).names) == {"T_bad", "hu_raw0"}

    @pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
    def test_json_shows_its_keys_packed_or_not(self, pack: Any, tmp_path: Path) -> None:
        (tmp_path / "any").write_bytes(pack(json.dumps({"nodes": [1] * 100_000, "edges": []}).encode()))
        assert peek(Source.of(tmp_path / "any")) == Peek("json", ("nodes",))

    def test_a_large_json_is_not_read_to_show_its_keys(self, tmp_path: Path) -> None:
        (tmp_path / "any").write_text(json.dumps({"x": list(range(1_000_000))}))
        with counted(tmp_path / "any") as (url, files):
            assert peek(Source.of(url)).names == ("x",)
        assert sum(file.num_read for file in files) < 1 << 18


class TestOpen:
    def test_a_file_is_told_by_its_content_not_by_its_name(self, tmp_path: Path) -> None:
        hdf5.write(tmp_path / "a.h5", some_events())
        archive.write(tmp_path / "b.npz", some_events())
        (tmp_path / "a.h5").rename(tmp_path / "c.npz")
        (tmp_path / "b.npz").rename(tmp_path / "d.h5")
        for name, format_name in (("c.npz", "hdf5 frames"), ("d.h5", "frame archive")):
            opened = wirecell_ml.data.open(tmp_path / name)
            assert opened.format.name == format_name
            assert opened.source == Source.of(tmp_path / name)
            assert [event.ident for event in opened] == [0, 1]

    def test_a_file_is_read_as_often_as_it_is_asked_for(self, tmp_path: Path) -> None:
        archive.write(tmp_path / "b.npz", some_events())
        opened = wirecell_ml.data.open(tmp_path / "b.npz")
        assert [event.ident for event in opened] == [event.ident for event in opened]

    def test_the_published_files_are_hdf5_frames(self) -> None:
        opened = wirecell_ml.data.open(shipped("data") / "g4-tru-0.h5")
        assert opened.format.title == "HDF5FrameTap"
        assert list(next(iter(opened)).frames) == ["ductor0"]

    def test_a_format_that_is_named_is_not_looked_for(self, tmp_path: Path) -> None:
        archive.write(tmp_path / "b.npz", some_events())
        assert wirecell_ml.data.open(tmp_path / "b.npz", format="depo file").format is depo_files.FORMAT
        with pytest.raises(DataError, match=r"no depos in it, but 'frame_gauss0_0\.npy'"):
            list(wirecell_ml.data.open(tmp_path / "b.npz", format="depo file"))

    def test_a_format_that_is_not_known_is_refused_beside_the_known(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"format 'depo files' is not known\. Did you mean 'depo file'\?"):
            wirecell_ml.data.open(tmp_path / "b.npz", format="depo files")

    def test_a_file_of_no_known_format_says_what_it_holds(self, tmp_path: Path) -> None:
        path = zipped(tmp_path / "a.zip", "letter.txt", "picture.png")
        fault = fault_of(path)
        assert fault.startswith(
            "holds 'letter.txt', 'picture.png', as no known format does; those of this kind (archive)"
        )
        assert "frame archive" in fault
        assert "hdf5 frames" not in fault

    def test_an_archive_of_nothing_says_so(self, tmp_path: Path) -> None:
        assert fault_of(zipped(tmp_path / "a.zip")).startswith("holds nothing, as no known format does;")

    @pytest.mark.parametrize("content", [b"some text\n" * 200, bytes(range(256)) * 9, b"\x1f\x8b but no gzip", b"root"])
    def test_a_file_that_is_no_container_is_refused(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(content)
        assert fault_of(tmp_path / "file")

    def test_a_missing_or_empty_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        assert fault_of(tmp_path / "nowhere") == "no such file"
        assert fault_of(tmp_path / "empty") == "the file is empty; write it again"
        assert fault_of(tmp_path) == "a folder; name a file in it"


class TestFrameFiles:
    @pytest.mark.parametrize("name", ["a.h5", "a.hdf5", "a.npz", "a.tar.bz2", "a.tar.zst"])
    def test_frames_of_some_tags_come_from_every_format(self, name: str, tmp_path: Path) -> None:
        (hdf5 if ".h" in name else archive).write(tmp_path / name, some_events())
        events = list(read_events(tmp_path / name, ["gauss0", "decon0"]))
        assert [(ident, list(frames)) for ident, frames in events] == [(0, ["gauss0"]), (1, ["gauss0"])]
        assert {frame.samples.dtype.name for _, frames in events for frame in frames.values()} == {"float32"}

    def test_the_frame_files_of_a_folder_are_found_in_order(self, tmp_path: Path) -> None:
        for name in ("b10.h5", "b9.tar.zst", "notes.txt", "a1.npz"):
            (tmp_path / name).touch()
        found = find_frame_files([str(tmp_path)])
        assert sorted(path.name for path in found) == ["a1.npz", "b10.h5", "b9.tar.zst"]

    def test_two_files_of_one_name_are_refused(self, tmp_path: Path) -> None:
        for name in ("a.h5", "a.tar.gz"):
            (tmp_path / name).touch()
        with pytest.raises(DataError, match="a: two files have this name"):
            find_frame_files([str(tmp_path / "a.*")])

    @pytest.mark.parametrize(
        ("name", "left"), [("a.tar.gz", "a"), ("a.b.npz", "a.b"), ("a.h5", "a"), ("a.tar.zst", "a"), ("a.xyz", "a")]
    )
    def test_the_stem_of_a_name_has_no_suffix(self, name: str, left: str) -> None:
        assert stem(Path(name)) == left
