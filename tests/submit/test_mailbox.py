"""The mailbox of a unit: the first result counts, and nothing that a worker writes is trusted."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wirecell_ml.submit.mailbox import LARGEST_BYTES, UnitBox, clock, replace, whole

RESULT = {"end": "done", "metrics": {"val/dice": 0.5}, "attempt": 1, "token": "s-a1-0", "seconds": 2.0}
COMMIT = """
import sys
from pathlib import Path
from wirecell_ml.submit.mailbox import UnitBox
sys.stdin.readline()
print(UnitBox(Path(sys.argv[1])).commit({"end": "done", "metrics": {"writer": int(sys.argv[2])}}))
"""


@pytest.fixture
def box(tmp_path: Path) -> UnitBox:
    return UnitBox(tmp_path)


def ran(box: UnitBox, note: str) -> UnitBox:
    """Let a first attempt have started, and have left a note."""
    _, directory = box.claim(1)
    directory.with_suffix(".json").write_text(note)
    return box


def test_of_eight_processes_that_commit_at_once_one_counts(box: UnitBox) -> None:
    pipe = subprocess.PIPE
    writers = [
        subprocess.Popen([sys.executable, "-c", COMMIT, box.folder, str(n)], stdin=pipe, stdout=pipe, text=True)
        for n in range(8)
    ]
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.flush()
    said = [writer.communicate()[0].strip() for writer in writers]
    result = box.result()
    assert sorted(said) == ["False"] * 7 + ["True"]
    assert result
    assert result["metrics"] == {"writer": said.index("True")}
    assert [path.name for path in box.folder.iterdir()] == ["result.json"]


def test_a_second_result_changes_nothing(box: UnitBox) -> None:
    assert box.commit(RESULT)
    assert not box.commit(RESULT | {"metrics": {"val/dice": 1.0}})
    result = box.result()
    assert result
    assert result["metrics"] == RESULT["metrics"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(json.dumps(RESULT)[:-9], id="torn"),
        pytest.param("[1, 2]", id="a list"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param(json.dumps(RESULT | {"end": ["done"]}), id="an end of another type"),
        pytest.param(json.dumps(RESULT | {"end": "won"}), id="an unknown end"),
        pytest.param(json.dumps(RESULT | {"metrics": [0.5]}), id="metrics without names"),
        pytest.param(json.dumps(RESULT | {"metrics": {"val/dice": "0.5"}}), id="a metric of another type"),
        pytest.param(json.dumps(RESULT | {"more": "x" * LARGEST_BYTES}), id="too large"),
        pytest.param('{"end": "done", "metrics": {"val/dice": ' + 5000 * "9" + "}}", id="too many digits"),
    ],
)
def test_a_result_that_no_runner_writes_has_no_metrics(box: UnitBox, text: str) -> None:
    (box.folder / "result.json").write_text(text)
    assert box.result() == {"end": "done", "metrics": {}, "message": "damaged result"}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "9" * 400, "null"])
def test_what_is_no_finite_number_is_no_metric(box: UnitBox, number: str) -> None:
    (box.folder / "result.json").write_text(f'{{"end": "done", "metrics": {{"val/dice": {number}, "loss": 1}}}}')
    result = box.result()
    assert result
    assert result["metrics"] == {"val/dice": None, "loss": 1}


def test_a_result_that_is_not_there_is_none(box: UnitBox) -> None:
    assert box.result() is None


def test_times_of_another_type_count_as_nothing(box: UnitBox) -> None:
    box.commit(RESULT | {"seconds": "long", "core_seconds": None, "token": 5, "attempt": "x"})
    result = box.result()
    assert result
    assert [result[name] for name in ("seconds", "core_seconds", "token", "attempt")] == [0, 0, "", 0]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{", id="torn"),
        pytest.param('{"kind": "won", "message": ""}', id="an unknown kind"),
        pytest.param('{"kind": ["crashed"], "message": ""}', id="a kind of another type"),
        pytest.param('{"kind": "crashed", "message": 5}', id="a message of another type"),
        pytest.param('{"kind": "crashed", "message": "' + "x" * LARGEST_BYTES + '"}', id="too large"),
    ],
)
def test_a_note_that_no_runner_writes_says_nothing(box: UnitBox, text: str) -> None:
    assert ran(box, text).note(1) is None
    assert box.notes(1) == []


def test_a_message_is_one_line_that_every_database_takes(box: UnitBox) -> None:
    note = ran(box, json.dumps({"kind": "crashed", "message": "a\0b\n\ud800\x1b[31m" + "x" * 5000})).note(1)
    assert note
    assert note["message"].startswith("a b   [31mx")
    assert len(note["message"]) == 500


def test_the_note_of_a_start_that_was_followed_by_another_is_no_news(box: UnitBox) -> None:
    ran(box, '{"kind": "preempted", "message": "", "seconds": 2}')
    box.claim(1)
    assert box.note(1) is None
    assert [note["seconds"] for note in box.notes(1)] == [2]


def test_what_others_leave_beside_the_starts_is_passed_over(box: UnitBox) -> None:
    ran(box, '{"kind": "crashed", "message": "once"}')
    for name in ("run-", "run-one", "run-7 (copy)"):
        (box.attempt(1) / name).mkdir()
    (box.attempt(1) / "run-9").write_text("a file")
    assert box.newest_run(1) == 1
    assert box.claim(1)[0] == 2


def test_a_fence_is_never_lowered(box: UnitBox) -> None:
    box.raise_fence(3)
    box.raise_fence(2)
    assert box.fence == 3


def test_a_file_is_seen_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "fence"
    replace(path, "old")
    with path.open() as reader:
        replace(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_the_newest_whole_checkpoint_is_found(box: UnitBox) -> None:
    checkpoint(box, 1)
    best = checkpoint(box, 1)
    damage(checkpoint(box, 2) / "last.ckpt")
    run, _ = box.claim(2)
    assert box.checkpointed(2, run) == best


def test_what_is_left_of_a_checkpoint_is_none(box: UnitBox) -> None:
    held = (checkpoint(box, 1) / "last.ckpt").read_bytes()
    for size in range(0, len(held), 7):
        (box.folder / "torn").write_bytes(held[:size])
        assert not whole(box.folder / "torn")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_no_damage_to_a_checkpoint_stops_the_runner(box: UnitBox, data: st.DataObject) -> None:
    damaged = bytearray((checkpoint(box, 1) / "last.ckpt").read_bytes())
    for _ in range(3):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    (box.folder / "damaged").write_bytes(damaged)
    assert whole(box.folder / "damaged") in (True, False)


def test_times_are_those_of_the_file_system(tmp_path: Path) -> None:
    before = clock(tmp_path)
    (tmp_path / "heartbeat").touch()
    assert before <= (tmp_path / "heartbeat").stat().st_mtime <= clock(tmp_path)


def checkpoint(box: UnitBox, attempt: int) -> Path:
    """Write the checkpoint of a new start of an attempt; return its run directory."""
    _, directory = box.claim(attempt)
    with zipfile.ZipFile(directory / "last.ckpt", "w") as archive:
        archive.writestr("weights", bytes(range(256)))
    return directory


def damage(path: Path) -> None:
    """Change a byte of the weights, as a failing disk does."""
    held = path.read_bytes()
    path.write_bytes(held.replace(bytes([7, 8, 9]), bytes([7, 0, 9])))
