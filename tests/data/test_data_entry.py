"""The commands of ``python -m wirecell_ml.data``, on the shipped sample and on files made here."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import Ended
from tests.test_start_up import PROBE
from wirecell_ml.data.__main__ import main
from wirecell_ml.data.split import load_digests, load_split
from wirecell_ml.paths import shipped

COMMANDS = ("inspect", "plot", "convert", "split", "check")
SAMPLE = shipped("data")
ARCHIVE = SAMPLE / "dnnroi" / "frames-dnnroi-input.tar.xz"
REC, TRU = SAMPLE / "g4-rec-0.h5", SAMPLE / "g4-tru-0.h5"

Run = Callable[..., Ended]


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["data", *map(str, words)])
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        return Ended(status, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A cache of the sample's first file, filled once."""
    return f"data.cache={tmp_path_factory.mktemp('cache')}"


def write_frames(path: Path, events: dict[int, NDArray[np.float32]], tag: str = "gauss0") -> Path:
    """Write frames as FrameFileSink does, by numpy alone."""
    arrays = {}
    for ident, samples in events.items():
        arrays[f"frame_{tag}_{ident}"] = samples
        arrays[f"channels_{tag}_{ident}"] = np.arange(len(samples), dtype=np.int32)
        arrays[f"tickinfo_{tag}_{ident}"] = np.array([0.0, 500.0, 0.0])
    np.savez(path, allow_pickle=False, **arrays)
    return path


def noise(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(6, 40)).astype(np.float32)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_teaches_it_with_examples(command: str, data: Run) -> None:
    shown = data(command, "--help")
    assert shown.status == 0
    assert shown.output.count(f"wirecell_ml.data {command}") > 2
    assert "examples:" in shown.output


def test_help_names_the_commands_and_loads_nothing_heavy() -> None:
    ended = subprocess.run([sys.executable, "-c", PROBE, "wirecell_ml.data", "--help"], capture_output=True, text=True)
    assert all(f"wirecell_ml.data {command} " in ended.stdout for command in COMMANDS)
    assert ended.stdout.splitlines()[-1] == "loaded:"


def test_looking_at_an_archive_loads_no_torch(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "frames.npz", {3: noise(0)})
    ended = subprocess.run(
        [sys.executable, "-c", PROBE, "wirecell_ml.data", f"inspect {path}"], capture_output=True, text=True
    )
    assert "event 3" in ended.stdout
    assert not {"torch", "lightning", "matplotlib"} & set(ended.stdout.splitlines()[-1].split())


def test_inspect_shows_the_first_events_and_reads_all(data: Run, tmp_path: Path) -> None:
    frames = {ident: noise(ident) for ident in range(12)} | {11: np.zeros((6, 40), np.float32)}
    write_frames(tmp_path / "frames.npz", frames)
    shown = data("inspect", "frames.npz", "--first", "2")
    assert (shown.status, shown.error) == (0, "")
    assert "frames.npz: frame archive (FrameFileSink)" in shown.output
    assert shown.output.count("\nevent ") == 2
    assert "12 events. What looks wrong:" in shown.output
    assert "frame 'gauss0': zero throughout" in shown.output
    assert data("inspect", "frames.npz", "--all").output.count("\nevent ") == 12


def test_inspect_compares_the_sample_with_its_truth(data: Run) -> None:
    shown = data("inspect", REC, "--truth", TRU, "--first", "1")
    assert shown.status == 0
    assert "gauss0 / ductor0" in shown.output
    assert "0..1599" in shown.output


def test_inspect_writes_a_line_of_json_for_each_file(data: Run, tmp_path: Path) -> None:
    write_frames(tmp_path / "frames.npz", {3: noise(0)})
    first, second = data("inspect", "frames.npz", ARCHIVE, "--json").output.splitlines()
    assert json.loads(first)["events"][0]["frames"]["gauss0"]["values"]["size"] == 240
    assert json.loads(second)["format"] == "frame archive"


