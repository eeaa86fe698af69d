"""Clus points: points, blobs and edges that Wire-Cell's clustering dumps (clus/src/Facade_Util.cxx), an event a file.

The number of the event is the last one in the file's name: ``rec-apa0-17.npz`` holds event 17.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data import container
from wirecell_ml.data.container import brief, members, write_members
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.npy import npy_bytes, read_array
from wirecell_ml.data.points import PointCloud
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

MOST_CORNERS = 12  # that a row of ``blobs`` has room for
WIDTHS = {"blobs": (2 + 3 * MOST_CORNERS,), "points": (5, 6), "ppedges": (3,)}  # columns, by array
CTPC = re.compile(r"ctpc_f\d+p\d+")  # (hit, 7): x, pitch, charge, its error, channel, wire, slice of a plane of a face
CTPC_WIDTHS = (7,)


def read(source: Source) -> Iterator[Contents]:
    """Yield the one event of a file: ``points["points"]``, and everything else by its name in ``arrays``, as written.

    Columns of the points: ``charge`` (the charge of the blob over the number of its points), ``blob`` (row of
    ``arrays["blobs"]``), ``cluster`` and ``is_nu`` where the file has them (1 neutrino, 0 cosmic, -1 not back-tracked,
    -2 no truth near). Column of their edges: ``distance``, mm. Raises DataError where the file is not that.
    """
    arrays: dict[str, NDArray[Any]] = {}
    room = container.MOST_BYTES
    for member in members(source):
        name = member.name.removesuffix(".npy")
        if name in arrays or not member.name.endswith(".npy"):
            raise DataError(f"{member.where} comes twice or is no .npy; expected an array of each name")
        room -= member.size
        if room < 0:
            raise DataError(f"{source}: more than {container.MOST_BYTES} bytes of arrays; at most so many are read")
        arrays[name] = read_array(member)
    yield event_of(arrays, last_number(source.name), str(source))


def last_number(name: str) -> int:
    """Return the last number in a file's name, 0 where it has none."""
    digits = re.findall(r"[0-9]{1,18}", re.sub(r"\.(npz|zip|tar.*|tgz)$", "", name))
    return int(digits[-1]) if digits else 0


def event_of(arrays: dict[str, NDArray[Any]], ident: int, where: str) -> Contents:
    """Return the event that the arrays of a file make."""
    if "points" not in arrays or "blobs" not in arrays:
        raise DataError(f"{where} has {brief(', '.join(arrays)) or 'no array'}; expected at least points and blobs")
    check_widths(arrays, where)
    points, edges, labels = arrays.pop("points"), arrays.pop("ppedges", None), arrays.pop("is_nu", None)
    columns = {
        "charge": points[:, 3].copy(),
        "blob": whole(points[:, 4], f"{where}: blobs of points", len(arrays["blobs"])),
    }
    if points.shape[1] == 6:
        columns["cluster"] = whole(points[:, 5], f"{where}: clusters of points")
    if labels is not None:
        if labels.shape != (len(points),):
            raise DataError(f"{where}: is_nu has shape {labels.shape}; expected ({len(points)},), one of each point")
        columns["is_nu"] = labels
    cloud = PointCloud(points[:, :3].copy(), columns, *linked(edges, len(points), where))
    return Contents(ident, points={"points": cloud}, arrays=arrays)


def check_widths(arrays: Mapping[str, NDArray[Any]], where: str) -> None:
    """Raise DataError where an array that is known has another shape or type than it should."""
    for name, array in arrays.items():
        widths = CTPC_WIDTHS if CTPC.fullmatch(name) else WIDTHS.get(name)
        if widths and (array.ndim != 2 or array.shape[1] not in widths or array.dtype.kind != "f"):
            expected = " or ".join(f"(row, {width})" for width in widths)
            raise DataError(f"{where}: {name} has shape {array.shape} of {array.dtype}; expected {expected} of float32")


def whole(values: NDArray[Any], where: str, end: int | None = None) -> NDArray[np.int64]:
    """Return numbers that stand for rows as int64; raises DataError where they are not whole, or outside [0, end)."""
    if not values.size:
        return values.astype(np.int64)
    lowest, highest = float(values.min()), float(values.max())  # NaN if there is one
    rows = values.astype(np.int64, order="C") if -(2**53) < lowest <= highest < 2**53 else None
    if rows is None or np.any(rows != values):
        raise DataError(f"{where} are not whole numbers")
    if end is not None and (lowest < 0 or highest >= end):
        raise DataError(f"{where} run from {lowest:g} to {highest:g}; expected 0 to {end - 1}")
    return rows


