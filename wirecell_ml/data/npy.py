"""Arrays in .npy members of containers: nothing is unpickled, and no more is read than the member holds."""

import math
from collections.abc import Collection
from io import BytesIO
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from wirecell_ml.data import container
from wirecell_ml.data.container import DAMAGE, Member, brief
from wirecell_ml.errors import DataError

BLOCK = 1 << 18  # bytes at a time, which stay in the processor's cache until they are in their place


def read_array(
    member: Member, dtype: DTypeLike | None = None, kinds: str = "biuf", kept: Collection[DTypeLike] = ()
) -> NDArray[Any]:
    """Return the array of a member, by row or by column in memory as in the file, in this machine's byte order.

    It is of ``dtype``, or of a type in ``kept`` if it was written so; without ``dtype``, of any of numpy's ``kinds``.
    Raises DataError where it is damaged, too large, of another type, or of one that does not fit in ``dtype``.
    """
    if member.size > container.MOST_BYTES:
        raise DataError(f"{member.where} declares {member.size} bytes; at most {container.MOST_BYTES} are read")
    try:
        with member.opened() as content:
            shape, by_column, held = header_of(content, member)
            native = held.newbyteorder("=")
            wanted = native if dtype is None or native in kept else np.dtype(dtype)
            if dtype is None and held.kind not in kinds:
                raise DataError(f"{member.where} holds {brief(held)}; expected numbers")
            if not np.can_cast(held, wanted):
                raise DataError(f"{member.where} holds {brief(held)}; expected {wanted} or what fits in it")
            values = filled(content, member, shape, held).reshape(shape, order="F" if by_column else "C")
            return values.astype(wanted, copy=False)  # (0, huge) may be too large for a wider type
    except DAMAGE as error:
        raise DataError(f"{member.where} is damaged, truncated or no .npy; copy it again ({brief(error)})") from error


def header_of(content: IO[bytes], member: Member) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape of an array, whether it is ordered by column, and its type."""
    if (version := np.lib.format.read_magic(content)) != (1, 0):
        raise DataError(f"{member.where} is .npy of version {version}; numbers are written in version (1, 0)")
    return np.lib.format.read_array_header_1_0(content)


def filled(content: IO[bytes], member: Member, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the values in ``content``, flat; raises DataError where the member holds more or less than these."""
    size, room = math.prod(shape) * dtype.itemsize, member.size - content.tell()
    if size != room:
        raise DataError(f"{member.where} declares shape {brief(shape)} of {dtype}, {size} bytes, but it holds {room}")
    held = np.empty(size, np.uint8)
    for start in range(0, size, BLOCK):
        held.data[start : start + BLOCK] = content.read(min(BLOCK, size - start))
    return held.view(dtype)


def npy_bytes(array: NDArray[Any]) -> bytes:
    """Return the .npy content of an array, in the order that it has in memory."""
    buffer = BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()
