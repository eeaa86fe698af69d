"""What a parameter of a search space can be: one of a few options, or a number within bounds."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, TypeGuard

from wirecell_ml.hpo.trial import Scalar

PLACE = "search.sweep"


@dataclass(frozen=True)
class Choices:
    """One of a few options; a list or a dict among them is its override text, ``[12,24]``."""

    options: tuple[Scalar, ...]

    def __contains__(self, value: object) -> bool:
        return any(same(option, value) for option in self.options)

    def __str__(self) -> str:
        return f"choice({', '.join(map(shown, self.options))})"

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """What a corner of the space can have."""
        return self.options

    def values(self) -> Sequence[Scalar]:
        """Return every value."""
        return self.options

    def cast(self, value: Scalar) -> Scalar:
        """Return ``value``, which is among the options, as it is written there."""
        return next(option for option in self.options if same(option, value))


@dataclass(frozen=True)
class Whole:
    """Whole numbers from ``low`` to ``high``, both included."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    def __contains__(self, value: object) -> bool:
        return is_number(value) and value == int(value) and int(value) in self.values()

    def __str__(self) -> str:
        if self.step > 1:
            return f"range({self.low}, {self.high + 1}, {self.step})"
        return logged(f"interval({self.low}, {self.high})", self.log)

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """What a corner of the space can have."""
        return (self.low, self.high)

    def values(self) -> range:
        """Return every value."""
        return range(self.low, self.high + 1, self.step)

    def cast(self, value: Scalar) -> Scalar:
        """Return ``value``, which is among these numbers, without a decimal point."""
        return int(value or 0)


@dataclass(frozen=True)
class Real:
    """Numbers from ``low`` to ``high``, both included; all of them without a ``step``."""

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def __contains__(self, value: object) -> bool:
        if not is_number(value) or not self.low <= value <= self.high:
            return False
        return self.step is None or math.isclose(self.cast(value), value, abs_tol=1e-9 * self.step)

    def __str__(self) -> str:
        if self.step:
            return f"range({self.low!r}, {float(exact(self.high) + exact(self.step))!r}, {self.step!r})"
        return logged(f"interval({self.low!r}, {self.high!r})", self.log)

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """What a corner of the space can have."""
        return (self.low, self.high)

    def values(self) -> Sequence[float] | None:
        """Return every value, None where they cannot be counted."""
        if self.step is None:
            return None
        low, high, step = exact(self.low), exact(self.high), exact(self.step)
        return [float(low + i * step) for i in range(round((high - low) / step) + 1)]

    def cast(self, value: Scalar) -> float:
        """Return ``value``, which is among these numbers, with a decimal point."""
        number = float(value or 0)
        return number if self.step is None else min(self.values() or (), key=lambda near: abs(near - number))


Distribution = Choices | Whole | Real
KINDS: dict[str, Callable[..., Distribution]] = {"choices": Choices, "whole": Whole, "real": Real}


@dataclass(frozen=True)
class Parameter:
    """One setting that a study changes, by the name of its override."""

    name: str
    distribution: Distribution
    when: dict[str, Scalar] = field(default_factory=dict)  # only where these parameters before it have these values

    @property
    def place(self) -> str:
        """Where an error in it is."""
        return f"{PLACE}.{self.name}"

    def active(self, params: Mapping[str, Scalar]) -> bool:
        """Return whether a trial with these ``params`` has this parameter, too."""
        return all(name in params and same(params[name], value) for name, value in self.when.items())


def parameter_as_json(parameter: Parameter) -> dict[str, Any]:
    """Return a parameter in JSON types."""
    kind = next(name for name, known in KINDS.items() if type(parameter.distribution) is known)
    numbers = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(parameter.distribution).items()}
    return {"name": parameter.name, "kind": kind, **numbers, "when": dict(parameter.when)}


def parameter_from_json(form: Mapping[str, Any]) -> Parameter:
    """Return the parameter of :func:`parameter_as_json`."""
    numbers = {
        key: tuple(v) if key == "options" else v for key, v in form.items() if key not in ("name", "kind", "when")
    }
    return Parameter(form["name"], KINDS[form["kind"]](**numbers), dict(form["when"]))


def same(one: object, other: object) -> bool:
    """Return whether two values are one setting: 1 and 1.0 are, 1 and true are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether ``value`` is a finite number and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def exact(number: Any) -> Decimal:
    """Return ``number`` as it is written, so that three steps of 0.1 are 0.3."""
    return Decimal(repr(number)) if isinstance(number, float) else Decimal(number)


def shown(value: object) -> str:
    """Return ``value`` as an override writes it."""
    return (
        {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    )


def spelled(when: Mapping[str, Scalar]) -> str:
    """Return conditions as overrides."""
    return " ".join(f"{name}={shown(value)}" for name, value in when.items())


def logged(text: str, log: bool) -> str:
    """Return ``text`` with the tag that makes it logarithmic."""
    return f"tag(log, {text})" if log else text
