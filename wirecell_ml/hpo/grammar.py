"""Hydra's sweep grammar, read as the parameters of a search space."""

import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    Transformer,
)
from hydra.errors import HydraException

from wirecell_ml.errors import ConfigError, suggest
from wirecell_ml.hpo.distributions import PLACE, Choices, Distribution, Parameter, Real, Whole, exact, shown
from wirecell_ml.hpo.trial import Params, Scalar

FUNCTIONS = ("choice", "float", "int", "interval", "range", "tag")  # of Hydra's grammar, those that a sweep can use


def parse_sweep(text: str) -> dict[str, str]:
    """Return the values of each override in ``model.width=16,32 optimizer.lr=interval(1e-4,1e-2)``."""
    sweep: dict[str, str] = {}
    for item in split(text):
        name, sign, values = item.partition("=")
        if not sign:
            raise ConfigError(f"sweep: '{item}' gives no values. Write {item}=choice(…)")
        if name in sweep:
            raise ConfigError(f"sweep: '{name}' is there twice. Write all its values once")
        sweep[name] = values
    return sweep


def split(text: str) -> list[str]:
    """Return the parts of ``text`` between blanks that are neither in brackets or quotes nor after a comma."""
    items, depth, quote, last = [""], 0, "", ""
    for letter in text:
        if quote:
            quote = "" if letter == quote and last != "\\" else quote
        elif letter in "'\"":
            quote = letter
        depth += 0 if quote else (letter in "([{") - (letter in ")]}")
        if letter.isspace() and not quote and not depth:
            items += [""] if items[-1] and not items[-1].endswith(",") else []
        else:
            items[-1] += letter
        last = letter
    if quote or depth:
        raise ConfigError(f"sweep: a quote or a bracket is not closed in '{items[-1]}'")
    return [item for item in items if item]


def read_parameter(name: str, settings: str | Mapping[str, Any]) -> Parameter:
    """Return the parameter that an entry of a search file describes."""
    place = f"{PLACE}.{name}"
    if isinstance(settings, str):
        settings = {"values": settings}
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{place}: {settings} is no sweep. Write its values in Hydra's grammar, as choice(16, 32)")
    for key in settings:
        if key not in ("values", "when"):
            raise ConfigError(f"{place}: '{key}' is not known.{suggest(str(key), ('values', 'when'))}")
    if not isinstance(settings.get("values"), str):
        raise ConfigError(f'{place}: no values. Write {{values: "choice(16, 32)", when: {{…}}}}')
    distribution, tagged = read_values(name, settings["values"])
    when = {key: scalar(value) for key, value in (settings.get("when") or {}).items()}
    return Parameter(name, distribution, {**tagged, **when})


def read_values(name: str, text: str) -> tuple[Distribution, Params]:
    """Return what ``text`` lets the override ``name`` be, and the conditions among its tags."""
    place = f"{PLACE}.{name}"
    override = parse(name, text, place)
    sweep = override.value()
    if isinstance(sweep, Glob):
        raise ConfigError(f"{place}: {text} would change with the files that are there. Name the options: choice(…)")
    if not isinstance(sweep, (ChoiceSweep, RangeSweep, IntervalSweep)):
        raise ConfigError(f"{place}: {text} is one value and no sweep. Give it as {name}={text}, outside of the sweep")
    if getattr(sweep, "shuffle", False):
        raise ConfigError(f"{place}: {text}: the sampler decides the order. Leave shuffle out")
    conditions = [tag for tag in sorted(sweep.tags) if "=" in tag]
    for tag in sweep.tags - {"log", *conditions}:
        raise ConfigError(f"{place}: tag '{tag}' is not known.{suggest(tag, ('log', 'name=value'))}")
    return READERS[type(sweep)](sweep, text, place), dict(read_condition(tag, place) for tag in conditions)


def parse(name: str, text: str, place: str) -> Override:
    """Return what Hydra reads in ``name=text``."""
    if name[:1] in ("+", "~"):
        raise ConfigError(f"{place}: a sweep changes settings that exist. Add or delete with an ordinary override")
    try:
        override = parser().parse_override(f"{name}={text}")
    except HydraException as error:
        unknown = re.search(r"Unknown function '(\w+)'", str(error))
        why = f"no function '{unknown[1]}'.{suggest(unknown[1], FUNCTIONS)}" if unknown else str(error)
        raise ConfigError(f"{place}: cannot read '{text}': {' '.join(why.split())}") from error
    if override.is_hydra_override():
        raise ConfigError(f"{place}: a setting of Hydra is none of the training. Give it outside of the sweep")
    return override


@cache
def parser() -> OverridesParser:
    """Return Hydra's parser of overrides."""
    return OverridesParser.create()


