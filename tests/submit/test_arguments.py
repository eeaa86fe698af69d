"""The command line of sweeps: a verb, settings of ours, settings of the training."""

import subprocess
import sys

import pytest

from wirecell_ml.errors import ConfigError
from wirecell_ml.submit.arguments import Arguments, first_name, parse
from wirecell_ml.submit.running import perform

VERBS, OWN = ("start", "status"), ("study", "site", "trials")


def read(*words: str) -> Arguments:
    """Return what a command line says."""
    return parse(words, VERBS, "start", OWN)


def test_a_verb_comes_first_and_start_can_be_left_out() -> None:
    assert read("status", "study=x").verb == "status"
    assert read("study=x").verb == "start"
    assert read().verb == "start"


def test_settings_are_ours_or_the_trainings_by_their_first_name() -> None:
    said = read("study=x", "model=unet", "site.resources.cores=4", "+site.note=1", "~logger", "sites=3", "trials=2")
    assert said.own == ("study=x", "site.resources.cores=4", "+site.note=1", "trials=2")
    assert said.training == ("model=unet", "~logger", "sites=3")


def test_a_value_may_hold_anything() -> None:
    assert read("study=a=b", "data.files='/x y/[1].h5'").own == ("study=a=b",)


@pytest.mark.parametrize("words", [["--config-dir", "a"], ["--config-dir=a"], ["-cd", "a"], ["-cd=a"]])
def test_config_dirs_are_kept_in_their_order(words: list[str]) -> None:
    assert read(*words, "study=x", "--config-dir", "b").config_dirs == ("a", "b")


def test_cfg_job_shows_the_settings() -> None:
    assert read("study=x", "--cfg", "job").show
    assert not read("study=x").show


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["stauts"], "no command 'stauts'. Did you mean 'status'? Known here: start, status"),
        (["status", "x"], "'x' is no setting. Write name=value; --help says more"),
        (["study=x", "--force"], "'--force' is no setting"),
        (["--config-dir"], "--config-dir needs a value"),
    ],
)
def test_what_is_none_of_these_is_refused(words: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(*words)
    assert line in str(refused.value)


@pytest.mark.parametrize("word", ["site=a", "site.kind=slurm", "+site.x=1", "~site", "site@here=a", "site/sub=a"])
def test_the_first_name_of_an_override(word: str) -> None:
    assert first_name(word) == "site"


def test_a_command_that_does_something_is_not_done_where_settings_were_to_be_shown() -> None:
    done: list[Arguments] = []
    with pytest.raises(ConfigError, match="'check' has none"):
        perform(["check", "--cfg", "job", "site=local"], {"start": done.append, "check": done.append}, ["site"])
    assert done == []


def test_what_libraries_say_of_their_own_accord_is_not_shown() -> None:
    words = "import logging; from wirecell_ml.submit.running import perform; perform([], {'start': print}, []); "
    said = "logging.getLogger('botocore').info('found'); logging.getLogger('wirecell_ml.submit').info('sent')"
    done = subprocess.run([sys.executable, "-c", words + said], capture_output=True, text=True, check=True)
    assert done.stderr == "INFO wirecell_ml.submit: sent\n"
