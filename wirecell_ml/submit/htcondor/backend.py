"""HTCondor's queue, by its command-line tools, which only this module calls."""

import json
import os
import re
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NoReturn

from wirecell_ml.errors import SubmitError
from wirecell_ml.submit.backend import Expired, Refused, Unavailable
from wirecell_ml.submit.commands import run
from wirecell_ml.submit.htcondor.files import BATCH, TOKEN, description, quoted, rendered, script, script_of
from wirecell_ml.submit.htcondor.machines import ATTRIBUTES, Machine, check_size, machine
from wirecell_ml.submit.htcondor.words import LOGIN, SILENT, job_state, one_line, said_of, why_it_waits
from wirecell_ml.submit.job import Batch, Job, Resources, batches_of, pieces
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.states import JobState

TIMEOUT_S = 60  # of one command; a queue that is busy answers late
ENTRIES = 20_000  # of the history, from its end, among which a job is looked for
JOBS_AT_ONCE = 200  # in one command
NEGOTIATION_S = 60.0  # until the next negotiation, as pools have it by default
INHERITED = (  # all else stays here
    *("HOME", "USER", "LANG", "PATH", "LD_LIBRARY_PATH", "KRB5CCNAME", "BEARER_TOKEN_FILE", "X509_USER_PROXY"),
    "CONDOR_CONFIG",
)
JOB = (TOKEN, "ClusterId", "ProcId", "JobStatus", "HoldReasonCode")
WORDS = ("HoldReason", "RemoveReason", "ExitBySignal", "ExitCode", "ExitSignal", "VacateReason", "LastVacateReason")
LIVE = (JobState.HELD, JobState.OUT_OF_MEMORY, JobState.WAITING, JobState.RUNNING)
FOREIGN = ("partition", "qos", "constraint")  # settings of a site that HTCondor has no word for


