"""Tallies: what each site of a study has, has done, and took for it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from wirecell_ml.submit.ledger import Attempt
from wirecell_ml.submit.states import ATTEMPT_ENDS, AttemptState


@dataclass(frozen=True)
class Tally:
    """The attempts of a study at one site."""

    site: str
    waiting: int
    running: int
    ended: int
    done: int  # of these, with a result
    wait_s: float | None  # median time from the submission to the first word of the runner; None: none has begun
    run_s: float | None  # median time that attempts with a result ran
    core_seconds: float

    @property
    def jobs(self) -> int:
        """Attempts that the site has or has had."""
        return self.waiting + self.running + self.ended


def site_tallies(attempts: Sequence[Attempt], sites: Iterable[str]) -> list[Tally]:
    """Return a tally for each site."""
    return [tally(site, [attempt for attempt in attempts if attempt.site == site]) for site in sites]


def tally(site: str, attempts: Sequence[Attempt]) -> Tally:
    """Return the tally of the attempts at a site."""
    running = sum(attempt.state is AttemptState.RUNNING for attempt in attempts)
    ended = [attempt for attempt in attempts if attempt.state in ATTEMPT_ENDS]
    done = [attempt for attempt in ended if attempt.state is AttemptState.SUCCEEDED]
    waits = [one.started - one.submitted for one in attempts if one.started and one.submitted]
    return Tally(
        site=site,
        waiting=len(attempts) - len(ended) - running,
        running=running,
        ended=len(ended),
        done=len(done),
        wait_s=median(waits) if waits else None,
        run_s=median(one.run_seconds for one in done) if done else None,
        core_seconds=sum(one.core_seconds for one in attempts),
    )
