"""HTCondor: what is sent, what its words mean, and that the promises of backends are kept in a real pool."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.backend_contract import NOBODY, SMALL, QueueContract, batch_of, tokens, values, written
from tests.condor_pool import Pool
from tests.records import RECORDS, STUDY, check_record, read_site, two_trials
from tests.sweeping import wait_for
from wirecell_ml.errors import ConfigError, SubmitError
from wirecell_ml.paths import shipped
from wirecell_ml.submit.backend import Expired, Refused, Unavailable, make_backend
from wirecell_ml.submit.htcondor.backend import refuse
from wirecell_ml.submit.htcondor.files import description, script
from wirecell_ml.submit.htcondor.machines import Machine, check_size, machine
from wirecell_ml.submit.htcondor.words import job_state, said_of
from wirecell_ml.submit.job import Batch, Job, Resources
from wirecell_ml.submit.post import make_post
from wirecell_ml.submit.site import Container, HTCondorSettings, Site
from wirecell_ml.submit.states import JobState


class TestHTCondor(QueueContract):
    @pytest.fixture
    def site(self, pool: Pool) -> Site:
        return pool.site()

    def test_a_job_has_the_gpus_that_it_asks_for(self, site: Site, tmp_path: Path) -> None:
        tell = [sys.executable, "-c", values("CUDA_VISIBLE_DEVICES")]
        backend = make_backend(replace(site, gpu_model="h200"))
        backend.submit(batch_of(tmp_path, [[*tell, str(tmp_path / "0")]], replace(SMALL, gpus=2)))
        (seen,) = written(tmp_path / "0")
        assert [name[:12] for name in seen.split(",")] == ["GPU-11111111", "GPU-22222222"]

    def test_a_job_that_fails_is_not_started_again(self, site: Site, tmp_path: Path) -> None:
        batch = batch_of(tmp_path, [["sh", "-c", f"echo began >>'{tmp_path}/starts'; exit 3"]])
        backend = make_backend(site)
        backend.submit(batch)
        wait_for(lambda: backend.explain(tokens(batch)[0]) == "ended with exit status 3", 120)
        wait_for(lambda: backend.states(tokens(batch)) == {}, 120)
        assert (tmp_path / "starts").read_text() == "began\n"

    def test_the_second_of_two_batches_that_must_be_alone_is_refused(self, site: Site, tmp_path: Path) -> None:
        alone = replace(batch_of(tmp_path, [["sleep", "600"]]), alone=True)
        backend = make_backend(site)
        backend.submit(alone)
        with pytest.raises(Refused, match="is in the queue already: condor_rm"):
            backend.submit(alone)
        backend.cancel(tokens(alone))


def test_a_job_that_no_machine_can_run_says_what_it_lacks(pool: Pool, tmp_path: Path) -> None:
    batch = batch_of(tmp_path, [["true"]])
    backend = make_backend(replace(pool.site(), htcondor=HTCondorSettings(requirements="HasUnicorn =?= true")))
    backend.submit(batch)
    assert backend.states(tokens(batch)) == {tokens(batch)[0]: JobState.WAITING}
    wait_for(lambda: "could ever run it where it asks for" in backend.explain(tokens(batch)[0]), 120)
    assert "HasUnicorn is true" in backend.explain(tokens(batch)[0])
    backend.cancel(tokens(batch))
    wait_for(lambda: backend.explain(tokens(batch)[0]).startswith("removed: "), 120)


def test_a_job_that_is_held_by_hand_waits_and_says_so(pool: Pool, tmp_path: Path) -> None:
    batch = batch_of(tmp_path, [["sleep", "600"]])
    backend = make_backend(pool.site())
    backend.submit(batch)
    pool.ask("condor_hold", pool.job_id(tokens(batch)[0]))
    wait_for(lambda: backend.explain(tokens(batch)[0]).startswith("held: you, or an administrator"), 120)
    assert backend.states(tokens(batch)) == {tokens(batch)[0]: JobState.WAITING}
    backend.cancel(tokens(batch))


def test_no_folder_for_logs_is_a_hold_in_plain_words(pool: Pool, tmp_path: Path) -> None:
    batch = batch_of(tmp_path, [["true"]])
    with pool.without("startd"):
        make_backend(pool.site()).submit(batch)
        batch.folder.rename(tmp_path / "away")
    backend = make_backend(pool.site())
    wait_for(lambda: backend.states(tokens(batch)) == {tokens(batch)[0]: JobState.HELD}, 120)
    assert backend.explain(tokens(batch)[0]).startswith("held: ")
    backend.cancel(tokens(batch))
    wait_for(lambda: backend.states(tokens(batch)) == {}, 120)


def refusal(site: Site, resources: Resources = SMALL) -> str:
    """Return what is said of a job that a site cannot run."""
    with pytest.raises(SubmitError) as caught:
        make_backend(site).check(resources)
    return str(caught.value)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (replace(SMALL, cores=9), "site.resources.cores=9: pool has machines of at most 8 cores. Ask for less"),
        (replace(SMALL, memory_gb=17), "site.resources.memory_gb=17: pool has machines of at most 16 GB. Ask for less"),
        (replace(SMALL, gpus=3), "site.resources.gpus=3: pool has machines of at most 2 GPUs. Ask for less"),
    ],
)
def test_a_job_that_no_machine_has_room_for_is_refused(pool: Pool, size: Resources, said: str) -> None:
    assert refusal(pool.site(), size) == said


def test_an_unknown_gpu_is_named_with_those_that_there_are(pool: Pool) -> None:
    said = refusal(replace(pool.site(), gpu_model="a100"), replace(SMALL, gpus=1))
    assert said.startswith("site.gpu_model: pool has no GPU 'a100'.")
    assert "NVIDIA H200" in said
    make_backend(replace(pool.site(), gpu_model="h200")).check(replace(SMALL, gpus=1))


def test_only_machines_that_the_requirements_allow_count(pool: Pool) -> None:
    big = HTCondorSettings(requirements="TARGET.TotalSlotCpus > 4")
    make_backend(replace(pool.site(), htcondor=big)).check(SMALL)
    assert make_backend(replace(pool.site(), htcondor=big)).outlook(SMALL) is not None
    none = HTCondorSettings(requirements="TARGET.TotalSlotCpus > 64")
    assert make_backend(replace(pool.site(), htcondor=none)).outlook(SMALL) is None


def test_what_condor_submit_would_refuse_is_refused_in_its_words(pool: Pool) -> None:
    said = refusal(replace(pool.site(), account="a b"))
    assert said == "site pool: condor_submit would refuse such a job: ERROR: Invalid accounting_group: a b"


def test_a_setting_that_a_pool_has_no_word_for_is_refused(pool: Pool) -> None:
    said = refusal(replace(pool.site(), partition="gpu"))
    assert said == "site.partition: an HTCondor pool has none. Write site.htcondor.requirements, a ClassAd expression"


def test_a_queue_that_is_away_is_not_a_missing_job(pool: Pool, tmp_path: Path) -> None:
    backend, batch = make_backend(pool.site()), batch_of(tmp_path, [["true"]])
    asked: list[Callable[[], object]] = [
        lambda: backend.submit(batch),
        lambda: backend.states(tokens(batch)),
        lambda: backend.cancel(tokens(batch)),
        lambda: backend.explain(NOBODY),
    ]
    with pool.without("schedd"):
        for ask in asked:
            with pytest.raises(Unavailable, match="Can't find address"):
                ask()


def test_a_machine_without_htcondor_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = refusal(Site(name="pool", kind="htcondor"))
    assert said.startswith("site pool: no condor_status on this machine. Run this where jobs of the pool are submitted")


@pytest.mark.parametrize(
    "said",
    [
        "ERROR: Can't find address of local schedd",
        "ERROR: Failed to connect to local queue manager CEDAR:6001:Failed to connect to <192.0.2.1:9618>",
        "-- Failed to fetch ads from: <127.0.0.1:16830?sock=schedd> : vm SECMAN:2007: it did not respond in time",
        "Error: communication error CEDAR:6001:Failed to connect to <127.0.0.1:9>",
    ],
)
def test_a_silent_queue_has_not_refused(said: str) -> None:
    with pytest.raises(Unavailable) as caught:
        refuse("condor_q", said)
    assert not isinstance(caught.value, Expired)


@pytest.mark.parametrize(
    "said",
    [
        "ERROR: Failed to connect to local queue manager AUTHENTICATE:1003:Failed to authenticate with any method",
        'SECMAN:2010:Received "DENIED" from server for user condor@password using method IDTOKENS.',
    ],
)
def test_a_login_that_is_not_valid_is_to_be_renewed(said: str) -> None:
    with pytest.raises(Expired, match="Renew your token or proxy"):
        refuse("condor_submit", said)


@pytest.mark.parametrize("said", ["ERROR: Invalid accounting_group: a b", "ERROR: bad WirecellMlToken expired", ""])
def test_an_answer_that_says_no_is_a_refusal(said: str) -> None:
    with pytest.raises(Refused):
        refuse("condor_submit", said)


@pytest.mark.parametrize(
    ("job", "means"),
    [
        ({"JobStatus": 1}, JobState.WAITING),
        ({"JobStatus": 2}, JobState.RUNNING),
        ({"JobStatus": 3}, JobState.ENDED),
        ({"JobStatus": 4}, JobState.ENDED),
        ({"JobStatus": 5, "HoldReasonCode": 13}, JobState.HELD),
        ({"JobStatus": 5, "HoldReasonCode": 1}, JobState.WAITING),
        ({"JobStatus": 5, "HoldReasonCode": 34}, JobState.OUT_OF_MEMORY),
        ({"JobStatus": 6}, JobState.RUNNING),
        ({"JobStatus": 7}, JobState.WAITING),
    ],
)
def test_every_state_has_a_meaning(job: dict[str, int], means: JobState) -> None:
    assert job_state(job) is means


def test_a_hold_says_what_to_do_and_what_htcondor_said() -> None:
    held = {"JobStatus": 5, "HoldReasonCode": 34, "HoldReason": "Error from slot1_1: memory usage exceeded"}
    assert said_of(held) == (
        "held: it used more memory than it asked for: raise site.resources.memory_gb "
        "(Error from slot1_1: memory usage exceeded)"
    )


def test_machines_that_come_when_jobs_wait_refuse_nothing() -> None:
    assert machine({"TotalSlotCpus": 1, "TotalSlotMemory": 2500, "GLIDEIN_Site": "FNAL"}).elastic
    empty: list[Machine] = []
    check_size(Resources(cores=64), Site(name="pool", kind="htcondor"), empty)


def test_only_htcondor_carries_mail_itself() -> None:
    with pytest.raises(ConfigError, match="only HTCondor carries it"):
        make_post(Site(name="cluster", kind="slurm", mailbox="transfer"))


def test_a_driver_runs_where_the_queue_is_and_asks_for_no_machine() -> None:
    site = Site(name="pool", kind="htcondor", htcondor=HTCondorSettings(requirements="TARGET.HasAvx2"))
    sent = description(replace(two_trials(site), alone=True), site)
    assert "universe = local\n" in sent
    assert "requirements" not in sent


def test_odd_paths_stay_as_they_are() -> None:
    batch = Batch("roinet-0a1b2c", (Job("roinet-0a1b2c-0", ("true",)),), SMALL, Path("/a $(b)/jobs"))
    assert "initialdir = /a $(DOLLAR)(b)/jobs\n" in description(batch, Site(name="pool", kind="htcondor"))


def test_a_container_is_started_by_the_script_where_the_folder_is_shared() -> None:
    site = Site(name="pool", kind="htcondor", container=Container(image="/cvmfs/wirecell_ml.sif", options=["--nv"]))
    assert f"start='apptainer exec --bind={STUDY} --nv /cvmfs/wirecell_ml.sif env " in script(two_trials(site), site)
    assert "universe = vanilla\n" in description(two_trials(site), site)


def carried_trials(site: Site) -> Batch:
    """Return the batch of the records as the post of a pool that shares no folder sends it."""
    start = ["env", "PYTHONPATH=code", str(site.python), "-P", "-m", "wirecell_ml.submit.carrier"]
    start += ["--courier=transfer=mail", "roinet-0a1b2c.tar.gz"]
    jobs = [Job(f"roinet-0a1b2c-{n}", (*start, f"roinet-0a1b2c-{n}")) for n in range(2)]
    return Batch("roinet-0a1b2c", tuple(jobs), site.resources, STUDY / "jobs")


@pytest.mark.parametrize(
    ("path", "record"),
    [
        (shipped("configs") / "site" / "htcondor_local.yaml", RECORDS / "htcondor_local" / "job.sub"),
        (RECORDS / "grid_pool" / "site.yaml", RECORDS / "grid_pool" / "job.sub"),
    ],
    ids=["htcondor_local", "grid_pool"],
)
def test_what_is_sent_is_on_record(path: Path, record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WIRECELL_ML_ENGINES": "/engines", "HOME": "/home/you", "PATH": "/usr/bin"}.items():
        monkeypatch.setenv(name, value)
    site = read_site(path)
    check_record(site, record, tmp_path, carried_trials(site) if site.mailbox else None)
