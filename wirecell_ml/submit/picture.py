"""What a driver holds in memory between two reads of the ledger: open attempts, twins, what each site said."""

import time
from collections import Counter, defaultdict
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from wirecell_ml.submit.ledger import Attempt, Ledger, Unit
from wirecell_ml.submit.post import Address
from wirecell_ml.submit.states import OPEN, UNIT_ENDS, AttemptState, JobState

UNLUCKY = (AttemptState.FAILED_INFRA, AttemptState.LOST, AttemptState.CANCELLED)


@dataclass(frozen=True)
class Answer:
    """What a site answered, its batch system and its post, when it was asked about jobs."""

    asked_at: float
    tokens: frozenset[str]  # of the jobs that it was asked about
    jobs: dict[str, JobState] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)  # token of a job that ended unheard → what is said of it
    told: frozenset[str] = frozenset()  # tokens of attempts whose workers see their fence and stop mark now
    outlook_s: float | None = None  # until a job would start; None: it was not asked, or does not say
    fetched: frozenset[str] = frozenset()  # tokens of ended jobs whose words are here, as far as there are any
    silence: str = ""  # what it said in place of an answer


@dataclass
class Queue:
    """What the batch system of a site, and its post, said last."""

    jobs: dict[str, JobState] = field(default_factory=dict)
    asked_at: float = 0.0
    answered_at: float = 0.0  # when the question was asked that it last answered
    answering_since: float = 0.0  # when it began to answer without a break; 0: it does not
    silence: str = ""  # what it said in place of an answer
    silent_since: float = 0.0  # when it fell silent; 0: it has not
    quiet_since: dict[str, float] = field(default_factory=dict)  # token → since when its job has ended or is not known
    running_since: dict[str, float] = field(default_factory=dict)  # token → since when its job is said to run

    def take(self, answer: Answer) -> None:
        """Take in what a site has answered."""
        self.silence = answer.silence
        if answer.silence:
            self.answering_since, self.silent_since = 0.0, self.silent_since or answer.asked_at
            return
        self.silent_since = 0.0
        self.jobs, self.answered_at = answer.jobs, answer.asked_at
        self.answering_since = self.answering_since or answer.asked_at
        present = {token for token, state in answer.jobs.items() if state in (JobState.WAITING, JobState.RUNNING)}
        self.quiet_since = {t: self.quiet_since.get(t, answer.asked_at) for t in answer.tokens if t not in present}
        running = {token for token, state in answer.jobs.items() if state is JobState.RUNNING}
        self.running_since = {t: self.running_since.get(t, answer.asked_at) for t in running}

    def answering_s(self) -> float:
        """Return for how long the site has answered without a break, seconds."""
        return time.time() - (self.answering_since or time.time())

    def silent_s(self) -> float:
        """Return for how long the site has been silent, seconds."""
        return time.time() - (self.silent_since or time.time())

    def quiet_s(self, token: str) -> float:
        """Return for how long a job has ended or has not been known, seconds."""
        return time.time() - self.quiet_since.get(token, time.time())

    def running_s(self, token: str) -> float:
        """Return for how long a job has been said to run, seconds."""
        return time.time() - self.running_since.get(token, time.time())


@dataclass
class Standing:
    """How a driver stands with one site."""

    queue: Queue = field(default_factory=Queue)
    asking: Future[Answer] | None = None  # a question that is not answered yet; nothing else is asked of the site
    leftover: dict[str, Attempt] = field(default_factory=dict)  # by token: ended ones whose jobs may still be there
    said: dict[str, str] = field(default_factory=dict)  # token of a job that ended unheard → what was said of it
    fetched: set[str] = field(default_factory=set)  # tokens of ended jobs whose printed words are here
    untold: dict[str, Address] = field(default_factory=dict)  # attempts whose workers must see a new fence or stop mark
    outlook_s: float | None = None  # until a job would start, as the batch system said at outlook_at
    outlook_at: float = 0.0
    refusal: str = ""  # what the site said when it last refused jobs
    send_after: float = 0.0
    backoff_s: float = 0.0
    at_once: int | None = None  # jobs in one batch, after a larger one was refused; null: as many as the site takes

    @property
    def trouble(self) -> str:
        """What keeps the site from taking jobs, in a line."""
        return self.queue.silence or self.refusal


