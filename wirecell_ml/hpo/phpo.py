"""Search spaces, points and losses as PanDA's HPO service (phpo, iDDS) writes them, read as ours.

idds_input.json   {"points": [[{name: value, …}, loss or null], …], "opt_space": a search space, or null}
output.json       of steering: [{name: value, …}, …], the new points; [] when there are enough
input.json        of an evaluation: {name: value, …}, one point
output.json       of an evaluation: {"status": 0, "loss": number}, or {"status": not 0, "message": text}

Names are those of our settings, optimizer.lr. A search space is that of a search file, in JSON: its ``sweep``, alone or
with what goes with it; or it is written in the words of phpo, {"optimizer.lr": {"method": "loguniform", "dimension":
{"low": 1e-4, "high": 1e-2}}}.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.hpo.distributions import Choices, Distribution, Parameter
from wirecell_ml.hpo.grammar import read_values, scalar
from wirecell_ml.hpo.space import Space
from wirecell_ml.hpo.trial import Trial

LOSS = {"loss": "minimize"}  # the objective of every study of the service
SPACE_FILE = {"sweep", "first", "objectives"}


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; raises ConfigError."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file. The service writes it where the command starts") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: no JSON: {error}") from error


def read_trials(path: Path, held: Any) -> list[Trial]:
    """Return the points that the service has, in its order, as trials; one whose loss is no number has failed."""
    points = held.get("points") if isinstance(held, dict) else None
    if not isinstance(points, list):
        raise ConfigError(f'{path}: no points in it. Steering reads {{"points": [[{{…}}, loss or null], …], …}}')
    return [read_trial(f"{path}: points[{number}]", number, pair) for number, pair in enumerate(points)]


def read_trial(place: str, number: int, pair: Any) -> Trial:
    """Return the trial of a point and its loss."""
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], dict):
        raise ConfigError(f"{place} is not a point and its loss, [{{…}}, number or null]")
    params, loss = pair
    if loss is None:
        return Trial(number, params, "ACTIVE")
    if isinstance(loss, bool) or not isinstance(loss, int | float):
        raise ConfigError(f"{place}: the loss {loss!r} is no number")
    if not math.isfinite(loss):
        return Trial(number, params, "FAILED")
    return Trial(number, params, "DONE", {"loss": float(loss)})


def read_space(held: Any, place: str) -> Space:
    """Return the search space that the service was given; raises ConfigError."""
    if isinstance(held, list):
        raise ConfigError(f"{place}: spaces of several segments. Submit each segment as a search of its own")
    if not isinstance(held, dict) or not held:
        raise ConfigError(f"{place}: no search space. It holds settings and what they may be")
    sweep: Any = held["sweep"] if "sweep" in held and held.keys() <= SPACE_FILE else held
    ours = {name: values for name, values in sweep.items() if not is_method(values)}
    space = Space.from_settings(ours) if ours else None
    theirs = [read_method(name, values, place) for name, values in sweep.items() if is_method(values)]
    parameters = (*(space.parameters if space else ()), *theirs)
    by_name = {parameter.name: parameter for parameter in parameters}
    whole = Space(tuple(by_name[name] for name in sweep))
    first = held.get("first") or [] if sweep is not held else []
    return Space(whole.parameters, tuple(whole.check(point, f"{place}: first[{i}]") for i, point in enumerate(first)))


def is_method(values: Any) -> bool:
    """Return whether a parameter is described in the words of phpo."""
    return isinstance(values, dict) and "method" in values


def read_method(name: str, values: Mapping[str, Any], place: str) -> Parameter:
    """Return a parameter that is described in the words of phpo."""
    method, dimension = str(values["method"]), values.get("dimension")
    if method not in METHODS:
        raise ConfigError(f"{place}.{name}: the method '{method}' is not known.{suggest(method, METHODS)}")
    try:
        return Parameter(name, METHODS[method](name, dimension))
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise ConfigError(f"{place}.{name}: {method} with {json.dumps(dimension)} cannot be read") from error


def categorical(_: str, of: Any) -> Distribution:
    """Return the options of a choice, each once."""
    options: Sequence[Any] = of["categories"]
    return Choices(tuple(dict.fromkeys(map(scalar, options))))


def from_text(text: str) -> Callable[[str, Any], Distribution]:
    """Return what reads the bounds of a method into a sweep of our grammar, which checks them."""
    return lambda name, of: read_values(name, text.format(**bounds(of)))[0]


def bounds(of: Mapping[str, Any]) -> dict[str, str]:
    """Return the bounds of a method as our grammar writes them, whole and not."""
    low, high = float(of["low"]), float(of["high"])
    step = float(of.get("q", 1))
    after = high + step / 2
    return {
        "low": repr(low),
        "high": repr(high),
        "step": repr(step),
        "after": repr(after),
        "first": str(round(low)),
        "last": str(round(high) + 1),
    }


METHODS: dict[str, Callable[[str, Any], Distribution]] = {
    "categorical": categorical,
    "loguniform": from_text("tag(log, interval({low}, {high}))"),
    "quniform": from_text("range({low}, {after}, {step})"),
    "uniform": from_text("interval({low}, {high})"),
    "uniformint": from_text("range({first}, {last})"),
}
