"""Mutations: what can become of a file, by damage or on purpose."""

import gzip
import io
import json
import pickle
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

Members = list[tuple[str, bytes]]
HUGE = (1 << 40, (1 << 63) - 1, 4_000_000_000, -1, 0)
BOMB_BYTES = 256 << 20  # of zeros, which pack into a fraction of a per cent
EVIL_NAMES = ("../outside.npy", "/outside.npy", "a/../../outside.npy", "C:\\outside.npy", "\0.npy", "x" * 5000, "")


def damage(content: bytes, dice: random.Random) -> tuple[str, bytes]:
    """Return what kind of damage was done to the bytes of a file, and the damaged bytes."""
    kind = dice.choice(sorted(DAMAGES))
    return kind, DAMAGES[kind](bytearray(content), dice)


def cut(content: bytearray, dice: random.Random) -> bytes:
    """Return the beginning of a file."""
    return bytes(content[: dice.randrange(len(content))])


def flip_bits(content: bytearray, dice: random.Random) -> bytes:
    """Return a file some of whose bits are the other way round."""
    for _ in range(dice.choice((1, 1, 2, 8, 64))):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    return bytes(content)


def overwrite(content: bytearray, dice: random.Random) -> bytes:
    """Return a file with a stretch of zeros, ones, or noise."""
    start, length = dice.randrange(len(content)), dice.choice((1, 4, 8, 64, 512))
    length = min(length, len(content) - start)
    content[start : start + length] = dice.choice((bytes(length), b"\xff" * length, dice.randbytes(length)))
    return bytes(content)


def number(content: bytearray, dice: random.Random) -> bytes:
    """Return a file where some eight bytes are a huge or negative number, in either byte order."""
    start = dice.randrange(max(len(content) - 8, 1))
    content[start : start + 8] = struct.pack(dice.choice(("<q", ">q")), dice.choice(HUGE))
    return bytes(content)


def remove(content: bytearray, dice: random.Random) -> bytes:
    """Return a file without a stretch in its middle."""
    start = dice.randrange(len(content))
    del content[start : start + dice.choice((1, 7, 512, 4096))]
    return bytes(content)


def repeat(content: bytearray, dice: random.Random) -> bytes:
    """Return a file where a stretch comes twice."""
    start = dice.randrange(len(content))
    part = content[start : start + dice.choice((1, 64, 512, 4096))]
    content[start:start] = part
    return bytes(content)


DAMAGES: dict[str, Callable[[bytearray, random.Random], bytes]] = {
    "cut": cut,
    "flipped bits": flip_bits,
    "overwritten": overwrite,
    "other number": number,
    "part removed": remove,
    "part twice": repeat,
}


def rebuild(content: bytes, dice: random.Random) -> tuple[str, bytes]:
    """Return a file of the same container, built anew with something in it that no one should trust."""
    if content.startswith(b"PK"):
        return rebuild_archive(zip_members(content), dice, pack_zip)
    if content.startswith(b"\x89HDF"):
        return rebuild_hdf5(content, dice)
    if content.lstrip()[:1] in (b"{", b"["):
        return "JSON value", other_value(content, dice)
    members = tar_members(content)
    return rebuild_archive(members, dice, pack_tar) if members else damage(content, dice)


def zip_members(content: bytes) -> Members:
    """Return the files in a zip."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def tar_members(content: bytes) -> Members:
    """Return the files in a tar of the standard library's kinds; none if it is no such."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            return [(info.name, tar.extractfile(info).read()) for info in tar if info.isreg()]  # type: ignore[union-attr]
    except tarfile.TarError:
        return []


