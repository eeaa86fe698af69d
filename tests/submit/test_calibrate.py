"""A calibration: measured at real sites with a tiny network, kept as a profile, and nothing of it trusted."""

import json
import math
import platform
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.conftest import TINY, WriteEvents
from wirecell_ml.composing import Bases
from wirecell_ml.errors import ConfigError, SubmitError
from wirecell_ml.submit.arguments import parse
from wirecell_ml.submit.broker.speeds import Profile, Scaling, Step, read_profile
from wirecell_ml.submit.calibrate import calibrate, model_digest, read_lines, throughputs
from wirecell_ml.submit.profiles import show

QUICK = (
    "site.policy.poll_s=0.2",
    "site.policy.heartbeat_s=1",
    "site.policy.grace_s=5",
    "seconds=0.05",
    "trainer.precision=32-true",
)
FACTS = {"startup_s": 5, "prepare_s": 0.5, "data_s": 0.01, "machine": {"cpu": "a chip", "memory_gb": 16, "gpu": None}}
STEP = {"batch": 4, "threads": 2, "gpus": 0, "precision": "32", "seconds": 0.5, "memory_gb": 0.7}


@pytest.fixture
def words(write_events: WriteEvents, tmp_path: Path) -> list[str]:
    """What a user types, but for the site."""
    files = write_events("some", range(1, 4)).parent
    places = [f"folder={tmp_path / 'sweeps'}", f"data.files={files}", f"data.cache={tmp_path / 'cache'}"]
    return [*places, *QUICK, *(word for word in TINY if not word.startswith("trainer.progress"))]


def run(*words: str) -> None:
    calibrate(parse(["calibrate", *words], ["calibrate"], "calibrate", ("site", "folder")))


def check_profile(path: Path, site: str, threads: int) -> Profile:
    """Return the profile that was written, in which everything was measured."""
    profile = read_profile(path)
    assert profile.site == site
    assert {step.threads for step in profile.steps if step.batch == 2} == set(range(1, threads + 1))
    assert {1, 2} <= {step.batch for step in profile.steps}
    assert all(0.05 < step.memory_gb < 8 for step in profile.steps)
    assert 0 < profile.samples_per_s(1, 0) < math.inf
    assert 0 < profile.data_s < profile.startup_s
    assert profile.facts is not None
    assert {"cpu", "memory_gb", "torch", "date", "code", "load"} <= set(profile.facts)
    assert platform.node() not in path.read_text(), "a profile is given to others"
    return profile


def test_this_machine_is_measured(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(*words, "site=local", f"output={tmp_path / 'here.yaml'}")
    profile = check_profile(tmp_path / "here.yaml", "local", threads=1)
    shown = capsys.readouterr().out
    assert "samples/s" in shown
    assert f"written to {tmp_path / 'here.yaml'}" in shown
    assert profile.threads is None
    assert "threads: 1 of the 3 numbers that the scalability law needs were measured" in shown


def test_a_cluster_is_measured(
    slurm: Cluster, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    run(*words, "site=slurm_local", "site.resources.cores=2", f"site.environment.SLURM_CONF={slurm.conf}")
    check_profile(tmp_path / ".config" / "wirecell_ml" / "profiles" / "slurm_local.yaml", "slurm_local", threads=2)


def test_a_worker_that_finds_no_data_says_where_it_said_so(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(SubmitError, match=r"the calibration ended FAILED: .*log\.txt") as caught:
        run(*words, "site=local", f"+site.paths={{{tmp_path / 'files'}: /nowhere}}")
    log = Path(str(caught.value).rpartition(" ")[2])
    assert "/nowhere" in log.read_text()


def test_one_file_holds_one_site(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"output=one\.yaml is one file, and here are 2 sites"):
        run(*words, "site=[local,slurm_local]", "output=one.yaml")


def test_a_measurement_takes_time(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="seconds=0"):
        run(*words, "site=local", "seconds=0")


def test_what_a_worker_writes_is_read() -> None:
    lines = [json.dumps({"epoch": 1, "facts": FACTS}), json.dumps({"epoch": 2, "step": STEP})]
    facts, steps = read_lines(lines)
    assert facts == FACTS | {"machine": {"cpu": "a chip", "memory_gb": 16}}
    assert steps == [Step(batch=4, threads=2, gpus=0, seconds=0.5, precision="32", memory_gb=0.7)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": -1},
        {"seconds": 0},
        {"seconds": math.nan},
        {"seconds": "1"},
        {"seconds": 1e300},
        {"seconds": None},
        {"batch": 0},
        {"batch": 10**30},
        {"threads": 0},
        {"precision": "64; rm"},
        {"precision": ["32"]},
        {"memory_gb": math.inf},
        {"gpus": []},
    ],
)
def test_a_step_that_cannot_be_is_left_out(wrong: dict[str, Any]) -> None:
    assert read_lines([json.dumps({"step": STEP | wrong}), json.dumps({"step": STEP})])[1] == [
        Step(4, 2, 0, 0.5, "32", 0.7)
    ]


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "null", '"facts"', '{"facts": 1}', '{"facts": {}}', '{"step": null}', "[" * 10_000]
)
def test_a_line_that_no_worker_writes_is_left_out(line: str) -> None:
    assert read_lines([line]) == (None, [])


def test_texts_of_a_worker_are_cut_and_printable() -> None:
    facts, _ = read_lines([json.dumps({"facts": FACTS | {"machine": {"cpu": "\x1b[2J" + "x" * 10_000}}})])
    assert facts is not None
    assert facts["machine"]["cpu"].isprintable()
    assert len(facts["machine"]["cpu"]) <= 500


def test_a_law_is_of_one_batch_and_the_fastest_precision() -> None:
    steps = [Step(4, threads, 0, 1 / threads, precision) for threads in (1, 2, 4) for precision in ("32", "bf16")]
    faster = [Step(4, 4, 0, 0.1, "bf16"), Step(8, 4, 0, 0.1, "bf16")]
    assert throughputs([*steps[:-1], *faster], "threads") == {1: 4, 2: 8, 4: 40}
    assert throughputs([Step(4 * number, 8, number, 0.5) for number in (1, 2, 3)], "gpus") == {1: 8, 2: 16, 3: 24}
    assert throughputs(steps, "gpus") == {}


def test_a_profile_is_of_a_model_and_not_of_the_place_of_its_files() -> None:
    def digest(*overrides: str) -> str:
        return model_digest(Bases.composed({}, overrides).flat({}))

    assert digest() == digest("data.files=/elsewhere", "data.cache=/tmp", "seed=7", "trainer.max_epochs=3")
    assert digest() != digest("model.widths=[4,8]")
    assert digest() != digest("data.batch_size=3")


def test_a_profile_is_shown_with_its_laws_and_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    steps = tuple(Step(2 * number, 8, number, 0.1, "bf16", 3.0) for number in (1, 2, 4))
    show(
        Profile(
            "far", "0a1b", 4.0, 0.5, steps, None, Scaling(20, 0.1, 0.01), {"cpu": "a chip", "torch": "2.1", "load": 7.5}
        )
    )
    shown = capsys.readouterr().out
    assert "GPUs: 20 samples/s with one, contention 0.100, coherency 0.0100, and most is done with 9" in shown
    assert "the network could take 40.0 times what one reader gives: raise data.num_workers" in shown
    assert "others used the machine: 7.5 processes" in shown
    assert "machine: a chip, torch 2.1\n" in shown