def test_a_broken_file_is_one_line_and_the_next_one_is_shown(data: Run, tmp_path: Path) -> None:
    path = write_frames(tmp_path / "good.npz", {3: noise(0)})
    (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:200])
    shown = data("inspect", "nowhere.npz", "cut.npz", "good.npz")
    assert shown.status == 2
    assert [line.partition(":")[0] for line in shown.error.splitlines()] == ["error", "error"]
    assert "nowhere.npz: no such file" in shown.error
    assert "event 3" in shown.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["inspect", "a", "b", "--truth", "c"], "--truth c: one file of truth goes with one file, not 2"),
        (["inspect", ARCHIVE, "--detector", "sbdn"], "no detector named 'sbdn'. Did you mean 'sbnd'?"),
        (["plot", ARCHIVE, "--event", "77"], "no event 77"),
        (["plot", ARCHIVE, "--tag", "loose_lf1"], "has no frame 'loose_lf1'. Did you mean 'loose_lf0'?"),
        (["plot", ARCHIVE, "--output", "x.pdf"], "pictures are PNG"),
        (["convert", ARCHIVE, "x.txt"], "x.txt: what is in 'frame archive' is not written under such a name"),
        (["convert", ARCHIVE, "x.npz", "--format", "archive"], "Did you mean 'frame archive'?"),
        (["split", "nowhere.npz", "--validation", "1", "--test", "1"], "nowhere.npz: no such file"),
        (["split", ".", "--validation", "1", "--test", "1"], "no file of data here"),
        (["check", "data.fiels=here"], "no setting 'data.fiels'. Did you mean 'files'?"),
        (["check", "data.files=nowhere"], "nowhere: no such file or folder"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(words: list[str], message: str, data: Run) -> None:
    ended = data(*words)
    assert ended.status == 2
    assert ended.error.startswith("error: ")
    assert message in ended.error
    assert len(ended.error.splitlines()) == 1


@pytest.mark.parametrize("words", [["inspect", "x", "--first=-1"], ["split", "x", "--test=nan"], ["convert", "x"]])
def test_words_that_are_wrong_end_with_status_2_and_the_usage(words: list[str], data: Run) -> None:
    ended = data(*words)
    assert ended.status == 2
    assert ended.error.startswith(f"usage: python -m wirecell_ml.data {words[0]}")


def test_plot_writes_one_event_under_its_name(data: Run, tmp_path: Path) -> None:
    write_frames(tmp_path / "frames.tar.npz", {3: noise(0), 4: noise(1)})
    assert data("plot", "frames.tar.npz", "--event", "4").output == "frames.tar-4.png\n"
    assert (tmp_path / "frames.tar-4.png").read_bytes().startswith(b"\x89PNG")


def test_convert_never_overwrites_unless_it_is_told_to(data: Run, tmp_path: Path) -> None:
    write_frames(tmp_path / "a.npz", {3: noise(0)})
    assert data("convert", "a.npz", "b.tar.gz").output == "b.tar.gz: 1 event, frame archive (FrameFileSink)\n"
    refused = data("convert", "a.npz", "b.tar.gz")
    assert refused.status == 2
    assert "exists already" in refused.error
    assert data("convert", "a.npz", "b.tar.gz", "--force").status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.tar.gz"]


def test_frames_go_to_hdf5_and_back_unchanged(data: Run, tmp_path: Path) -> None:
    write_frames(tmp_path / "a.npz", {3: noise(0), 5: noise(1)})
    assert data("convert", "a.npz", "b.h5").status == 0
    assert data("convert", "b.h5", "c.npz").status == 0
    with np.load(tmp_path / "a.npz") as before, np.load(tmp_path / "c.npz") as after:
        assert set(before) == set(after)
        for name in before:
            np.testing.assert_array_equal(before[name], after[name])


def test_split_divides_the_sample_by_category(data: Run, tmp_path: Path) -> None:
    shown = data("split", SAMPLE, "--validation", "5", "--test", "5", "--seed", "3")
    held = load_split(tmp_path / "split.json")
    assert shown.status == 0
    assert (len(held.train), len(held.validation), len(held.test)) == (14, 5, 5)
    assert "together" in shown.output
    assert "vertex" in shown.output
    for part in (held.validation, held.test):  # categories are ident mod 5
        assert sorted(int(key.partition(":")[2]) % 5 for key in part) == [0, 1, 2, 3, 4]
    assert data("split", SAMPLE, "--validation", "5", "--test", "5").status == 2


def test_a_training_takes_the_split(data: Run, cache: str) -> None:
    data("split", REC, "--validation", "1", "--test", "2")
    shown = data("check", f"data.files={REC}", cache, "data.split.file=split.json")
    assert shown.status == 0
    assert "8 events: 5 train, 1 validation, 2 test" in shown.output


def test_split_takes_files_of_any_format_by_event(data: Run, tmp_path: Path) -> None:
    write_frames(tmp_path / "a.npz", {ident: noise(ident) for ident in range(6)})
    shown = data("split", "a.npz", "--validation", "0.2", "--test", "0.2")
    held = load_split(tmp_path / "split.json")
    assert sorted([*held.train, *held.validation, *held.test]) == [f"a.npz:{ident}" for ident in range(6)]
    assert "data.split.file=split.json" in shown.output


def test_the_digest_of_a_copy_is_the_same_whatever_its_format_and_number(data: Run, tmp_path: Path) -> None:
    write_frames(tmp_path / "a.npz", {ident: noise(ident) for ident in range(4)})
    write_frames(tmp_path / "b.npz", {ident + 9: noise(ident) for ident in range(4)})
    data("split", "a.npz", "--validation", "1", "--test", "1", "--output", "a.json")
    data("split", "b.npz", "--validation", "1", "--test", "1", "--output", "b.json")
    first, second = load_digests(tmp_path / "a.json"), load_digests(tmp_path / "b.json")
    assert len(set(first.values())) == 4
    assert set(first.values()) == set(second.values())


def test_copies_in_two_parts_are_refused(data: Run, tmp_path: Path) -> None:
    write_frames(tmp_path / "a.npz", {ident: noise(0) for ident in range(4)})
    refused = data("split", "a.npz", "--validation", "1", "--test", "1")
    assert refused.status == 2
    assert "the split leaks" in refused.error
    assert not (tmp_path / "split.json").exists()


def test_files_of_one_name_are_refused(data: Run, tmp_path: Path) -> None:
    path = write_frames(tmp_path / "a.npz", {0: noise(0)})
    (tmp_path / "other").mkdir()
    shutil.copy(path, tmp_path / "other")
    assert "two files have this name" in data("split", path, "other/a.npz", "--validation", "1", "--test", "1").error


def test_check_shows_the_rules_and_their_numbers(data: Run, cache: str) -> None:
    shown = data("check", f"data.files={REC}", cache, "data.split.validation=0.25")
    assert shown.status == 0
    assert "8 events: 2 train, 2 validation, 4 test" in shown.output
    assert "plane V is in every event" in shown.output
    assert "3 × 800 × 600" in shown.output
    assert "'gauss0' is not zero throughout a file" in shown.output


def test_check_ends_at_a_rule_that_is_broken(data: Run, cache: str) -> None:
    broken = data("check", cache, "data.tags=[loose_lf1]", "data.scale=[4000]")
    assert broken.status == 2
    assert "no dataset 'frame_loose_lf1'" in broken.error
