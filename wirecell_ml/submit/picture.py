"""What a driver holds in memory between two reads of the ledger: open attempts, twins, what the batch system said."""

import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from wirecell_ml.submit.backend import Backend, Unavailable
from wirecell_ml.submit.ledger import Attempt, Ledger, Unit
from wirecell_ml.submit.states import OPEN, UNIT_ENDS, AttemptState, JobState


@dataclass
class Queue:
    """What the batch system said last."""

    jobs: dict[str, JobState] = field(default_factory=dict)
    asked_at: float = 0.0
    answered_at: float = 0.0  # when it last answered; older than asked_at: it is silent
    silence: str = ""  # what it said in place of an answer
    quiet_since: dict[str, float] = field(default_factory=dict)  # token → since when its job has ended or is not known
    running_since: dict[str, float] = field(default_factory=dict)  # token → since when its job is said to run

    def ask(self, backend: Backend, tokens: Collection[str]) -> None:
        """Ask the batch system about jobs."""
        self.asked_at = time.time()
        try:
            self.jobs = backend.states(tokens) if tokens else {}
        except Unavailable as error:
            self.silence = str(error)
            return
        self.answered_at, self.silence = self.asked_at, ""
        present = {token for token, state in self.jobs.items() if state in (JobState.WAITING, JobState.RUNNING)}
        self.quiet_since = {t: self.quiet_since.get(t, self.asked_at) for t in tokens if t not in present}
        running = {token for token, state in self.jobs.items() if state is JobState.RUNNING}
        self.running_since = {t: self.running_since.get(t, self.asked_at) for t in running}

    def quiet_s(self, token: str) -> float:
        """Return for how long a job has ended or has not been known, seconds."""
        return time.time() - self.quiet_since.get(token, time.time())

    def running_s(self, token: str) -> float:
        """Return for how long a job has been said to run, seconds."""
        return time.time() - self.running_since.get(token, time.time())


@dataclass
class Picture:
    """A study as its driver sees it."""

    units: list[Unit]
    attempts: dict[int, Attempt] = field(default_factory=dict)  # by unit: the one attempt that has not ended
    made: Counter[int] = field(default_factory=Counter)  # attempts made at each unit
    lost: Counter[int] = field(default_factory=Counter)  # of these, ended through nobody's fault
    failed: Counter[int] = field(default_factory=Counter)  # of these, crashed
    open_units: set[int] = field(default_factory=set)
    first_of: dict[str, int] = field(default_factory=dict)  # work → the unit that does it
    twins: dict[int, list[int]] = field(default_factory=dict)  # unit → those that wait for its result
    read_to: dict[int, tuple[Path, int]] = field(default_factory=dict)  # unit → progress file, and bytes read of it
    progress: dict[int, dict[str, float]] = field(default_factory=dict)  # unit → epoch → first objective
    pruned: set[int] = field(default_factory=set)  # units that were asked to end
    leftover: set[str] = field(default_factory=set)  # tokens of ended attempts whose jobs may still be there
    given_up: set[str] = field(default_factory=set)  # of these, taken for lost: a job that runs is a stuck one
    queue: Queue = field(default_factory=Queue)
    exhausted: bool = False  # there are no more proposals
    refusal: str = ""  # what the site said when it last refused jobs
    send_after: float = 0.0
    backoff_s: float = 0.0
    at_once: int | None = None  # jobs in one batch, after a larger one was refused; null: as many as the site takes

    @property
    def trouble(self) -> str:
        """What keeps the driver from going on, in a line."""
        return self.queue.silence or self.refusal

    def out(self) -> list[Attempt]:
        """Return the attempts that a site has, or may have."""
        return [attempt for attempt in self.attempts.values() if attempt.state is not AttemptState.PLANNED]

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
        if attempt.state in (AttemptState.PREEMPTED, AttemptState.LOST):
            self.lost[attempt.number] += 1
        if attempt.state is AttemptState.FAILED_INFRA:
            self.failed[attempt.number] += 1
        if attempt.token:
            self.leftover.add(attempt.token)
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
