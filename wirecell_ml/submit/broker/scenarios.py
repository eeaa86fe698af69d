"""Scenarios: days of several sites, as YAML files describe them, to try a broker on."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.paths import shipped

HORIZON_H = 24 * 14.0  # a day that takes longer than this is given up
OUTAGES = {
    "silent": "the batch system takes and tells nothing, jobs go on",
    "drained": "nothing starts",
    "dead": "silent, and jobs are killed without a word",
    "broken": "every job that starts crashes at once",
}


@dataclass
class Outage:
    """Trouble of a site, in hours since the study began."""

    from_h: float = 0.0
    to_h: float = 0.0
    kind: str = "dead"


@dataclass
class SiteDay:
    """What happens at one site."""

    speed: float = 1.0  # work done per second
    spread: float = 0.1  # of the speeds of its nodes, standard deviation of the logarithm
    slots: dict[int, float] = field(default_factory=lambda: {0: 10})  # hour of the day → units that can run at once
    drift: float = 0.0  # standard deviation of the logarithm of the slots about that, as others come and go
    drift_h: float = 6.0  # hours after which that is forgotten
    wait_s: dict[int, float] = field(default_factory=lambda: {0: 60})  # hour of the day → median wait of the scheduler
    wait_spread: float = 0.5  # standard deviation of the logarithm of waits
    waits_s: list[float] | None = None  # recorded waits, in place of those two
    staging_s: float = 0.0  # before the work of a unit begins, its slot taken
    crashes: float = 0.0  # probability that an attempt crashes
    losses: float = 0.0  # probability that it vanishes, which is known after the lease
    preemptions_per_h: float = 0.0
    preemptible: bool = False  # whether units are ended when slots go away; else they run to their end
    outages: list[Outage] = field(default_factory=list)
    hourly_price: float = 0.0  # of a unit
    in_flight: int = 1000  # units waiting or running
    lease_s: float = 900.0
    outlook_error: float | None = 0.5  # of the scheduler's forecast, standard deviation of the logarithm; null: none


@dataclass
class Scenario:
    """One study on one day."""

    name: str = "???"
    about: str = ""
    seed: int = 0
    units: int = 500
    work_s: float = 1800.0  # median, on a site of speed 1
    work_spread: float = 0.4  # standard deviation of the logarithm
    works_s: list[float] | None = None  # recorded work, in place of those two
    start_h: float = 9.0  # hour of the day
    poll_s: float = 60.0
    hours_per_currency: float = 0.0  # what a unit of money is worth
    sites: dict[str, SiteDay] = field(default_factory=dict)


def read_scenario(path: Path) -> Scenario:
    """Return the scenario in a file; raises ConfigError for what is none."""
    try:
        values = yaml.safe_load(path.read_text())
        merged = OmegaConf.merge(OmegaConf.structured(Scenario), {"name": path.stem} | values)
        scenario = OmegaConf.to_object(merged)
    except (OmegaConfBaseException, yaml.YAMLError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is no scenario: {str(error).splitlines()[0]}") from error
    assert isinstance(scenario, Scenario)
    check(scenario, path)
    return scenario


def check(scenario: Scenario, path: Path) -> None:
    """Raise ConfigError for what no day can be."""
    if not scenario.sites or scenario.units < 1:
        raise ConfigError(f"{path}: a scenario has at least one site and one unit")
    for name, site in scenario.sites.items():
        kinds = {outage.kind for outage in site.outages}
        for kind in kinds - set(OUTAGES):
            raise ConfigError(f"{path}: sites.{name}.outages: '{kind}' is not known.{suggest(kind, OUTAGES)}")
        if site.speed <= 0 or max(slots for slots in site.slots.values()) < 1:
            raise ConfigError(f"{path}: sites.{name}: speed is above 0, and slots at least 1 at some hour")


def find_scenarios(names: list[str]) -> list[Scenario]:
    """Return scenarios by name or by path; all that are shipped, where there are no names."""
    folder = shipped("submit") / "scenarios"
    known = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    for name in names:
        if name not in known and not Path(name).is_file():
            raise ConfigError(f"no scenario '{name}', and no such file.{suggest(name, known)}")
    return [read_scenario(known.get(name, Path(name))) for name in names or known]


def as_yaml(scenario: Scenario) -> str:
    """Return a scenario as YAML, without what is as always."""
    values = without(OmegaConf.to_container(OmegaConf.structured(scenario)), OmegaConf.to_container(plain(Scenario)))
    for site in values.get("sites", {}).values():
        for name, value in OmegaConf.to_container(plain(SiteDay)).items():  # type: ignore[union-attr]
            if site.get(name) == value:
                del site[name]
    text: str = yaml.safe_dump(values, sort_keys=False, width=120, default_flow_style=None)
    return text


def plain(kind: type) -> Any:
    """Return a dataclass with its defaults as a config."""
    return OmegaConf.structured(kind)


def without(values: Any, defaults: Any) -> dict[str, Any]:
    """Return the values that differ from the defaults."""
    return {name: value for name, value in values.items() if defaults.get(name) != value}


def random_scenario(seed: int) -> Scenario:
    """Return a day drawn at random: the check that a broker is not made for the shipped ones."""
    draw = random.Random(seed)  # noqa: S311  (no secret)
    sites = {f"site{index}": random_site(draw) for index in range(draw.randint(2, 8))}
    slots = sum(max(site.slots.values()) * site.speed for site in sites.values())
    work_s = draw.choice([600.0, 1800.0, 3600.0])
    hours = draw.uniform(4, 20)
    units = max(20, min(3000, round(0.6 * slots * hours * 3600 / work_s)))
    return Scenario(
        name=f"random{seed}", seed=seed, units=units, work_s=work_s, work_spread=draw.uniform(0.1, 0.6),
        start_h=draw.uniform(0, 24), sites=sites,
    )  # fmt: skip


def random_site(draw: random.Random) -> SiteDay:
    """Return a site drawn at random."""
    most = round(10 ** draw.uniform(0.5, 2.2))
    night, day = most, max(1, round(most * draw.uniform(0.3, 1)))
    begin = draw.uniform(0, 12)
    outages = [Outage(begin, begin + draw.uniform(0.5, 4), draw.choice(list(OUTAGES)))] if draw.random() < 0.3 else []
    wait_s = 10 ** draw.uniform(1, 3.8)
    return SiteDay(
        speed=draw.uniform(0.3, 1.5),
        spread=draw.uniform(0.02, 0.2),
        slots={0: night, 8: day, 19: night},
        drift=draw.choice([0.0, 0.0, 0.2, 0.4]),
        wait_s={0: 0.5 * wait_s, 8: wait_s, 19: 0.5 * wait_s},
        wait_spread=draw.uniform(0.2, 1.0),
        staging_s=draw.choice([0.0, 60.0, 300.0]),
        crashes=draw.choice([0.0, 0.02, 0.1, 0.3]),
        losses=draw.choice([0.0, 0.01, 0.03]),
        preemptions_per_h=draw.choice([0.0, 0.0, 0.2]),
        preemptible=draw.random() < 0.3,
        outages=outages,
        in_flight=draw.choice([100, 300, 1000]),
        outlook_error=draw.choice([None, 0.5, 1.0]),
    )


def hourly(steps: Mapping[int, float], hour: float) -> float:
    """Return the value of a day's steps at an hour: of the last that began, be it the day before."""
    begun = [since for since in steps if since <= hour % 24]
    return steps[max(begun or steps)]
