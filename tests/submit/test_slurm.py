"""Slurm: what is sent, what its words mean, and what is refused before anything is queued."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.records import RECORDS, STUDY, check_record, read_site, two_trials
from wirecell_ml.errors import SubmitError
from wirecell_ml.paths import shipped
from wirecell_ml.submit.backend import Refused, Unavailable, make_backend
from wirecell_ml.submit.commands import refuse
from wirecell_ml.submit.job import Batch, Resources
from wirecell_ml.submit.site import Container, Site
from wirecell_ml.submit.slurm import SILENT, Slurm, job_state, limit_minutes, node
from wirecell_ml.submit.states import JobState

SMALL = Resources(cores=1, memory_gb=0.1, gpus=0, minutes=5)
DEAD_PORT = "16990"  # where no controller listens


@pytest.mark.parametrize(
    ("path", "record"),
    [
        (shipped("configs") / "site" / "local.yaml", RECORDS / "local" / "commands.txt"),
        (shipped("configs") / "site" / "slurm_local.yaml", RECORDS / "slurm_local" / "job.sbatch"),
        (RECORDS / "gpu_cluster" / "site.yaml", RECORDS / "gpu_cluster" / "job.sbatch"),
    ],
    ids=["local", "slurm_local", "gpu_cluster"],
)
def test_what_is_sent_is_on_record(path: Path, record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIRECELL_ML_ENGINES", "/home/you/.cache/wirecell_ml/engines")
    check_record(read_site(path), record, tmp_path)


def test_every_record_is_explained() -> None:
    folders = sorted(folder for folder in RECORDS.iterdir() if folder.is_dir())
    assert all((folder / "README.md").is_file() for folder in folders)
    assert all(f"`{folder.name}`" in (RECORDS.parent / "README.md").read_text() for folder in folders)


def test_gpus_without_a_model_are_any() -> None:
    site = Site(name="cluster", kind="slurm", resources=Resources(gpus=2))
    assert "#SBATCH --gres=gpu:2\n" in make_backend(site).render(two_trials(site))


def test_a_container_sees_the_study_and_the_variables_of_its_site() -> None:
    container = Container(
        engine="podman", image="registry/wirecell_ml@sha256:00", options=["--device=nvidia.com/gpu=all"]
    )
    site = Site(name="cluster", kind="slurm", container=container, environment={"WIRECELL_ML_CACHE": "/cache"})
    start = (
        f"podman run --rm --volume={STUDY}:{STUDY} --env=OMP_NUM_THREADS --env=WIRECELL_ML_CACHE "
        "--device=nvidia.com/gpu=all registry/wirecell_ml@sha256:00 env "
    )
    assert start in make_backend(site).render(two_trials(site))


@pytest.mark.parametrize(
    "said",
    [
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "slurm_load_jobs error: Zero Bytes were transmitted or received",
        "scancel: error: Transport endpoint is not connected",
        "sinfo: error: Slurm backup controller in standby mode",
        "sbatch: error: Batch job submission failed: Protocol authentication error",
    ],
)
def test_a_silent_controller_has_not_refused(said: str) -> None:
    with pytest.raises(Unavailable):
        refuse("sbatch", said, SILENT)


@pytest.mark.parametrize(
    "said",
    [
        "sbatch: error: invalid partition specified: nowhere",
        "sbatch: error: Batch job submission failed: Requested node configuration is not available",
        "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, ...)",
        "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)",
        "sbatch: error: Batch job submission failed: Invalid feature specification",
        "",
    ],
)
def test_an_answer_that_says_no_is_a_refusal(said: str) -> None:
    with pytest.raises(Refused):
        refuse("sbatch", said, SILENT)


@pytest.mark.parametrize(
    ("state", "means"),
    [
        ("PENDING", JobState.WAITING),
        ("SUSPENDED", JobState.WAITING),
        ("RUNNING", JobState.RUNNING),
        ("COMPLETING", JobState.RUNNING),
        ("OUT_OF_MEMORY", JobState.OUT_OF_MEMORY),
        *((name, JobState.ENDED) for name in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED")),
    ],
)
def test_every_state_has_a_meaning(state: str, means: JobState) -> None:
    assert job_state(state) is means


@pytest.mark.parametrize("reason", ["launch failed requeued held", "launch_failed_requeued_held", "JobHoldMaxRequeue"])
def test_a_job_that_only_an_administrator_would_start_does_not_wait(reason: str) -> None:
    assert job_state("PENDING", reason) is JobState.HELD
    assert job_state("PENDING", "JobHeldUser") is JobState.WAITING


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("infinite", float("inf")), ("30:00", 30), ("4:00:00", 240), ("1-12:00:00", 2160), ("30", 0.5)],
)
def test_a_time_limit_is_read(limit: str, minutes: float) -> None:
    assert limit_minutes(limit) == minutes


def test_a_node_is_read() -> None:
    held = node("gpu*|128|515000|2-00:00:00|gpu:a100:4(S:0-1),gpu:v100:2,nvme:1")
    assert (held.partition, held.is_default, held.cores, held.memory_gb, held.minutes) == ("gpu", True, 128, 515, 2880)
    assert held.gpus == {"a100": 4, "v100": 2}
    assert node("cpu|8|16000|infinite|gpu:2").size("gpus", None) == 2
    assert node("cpu|8|16000|infinite|(null)").size("gpus", None) == 0


@pytest.fixture
def site(slurm: Cluster) -> Site:
    return Site(name="cluster", kind="slurm", partition="cpu", environment={"SLURM_CONF": str(slurm.conf)})


@pytest.fixture
def short(slurm: Cluster) -> Iterator[str]:
    """A partition whose jobs have half an hour."""
    (node,) = slurm.ask("sinfo", "--noheader", "--format=%n", "--partition=cpu").split()
    slurm.ask("scontrol", "create", "partitionname=short", f"nodes={node}", "maxtime=30")
    yield "short"
    slurm.ask("scontrol", "delete", "partitionname=short")


def refusal(site: Site, resources: Resources = SMALL) -> str:
    """Return what is said of a job that a site cannot run."""
    with pytest.raises(SubmitError) as caught:
        make_backend(site).check(resources)
    return str(caught.value)


def test_an_unknown_partition_is_named_with_the_near_one(site: Site) -> None:
    said = refusal(replace(site, partition="urgnt"))
    assert said == ("site.partition: cluster has no partition 'urgnt'. Did you mean 'urgent'? Known here: cpu, urgent")


def test_an_unknown_gpu_is_named_with_the_near_one(site: Site) -> None:
    said = refusal(replace(site, gpu_model="h100"), replace(SMALL, gpus=1))
    assert said == ("site.gpu_model: cluster has no GPU 'h100' in partition cpu. Did you mean 'h200'? Known here: h200")


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (replace(SMALL, cores=9), "site.resources.cores=9: cluster has nodes of at most 8 cores in partition cpu."),
        (
            replace(SMALL, memory_gb=17),
            "site.resources.memory_gb=17: cluster has nodes of at most 16 GB in partition cpu.",
        ),
        (replace(SMALL, gpus=3), "site.resources.gpus=3: cluster has nodes of at most 2 GPUs in partition cpu."),
    ],
)
def test_a_job_that_slurm_would_never_run_is_refused(site: Site, size: Resources, said: str) -> None:
    assert refusal(site, size) == f"{said} Ask for less, or for another partition"


def test_more_time_than_a_partition_gives_is_refused(site: Site, short: str) -> None:
    assert refusal(replace(site, partition=short), replace(SMALL, minutes=31)) == (
        "site.resources.minutes=31: cluster has a limit of 30 minutes in partition short. Ask for less, or for another "
        "partition"
    )
    make_backend(replace(site, partition=short)).check(replace(SMALL, minutes=30))
    make_backend(replace(site, partition=f"{short},cpu")).check(replace(SMALL, minutes=31))


def test_what_only_slurm_knows_is_refused_in_its_words(site: Site) -> None:
    assert "Invalid feature specification" in refusal(replace(site, constraint="hbm80g"))


def test_the_default_partition_is_checked_where_none_is_named(site: Site) -> None:
    assert "nodes of at most 8 cores in its default partition" in refusal(
        replace(site, partition=None), replace(SMALL, cores=9)
    )


def test_a_dead_controller_is_not_a_missing_job(slurm: Cluster, site: Site, tmp_path: Path) -> None:
    conf = tmp_path / "slurm.conf"
    port = slurm.ask_conf("SlurmctldPort")
    conf.write_text(slurm.conf.read_text().replace(f"SlurmctldPort={port}", f"SlurmctldPort={DEAD_PORT}"))
    backend = Slurm(replace(site, environment={"SLURM_CONF": str(conf)}))
    batch = Batch.of("dead", [["true"]], SMALL, tmp_path / "jobs")
    token = batch.jobs[0].token
    asked: list[Callable[[], object]] = [
        lambda: backend.submit(batch),
        lambda: backend.states([token]),
        lambda: backend.cancel([token]),
        lambda: backend.check(SMALL),
    ]
    for ask in asked:
        with pytest.raises(Unavailable, match="no controller of Slurm answers"):
            ask()


def test_a_machine_without_slurm_says_so(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal(site).startswith("site cluster: no scontrol on this machine. Run this on a login node")