class HTCondor:
    """A pool whose queue can be reached from here."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def render(self, batch: Batch) -> str:
        """Return the submit file and the script of a batch: a pure function of batch and site."""
        return rendered(batch, self.site)

    def submit(self, batch: Batch) -> None:
        """Send the cluster of a batch; what is sent is kept beside its logs."""
        if batch.alone and any(job_state(job) in LIVE for job in self.jobs([batch.jobs[0].token])):
            raise Refused(f"{batch.name} is in the queue already: condor_rm -constraint '{of(BATCH, batch.name)}'")
        batch.folder.mkdir(parents=True, exist_ok=True)
        script_of(batch).write_text(script(batch, self.site))
        script_of(batch).chmod(0o755)
        sent = script_of(batch).with_suffix(".sub")
        sent.write_text(description(batch, self.site))
        self.call("condor_submit", "-terse", *self.site.options, str(sent))

    def states(self, tokens: Collection[str]) -> dict[str, JobState]:
        """Return what condor_q says; it forgets a job at its end."""
        wanted = set(tokens)
        return {job[TOKEN]: job_state(job) for job in self.jobs(tokens) if job[TOKEN] in wanted}

    def cancel(self, tokens: Collection[str]) -> None:
        """Ask jobs to checkpoint and end; HTCondor kills them after job_max_vacate_time."""
        wanted = set(tokens)
        ids = [number(job) for job in self.jobs(tokens) if job[TOKEN] in wanted and job_state(job) in LIVE]
        for some in pieces(ids, JOBS_AT_ONCE):
            try:
                self.call("condor_rm", *some)
            except Refused as error:
                if "not found" not in str(error):  # it has ended meanwhile
                    raise

    def jobs(self, tokens: Collection[str], more: Iterable[str] = ()) -> list[dict[str, Any]]:
        """Return the jobs in the queue that belong to the batches of ``tokens``, with ``more`` of their attributes."""
        batches = batches_of(tokens)
        found: list[dict[str, Any]] = []
        for some in pieces(batches, JOBS_AT_ONCE):
            constraint = " || ".join(of(BATCH, name) for name in some)
            found += self.ads("condor_q", "-constraint", constraint, attributes=(*JOB, *more))
        return [job for job in found if TOKEN in job]

    def ads(self, *command: str, attributes: Iterable[str]) -> list[dict[str, Any]]:
        """Return what a command tells of jobs or machines."""
        try:
            found = json.loads(self.call(*command, "-json", "-attributes", ",".join(attributes)).strip() or "[]")
        except Refused as error:  # it has nothing to refuse
            raise Unavailable(f"{command[0]}: {error}") from error
        except ValueError as error:
            raise Unavailable(f"{command[0]}: its answer broke off") from error
        return list(found)

    def room(self, resources: Resources, open_jobs: int) -> int:  # noqa: ARG002  (the queue holds jobs of any size)
        """Return how many jobs more may be queued."""
        return self.site.queue_room(open_jobs)

    def check(self, resources: Resources) -> None:
        """Raise SubmitError where no machine has what is asked for, or condor_submit would not take such a job."""
        for name in FOREIGN:
            if getattr(self.site, name) is not None:
                raise SubmitError(
                    f"site.{name}: an HTCondor pool has none. Write site.htcondor.requirements, a ClassAd expression"
                )
        machines = self.machines()
        if not any(one.elastic for one in machines):
            check_size(resources, self.site, machines)
        tried = Batch("check", (Job("check-0", ("true", "check-0")),), resources, Path(tempfile.gettempdir()))
        text = re.sub(r"^executable = .*$", "executable = /bin/true", description(tried, self.site), flags=re.MULTILINE)
        try:
            self.call("condor_submit", "-dry-run", os.devnull, *self.site.options, "-", text=text)
        except Refused as error:
            raise SubmitError(f"site {self.site.name}: condor_submit would refuse such a job: {error}") from error

    def machines(self) -> list[Machine]:
        """Return the machines of the pool that the site's requirements allow."""
        allowed = re.sub(r"\bTARGET\.", "", self.site.htcondor.requirements or "true")
        constraint = f'SlotType =!= "Dynamic" && ({allowed})'
        return [machine(ad) for ad in self.ads("condor_status", "-constraint", constraint, attributes=ATTRIBUTES)]

    def outlook(self, resources: Resources) -> float | None:
        """Return the time to the next negotiation where a machine is free for such a job, else None."""
        return NEGOTIATION_S if any(one.fits(resources, self.site.gpu_model) for one in self.machines()) else None

    def explain(self, token: str) -> str:
        """Return why a job waits or is held, or how it ended."""
        found = [job for job in self.jobs([token], WORDS) if job[TOKEN] == token] or self.past(token)
        if not found:
            return ""
        return why_it_waits(found[0], self.analysis(found[0])) if found[0]["JobStatus"] == 1 else said_of(found[0])

    def analysis(self, job: dict[str, Any]) -> str:
        """Return what condor_q finds out about the machines for a job, "" where it finds nothing."""
        try:
            return self.call("condor_q", "-better-analyze", number(job))
        except Refused:
            return ""

    def past(self, token: str) -> list[dict[str, Any]]:
        """Return the job of a token as the history has it."""
        where = ("-constraint", of(TOKEN, token), "-match", "1", "-scanlimit", str(ENTRIES))
        return self.ads("condor_history", *where, attributes=(*JOB, *WORDS))

    def fetch(self, tokens: Collection[str], folder: Path) -> None:
        """Do nothing: HTCondor writes to the folder of the batch itself."""

    def call(self, *command: str, text: str | None = None) -> str:
        """Return what a command prints; raises Unavailable where HTCondor is silent, Refused where it says no."""
        ended = run(self.site, command, text, INHERITED, TIMEOUT_S, "where jobs of the pool are submitted")
        if ended.returncode:
            refuse(command[0], ended.stderr or ended.stdout)
        return ended.stdout


def refuse(command: str, said: str) -> NoReturn:
    """Raise what a command that failed means."""
    whole = " ".join(said.split())
    if LOGIN.search(whole):
        raise Expired(f"{command}: {one_line(whole)}. Renew your token or proxy")
    if SILENT.search(whole):
        raise Unavailable(f"{command}: {one_line(whole)}")
    raise Refused(one_line(whole) or "failed without a word")


def of(attribute: str, value: str) -> str:
    """Return the ClassAd condition that an attribute has a value."""
    return f"{attribute} =?= {quoted(value)}"


def number(job: dict[str, Any]) -> str:
    """Return the number of a job as commands take it."""
    return f"{job['ClusterId']}.{job['ProcId']}"
