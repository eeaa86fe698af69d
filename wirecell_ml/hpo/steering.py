"""The steering command of PanDA's HPO service: from the points and losses so far, the points to try next.

  phpo … --steeringExec \\
    "python -m wirecell_ml.hpo.steering input=%IN output=%OUT points=%NUM_POINTS max_points=%MAX_POINTS"
  … sampler=gp                      how points are chosen: configs/sampler
  … search=roi_unet                 a search space of configs/search, where --searchSpaceFile names none

The service fills in what begins with %. The same input gives the same output: what is proposed depends on the seed of
the sampler and on the points so far, so that a steering that was run twice proposes nothing else.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

import wirecell_ml.hpo.settings  # noqa: F401  (registers the types of configs/hpo.yaml)
from wirecell_ml import cli
from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.hpo.ordering import sampling
from wirecell_ml.hpo.phpo import LOSS, read_json, read_space, read_trials
from wirecell_ml.hpo.space import Space, parse_sweep
from wirecell_ml.hpo.trial import Params
from wirecell_ml.submit.arguments import Arguments, parse
from wirecell_ml.submit.mailbox import replace
from wirecell_ml.submit.ordering import compose_settings

GROUPS = ("search", "sampler")
STUDY = (*GROUPS, "sweep")  # settings that configs/hpo.yaml has, too
NO_LIMIT = 10**9  # points, where the service sets none


@dataclass(frozen=True)
class Steering:
    """One call of the service."""

    input: Path
    output: Path
    points: int  # to propose now
    max_points: int = NO_LIMIT  # of the whole search


def read_steering(words: Sequence[str]) -> Steering:
    """Return the settings of a call; raises ConfigError for a missing or a wrong one."""
    given = {name: value for name, _, value in (word.partition("=") for word in words)}
    needed = [item.name for item in fields(Steering) if item.default is MISSING]
    missing = [name for name in needed if not given.get(name)]
    if missing:
        raise ConfigError(f"steering: no {missing[0]}. Write input=%IN output=%OUT points=%NUM_POINTS")
    most = given.get("max_points", "None")
    limit = NO_LIMIT if most == "None" else whole("max_points", most)  # the service writes None for no limit
    return Steering(Path(given["input"]), Path(given["output"]), whole("points", given["points"]), limit)


def whole(name: str, text: str) -> int:
    """Return a number of points."""
    if not text.isdecimal():
        raise ConfigError(f"steering: {name}={text} is no number of points")
    return int(text)


def propose(space: Space, settings: Any, steering: Steering, held: Any) -> list[Params]:
    """Return the next points: as many as are asked for, fewer where the search has no room for more."""
    from wirecell_ml.hpo.proposer import Proposer  # here, since Optuna takes half a second

    proposer = Proposer(space, LOSS, *sampling(settings), trials=steering.max_points)
    proposer.restore(read_trials(steering.input, held))
    asked = (proposer.ask() for _ in range(steering.points))
    return [proposal[1] for proposal in asked if proposal is not None]


def find_space(held: Any, settings: Any, arguments: Arguments, place: str) -> Space:
    """Return the search space, which the service has or the command line names; raises ConfigError for none or two."""
    named = [word for word in arguments.own if word.startswith(("search=", "sweep="))]
    given = held.get("opt_space") if isinstance(held, dict) else None
    if given is not None and named:
        raise ConfigError(f"steering: two search spaces, {named[0]} and that of {place}. Leave one out")
    if given is not None:
        return read_space(given, f"{place}: opt_space")
    if not named:
        raise ConfigError(f"steering: no search space. Give phpo a --searchSpaceFile, or write search=…{known()}")
    if settings.sweep is not None:
        return Space.from_settings(parse_sweep(settings.sweep))
    plain: Any = OmegaConf.to_container(settings.search)
    return Space.from_settings(plain["sweep"], plain.get("first") or [])


def known() -> str:
    """Return the tail of an error about a missing search."""
    from wirecell_ml.composing import group_options

    return suggest("", group_options()["search"])


def steer(words: Sequence[str]) -> None:
    """Read what the service knows, and write what it shall try next; the file is there as a whole or not at all."""
    own = [item.name for item in fields(Steering)]
    arguments = parse(words, ["steer"], "steer", [*own, *STUDY])
    if arguments.training:
        name = arguments.training[0].partition("=")[0]
        raise ConfigError(f"steering: no setting '{name}'.{suggest(name, [*own, *STUDY])}")
    steering = read_steering([word for word in arguments.own if word.partition("=")[0] in own])
    others = tuple(word for word in arguments.own if word.partition("=")[0] not in own)
    arguments = Arguments("steer", others, (), arguments.config_dirs)
    settings = compose_settings("hpo", arguments)
    held = read_json(steering.input)
    space = find_space(held, settings, arguments, str(steering.input))
    points = [space.overrides(point) for point in propose(space, settings, steering, held)]
    replace(steering.output, json.dumps(points) + os.linesep)


if __name__ == "__main__":
    cli.run(lambda: steer(sys.argv[1:]), groups=GROUPS)
