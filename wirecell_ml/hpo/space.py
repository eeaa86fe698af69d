"""The search space of a study: which settings it may change, within which bounds."""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.hpo.distributions import (
    PLACE,
    Choices,
    Distribution,
    Parameter,
    Real,
    Whole,
    parameter_as_json,
    parameter_from_json,
    same,
    shown,
    spelled,
)
from wirecell_ml.hpo.grammar import parse_sweep, read_parameter, scalar, unpacked
from wirecell_ml.hpo.trial import Params, Scalar

__all__ = ["Choices", "Distribution", "Parameter", "Real", "Space", "Whole", "parse_sweep"]


@dataclass(frozen=True)
class Space:
    """Parameters in the order in which they are chosen, and the trials to begin with."""

    parameters: tuple[Parameter, ...]
    first: tuple[Params, ...] = ()

    def __post_init__(self) -> None:
        if not self.parameters:
            raise ConfigError(
                f"{PLACE} is empty. Name what to change, as in optimizer.lr: tag(log, interval(1e-4, 1e-2))"
            )
        for i, parameter in enumerate(self.parameters):
            check_condition(parameter, self.parameters[:i], self.by_name)

    @classmethod
    def from_settings(
        cls, sweep: Mapping[str, str | Mapping[str, Any]], first: Sequence[Mapping[str, Any]] = ()
    ) -> "Space":
        """Return the space that a search file or :func:`parse_sweep` describes."""
        space = cls(tuple(read_parameter(name, settings) for name, settings in sweep.items()))
        return replace(space, first=tuple(space.check(point, f"search.first[{i}]") for i, point in enumerate(first)))

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> "Space":
        """Return the space whose :meth:`as_json` is ``form``."""
        return cls(tuple(map(parameter_from_json, form["parameters"])), tuple(dict(point) for point in form["first"]))

    def as_json(self) -> dict[str, Any]:
        """Return a form of JSON types that :meth:`from_json` reads."""
        return {
            "parameters": [parameter_as_json(parameter) for parameter in self.parameters],
            "first": [dict(point) for point in self.first],
        }

    def digest(self) -> str:
        """Return the SHA-256 of the parameters; the trials to begin with can change without making another space."""
        text = json.dumps(self.as_json()["parameters"], sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def by_name(self) -> dict[str, Parameter]:
        """Parameters by the names of their overrides."""
        return {parameter.name: parameter for parameter in self.parameters}

    def active(self, params: Mapping[str, Scalar]) -> list[str]:
        """Return the names of the parameters that a trial with these ``params`` has."""
        chosen: Params = {}
        for parameter in self.parameters:
            if parameter.active(chosen):
                chosen[parameter.name] = params.get(parameter.name)
        return list(chosen)

    def check(self, point: Mapping[str, Any], place: str) -> Params:
        """Return ``point`` with every value as the space writes it; raises ConfigError where it is no point of it."""
        values = {name: self.check_value(name, value, place) for name, value in point.items()}
        active = self.active(values)
        for name in active:
            if name not in values:
                raise ConfigError(f"{place} has no value for '{name}'. Add one of {self.by_name[name].distribution}")
        for name in values:
            if name not in active:
                raise ConfigError(
                    f"{place}: '{name}' is only there when {spelled(self.by_name[name].when)}. Leave it out"
                )
        return {name: values[name] for name in active}

    def check_value(self, name: str, value: Any, place: str) -> Scalar:
        """Return ``value`` as the parameter of that ``name`` writes it."""
        if name not in self.by_name:
            raise ConfigError(f"{place}: '{name}' is not in the search space.{suggest(name, self.by_name)}")
        distribution, plain = self.by_name[name].distribution, scalar(value)
        if plain not in distribution:
            raise ConfigError(f"{place}: {name}={shown(plain)} is not within {distribution}")
        return distribution.cast(plain)

    def size(self) -> int | None:
        """Return the number of points, None where a parameter has no finite number of values."""
        if any(parameter.distribution.values() is None for parameter in self.parameters):
            return None
        return count(self.parameters, {}, {name for parameter in self.parameters for name in parameter.when})

    def grid(self, limit: int | None = None) -> Iterator[Params]:
        """Yield every point, the last parameter changing fastest, but no more than ``limit`` of them."""
        for parameter in self.parameters:
            if parameter.distribution.values() is None:
                text = f"{parameter.place}: a grid wants a finite number of values, {parameter.distribution} has not."
                raise ConfigError(f"{text} Write range(low, high, step) or choice(…), or take another sampler")
        return itertools.islice(points(self.parameters, {}), limit)

    def corners(self) -> list[Params]:
        """Return few points that together have every option and every bound at least once."""
        missing = {p.name: list(p.distribution.ends) for p in self.parameters}
        found = []
        while any(missing.values()):
            wanted = next(p for p in reversed(self.parameters) if missing[p.name])
            found.append(self.corner(self.requirements(wanted), missing))
        return found

    def corner(self, required: Params, missing: dict[str, list[Scalar]]) -> Params:
        """Return a point that has what is ``required``, and as much of what is ``missing`` as it can, crossed off."""
        point: Params = {}
        for parameter in self.parameters:
            if not parameter.active(point):
                continue
            left = missing[parameter.name]
            value = required.get(parameter.name, left[0] if left else parameter.distribution.ends[0])
            point[parameter.name] = parameter.distribution.cast(value)
            missing[parameter.name] = [end for end in left if not same(end, value)]
        return point

    def requirements(self, parameter: Parameter) -> Params:
        """Return the values that other parameters need for this one to be there."""
        required: Params = {}
        for name, value in parameter.when.items():
            required |= {**self.requirements(self.by_name[name]), name: value}
        return required

    def overrides(self, params: Mapping[str, Scalar]) -> dict[str, Any]:
        """Return the settings that a trial with these ``params`` changes, lists and dicts as such."""
        return {name: unpacked(name, value) for name, value in params.items()}


def points(parameters: Sequence[Parameter], chosen: Params) -> Iterator[Params]:
    """Yield every continuation of a point of which some parameters are ``chosen`` already."""
    if not parameters:
        yield chosen
        return
    head, *tail = parameters
    if not head.active(chosen):
        yield from points(tail, chosen)
        return
    for value in head.distribution.values() or ():
        yield from points(tail, {**chosen, head.name: value})


def count(parameters: Sequence[Parameter], chosen: Params, deciding: set[str]) -> int:
    """Return how many points there are, going through the values of ``deciding`` parameters only."""
    if not parameters:
        return 1
    head, *tail = parameters
    values = head.distribution.values() or ()
    if not head.active(chosen):
        return count(tail, chosen, deciding)
    if head.name not in deciding:
        return len(values) * count(tail, chosen, deciding)
    return sum(count(tail, {**chosen, head.name: value}, deciding) for value in values)


def check_condition(parameter: Parameter, before: Sequence[Parameter], known: Mapping[str, Parameter]) -> None:
    """Raise ConfigError for a ``when`` that no trial can fulfil."""
    names = [other.name for other in before]
    for name, value in parameter.when.items():
        place = f"{parameter.place}.when"
        if name not in known:
            raise ConfigError(f"{place}: '{name}' is not in the search space.{suggest(name, known)}")
        if name not in names:
            raise ConfigError(f"{place}: '{name}' is chosen later. Write {name} above {parameter.name}")
        values = known[name].distribution.values()
        if values is None:
            raise ConfigError(f"{place}: {known[name].distribution} of '{name}' never takes one value. Use a choice")
        if value not in known[name].distribution:
            raise ConfigError(f"{place}: {name} is never {shown(value)}.{suggest(shown(value), map(shown, values))}")
    needed = dict(parameter.when)
    for other in reversed(before):
        if other.name in needed and conflict(needed, other.when):
            raise ConfigError(f"{parameter.place}: never there, as '{other.name}' needs {spelled(other.when)}")
        needed |= other.when if other.name in needed else {}


def conflict(one: Mapping[str, Scalar], other: Mapping[str, Scalar]) -> bool:
    """Return whether both want another value of the same parameter."""
    return any(name in one and not same(one[name], value) for name, value in other.items())