def pack_zip(members: Members, dice: random.Random) -> bytes:
    """Return a zip of some files, of which some claims may be untrue."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename = name
            archive.writestr(info, content)
    packed = bytearray(buffer.getvalue())
    if dice.random() < 0.2 and (place := packed.find(b"PK\x01\x02")) >= 0:  # the directory lies about a size
        packed[place + 24 : place + 28] = struct.pack("<I", dice.choice((0, 5, 0xFFFFFFFE, 0x7FFFFFFF)))
    return bytes(packed)


def pack_tar(members: Members, dice: random.Random) -> bytes:
    """Return a tar of some files, perhaps with links among them."""
    buffer = io.BytesIO()
    packing: Any = dice.choice(("w", "w:gz", "w:bz2", "w:xz"))
    with tarfile.open(
        fileobj=buffer, mode=packing, format=dice.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    ) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name.replace("\0", "?"))
            if dice.random() < 0.1:
                info.type = dice.choice((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE))
                info.linkname = dice.choice((name, "../../outside", "/etc/passwd"))
                tar.addfile(info)
                continue
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def rebuild_archive(
    members: Members, dice: random.Random, pack: Callable[[Members, random.Random], bytes]
) -> tuple[str, bytes]:
    """Return an archive with one member changed."""
    if not members:
        return "empty archive", pack([], dice)
    place = dice.randrange(len(members))
    name, content = members[place]
    kinds = ["member cut", "member bits", "member missing", "member twice", "member name", "member bomb"]
    kinds += ["array header", "array header", "pickled array"] if name.endswith(".npy") else ["JSON value"] * 3
    weights = [0.05 if kind == "member bomb" else 1.0 for kind in kinds]
    kind = dice.choices(kinds, weights)[0]
    match kind:
        case "member missing":
            del members[place]
        case "member twice":
            members.insert(dice.randrange(len(members)), (name, content))
        case "member name":
            members[place] = (other_name(name, dice), content)
        case "member cut":
            members[place] = (name, content[: dice.randrange(len(content) + 1)])
        case "member bits":
            members[place] = (name, flip_bits(bytearray(content), dice) if content else b"")
        case "member bomb":
            members[place] = (name, bomb(name))
        case "array header":
            members[place] = (name, other_header(content, dice))
        case "pickled array":
            members[place] = (name, pickled())
        case _:
            members[place] = (name, other_value(content, dice))
    return kind, pack(members, dice)


def other_name(name: str, dice: random.Random) -> str:
    """Return a name that is like another, or that wants to lie outside."""
    letters = list(name)
    if dice.random() < 0.5 and letters:
        letters[dice.randrange(len(letters))] = dice.choice("_0-9xé/.")
        return "".join(letters)
    return dice.choice(EVIL_NAMES)


def bomb(name: str) -> bytes:
    """Return very many zeros, as an array that really has that many, or as bytes."""
    if not name.endswith(".npy"):
        return b"[" * (1 << 20) + bytes(BOMB_BYTES)
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({BOMB_BYTES // 4},), }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(BOMB_BYTES)


def other_header(content: bytes, dice: random.Random) -> bytes:
    """Return an array whose header says something else than its data."""
    start = content.find(b"\n") + 1
    shape: Any = tuple(dice.choice((*HUGE, 1, 2, 3, 7)) for _ in range(dice.randrange(4)))
    dtype = dice.choice(("<f4", "<f8", "<i4", "<i8", "|O", "<U9", "|V8", "<c16", ">f4", "<M8[ns]", "|b1", "<f2"))
    order = dice.choice((True, False, 3, "x"))
    header = f"{{'descr': {dtype!r}, 'fortran_order': {order!r}, 'shape': {shape!r}, }}\n".encode()
    body = content[start:] if dice.random() < 0.5 else bytes(dice.choice((0, 8, 48, 4096)))
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def pickled() -> bytes:
    """Return an array of Python objects, which would run what a stranger wrote if it were unpickled."""

    class Bad:
        def __reduce__(self) -> tuple[Any, ...]:
            return (open, ("outside.txt", "w"))

    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + pickle.dumps([Bad()])


def other_value(content: bytes, dice: random.Random) -> bytes:
    """Return JSON with one value changed, or what is no JSON any more."""
    strange: list[Any] = [None, -1, 1e999, float("nan"), 10**30, "", "x", [], {}, [[]], True, {"ident": {}}, 3.5]
    try:
        held = json.loads(content)
    except ValueError:
        return damage(content or b"{", dice)[1]
    if dice.random() < 0.1:
        return b"[" * dice.choice((100, 5000, 200_000))
    parent, key = random_place(held, dice)
    if parent is None:
        return json.dumps(dice.choice(strange)).encode()
    if dice.random() < 0.2:
        del parent[key]
    else:
        parent[key] = dice.choice(strange)
    return json.dumps(held).encode()


def random_place(held: Any, dice: random.Random) -> tuple[Any, Any]:
    """Return a random container inside JSON and a key of it; None where the whole is the place."""
    parent, key = None, None
    while isinstance(held, dict | list) and held and (parent is None or dice.random() < 0.85):
        parent = held
        key = dice.choice(list(held)) if isinstance(held, dict) else dice.randrange(len(held))
        held = parent[key]
    return parent, key


def rebuild_hdf5(content: bytes, dice: random.Random) -> tuple[str, bytes]:
    """Return an HDF5 file with one dataset or group replaced."""
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = dice.choice(names or ["0"])
        kind = dice.choice(sorted(HDF5_CHANGES))
        if name in file:
            del file[name]
        HDF5_CHANGES[kind](file, name, dice)
    return f"HDF5 {kind}", buffer.getvalue()


def external_storage(file: h5py.File, name: str, _: random.Random) -> None:
    """Put in a dataset whose values lie in another file."""
    file.create_dataset(name, shape=(8,), dtype="f4", external=[("/etc/passwd", 0, 32)])


def virtual(file: h5py.File, name: str, _: random.Random) -> None:
    """Put in a dataset that is made of one in another file."""
    layout = h5py.VirtualLayout(shape=(8,), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(8,))
    file.create_virtual_dataset(name, layout)


def link(target: Any) -> Callable[[h5py.File, str, random.Random], None]:
    """Return what puts a link into a file; ``target`` makes the link from the name it has."""

    def put(file: h5py.File, name: str, _: random.Random) -> None:
        file[name] = target(name)

    return put


def dataset(**what: Any) -> Callable[[h5py.File, str, random.Random], None]:
    """Return what puts a dataset into a file."""

    def put(file: h5py.File, name: str, _: random.Random) -> None:
        file.create_dataset(name, **what)

    return put


HDF5_CHANGES: dict[str, Callable[[h5py.File, str, random.Random], None]] = {
    "missing": lambda *_: None,
    "external storage": external_storage,
    "virtual dataset": virtual,
    "external link": link(lambda _: h5py.ExternalLink("/etc/passwd", "/")),
    "soft link to itself": link(lambda name: h5py.SoftLink("/" + name)),
    "link to the root": link(lambda _: h5py.SoftLink("/")),
    "huge shape": dataset(shape=(1 << 20, 1 << 20), dtype="f4", chunks=(64, 64)),
    "bomb": dataset(data=np.zeros((4096, 4096), "f4"), compression="gzip", chunks=(512, 512)),
    "strings": dataset(data=["a", "b"], dtype=h5py.string_dtype()),
    "objects": dataset(shape=(3,), dtype=h5py.vlen_dtype("f8")),
    "no shape": dataset(data=h5py.Empty("f4")),
    "scalar": dataset(data=np.float64(1)),
    "other numbers": dataset(data=np.arange(6.0).reshape(1, 2, 3)),
    "group": lambda file, name, _: file.create_group(name),
}


def bombs() -> dict[str, bytes]:
    """Return files that unpack to very much, by name."""
    zeros = bytes(BOMB_BYTES)
    nested = io.BytesIO()
    with zipfile.ZipFile(nested, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("frame_x_0.npy", zeros)
    return {"gzip of zeros": gzip.compress(zeros, 1), "zip of zeros": nested.getvalue()}
