"""From a config node with ``_target_`` to an object, its arguments checked against the constructor's signature."""

import inspect
from collections.abc import Iterator
from typing import Any

from hydra.utils import get_object, instantiate
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
    """Raise ConfigError if anything below ``node`` has an argument that its target does not take."""
    for part in targets(node):
        target = locate(part)
        known = arguments(target)
        for name in map(str, part):
            if known is not None and name not in known | DIRECTIVES:
                raise ConfigError(f"{where(part)}.{name}: {part._target_} takes no '{name}'.{suggest(name, known)}")


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
        return get_object(node._target_)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{where(node)}._target_: cannot import '{node._target_}': {reason}") from error


def arguments(target: Any) -> set[str] | None:
    """Return the names that ``target`` takes, or None if it takes any."""
    parameters = inspect.signature(target).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return None
    return set(parameters) - {"self"}


def where(node: Any) -> str:
    """Return the dotted place of ``node`` in its config."""
    return str(node._get_full_key(None)) or "config"