def read_condition(tag: str, place: str) -> tuple[str, Scalar]:
    """Return name and value of a condition in a tag, ``optimizer=sgd``."""
    name, _, text = tag.partition("=")
    return name, scalar(parse(name, text, place).value())


def read_choice(sweep: ChoiceSweep, text: str, place: str) -> Choices:
    """Return the options of ``a,b`` or ``choice(a,b)``."""
    check_no_log(sweep, text, place)
    options: list[Scalar] = []
    for element in sweep.list:
        option = scalar(element)
        if isinstance(option, float) and not math.isfinite(option):
            raise ConfigError(f"{place}: {option} is no finite number. Leave it out")
        if option in options:  # to Optuna 1, 1.0 and true are the same option
            raise ConfigError(f"{place}: {text} has {shown(option)} twice. Write every option once")
        options.append(option)
    return Choices(tuple(options))


def read_range(sweep: RangeSweep, text: str, place: str) -> Whole | Real:
    """Return the numbers of ``range(low, high, step)``, which ends before ``high``."""
    check_no_log(sweep, text, place)
    low, high, step = exact(sweep.start), exact(sweep.stop), exact(sweep.step)
    if not step > 0:
        raise ConfigError(f"{place}: {text} counts down. Write range(low, high, step) with a step above 0")
    if low >= high:
        raise ConfigError(f"{place}: {text} has its bounds the wrong way round, or equal. Write range(low, high, step)")
    last = low + (math.ceil((high - low) / step) - 1) * step
    if all(isinstance(bound, int) for bound in (sweep.start, sweep.stop, sweep.step)):
        return Whole(int(low), int(last), int(step))
    return Real(float(low), float(last), float(step))


def read_interval(sweep: IntervalSweep, text: str, place: str) -> Whole | Real:
    """Return the numbers of ``interval(low, high)``: whole ones where both bounds are written so."""
    low, high, log = sweep.start, sweep.end, "log" in sweep.tags
    if low is None or high is None or not math.isfinite(low) or not math.isfinite(high):
        raise ConfigError(f"{place}: {text} wants two finite bounds. Write interval(low, high)")
    check_order(low, high, text, place)
    if log and low <= 0:
        raise ConfigError(f"{place}: {text}: the logarithm wants bounds above 0, not {shown(sweep.start)}")
    if not written_whole(sweep, text):
        return Real(float(low), float(high), log=log)
    if high == low + 1:  # hardly ever meant
        a, b = int(low), int(high)
        raise ConfigError(f"{place}: {text} is {a} or {b} and nothing between. Write interval({a}.0, {b}.0) or {a},{b}")
    return Whole(int(low), int(high), log=log)


READERS: dict[type, Callable[..., Distribution]] = {
    ChoiceSweep: read_choice,
    RangeSweep: read_range,
    IntervalSweep: read_interval,
}


def check_no_log(sweep: ChoiceSweep | RangeSweep, text: str, place: str) -> None:
    """Raise ConfigError for a logarithm that changes nothing."""
    if "log" in sweep.tags:
        raise ConfigError(f"{place}: {text}: only an interval can be logarithmic. Write tag(log, interval(low, high))")


def check_order(low: float, high: float, text: str, place: str) -> None:
    """Raise ConfigError for an interval that holds nothing, or one value."""
    bounds = re.search(r"interval\(\s*([^\s,]+)\s*,\s*([^\s)]+)\s*\)", text)
    if low == high:
        raise ConfigError(f"{place}: {text} has equal bounds. Write interval(low, high), or leave it out of the sweep")
    if low > high:
        right = f"interval({bounds[2]}, {bounds[1]})" if bounds else f"interval({high!r}, {low!r})"
        raise ConfigError(f"{place}: {text} has its bounds the wrong way round. Write {right}")


def written_whole(sweep: IntervalSweep, text: str) -> bool:
    """Return whether an interval means whole numbers; Hydra's parser makes floats of 1 and 1.0 alike."""
    if isinstance(sweep.start, int):  # int(interval(…))
        return True
    return "float(" not in text and bool(re.search(r"interval\(\s*[+-]?\d+\s*,\s*[+-]?\d+\s*\)", text))


def scalar(value: Any) -> Scalar:
    """Return a value of a YAML file or of Hydra's parser, a list or a dict as its override text."""
    if isinstance(value, QuotedString):
        return scalar(value.text)
    if isinstance(value, str) and value[:1] in ("[", "{"):
        value = parse("text", value, PLACE).value()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(Transformer.str(value))


def unpacked(name: str, value: Scalar) -> Any:
    """Return a list or a dict in place of its override text."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        return parse(name, value, PLACE).value()
    return value
