"""Events: found in a folder, by a glob or a list, and paired with their truth."""

import logging
from collections.abc import Iterable
from pathlib import Path

import h5py
import pytest

from wirecell_ml.data.events import PairBy, find_events
from wirecell_ml.errors import ConfigError, DataError

GLOB = "*rec*.h5"


def write(path: Path, idents: Iterable[int]) -> None:
    """Write a file that holds nothing but events."""
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        for ident in idents:
            file.create_group(str(ident))


def write_pair(folder: Path, name: str, inputs: Iterable[int], truth: Iterable[int]) -> Path:
    """Write ``g4-rec-<name>.h5`` and ``g4-tru-<name>.h5`` and return the first."""
    write(folder / f"g4-tru-{name}.h5", truth)
    write(folder / f"g4-rec-{name}.h5", inputs)
    return folder / f"g4-rec-{name}.h5"


def keys(files: str | list[str], pair_by: PairBy = "ident") -> list[str]:
    return [event.key for event in find_events(files, GLOB, pair_by)]


ALL = ["g4-rec-2.h5:0", "g4-rec-2.h5:1", "g4-rec-10.h5:0", "g4-rec-10.h5:1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two files of two events each."""
    for name in ("2", "10"):
        write_pair(tmp_path / "files", name, range(2), range(2))
    return tmp_path / "files"


def test_a_folder_stands_for_its_input_files_by_number(folder: Path) -> None:
    assert keys(str(folder)) == ALL


def test_a_glob_stands_for_the_files_that_fit(folder: Path) -> None:
    assert keys(f"{folder}/g4-rec-*.h5") == ALL
    assert keys(f"{folder}/g4-rec-?.h5") == ALL[:2]


def test_a_list_stands_for_its_files_in_any_order(folder: Path) -> None:
    assert keys([f"{folder}/g4-rec-10.h5", f"{folder}/g4-rec-2.h5"]) == ALL


def test_a_tilde_is_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert keys("~/g4-rec-2.h5") == ALL[:2]


def test_a_file_named_twice_counts_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert keys([str(folder), f"{folder}/g4-rec-2.h5", "g4-rec-10.h5", "../files/*rec*"]) == ALL


def test_a_link_to_a_file_counts_as_that_file(folder: Path) -> None:
    (folder / "link.h5").symlink_to(folder / "g4-rec-2.h5")
    assert keys([str(folder), f"{folder}/link.h5"]) == ALL


def test_two_files_of_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    other = write_pair(tmp_path / "more", "2", [5], [5])
    with pytest.raises(DataError) as refused:
        keys([str(folder), str(other)])
    assert str(refused.value).startswith("g4-rec-2.h5: two input files have this name")
    assert str(folder) in str(refused.value)
    assert str(other.parent) in str(refused.value)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("nowhere.h5", "no such file or folder"),
        ("*none*.h5", "no file fits this pattern"),
        ("empty", r"no file called \*rec\*\.h5 in this folder"),
    ],
)
def test_what_stands_for_no_file_is_refused(folder: Path, name: str, fault: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=fault):
        keys(f"{folder}/{name}")


def test_a_file_without_events_is_refused(tmp_path: Path) -> None:
    path = write_pair(tmp_path, "0", [], [])
    with pytest.raises(DataError, match=r"g4-rec-0\.h5: no events"):
        keys(str(path))


def test_events_pair_by_ident(tmp_path: Path) -> None:
    path = write_pair(tmp_path, "0", [3, 7, 20], [20, 7, 3])
    assert [(event.ident, event.truth_ident) for event in find_events(str(path), GLOB)] == [(3, 3), (7, 7), (20, 20)]


def test_holes_are_left_out_and_counted_in_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_pair(tmp_path, "0", [0, 1, 2, 3], [1, 3, 4])
    with caplog.at_level(logging.WARNING):
        assert keys(str(path)) == ["g4-rec-0.h5:1", "g4-rec-0.h5:3"]
    assert caplog.messages == [f"{path}: 3 events have inputs or truth only and are left out"]


def test_renumbered_events_pair_by_order_and_keep_the_ident_of_their_inputs(tmp_path: Path) -> None:
    path = write_pair(tmp_path, "0", [0, 1, 2], [100, 101, 102])
    events = find_events(str(path), GLOB, "order")
    assert [(event.ident, event.truth_ident) for event in events] == [(0, 100), (1, 101), (2, 102)]
    assert [event.key for event in events] == ["g4-rec-0.h5:0", "g4-rec-0.h5:1", "g4-rec-0.h5:2"]


def test_renumbered_events_do_not_pair_by_ident(tmp_path: Path) -> None:
    path = write_pair(tmp_path, "0", [0, 1], [100, 101])
    with pytest.raises(DataError, match=r"events 0\.\.1 .* 100\.\.101: none pair\. Set data\.pair_by=order"):
        keys(str(path))


def test_different_numbers_of_events_do_not_pair_by_order(tmp_path: Path) -> None:
    path = write_pair(tmp_path, "0", [0, 1], [100])
    with pytest.raises(DataError, match=r"has 2 events and .* 1: they cannot be paired by order"):
        keys(str(path), "order")


def test_another_way_to_pair_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.pair_by: 'name' is not known\. Known here: ident, order"):
        keys(str(folder), "name")  # type: ignore[arg-type]


def test_a_file_without_a_truth_file_holds_its_own_truth(tmp_path: Path) -> None:
    write(tmp_path / "both-rec.h5", [1])
    (event,) = find_events(str(tmp_path), GLOB)
    assert event.truth == event.inputs


def test_generator_truth_is_found_beside_the_inputs(folder: Path) -> None:
    (folder / "g4-meta-2.json").write_text("{}")
    assert [event.particles for event in find_events(str(folder), GLOB)] == [folder / "g4-meta-2.json"] * 2 + [None] * 2