def linked(edges: NDArray[Any] | None, num_points: int, where: str) -> tuple[NDArray[np.int64] | None, dict[str, Any]]:
    """Return the point edges, (2, edge), with their columns."""
    if edges is None:
        return None, {}
    return whole(edges[:, :2].T, f"{where}: ends of ppedges", num_points), {"distance": edges[:, 2].copy()}


def blob_centroids(blobs: NDArray[Any]) -> NDArray[np.float64]:
    """Return the means of the corners of blobs, (blob, 3) in mm, from the array of a file; NaN for one without corners.

    Raises DataError where a number of corners is not 0 to 12.
    """
    corners = blobs[:, 2:].reshape(-1, MOST_CORNERS, 3).astype(np.float64)
    count = whole(blobs[:, 1], "corners of blobs", MOST_CORNERS + 1)
    held = np.arange(MOST_CORNERS) < count[:, None]
    sums = np.where(held[..., None], corners, 0).sum(axis=1)
    return np.where(count[:, None] > 0, sums / np.maximum(count, 1)[:, None], np.nan)


def write(path: Path, events: Iterable[Contents]) -> None:
    """Write the one event that there is; raises DataError for more, for none, and for what such a file cannot hold."""
    held = list(events)
    if len(held) != 1:
        raise DataError(f"{path}: a file of this format holds one event, not {len(held)}; write a file for each")
    event = held[0]
    if set(event.points) != {"points"} or "blobs" not in event.arrays or set(event.kinds()) - set(FORMAT.kinds):
        raise DataError(
            f"{path}: event {event.ident} has {brief(', '.join([*event.kinds(), *event.points, *event.arrays]))}; "
            "expected points of the name 'points' and arrays, one of them 'blobs'"
        )
    arrays = point_arrays(event.points["points"], str(path))
    for name, array in event.arrays.items():
        if (
            name in ("points", "ppedges", "is_nu")
            or not re.fullmatch(r"[\w.+-]+", name)
            or array.dtype.kind not in "biuf"
        ):
            raise DataError(
                f"{path}: the array {brief(name)!a} of {array.dtype} cannot be written under this name or type"
            )
        arrays[name] = array
    check_widths(arrays, str(path))
    write_members(path, ((f"{name}.npy", npy_bytes(np.asarray(array, order="C"))) for name, array in arrays.items()))


def point_arrays(cloud: PointCloud, where: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file that hold ``cloud``."""
    if not {"charge", "blob"} <= set(cloud.columns) <= {"charge", "blob", "cluster", "is_nu"}:
        raise DataError(
            f"{where}: points have {brief(', '.join(cloud.columns))}; expected charge, blob, cluster, is_nu"
        )
    named = [cloud.columns[name] for name in ("charge", "blob", "cluster") if name in cloud.columns]
    arrays = {"points": side_by_side([*cloud.position.T, *named], cloud.position.dtype, f"{where}: points")}
    if cloud.edges is not None:
        if set(cloud.edge_columns) != {"distance"}:
            raise DataError(f"{where}: edges have {brief(', '.join(cloud.edge_columns))}; expected distance")
        distance = cloud.edge_columns["distance"]
        arrays["ppedges"] = side_by_side([*cloud.edges, distance], distance.dtype, f"{where}: ppedges")
    if "is_nu" in cloud.columns:
        arrays["is_nu"] = cloud.columns["is_nu"]
    return arrays


def side_by_side(columns: list[NDArray[Any]], dtype: np.dtype[Any], where: str) -> NDArray[Any]:
    """Return columns as one array of a floating type; raises DataError where that type would change a number."""
    table = np.stack([column.astype(dtype) for column in columns], axis=1)
    for column, written in zip(columns, table.T, strict=True):
        if column.dtype != dtype and (column.dtype.kind == "f" or np.any(written.astype(np.float64) != column)):
            raise DataError(f"{where}: a column of {column.dtype} does not fit in {dtype}, the type of all columns")
    return table


def recognises(peek: Peek) -> bool:
    """Tell a file by the names of its arrays."""
    names = {name.removesuffix(".npy") for name in peek.names}
    return peek.container == "archive" and ({"points", "blobs"} <= names or any(map(CTPC.fullmatch, names)))


FORMAT = Format(
    name="clus points",
    title="clus",
    kinds=("points", "arrays"),
    suffixes=(".npz",),
    recognises=recognises,
    read=read,
    write=write,
    loses="run and subrun, and the event's number where the file's name does not end with it",
)
