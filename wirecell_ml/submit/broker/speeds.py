"""Speeds: how long a unit runs at each site, from its own runs there, and before those from a calibration."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import yaml

from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.submit.broker.columns import SUCCESS, Columns
from wirecell_ml.submit.broker.survival import Durations, together
from wirecell_ml.submit.site import Site

FIRST_GUESS_S = 1800.0  # of a unit, before any has run anywhere
PRIOR_WEIGHT, PRIOR_SPREAD = 1.0, 1.5  # what is believed of a site counts as so many runs there


@dataclass(frozen=True)
class Scaling:
    """Throughput against the number of workers by the universal scalability law: λn / (1 + σ(n−1) + κn(n−1))."""

    rate: float  # λ, with one worker, samples per second
    contention: float = 0.0  # σ, what has to be done one after the other
    coherency: float = 0.0  # κ, what workers have to tell each other

    def throughput(self, workers: int) -> float:
        """Return samples per second with so many workers."""
        more = workers - 1
        return self.rate * workers / (1 + self.contention * more + self.coherency * workers * more)


@dataclass(frozen=True)
class Step:
    """One measured way to train."""

    batch: int
    threads: int
    gpus: int
    seconds: float  # median of a step
    precision: str = "32"
    memory_gb: float = 0.0  # at the peak

    @property
    def samples_per_s(self) -> float:
        """Samples per second."""
        return self.batch / self.seconds


@dataclass(frozen=True)
class Profile:
    """What a calibration measured at one site for one model."""

    site: str
    model: str  # digest of the settings that were measured
    startup_s: float  # from the start of the process to its first step
    data_s: float  # to read and prepare one sample in one thread
    steps: tuple[Step, ...]
    threads: Scaling | None = None  # over CPU threads; None: too few points
    gpus: Scaling | None = None
    facts: Mapping[str, Any] | None = None  # of the machine, for people: the broker does not read them

    def samples_per_s(self, cores: int, gpus: int) -> float:
        """Return the throughput of a unit of this size: the best measured one, else what the scalability law says."""
        measured = [step.samples_per_s for step in self.steps if (step.threads, step.gpus) == (cores, gpus)]
        if measured:
            return max(measured)
        law, workers = (self.gpus, gpus) if gpus else (self.threads, cores)
        if law:
            return law.throughput(workers)
        alike = [step.samples_per_s for step in self.steps if bool(step.gpus) == bool(gpus)]
        return max(alike, default=math.nan)


def write_profile(profile: Profile, path: Path) -> None:
    """Write a profile as YAML."""
    values = {name: value for name, value in asdict(profile).items() if value is not None}
    values["steps"] = [asdict(step) for step in profile.steps]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def read_profile(path: Path) -> Profile:
    """Return the profile in a file; raises ConfigError for what is none."""
    try:
        values = yaml.safe_load(path.read_text())
        known = {field.name for field in fields(Profile)}
        for name in set(values) - known:
            raise ConfigError(f"{path}: '{name}' is no part of a profile.{suggest(name, known)}")
        laws = {name: Scaling(**values[name]) for name in ("threads", "gpus") if values.get(name)}
        return Profile(**values | {"steps": tuple(Step(**step) for step in values["steps"])} | laws)
    except (TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is no profile of a site: {error}. Write it anew with submit calibrate") from error


@dataclass(frozen=True)
class Runs:
    """The run times at one site: what is believed, and what was measured."""

    durations: Durations
    measured: int  # that ran to their end

    def quantile_s(self, part: float) -> float:
        """Return the seconds within which this ``part`` of the units has run."""
        return self.durations.quantile(part)


def read_runs(
    past: Mapping[str, Columns], sites: Mapping[str, Site], profiles: Mapping[str, Profile], now: float
) -> dict[str, Runs]:
    """Return the run times at each site; one that has few is believed to be like the others, as their profiles say."""
    measured = {name: measured_runs(past[name], now) for name in sites}
    speed = profiled_speeds(sites, profiles)
    work = typical_work(measured, speed)
    return {
        name: Runs(
            together([runs, Durations.around(work / speed[name], PRIOR_WEIGHT, PRIOR_SPREAD)]), int(runs.over.sum())
        )
        for name, runs in measured.items()
    }


def measured_runs(past: Columns, now: float) -> Durations:
    """Return the run times of this study at one site; one that still runs, or was cut short, lasts longer than that."""
    ran = past.mine & past.has_started
    return Durations.of(past.lasted_s(now)[ran], past.any_of(SUCCESS)[ran], np.ones(int(ran.sum())))


def profiled_speeds(sites: Mapping[str, Site], profiles: Mapping[str, Profile]) -> dict[str, float]:
    """Return samples per second of a unit at each site; one without a profile is like the median of the others."""
    size = {name: sites[name].resources for name in profiles if name in sites}
    known = {name: profiles[name].samples_per_s(of.cores, of.gpus) for name, of in size.items()}
    known = {name: speed for name, speed in known.items() if speed > 0}
    middle = median(known.values()) if known else 1.0
    return {name: known.get(name, middle) for name in sites}


def typical_work(measured: Mapping[str, Durations], speed: Mapping[str, float]) -> float:
    """Return the samples of a unit: the mean over sites, in the logarithm, of median run time times speed."""
    known = [
        (math.log(runs.quantile(0.5) * speed[name]), min(3, int(runs.over.sum())))
        for name, runs in measured.items()
        if runs.over.any()
    ]
    if not known:
        return FIRST_GUESS_S * max(speed.values(), default=1.0)
    return math.exp(sum(value * weight for value, weight in known) / sum(weight for _, weight in known))


def most_at_once(past: Columns, since: float) -> int:
    """Return how many units ran at once at most since then."""
    starts, ends = np.sort(past.started[past.has_started]), np.sort(past.ended[past.has_started & past.has_ended])
    times = starts[starts >= since]
    running = np.searchsorted(starts, times, side="right") - np.searchsorted(ends, times, side="right")
    return int(running.max(initial=len(starts) - len(ends)))
