"""Fields of JSON that somebody else wrote: each is what it should be, or a DataError says where it is not."""

from collections.abc import Mapping
from itertools import chain
from operator import itemgetter
from types import NoneType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.errors import DataError, suggest

Kind = TypeVar("Kind", dict[str, Any], list[Any])
LONGEST_NAME = 64  # letters
NOTHING = [None] * 3
MOST = 1e100  # of a number, so that another unit does not make it infinite
NAMES = {dict: "an object", list: "a list"}


def inside(held: Any, key: str, kind: type[Kind], where: str) -> Kind:
    """Return the object or the list that an object has under ``key``."""
    if not isinstance(held, dict) or not isinstance(value := held.get(key), kind):
        known = suggest(key, held) if isinstance(held, dict) and len(held) < 50 else ""
        raise DataError(f"{where}: has not {NAMES[kind]} '{key}'.{known}")
    return value


def objects_in(held: Any, where: str) -> list[dict[str, Any]]:
    """Return a list of objects."""
    if not isinstance(held, list) or not set(map(type, held)) <= {dict}:
        raise DataError(f"{where}: {type(held).__name__} where a list of objects is due")
    return held


def each(held: Any, key: str, where: str) -> list[Any]:
    """Return what every one of a list of objects has under ``key``."""
    try:
        return list(map(itemgetter(key), held))
    except (KeyError, TypeError):
        raise DataError(f"{where}: not every one is an object with '{key}'") from None


def name(held: Mapping[str, Any], key: str, where: str) -> str:
    """Return a short printable text; empty where there is none."""
    text = held.get(key, "")
    if not isinstance(text, str) or len(text) > LONGEST_NAME or not text.isprintable():
        raise DataError(f"{where}: '{key}' is no printable text of up to {LONGEST_NAME} letters")
    return text


def number(held: Mapping[str, Any], key: str, where: str) -> float:
    """Return a number; NaN where there is none."""
    return float(known_numbers([held.get(key)], f"{where}: '{key}'")[0])


def column(rows: list[dict[str, Any]], key: str, where: str) -> NDArray[np.float64]:
    """Return a number of each object, (object,); NaN where there is none."""
    return known_numbers([row.get(key) for row in rows], f"{where}: '{key}'")


def vectors(rows: list[dict[str, Any]], key: str, where: str) -> NDArray[np.float64]:
    """Return three numbers of each object, (object, 3); NaN where there are none."""
    held = [row.get(key) or NOTHING for row in rows]
    if not all(isinstance(vector, list) and len(vector) == 3 for vector in held):
        raise DataError(f"{where}: '{key}' is not [x, y, z] everywhere")
    return known_numbers(list(chain.from_iterable(held)), f"{where}: '{key}'").reshape(-1, 3)


def known_numbers(values: list[Any], where: str) -> NDArray[np.float64]:
    """Return numbers, (value,); NaN where there is none."""
    if not set(map(type, values)) <= {int, float, NoneType}:
        raise DataError(f"{where} is no number everywhere")
    return converted(values, np.dtype(np.float64), where)


def numbers(values: Any, where: str) -> NDArray[np.float64]:
    """Return a list of numbers, (value,)."""
    if not isinstance(values, list) or not set(map(type, values)) <= {int, float}:
        raise DataError(f"{where}: expected a list of numbers")
    return converted(values, np.dtype(np.float64), where)


def integers(values: Any, where: str) -> NDArray[np.int64]:
    """Return a list of whole numbers, (value,)."""
    if not isinstance(values, list) or not set(map(type, values)) <= {int}:
        raise DataError(f"{where}: expected a list of whole numbers")
    return converted(values, np.dtype(np.int64), where)


def integer_column(rows: list[Any], key: str, where: str) -> NDArray[np.int64]:
    """Return a whole number of each object, (object,)."""
    return integers(each(rows, key, where), f"{where}: {key}")


def converted(values: list[Any], dtype: np.dtype[Any], where: str) -> NDArray[Any]:
    """Return an array of numbers that have the right type."""
    try:
        array = np.array(values, dtype)
    except OverflowError:
        raise DataError(f"{where}: a number that does not fit {dtype}") from None
    if dtype.kind == "f" and np.any(np.abs(array) > MOST):
        raise DataError(f"{where}: {array[np.nanargmax(np.abs(array))]}; numbers are at most {MOST:g}")
    return array
