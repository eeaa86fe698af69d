"""PBS, which cannot be installed here: its script is run by bash, its answers are as its documentation has them."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.backend_contract import ODD, SMALL, WORDS, batch_of, lines_below, tokens, values
from tests.records import RECORDS, check_record, read_site
from wirecell_ml.errors import SubmitError
from wirecell_ml.submit.backend import Refused, Unavailable, make_backend
from wirecell_ml.submit.commands import refuse
from wirecell_ml.submit.job import Batch, Resources
from wirecell_ml.submit.pbs import SILENT, job_state, limit_minutes, memory_gb, words
from wirecell_ml.submit.site import Container, Site
from wirecell_ml.submit.states import JobState

STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >>"{folder}/asked"
cat "{folder}/$(basename "$0").err" >&2 2>/dev/null
cat "{folder}/$(basename "$0").out" 2>/dev/null
exit "$(cat "{folder}/$(basename "$0").rc" 2>/dev/null || echo 0)"
"""


class Commands:
    """Programs with the names of PBS's that say what the test tells them, and note what they were asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        for name in ("qsub", "qselect", "qstat", "qdel", "pbsnodes"):
            program = folder / "bin" / name
            program.write_text(STAND_IN.format(folder=folder))
            program.chmod(0o755)

    def says(self, name: str, text: str, error: str = "", status: int = 0) -> None:
        """Let a program answer so from now on."""
        for end, held in (("out", text), ("err", error), ("rc", str(status))):
            (self.folder / f"{name}.{end}").write_text(held)

    def asked(self, name: str) -> list[str]:
        """Return what a program was asked."""
        path = self.folder / "asked"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.partition(" ")[2] for line in lines if line.split()[0] == name]


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path / "pbs")


@pytest.fixture
def site(commands: Commands) -> Site:
    path = f"{commands.folder / 'bin'}:{os.environ['PATH']}"
    return Site(name="cluster", kind="pbs", partition="workq", environment={"PATH": path})


def qstat(batch: Batch, *states: str, **more: Any) -> str:
    """Return the JSON of qstat for an array of a batch, whose jobs are in these states."""
    jobs: dict[str, Any] = {"12[].head": {"Job_Name": batch.name, "job_state": "B", "array": "True"}}
    for index, state in enumerate(states):
        held = {"Job_Name": batch.name, "job_state": state, "array_id": "12[].head", "array_index": str(index)}
        jobs[f"12[{index}].head"] = held | more
    return json.dumps({"timestamp": 1, "pbs_version": "23.06.06", "Jobs": jobs})


def run(script: str, index: int | None, folder: Path) -> None:
    """Run the script of a batch as PBS would run one of its jobs."""
    folder.mkdir(parents=True, exist_ok=True)
    here = {name: os.environ[name] for name in ("PATH", "HOME")}
    array = {} if index is None else {"PBS_ARRAY_INDEX": str(index)}
    subprocess.run(["/bin/bash"], input=script, text=True, env=here | array, check=True)


def test_what_is_sent_is_on_record(tmp_path: Path) -> None:
    site = read_site(RECORDS / "pbs" / "site.yaml")
    check_record(site, RECORDS / "pbs" / "job.pbs", tmp_path)


def test_words_and_variables_arrive_as_they_were_sent(tmp_path: Path) -> None:
    tell = ["python3", "-c", WORDS]
    batch = batch_of(tmp_path, [[*tell, str(tmp_path / "0"), *ODD], [*tell, str(tmp_path / "1"), *reversed(ODD)]])
    script = make_backend(Site(name="cluster", kind="pbs")).render(batch)
    for index in (0, 1):
        run(script, index, batch.folder)
    assert json.loads((tmp_path / "0").read_text()) == [*ODD, tokens(batch)[0]]
    assert json.loads((tmp_path / "1").read_text()) == [*reversed(ODD), tokens(batch)[1]]


def test_a_single_job_is_no_array(tmp_path: Path) -> None:
    own = {"FLAVOUR": 'it\'s "ν" $HOME'}
    batch = batch_of(tmp_path, [["python3", "-c", values("FLAVOUR", "OMP_NUM_THREADS"), str(tmp_path / "0")]])
    script = make_backend(Site(name="cluster", kind="pbs", environment=own)).render(batch)
    assert "#PBS -J" not in script
    run(script, None, batch.folder)
    assert json.loads((tmp_path / "0").read_text()) == [own["FLAVOUR"], "1"]


def test_what_a_job_prints_is_in_a_log_of_its_own(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, [["sh", "-c", 'echo "$0 spoke"']] * 2)
    script = make_backend(Site(name="cluster", kind="pbs")).render(batch)
    for index in (0, 1, 1):  # the second one is started twice
        run(script, index, batch.folder)
    first, second = (f"{token} spoke" for token in tokens(batch))
    assert sorted(lines_below(batch.folder)) == [first, second, second]


def test_a_job_has_more_time_than_its_unit() -> None:
    site = Site(name="cluster", kind="pbs", partition="gpu", account="dune", constraint="gpu_type=a100", signal_s=90)
    assert words(Resources(cores=4, memory_gb=16, gpus=2, minutes=90), replace(site, options=["-W umask=027"])) == [
        "-l select=1:ncpus=4:mem=15625000kb:ngpus=2:gpu_type=a100",
        "-l walltime=01:31:30",
        "-q gpu",
        "-A dune",
        "-W umask=027",
    ]


def test_a_container_sees_the_study(tmp_path: Path) -> None:
    site = Site(name="cluster", kind="pbs", container=Container("apptainer", "/images/wirecell_ml.sif", ["--nv"]))
    script = make_backend(site).render(batch_of(tmp_path, [["true"]]))
    assert f"apptainer exec --bind={tmp_path} --nv /images/wirecell_ml.sif" in script


def test_jobs_are_found_by_the_name_of_their_batch(site: Site, commands: Commands, tmp_path: Path) -> None:
    batch = batch_of(tmp_path, [["true"]] * 4)
    commands.says("qselect", "12[].head\n")
    commands.says("qstat", qstat(batch, "X", "R", "Q", "H"))
    found = make_backend(site).states([*tokens(batch)[:3], "nobody-000000-0"])
    assert found == dict(zip(tokens(batch), (JobState.ENDED, JobState.RUNNING, JobState.WAITING), strict=False))
    assert [asked.rpartition(" ")[2] for asked in commands.asked("qselect")] == [batch.name, "nobody-000000"]


def test_only_what_lives_is_ended(site: Site, commands: Commands, tmp_path: Path) -> None:
    batch = batch_of(tmp_path, [["true"]] * 3)
    commands.says("qselect", "12[].head\n")
    commands.says("qstat", qstat(batch, "X", "R", "Q"))
    make_backend(site).cancel(tokens(batch)[:2])
    assert commands.asked("qdel") == ["12[1].head"]


@pytest.mark.parametrize("said", ["qdel: Unknown Job Id 12[1].head", "qdel: Job has finished 12[1].head"])
def test_a_job_that_has_gone_meanwhile_is_no_error(site: Site, commands: Commands, tmp_path: Path, said: str) -> None:
    batch = batch_of(tmp_path, [["true"]])
    commands.says("qselect", "12.head\n")
    commands.says("qstat", qstat(batch, "R"))
    commands.says("qdel", "", said, status=153)
    make_backend(site).cancel(tokens(batch))
    commands.says("qstat", "", said, status=153)
    assert make_backend(site).states(tokens(batch)) == {}


def test_of_no_job_nothing_is_asked(site: Site, commands: Commands) -> None:
    backend = make_backend(site)
    backend.cancel([])
    assert backend.states([]) == {}
    assert commands.asked("qselect") == commands.asked("qstat") == commands.asked("qdel") == []


def test_a_driver_waits_for_the_one_before(site: Site, commands: Commands, tmp_path: Path) -> None:
    batch = replace(batch_of(tmp_path, [["true"]]), alone=True)
    make_backend(site).submit(batch)
    commands.says("qselect", "7.head\n9.head\n")
    make_backend(site).submit(batch)
    assert commands.asked("qsub") == ["", "-W depend=afterany:7.head:9.head"]


def test_a_job_says_why_it_waits(site: Site, commands: Commands, tmp_path: Path) -> None:
    batch = batch_of(tmp_path, [["true"]])
    commands.says("qselect", "12.head\n")
    commands.says("qstat", qstat(batch, "Q", comment="Not Running: Insufficient amount of resource: ngpus"))
    assert make_backend(site).explain(tokens(batch)[0]).endswith("Insufficient amount of resource: ngpus")


@pytest.mark.parametrize(
    ("held", "means"),
    [
        ({"job_state": "Q"}, JobState.WAITING),
        ({"job_state": "H"}, JobState.WAITING),
        ({"job_state": "H", "comment": "job held, too many failed attempts to run"}, JobState.HELD),
        ({"job_state": "S"}, JobState.WAITING),
        ({"job_state": "R"}, JobState.RUNNING),
        ({"job_state": "E"}, JobState.RUNNING),
        ({"job_state": "F", "Exit_status": 0}, JobState.ENDED),
        ({"job_state": "X"}, JobState.ENDED),
        ({"job_state": "F", "Exit_status": -29}, JobState.ENDED),
        ({"job_state": "F", "Exit_status": -27}, JobState.OUT_OF_MEMORY),
        ({"job_state": "?"}, JobState.WAITING),
    ],
)
def test_every_state_has_a_meaning(held: dict[str, Any], means: JobState) -> None:
    assert job_state(held) is means


@pytest.mark.parametrize(
    "said",
    [
        "Connection refused\nqstat: cannot connect to server head (errno=111)",
        "Communication failure.\nqsub: cannot connect to server head (errno=15010)",
        "pbs_iff: error returned: 15031\nNo Permission.",
        "qstat: Server shutting down",
    ],
)
def test_a_silent_server_has_not_refused(said: str) -> None:
    with pytest.raises(Unavailable):
        refuse("qstat", said, SILENT)


@pytest.mark.parametrize("said", ["qsub: Unknown queue", "qsub: Job violates queue and/or server resource limits", ""])
def test_an_answer_that_says_no_is_a_refusal(said: str) -> None:
    with pytest.raises(Refused):
        refuse("qsub", said, SILENT)


def test_json_that_is_none_is_asked_for_again(site: Site, commands: Commands) -> None:
    commands.says("qselect", "12.head\n")
    commands.says("qstat", '{"Jobs": {"12.head": {"comment": "it"s broken"')
    with pytest.raises(Unavailable, match="no JSON"):
        make_backend(site).states(["some-000000-0"])


@pytest.fixture
def place(commands: Commands) -> None:
    """One queue of half an hour, and one node."""
    limits = {"resources_max": {"walltime": "00:30:00"}}
    commands.says("qstat", json.dumps({"Queue": {"workq": {"enabled": "True", **limits}, "old": {"enabled": "False"}}}))
    has = {"ncpus": 64, "mem": "528034752kb", "ngpus": 4}
    commands.says("pbsnodes", json.dumps({"nodes": {"n1": {"resources_available": has}}}))


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("size", "said"),
    [
        ({"cores": 65}, "site.resources.cores=65: cluster has nodes of at most 64 cores"),
        ({"memory_gb": 600}, "site.resources.memory_gb=600: cluster has nodes of at most 540.708 GB"),
        ({"gpus": 5}, "site.resources.gpus=5: cluster has nodes of at most 4 GPUs"),
        ({"minutes": 31}, "site.resources.minutes=31: cluster has a limit of 30 minutes"),
    ],
)
def test_a_size_that_no_machine_has_is_refused(site: Site, size: dict[str, Any], said: str) -> None:
    with pytest.raises(SubmitError) as caught:
        make_backend(site).check(replace(SMALL, **size))
    assert str(caught.value).startswith(said)
    make_backend(site).check(SMALL)


@pytest.mark.usefixtures("place")
def test_a_queue_that_is_not_there_or_closed_is_refused(site: Site) -> None:
    with pytest.raises(SubmitError, match=r"no queue 'work'\. Did you mean 'workq'\?"):
        make_backend(replace(site, partition="work")).check(SMALL)
    with pytest.raises(SubmitError, match="takes no jobs"):
        make_backend(replace(site, partition="old")).check(SMALL)
    with pytest.raises(SubmitError, match="gpu_model"):
        make_backend(replace(site, gpu_model="a100")).check(SMALL)


def test_a_machine_without_pbs_says_so(tmp_path: Path) -> None:
    site = Site(name="cluster", kind="pbs", environment={"PATH": str(tmp_path)})
    with pytest.raises(SubmitError, match="no qstat on this machine"):
        make_backend(site).check(SMALL)


@pytest.mark.parametrize(
    ("text", "size"), [("528034752kb", 540.7), ("16gb", 17.18), ("8mb", 0.0084), ("1024", 1.024e-6), ("?", 0)]
)
def test_a_size_is_read(text: str, size: float) -> None:
    assert memory_gb(text) == pytest.approx(size, rel=0.01)


@pytest.mark.parametrize(("limit", "minutes"), [("01:30:00", 90), ("30:00", 30), ("90", 1.5), ("240:00:00", 14400)])
def test_a_time_limit_is_read(limit: str, minutes: float) -> None:
    assert limit_minutes({"resources_max": {"walltime": limit}}) == minutes
    assert limit_minutes({}) == float("inf")
