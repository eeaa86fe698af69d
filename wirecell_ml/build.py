"""From a config node with ``_target_`` to an object, its arguments checked against the constructor's signature."""

import inspect
import re
from collections.abc import Iterator, Sequence
from pkgutil import resolve_name
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from wirecell_ml.errors import ConfigError, WireCellMLError, suggest

DIRECTIVES = {"_target_", "_partial_", "_args_", "_recursive_", "_convert_"}


def build(node: Any, **runtime: Any) -> Any:
    """Return what ``node`` describes; ``runtime`` are arguments that no file can give (a model, parameters, …).

    Raises ConfigError where the node names something that cannot be imported, or an argument that it does not take.
    """
    check(node)
    try:
        return instantiate(node, _convert_="all", **runtime)
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, WireCellMLError):
            raise cause from None
        raise ConfigError(f"{where(node)}: {node.get('_target_')} cannot be built: {cause}") from error


def check(node: Any) -> None:
    """Raise ConfigError if anything below ``node`` has an argument that its target does not take, or not like this."""
    for part in targets(node):
        target = locate(part)
        try:
            parameters = inspect.signature(target).parameters
        except ValueError:  # some builtins do not say what they take
            continue
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        for name in sorted(set(map(str, part)) - DIRECTIVES):
            if name in parameters:
                check_value(part, name, parameters[name].annotation)
            elif not takes_any:
                raise ConfigError(
                    f"{where(part)}.{name}: {part._target_} takes no '{name}'.{suggest(name, parameters)}"
                )


def check_value(part: DictConfig, name: str, annotation: Any) -> None:
    """Raise ConfigError if one argument is not what its annotation asks for."""
    value = part[name]
    plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    if not fits(plain, annotation):
        kind = annotation.__name__ if isinstance(annotation, type) else re.sub(r"\b[a-z_.]+\.", "", str(annotation))
        raise ConfigError(f"{where(part)}.{name}={plain}: {part._target_} takes {kind} here")


def fits(value: Any, annotation: Any) -> bool:
    """Return whether a value from a config can be what an annotation asks for; what is no plain type takes anything."""
    kind, members = get_origin(annotation), get_args(annotation)
    if kind in (Union, UnionType):
        return any(fits(value, member) for member in members)
    if kind is Literal:
        return value in members
    if kind is tuple and ... not in members:
        return isinstance(value, list) and len(value) == len(members) and all(map(fits, value, members))
    if kind in (list, Sequence):
        return isinstance(value, list) and all(fits(one, members[0]) for one in value)
    if annotation in (int, float):
        return isinstance(value, int | annotation) and not isinstance(value, bool)
    return annotation not in (str, bool, NoneType) or isinstance(value, annotation)


def targets(node: Any) -> Iterator[DictConfig]:
    """Yield ``node`` and every node below it that names a target."""
    if not OmegaConf.is_config(node):
        return
    if isinstance(node, DictConfig) and "_target_" in node:
        yield node
    for key in node if isinstance(node, DictConfig) else range(len(node)):
        yield from targets(node[key])


def locate(node: DictConfig) -> Any:
    """Return the class or function that ``node._target_`` names."""
    try:
        found = resolve_name(node._target_)
    except Exception as error:
        raise ConfigError(f"{where(node)}._target_: cannot import '{node._target_}': {error}") from error
    if not callable(found):
        raise ConfigError(f"{where(node)}._target_: '{node._target_}' is no class or function")
    return found


def where(node: Any) -> str:
    """Return the dotted place of ``node`` in its config."""
    return str(node._get_full_key(None)) or "config"
