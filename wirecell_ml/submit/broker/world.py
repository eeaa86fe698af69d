"""The world of a scenario: all that chance decides, drawn before the study begins, the same for every policy."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.submit.broker.scenarios import HORIZON_H, Scenario, SiteDay, hourly

Floats = NDArray[np.float64]

TRIES = 8  # fates of a unit at a site; the last of them is to succeed
STEP_S = 900.0  # between changes of slots that drift


@dataclass(frozen=True)
class Truth:
    """What will happen at one site, whoever sends units there."""

    day: SiteDay
    work_s: Floats  # (unit,), on a node of factor 1, staging not included
    nodes: Floats  # (node,): factor of its speed; as many as there are slots at most
    wait_factor: Floats  # (unit, try): wait over its median, or the wait itself where it is recorded
    fate: Floats  # (unit, try): uniform; below ``crashes`` it crashes, below that and ``losses`` it is lost
    point: Floats  # (unit, try): part of its run time after which it does
    notice_s: Floats  # (unit, try): time until a pre-emption
    changes: list[tuple[float, int]]  # seconds → slots, from 0 on
    forecast_error: Floats  # (poll,)

    def wait_s(self, unit: int, sent: int, hour: float) -> float:
        """Return how long the scheduler keeps a unit that was ``sent`` here before, at this hour of the day."""
        factor = float(self.wait_factor[unit, sent % TRIES])
        return factor if self.day.waits_s else factor * hourly(self.day.wait_s, hour)

    def run_s(self, unit: int, node: int) -> float:
        """Return how long a unit runs on a node where nothing goes wrong, staging included."""
        return self.day.staging_s + float(self.work_s[unit] / self.nodes[node])

    @cached_property
    def typical_run_s(self) -> float:
        """Seconds that a unit runs, on average."""
        return float(self.day.staging_s + self.work_s.mean() * (1 / self.nodes).mean())

    @cached_property
    def fastest(self) -> float:
        """Factor of the fastest node."""
        return float(self.nodes.max())

    @cached_property
    def slowest(self) -> float:
        """Factor of the slowest node."""
        return float(self.nodes.min())

    def least_wait_s(self, poll_s: float) -> Floats:
        """Return how long each unit is in flight at least before it starts, sent again after a poll or not."""
        factor = self.wait_factor if self.day.waits_s else self.wait_factor * min(self.day.wait_s.values())
        return np.asarray((factor + poll_s * np.arange(TRIES)).min(axis=1), float)

    def first_starts_s(self, start_h: float) -> Floats:
        """Return when each unit can start here, of a study that begins at this hour, however often it is sent."""
        factor = self.wait_factor.min(axis=1)
        if self.day.waits_s:
            return np.asarray(factor, float)
        steps = [0.0, *(3600 * ((hour - start_h) % 24) for hour in self.day.wait_s)]
        starts = [time + factor * hourly(self.day.wait_s, start_h + time / 3600) for time in steps]
        return np.asarray(np.min(starts, axis=0), float)

    def end(self, unit: int, met: int, node: int) -> tuple[str, float]:
        """Return how a try on a node ends and after how many seconds, if the unit has ``met`` so many fates here."""
        run_s = self.run_s(unit, node)
        kind, part, notice_s = self.fate_of(unit, met)
        if notice_s <= part * run_s:
            return "preempted", notice_s
        return kind, part * run_s

    def fate_of(self, unit: int, met: int) -> tuple[str, float, float]:
        """Return how a try ends, after which part of its run, and the seconds to a pre-emption if that comes first."""
        if met >= TRIES - 1:
            return "succeeded", 1.0, math.inf
        notice_s = float(self.notice_s[unit, met]) if self.day.preemptions_per_h else math.inf
        fate = float(self.fate[unit, met])
        if fate < self.day.crashes + self.day.losses:
            return "crashed" if fate < self.day.crashes else "lost", float(self.point[unit, met]), notice_s
        return "succeeded", 1.0, notice_s

    def whole_s(self, unit: int) -> tuple[float, float, float]:
        """Return what a unit takes here at least until it succeeds, on whatever nodes.

        That is seconds on a node of factor 1 that do the same, seconds in slots, and seconds from its first start on.
        """
        even_s = self.day.staging_s * self.slowest + float(self.work_s[unit])
        run_s = self.day.staging_s + float(self.work_s[unit]) / self.fastest
        taken_s = slot_s = lease_s = 0.0
        for met in range(TRIES):
            kind, part, notice_s = self.fate_of(unit, met)
            if kind == "succeeded" and run_s <= notice_s:
                break
            taken_s += min(part * even_s, notice_s * self.slowest)
            slot_s += min(part * run_s, notice_s)
            lease_s += self.day.lease_s if kind == "lost" and part * run_s <= notice_s else 0.0
        return taken_s + even_s, slot_s + run_s, slot_s + run_s + lease_s


def make_world(scenario: Scenario) -> dict[str, Truth]:
    """Return what will happen at each site."""
    random = np.random.default_rng(scenario.seed)
    if scenario.works_s:
        work = random.choice(scenario.works_s, scenario.units)
    else:
        work = scenario.work_s * np.exp(scenario.work_spread * random.standard_normal(scenario.units))
    return {name: make_truth(site, scenario, work, random) for name, site in scenario.sites.items()}


def make_truth(site: SiteDay, scenario: Scenario, work: Floats, random: np.random.Generator) -> Truth:
    """Draw what will happen at one site."""
    shape = (scenario.units, TRIES)
    factor = np.exp(site.wait_spread * random.standard_normal(shape))
    if site.waits_s:
        factor = random.choice(site.waits_s, shape)
    changes = slot_changes(site, scenario.start_h, random)
    polls = math.ceil(3600 * HORIZON_H / scenario.poll_s) if site.outlook_error is not None else 0
    return Truth(
        day=site,
        work_s=work / site.speed,
        nodes=np.exp(site.spread * random.standard_normal(max(1, max(slots for _, slots in changes)))),
        wait_factor=factor,
        fate=random.random(shape),
        point=random.random(shape),
        notice_s=3600 / max(1e-9, site.preemptions_per_h) * random.standard_exponential(shape),
        changes=changes,
        forecast_error=np.exp((site.outlook_error or 0) * random.standard_normal(min(polls, 100_000))),
    )


def slot_changes(site: SiteDay, start_h: float, random: np.random.Generator) -> list[tuple[float, int]]:
    """Return when a site has how many slots: its day, the drift about it, and its outages."""
    times = set(np.arange(0, 3600 * HORIZON_H, STEP_S).tolist()) if site.drift else {0.0}
    days = range(math.ceil(HORIZON_H / 24) + 1)
    times |= {3600 * (24 * day + hour - start_h) for day in days for hour in site.slots}
    stopping = [outage for outage in site.outages if outage.kind in ("dead", "drained")]
    times |= {3600 * hour for outage in stopping for hour in (outage.from_h, outage.to_h)}
    found: list[tuple[float, int]] = []
    drift, before = site.drift * random.standard_normal(), 0.0
    for time in sorted(time for time in times if time >= 0):
        kept = math.exp(-(time - before) / (3600 * site.drift_h))
        drift, before = drift * kept + site.drift * math.sqrt(1 - kept**2) * random.standard_normal(), time
        free = hourly(site.slots, start_h + time / 3600) * math.exp(drift - site.drift**2 / 2)
        out = any(outage.from_h <= time / 3600 < outage.to_h for outage in stopping)
        found.append((time, 0 if out else round(free)))
    return [change for index, change in enumerate(found) if not index or change[1] != found[index - 1][1]]
