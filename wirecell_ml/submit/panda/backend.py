"""PanDA as a place that runs jobs: what is asked of the server, and how often."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request

from wirecell_ml.errors import SubmitError
from wirecell_ml.submit.backend import Refused, Unavailable
from wirecell_ml.submit.job import Batch, Resources, batch_of, pieces
from wirecell_ml.submit.panda import reading, task
from wirecell_ml.submit.panda.login import valid_token
from wirecell_ml.submit.panda.queues import check_image, check_size, outlook_s, queues
from wirecell_ml.submit.panda.rest import Server, fetch, rows
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.states import JobState

KILL_CODE = 91  # also takes the user's own jobs from a token with a production role
JOBS_AT_ONCE = 100  # whose descriptions are asked for, which take the server 25 ms each
STATES_AT_ONCE = 300  # jobs whose states are asked for in one address
LONGEST_LOG_BYTES = 1_000_000
ALREADY = "jediTaskID="  # what a server that has a task of this name answers with, or that has put it there just now


@dataclass(frozen=True)
class Task:
    """What the server says of a task now."""

    number: int
    status: str
    statistics: str
    inputs: dict[str, str]  # token → status
    jobs: tuple[int, ...]


class Panda:
    """A PanDA server. What it remembers of tasks and jobs never changes, and can be asked for again."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.tasks: dict[str, int] = {}  # batch → number of its task
        self.job_tokens: dict[int, str] = {}  # number of a job → token; a token has one job, since maxAttempt is 1
        self.ends: dict[str, JobState] = {}  # token → how its job ended

    @property
    def server(self) -> Server:
        """The server, with a token that is valid now."""
        asked = task.settings(self.site)
        return Server(asked.url, asked.vo, valid_token(self.site))

    def render(self, batch: Batch) -> str:
        """Return the parameters of the task, and what is in its sandbox."""
        return task.said(batch, self.site)

    def submit(self, batch: Batch) -> None:
        """Send the sandbox, then the task; one that is there already is the one that was to be sent."""
        server, parameters = self.server, task.parameters(batch, self.site)
        try:
            server.upload("file_server/upload_cache_file", task.sandbox_name(batch), task.sandbox(batch, self.site))
        except Refused as error:
            if "cannot overwrite" not in str(error):
                raise
        try:
            number = server.post("task/submit", {"task_parameters": parameters})
        except Refused as error:
            number = str(error).partition(ALREADY)[2].split(" ")[0]
            if not number.isdigit():
                raise
        if number:
            self.tasks[batch.name] = int(number)

    def states(self, tokens: Collection[str]) -> dict[str, JobState]:
        """Return what PanDA says, from two answers for each task."""
        server = self.server if tokens else None
        found: dict[str, JobState] = {}
        for batch, asked in by_batch(tokens):
            assert server
            with asking(batch):
                found |= self.batch_states(server, batch, asked)
        return found

    def batch_states(self, server: Server, batch: str, asked: Collection[str]) -> dict[str, JobState]:
        """Return the states of tokens of one batch."""
        seen = self.look(server, batch)
        if seen is None:
            return dict.fromkeys(asked, JobState.WAITING) if batch in self.tasks else {}
        if not seen.inputs:
            return dict.fromkeys(asked, reading.input_state("", seen.status, JobState.WAITING))
        live = reading.common_state(seen.statistics)
        running = set() if live else self.running(server, batch, seen)
        states = {}
        for token in set(asked) & set(seen.inputs):
            job = live or (JobState.RUNNING if token in running else JobState.WAITING)
            states[token] = reading.input_state(seen.inputs[token], seen.status, job)
        failed = {token for token in states if seen.inputs[token] == "failed"}
        if failed - set(self.ends):
            self.learn_ends(server, batch, seen)
        return states | {token: self.ends.get(token, JobState.ENDED) for token in failed}

    def look(self, server: Server, batch: str) -> Task | None:
        """Return the task of a batch, or None while the server has none, or has only put its name down."""
        number = self.number(server, batch)
        if number is None:
            return None
        try:
            details = server.get("task/get_details", task_id=number, include_status=True)
        except Refused as error:
            if "not found" in str(error).lower():
                return None
            raise
        try:
            files = rows(server.get("task/get_datasets_and_files", task_id=number))
        except Refused as error:
            if "no data found" not in str(error).lower():
                raise
            files = []
        jobs = tuple(int(one) for one in details["PandaID"])
        return Task(number, details["status"], details["statistics"], reading.inputs(files), jobs)

    def number(self, server: Server, batch: str) -> int | None:
        """Return the number of the task of a batch, or None where the server knows none."""
        if batch not in self.tasks:
            name = task.task_name(batch, self.site)
            found = rows(server.get("task/get_tasks_detailed_info_since", filters=json.dumps({"taskName": name})))
            if not found:
                return None
            self.tasks[batch] = max(int(one["jediTaskID"]) for one in found)
        return self.tasks[batch]

    def running(self, server: Server, batch: str, seen: Task) -> set[str]:
        """Return the tokens whose jobs run, where others of the same task do not."""
        states: list[tuple[int, str]] = []
        for some in pieces(seen.jobs, STATES_AT_ONCE):
            said = server.get("job/get_status", job_ids=list(some))
            states += [(job, str(one[0])) for job, one in zip(some, said, strict=True)]
        jobs = [job for job, state in states if state in reading.JOB_RUNNING]
        self.learn_tokens(server, batch, jobs, most=1)
        return {self.job_tokens[job] for job in jobs if job in self.job_tokens}

    def learn_tokens(self, server: Server, batch: str, jobs: Sequence[int], most: int | None = None) -> None:
        """Ask for the tokens of jobs that are not known, in at most so many questions."""
        unknown = [job for job in jobs if job not in self.job_tokens]
        for some in list(pieces(unknown, JOBS_AT_ONCE))[:most]:
            for job in described(server, "job/get_description", some):
                if token := reading.job_token(job, batch):
                    self.job_tokens[int(job["PandaID"])] = token

    def learn_ends(self, server: Server, batch: str, seen: Task) -> None:
        """Ask how the jobs ended that did not finish."""
        jobs = rows(server.get("task/get_job_descriptions", task_id=seen.number, unsuccessful_only=True))
        ends = {reading.job_token(job, batch): reading.job_end(job) for job in jobs}
        failed = [token for token, status in seen.inputs.items() if status == "failed"]
        self.ends |= {token: ends.get(token, JobState.ENDED) for token in failed}

    def cancel(self, tokens: Collection[str]) -> None:
        """End jobs; a task that nobody wants any input of ends as a whole."""
        server = self.server if tokens else None
        for batch, unwanted in by_batch(tokens):
            assert server
            with asking(batch):
                seen = self.look(server, batch)
                if seen:
                    self.end(server, batch, seen, set(unwanted))
                elif batch in self.tasks:
                    raise Unavailable(f"{batch}: its task has no inputs yet that could be ended")

    def end(self, server: Server, batch: str, seen: Task, unwanted: set[str]) -> None:
        """End the jobs of tokens of one task; its inputs that have none yet are ended with the task only."""
        live = {token for token, status in seen.inputs.items() if status not in reading.INPUT_ENDED}
        if live <= unwanted and seen.status not in reading.TASK_ENDED:
            doomed = list(seen.jobs)
            told(server, "task/kill", {"task_id": seen.number})
        else:
            self.learn_tokens(server, batch, seen.jobs)
            doomed = [job for job in seen.jobs if self.job_tokens.get(job) in unwanted & live]
        if doomed:
            told(server, "job/kill", {"job_ids": doomed, "code": KILL_CODE})

    def room(self, resources: Resources, open_jobs: int) -> int:  # noqa: ARG002  (PanDA queues jobs of any size)
        """Return how many jobs more may be queued."""
        return self.site.queue_room(open_jobs)

    def check(self, resources: Resources) -> None:
        """Raise SubmitError where there is no such queue, or none that takes a job of this size."""
        check_image(self.site)
        try:
            known = self.server.get("metaconfig/get_site_specs", type="all")
        except Refused as error:
            raise SubmitError(f"site {self.site.name}: {error}") from error
        if not isinstance(known, dict):
            raise Unavailable("PanDA: a list of queues that is none")
        check_size(resources, self.site, queues(known, self.site))

    def outlook(self, resources: Resources) -> float | None:
        """Return how long those before it in the queue take, if each job takes the time that this one may."""
        queue = task.settings(self.site).queue
        with asking("statistics"):
            jobs = self.server.get("statistics/active_job_stats_by_site")
            return outlook_s(jobs, resources.minutes, queue)

    def explain(self, token: str) -> str:
        """Return what PanDA says of a token: of its job where it has one, else of its task."""
        batch, server = batch_of(token), self.server
        with asking(batch):
            seen = self.look(server, batch)
            if seen is None:
                return "PanDA has put the task down, and has not looked at it yet" if batch in self.tasks else ""
            if job := self.description(server, batch, seen, token):
                return reading.job_line(job)
            details = server.get("task/get_detailed_info", task_id=seen.number)
            why = f": {details['errorDialog']}" if details.get("errorDialog") else ""
            return f"task {seen.number} {seen.status}, input {seen.inputs.get(token, 'not there')}{why}"

    def description(self, server: Server, batch: str, seen: Task, token: str) -> dict[str, Any] | None:
        """Return the job of a token, or None before there is one."""
        self.learn_tokens(server, batch, seen.jobs)
        jobs = [job for job in seen.jobs if self.job_tokens.get(job, token) == token]
        found = described(server, "job/get_description_incl_archive", jobs[:JOBS_AT_ONCE])
        return next((job for job in found if reading.job_token(job, batch) == token), None)

    def fetch(self, tokens: Collection[str], folder: Path) -> None:
        """Bring the pilots' logs of ended jobs, where the pilots said at which address they are."""
        wanted = [token for token in tokens if not (folder / f"{token}.log").exists()]
        server = self.server if wanted else None
        for batch, some in by_batch(wanted):
            assert server
            with asking(batch):
                seen = self.look(server, batch)
                jobs = list(self.ended(server, batch, seen, some)) if seen else []
            for job in jobs:
                if log := pilot_log(str(job.get("pilotID") or ""), server.address):
                    folder.mkdir(parents=True, exist_ok=True)
                    (folder / f"{reading.job_token(job, batch)}.log").write_bytes(log)

    def ended(self, server: Server, batch: str, seen: Task, tokens: Collection[str]) -> Iterator[dict[str, Any]]:
        """Yield the jobs of tokens that have ended."""
        ended = {token for token in tokens if seen.inputs.get(token) in reading.INPUT_ENDED}
        jobs = [job for job in seen.jobs if ended and self.job_tokens.get(job) in {None, *ended}]
        for some in pieces(jobs, JOBS_AT_ONCE):
            for job in described(server, "job/get_description_incl_archive", some):
                if reading.job_token(job, batch) in ended:
                    yield job


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Take a refusal, and an answer that cannot be read, for silence: they say nothing of a job."""
    try:
        yield
    except Refused as error:
        raise Unavailable(f"{what}: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Unavailable(f"{what}: an answer that is not PanDA's: {type(error).__name__}: {error}") from error


def by_batch(tokens: Collection[str]) -> list[tuple[str, list[str]]]:
    """Return tokens by the batch that they were sent with."""
    found: dict[str, list[str]] = defaultdict(list)
    for token in tokens:
        found[batch_of(token)].append(token)
    return sorted(found.items())


def described(server: Server, endpoint: str, jobs: Sequence[int]) -> list[dict[str, Any]]:
    """Return the descriptions of jobs, of those that the server still has."""
    if not jobs:
        return []
    return list(rows([job for job in server.post(endpoint, {"job_ids": list(jobs)}) if job is not None]))


def told(server: Server, endpoint: str, order: dict[str, Any]) -> None:
    """Give an order to end what may have ended already."""
    try:
        server.post(endpoint, order)
    except Refused as error:
        if "not accepted if the task is" not in str(error):
            raise


def pilot_log(address: str, server: str) -> bytes:
    """Return the end of a pilot's log, b"" where it is not to be had; no token is shown for it.

    A worker says where it is: it must not send us round inside our own network.
    """
    address = address.partition("|")[0]
    if not address.startswith(("https://", f"http://{urlsplit(server).hostname}:")):
        return b""
    try:
        return fetch(Request(address))[-LONGEST_LOG_BYTES:]  # noqa: S310
    except HTTPError as error:
        error.close()
    except (Unavailable, ValueError):
        pass
    return b""
