"""How an entry ends, for every way there is to end."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from wirecell_ml import cli
from wirecell_ml.cli import absolute_config_path, explain_override
from wirecell_ml.errors import ConfigError, Interrupted, RunError, suggest


@pytest.fixture(autouse=True)
def _as_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr("sys.argv", ["wirecell_ml"])
    monkeypatch.setattr("logging.raiseExceptions", True)


def raising(error: Exception) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ConfigError("seed: wrong"), 2, "error: seed: wrong\n"),
        (RunError("resume=x: no run here"), 2, "error: resume=x: no run here\n"),
        (Interrupted("checkpointed at step 3"), 75, "checkpointed at step 3\n"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_a_status(
    error: Exception, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(raising(error))
    assert ended.value.code == status
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize("error", [ValueError("a bug"), FileNotFoundError(errno.ENOENT, "No such file", "x")])
def test_a_mistake_of_ours_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        cli.run(raising(error))


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Free some space, or choose another place with hydra.run.dir=… (for the run) or data.cache=…"),
        (errno.EDQUOT, "Free some space, or choose another place"),
        (errno.EACCES, "Choose another place"),
        (errno.EROFS, "Choose another place"),
        (errno.ENOTDIR, "Choose another place"),
    ],
)
def test_a_place_that_cannot_be_written_is_named(number: int, remedy: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.run(raising(OSError(number, os.strerror(number), "elsewhere/temporary", None, "runs/last.ckpt")))
    line = capsys.readouterr().err
    assert line.startswith(f"error: runs/last.ckpt: cannot write: {os.strerror(number)}. {remedy}")
    assert line.count("\n") == 1


def test_a_task_ends_before_hydra_can_add_lines_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.task(lambda _: raising(ConfigError("wrong"))())({})  # type: ignore[arg-type]
    assert capsys.readouterr().err == "error: wrong\n"


@pytest.mark.parametrize("given", [["--config-path", "mine"], ["-cp", "mine"], ["--config-path=mine"], ["-cp=mine"]])
def test_a_config_path_is_relative_to_where_the_user_is(
    given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    absolute = absolute_config_path([*given, "model=mine"])
    assert "=".join(absolute[:-1]).rpartition("=")[2] == str(tmp_path / "mine")
    assert absolute[-1] == "model=mine"


def test_other_arguments_are_left_as_they_are() -> None:
    assert absolute_config_path(["--config-name=mine", "data.files=here"]) == ["--config-name=mine", "data.files=here"]


def test_an_override_that_hydra_refuses_keeps_its_reason_on_one_line() -> None:
    text = "Error parsing override 'seed'\nmissing EQUAL at '<EOF>'\nSee https://hydra.cc"
    assert explain_override(text) == "Error parsing override 'seed' missing EQUAL at '<EOF>'"


def test_the_nearest_name_is_suggested_and_all_are_listed() -> None:
    assert suggest("widht", ["width", "depth"]) == " Did you mean 'width'? Known here: depth, width"
    assert suggest("zzz", []) == " Known here: nothing"
