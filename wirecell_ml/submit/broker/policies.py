"""Policies to compare the broker with: what one would do without it."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count

from wirecell_ml.submit.broker.broker import Broker
from wirecell_ml.submit.broker.past import Choice, Past, Place, Queued, Wanted, Weights
from wirecell_ml.submit.broker.scenarios import Scenario
from wirecell_ml.submit.broker.simulation import Choosing, make_sites

Pick = Callable[[Mapping[str, int], Mapping[str, Place]], str | None]  # rooms left and places → a site, None: wait
PULLED = 0.1  # of the units that run, so many wait as well


class Fixed:
    """A policy that learns nothing: a function picks among the sites that have room."""

    def __init__(self, pick: Pick) -> None:
        self.pick = pick

    def learn(self, past: Iterable[Past], now: float) -> None:
        """Learn nothing."""

    def assign(
        self,
        wanted: Sequence[Wanted],
        places: Mapping[str, Place],
        left: int,  # noqa: ARG002
        now: float,  # noqa: ARG002
    ) -> list[Choice | None]:
        """Return what is picked."""
        rooms = {name: place.room for name, place in places.items()}
        choices: list[Choice | None] = []
        for _ in wanted:
            name = self.pick({name: room for name, room in rooms.items() if room > 0}, places)
            choices.append(Choice(name) if name else None)
            if name:
                rooms[name] -= 1
        return choices

    def withdraw(
        self,
        queued: Sequence[Queued],  # noqa: ARG002
        places: Mapping[str, Place],  # noqa: ARG002
        left: int,  # noqa: ARG002
        now: float,  # noqa: ARG002
    ) -> list[tuple[str, str]]:
        """Leave everything where it is."""
        return []


def single(site: str) -> Fixed:
    """Return the policy that sends everything to one site."""
    return Fixed(lambda rooms, _: site if site in rooms else None)


def round_robin() -> Fixed:
    """Return the policy that sends to each site in turn."""
    turn = count()

    def pick(rooms: Mapping[str, int], _: Mapping[str, Place]) -> str | None:
        names = sorted(rooms)
        return names[next(turn) % len(names)] if names else None

    return Fixed(pick)


def at_random(seed: int) -> Fixed:
    """Return the policy that rolls a die."""
    die = random.Random(seed)  # noqa: S311  (no secret)
    return Fixed(lambda rooms, _: die.choice(sorted(rooms)) if rooms else None)


def pull() -> Fixed:
    """Return the policy of pilots: each site has a few that wait, and gets another one when these start."""

    def pick(rooms: Mapping[str, int], places: Mapping[str, Place]) -> str | None:
        waiting = {name: places[name].waiting + places[name].room - room for name, room in rooms.items()}
        spare = {name: 2 + PULLED * places[name].running - number for name, number in waiting.items()}
        best = max(sorted(spare), key=lambda name: spare[name], default=None)
        return best if best and spare[best] > 0 else None

    return Fixed(pick)


def make_policy(name: str, scenario: Scenario) -> Choosing:
    """Return a policy by its name, of which ``only:SITE`` sends all to one site."""
    if name.startswith("only:"):
        return single(name.partition(":")[2])
    if name == "broker":
        return Broker(make_sites(scenario), weights=Weights(hours_per_currency=scenario.hours_per_currency))
    if name == "random":
        return at_random(scenario.seed)
    return {"round robin": round_robin, "pull": pull}[name]()
