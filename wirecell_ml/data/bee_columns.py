"""Columns of Bee files: lists of JSON as arrays, and back; lengths in cm, as Bee has them, as mm, and back."""

from collections.abc import Mapping
from itertools import chain
from types import NoneType
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.container import brief
from wirecell_ml.data.json_fields import LONGEST_NAME, integers, known_numbers
from wirecell_ml.errors import DataError

DIGITS = 9  # of a length in cm, after the point: written without those beyond where they say nothing
REAL = ("q",)  # columns that are real numbers, even if a file happens to have whole ones
WHOLE = ("cluster_id", "real_cluster_id", "op_cluster_ids", "op_flash_group")  # columns that are whole, even if empty
NUMBER = {int, float, NoneType}

Columns = dict[str, Any]  # numpy or awkward arrays by name


def in_mm(lengths_cm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return lengths of cm in mm."""
    with np.errstate(over="ignore"):
        return np.asarray(lengths_cm * 10)


def in_cm(lengths_mm: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return lengths of mm in cm, such that a length that was read is the same when it is read again."""
    lengths_mm = lengths_mm.astype(np.float64)
    exact = lengths_mm / 10
    with np.errstate(over="ignore", invalid="ignore"):
        short = np.round(exact, DIGITS)
        return np.where(short * 10 == lengths_mm, short, exact)


def columns_in(held: Mapping[str, Any], length: int, where: str) -> Columns:
    """Return those values of an object that are a number or a text for each of ``length`` rows, as arrays."""
    made = {key: column_of(values, length, key, f"{where}: {key}") for key, values in held.items()}
    return {key: values for key, values in made.items() if values is not None}


def column_of(values: Any, length: int, key: str, where: str) -> NDArray[Any] | None:
    """Return a list of numbers, truth values or short texts as an array; None where it is not that or not so long."""
    if not isinstance(values, list) or len(values) != length:
        return None
    kinds = set(map(type, values))
    if kinds == {bool} or (kinds == {str} and max(map(len, values)) <= LONGEST_NAME):
        return np.array(values)
    return numbers_of(values, kinds, key, where)


def numbers_of(values: list[Any], kinds: set[type], key: str, where: str) -> NDArray[Any] | None:
    """Return numbers as an array of whole ones if all are, else of real ones; None where one is no number."""
    if key not in REAL and (kinds == {int} or (not values and key in WHOLE)):
        return integers(values, where)
    return known_numbers(values, where) if kinds <= NUMBER else None


def ragged_in(held: Mapping[str, Any], length: int, where: str) -> Columns:
    """Return those values of an object that are a list of numbers for each of ``length`` rows, as awkward arrays."""
    made: Columns = {}
    for key, values in held.items():
        if isinstance(values, list) and len(values) == length and set(map(type, values)) == {list}:
            flat = list(chain.from_iterable(values))
            numbers = numbers_of(flat, set(map(type, flat)), key, f"{where}: {key}")
            if numbers is not None:
                made[key] = rows_of(numbers, values)
    return made


def rows_of(numbers: NDArray[Any], lists: list[Any]) -> ak.Array:
    """Return numbers in rows that are as long as ``lists``."""
    return ak.unflatten(numbers, np.array(list(map(len, lists)), np.int64))


def list_of(values: Any, where: str) -> list[Any]:
    """Return a list of numbers; raises DataError where it is none."""
    if not isinstance(values, list) or not set(map(type, values)) <= NUMBER:
        raise DataError(f"{where}: expected a list of numbers")
    return values


def as_list(values: Any, where: str) -> list[Any]:
    """Return a column as JSON holds it, NaN to become null; raises DataError where it cannot."""
    ragged = isinstance(values, ak.Array) and values.ndim > 1
    try:
        flat = ak.to_numpy(ak.flatten(values, axis=None)) if ragged else np.asarray(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: no numbers or texts ({brief(error)})") from error
    if flat.ndim != 1 or flat.dtype.kind not in "biufU":
        raise DataError(f"{where}: {flat.dtype} of shape {flat.shape}; expected a number or a text for each row")
    if flat.dtype.kind == "f" and np.isinf(flat).any():
        raise DataError(f"{where}: an infinite number, which JSON does not have")
    held: list[Any] = values.to_list() if ragged else flat.tolist()
    return held
