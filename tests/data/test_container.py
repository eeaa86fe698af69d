"""Containers: told by what is in them, read member by member, and written whole or not at all."""

import gzip
import io
import random
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reading import counted
from wirecell_ml.data import container
from wirecell_ml.data.container import SUFFIXES, brief, members, suffix_of, write_members
from wirecell_ml.errors import DataError

CONTENTS = [("a.npy", b"abc"), ("folder/b.json", b""), ("c", bytes(range(256)) * 10)]
NAMES = st.text("ab_*/. é", min_size=1, max_size=20).filter(lambda name: name.strip("/. ") == name)


def held_in(place: str | Path) -> list[tuple[str, bytes]]:
    return [(member.name, member.content()) for member in members(place)]


def fault_of(path: Path) -> str:
    with pytest.raises(DataError) as refused:
        held_in(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)
    return str(refused.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read_under_any_name(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"file{suffix}"
    write_members(path, CONTENTS)
    assert held_in(path) == CONTENTS
    for name in ("download", "file.npz", "file.tar.gz"):
        assert held_in(path.rename(tmp_path / name)) == CONTENTS
        (tmp_path / name).rename(path)


@settings(max_examples=40, deadline=None)
@given(
    contents=st.dictionaries(NAMES, st.binary(max_size=2000), max_size=5),
    suffix=st.sampled_from([".npz", ".tar", ".tar.zst"]),
)
def test_any_members_are_read_as_they_were_written(
    contents: dict[str, bytes], suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / f"file{suffix}"
    write_members(path, contents.items())
    assert held_in(path) == list(contents.items())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_equal_members_give_equal_bytes(suffix: str, tmp_path: Path) -> None:
    one, other = tmp_path / f"one{suffix}", tmp_path / f"other{suffix}"
    for path in (one, other):
        write_members(path, CONTENTS)
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_what_tar_packs_is_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"file{suffix}"
    kinds = {".tar": "w", ".tar.gz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}
    with tarfile.open(path, kinds[suffix]) as tar:  # type: ignore[call-overload]  # any of these modes
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in CONTENTS:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    assert held_in(path) == CONTENTS


def test_folders_in_a_zip_are_no_members(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.mkdir("folder")
        packed.writestr("folder/a", b"1")
    assert held_in(tmp_path / "a.zip") == [("folder/a", b"1")]


def test_a_zip_is_read_only_where_a_member_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_members(path, [("large", bytes(1 << 20)), ("small", b"1")])
    content = bytearray(path.read_bytes())
    content[200] ^= 255
    path.write_bytes(content)
    assert [member.content() for member in members(path) if member.name == "small"] == [b"1"]
    assert fault_of(path).startswith("member 'large' is damaged or truncated; copy it again (")


@pytest.mark.parametrize("suffix", [".tar", ".tar.xz", ".tar.zst"])
def test_a_tar_is_read_up_to_the_member_that_is_asked_for(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    dice = random.Random(1)  # noqa: S311
    noise = [dice.randbytes(1 << 17) for _ in range(8)]
    write_members(path, ((str(number), content) for number, content in enumerate(noise)))
    with counted(path) as (url, files):
        assert next(members(url)).content() == noise[0]
        assert sum(file.num_read for file in files) < path.stat().st_size // 3


def test_a_member_is_read_up_to_a_limit(tmp_path: Path) -> None:
    write_members(tmp_path / "a.tar", [("a", b"12345")])
    (member,) = members(tmp_path / "a.tar")
    with pytest.raises(DataError, match="member 'a' declares 5 bytes; at most 4 are read"):
        member.content(most=4)


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "MOST_BYTES", 1 << 20)
    for suffix in (".zip", ".tar.zst"):
        write_members(tmp_path / f"bomb{suffix}", [("a", bytes(2 << 20))])
    assert fault_of(tmp_path / "bomb.zip") == "member 'a' declares 2097152 bytes; at most 1048576 are read"
    assert "a member of 2097152 bytes; at most 1048576 are read" in fault_of(tmp_path / "bomb.tar.zst")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_writer_that_fails_leaves_the_file_of_before(suffix: str, tmp_path: Path) -> None:
    def fail() -> Iterator[tuple[str, bytes]]:
        yield "a", b"1"
        raise KeyboardInterrupt

    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        write_members(path, fail())
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unknown_suffix_is_refused_beside_the_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.rar: unknown kind of archive; known are \.npz, \.zip, \.tar,"):
        write_members(tmp_path / "a.rar", CONTENTS)


def test_what_is_packed_but_no_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.gz").write_bytes(gzip.compress(b"notes " * 1000))
    assert fault_of(tmp_path / "notes.gz").startswith("damaged, truncated or no .tar.gz at its start; copy it again (")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.npz", ".zip"), ("a.tar.gz", ".tar.gz"), ("a.b.tgz", ".tar.gz"), ("a.tar.zst", ".tar.zst"), ("a.gz", None)],
)
def test_the_kind_of_a_container_to_write_is_told_by_its_suffix(name: str, kind: str | None) -> None:
    assert suffix_of(name) == kind


def test_what_a_stranger_wrote_is_cut_to_one_line() -> None:
    assert brief("a\nb\t c") == "a b c"
    assert len(brief("word " * 1000)) <= 160
    assert brief(ValueError()) == "ValueError"
