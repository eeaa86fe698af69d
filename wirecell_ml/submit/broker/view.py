"""A site in the eyes of the broker during one round of decisions: what it expects of the next unit there."""

from dataclasses import dataclass, field
from typing import Any

from wirecell_ml.submit.broker.health import Health
from wirecell_ml.submit.broker.past import Place
from wirecell_ml.submit.broker.speeds import Runs
from wirecell_ml.submit.broker.waits import Waits
from wirecell_ml.submit.status import price

GROWTH = 2.0  # as many times the units that were seen to run at once may be tried next
SILENCE_S = 1800.0  # by so much longer a unit is expected to wait where the batch system does not answer


@dataclass
class View:
    """What is known of a site, and what this round has sent there so far."""

    name: str
    place: Place
    waits: Waits
    runs: Runs
    health: Health
    part: float  # the quantile that is planned with
    peak: int  # of the units that ran at once lately
    guess: float  # of the units that run at once, where nothing of ours is there yet
    sent: int = 0
    cache: dict[tuple[float, float | None], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.run_s = self.runs.quantile_s(0.5)
        self.long_run_s = self.runs.quantile_s(self.part)
        again = self.health.tries - 1
        self.lost_s = again * (self.health.wasted_s + self.wait_s())
        self.busy_s = self.run_s + again * self.health.wasted_s
        self.rate = self.at_once / self.busy_s
        self.price = price(self.busy_s, self.place.site.resources, self.place.site.cost)

    @property
    def at_once(self) -> float:
        """Units that are believed to run at once: as many as do, or more where slots are free."""
        place = self.place
        if place.running and (self.waits.full or not self.waits.flowing):
            return place.running
        seen = max(place.running, self.peak)
        if not seen:
            return self.guess
        return max(1.0, min(GROWTH * seen, place.running + place.waiting + max(0, place.room)))  # no room is for now

    @property
    def ahead(self) -> int:
        """Units of ours that the next one finds in the queue."""
        return self.place.waiting + self.sent

    def ended_by(self, seconds: float) -> float:
        """Return how many units that have not started yet can have ended by then, those in the queue first."""
        delay_s = 0.0 if self.place.running and self.waits.flowing else self.wait_s()
        queued = self.rate * max(0.0, seconds - self.long_run_s - delay_s)
        later = self.rate * max(0.0, seconds - self.long_run_s - self.wait_s())
        return min(queued, self.place.waiting + later)

    def wait_s(self, waited_s: float = 0.0) -> float:
        """Return how long the scheduler still keeps a unit."""
        key = (waited_s, self.place.outlook_s)
        if key not in self.cache:
            self.cache[key] = self.waits.quantile_s(self.part, self.place.outlook_s, waited_s)
        return self.cache[key]

    def queue_s(self, ahead: float, waited_s: float = 0.0) -> float:
        """Return how long a unit still waits: for the scheduler, and at least until those ahead have started.

        Where our own units have all slots, that it has waited long says nothing of the scheduler.
        """
        drained = ahead / self.rate if self.place.running else 0.0
        silent = SILENCE_S if self.place.trouble or self.health.closed_until else 0.0
        scheduler = self.wait_s() - waited_s if self.waits.full else self.wait_s(waited_s)
        return max(scheduler, drained) + silent

    def done_s(self, ahead: float, waited_s: float = 0.0) -> float:
        """Return in how many seconds a unit has ended, repetitions included."""
        return self.queue_s(ahead, waited_s) + self.long_run_s + self.lost_s

    def numbers(self) -> dict[str, Any]:
        """Return what the choice is made from."""
        return {
            "ahead": self.ahead,
            "wait_s": round(self.queue_s(self.ahead)),
            "run_s": round(self.long_run_s),
            "measured": self.runs.measured,
            "tries": round(self.health.tries, 3),
            "done_s": round(self.done_s(self.ahead)),
            "units_per_h": round(3600 * self.rate, 2),
            "price": round(self.price, 4),
        }