@dataclass
class Picture:
    """A study as its driver sees it."""

    units: list[Unit]
    attempts: dict[int, Attempt] = field(default_factory=dict)  # by unit: the one attempt that has not ended
    past: list[Attempt] = field(default_factory=list)  # attempts that have ended
    made: Counter[int] = field(default_factory=Counter)  # attempts made at each unit
    lost: Counter[int] = field(default_factory=Counter)  # of these, ended through nobody's fault
    failed: Counter[int] = field(default_factory=Counter)  # of these, crashed
    unlucky: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))  # unit → sites
    open_units: set[int] = field(default_factory=set)
    first_of: dict[str, int] = field(default_factory=dict)  # work → the unit that does it
    twins: dict[int, list[int]] = field(default_factory=dict)  # unit → those that wait for its result
    read_to: dict[int, tuple[Path, int]] = field(default_factory=dict)  # unit → progress file, and bytes read of it
    progress: dict[int, dict[str, float]] = field(default_factory=dict)  # unit → epoch → first objective
    pruned: set[int] = field(default_factory=set)  # units that were asked to end
    given_up: set[str] = field(default_factory=set)  # tokens of attempts taken for lost: a job that runs is a stuck one
    withdrawn: dict[str, str] = field(default_factory=dict)  # token of a job that waits too long → why
    sites: defaultdict[str, Standing] = field(default_factory=lambda: defaultdict(Standing))
    exhausted: bool = False  # there are no more proposals

    @property
    def trouble(self) -> str:
        """What keeps the driver from using all its sites, in a line."""
        said = {name: standing.trouble for name, standing in self.sites.items() if standing.trouble}
        return "; ".join(f"{name}: {why}" for name, why in said.items())

    def queue(self, attempt: Attempt) -> Queue:
        """Return what the site of an attempt said last."""
        return self.sites[attempt.site].queue

    def out(self, site: str | None = None) -> list[Attempt]:
        """Return the attempts that a site has, or may have; of all sites where none is named."""
        open_attempts = [one for one in self.attempts.values() if one.state is not AttemptState.PLANNED]
        return [one for one in open_attempts if site in (None, one.site)]

    def planned(self) -> list[Attempt]:
        """Return the attempts that are yet to be sent."""
        return [attempt for attempt in self.attempts.values() if attempt.state is AttemptState.PLANNED]

    def add_unit(self, unit: Unit) -> None:
        """Add a unit, in any state."""
        if unit.state not in UNIT_ENDS:
            self.open_units.add(unit.number)
        if unit.twin_of is None:
            self.first_of.setdefault(unit.key, unit.number)
        elif unit.state not in UNIT_ENDS:
            self.twins.setdefault(unit.twin_of, []).append(unit.number)

    def add_attempt(self, attempt: Attempt) -> None:
        """Add an attempt, in any state."""
        self.made[attempt.number] = max(self.made[attempt.number], attempt.attempt)
        if attempt.state in OPEN:
            self.attempts[attempt.number] = attempt
        else:
            self.count_end(attempt)

    def count_end(self, attempt: Attempt) -> None:
        """Count an attempt that has ended, and remember that its job may still be there."""
        self.attempts.pop(attempt.number, None)
        self.past.append(attempt)
        if attempt.state in (AttemptState.PREEMPTED, AttemptState.LOST):
            self.lost[attempt.number] += 1
        if attempt.state is AttemptState.FAILED_INFRA:
            self.failed[attempt.number] += 1
        if attempt.state in UNLUCKY:
            self.unlucky[attempt.number].add(attempt.site)
        if attempt.token:
            self.sites[attempt.site].leftover[attempt.token] = attempt
            self.withdrawn.pop(attempt.token, None)
        if attempt.token and attempt.state is AttemptState.LOST:
            self.given_up.add(attempt.token)


def read_picture(ledger: Ledger, study: str) -> Picture:
    """Return a study as its ledger has it."""
    picture = Picture(ledger.units(study))
    for unit in picture.units:
        picture.add_unit(unit)
    for attempt in ledger.attempts(study):
        picture.add_attempt(attempt)
    return picture
