"""Formats that are read, but not written: what holds for all of them, on a small file of each."""

import bz2
import io
import json
import random
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wirecell_ml.data
from tests.reading import CUTS, FLIPS, read_until_fault
from wirecell_ml.data import readers
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

PARTICLES = [
    {"kind": "mu-stop", "tid": 1, "p0": [1.0, 2, 3], "p1": [4.0, 5, 6], "t0": -5.0, "length": 5.2, "thxz_u": 30.0},
    {"kind": "shower-e", "tid": 2, "p0": [7.0, 8, 9], "E": 70.5, "q": 2e6},
]
TRUTH = {ident: {"category": "vertex", "ndepo": 3, "qtot": 9.5, "particles": PARTICLES} for ident in ("0", "1")}
WIRES = {
    "Store": {
        "anodes": [{"Anode": {"ident": 0, "faces": [0]}}],
        "faces": [{"Face": {"ident": 0, "planes": [0]}}],
        "planes": [{"Plane": {"ident": 0, "wires": [0, 1]}}],
        "wires": [
            {"Wire": {"ident": i, "tail": 2 * i, "head": 2 * i + 1, "channel": 10 + i, "segment": 0}} for i in (0, 1)
        ],
        "points": [{"Point": {"x": i, "y": i + 0.5, "z": -1.5}} for i in range(4)],
    }
}
CURRENT = {"array": {"shape": [3], "elements": [0.0, -1.5, 2.0]}}
PATHS = [{"PathResponse": {"current": CURRENT, "wirepos": 0.0, "pitchpos": pitch}} for pitch in (-2.0, 2.0)]
PLANES = [{"PlaneResponse": {"planeid": ident, "location": 5.0, "pitch": 4.71, "paths": PATHS}} for ident in (0, 1, 2)]
FIELD = {"origin": 100.0, "period": 100.0, "tstart": 0.0, "speed": 0.0016, "axis": [1.0, 0, 0], "planes": PLANES}
SPECTRUM = {
    "period": 500.0,
    "nsamples": 6000,
    "gain": 2e-12,
    "shaping": 2200.0,
    "plane": 0,
    "wirelen": 7500.0,
    "const": 3e-08,
    "freqs": [0.0, 1e-05],
    "amps": [1e-07, 2e-07],
}
WAVEFORM = {"name": "u", "start": -100.0, "period": 2000.0, "samples": [0, 227.5]}
TEXTS: dict[str, Any] = {
    "generator truth": TRUTH,
    "wire geometry": WIRES,
    "field response": {"FieldResponse": FIELD},
    "noise spectra": [SPECTRUM, SPECTRUM | {"wirelen": 6000.0}],
    "waveforms": [WAVEFORM, WAVEFORM | {"name": "v"}],
}
READ_ONLY = sorted(form.name for form in readers.formats() if form.write is None)


def examples(folder: Path) -> Iterator[tuple[str, Path]]:
    """Write small files, and yield the name of the format of each with its path."""
    for name, held in TEXTS.items():
        form = next(one for one in readers.formats() if one.name == name)
        for suffix in form.suffixes:
            text, path = json.dumps(held).encode(), folder / f"{name.replace(' ', '-')}{suffix}"
            path.write_bytes(bz2.compress(text) if suffix.endswith(".bz2") else text)
            yield name, path
    inner = {"job/true.npz": packed(charge_3=[1.0, 2.0], charge_4=[3.0]), "job/found.npz": packed(charge_3=[1.5])}
    for packing in ("xz", ""):
        path = folder / f"bundle.tar{packing and '.'}{packing}"
        with tarfile.open(path, f"w:{packing}") as archive:  # type: ignore[call-overload]
            for name, content in inner.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        yield "bundle", path
    with zipfile.ZipFile(folder / "bundle.zip", "w") as archive:
        for name, content in inner.items():
            archive.writestr(name, content)
    yield "bundle", folder / "bundle.zip"


def packed(**arrays: list[float]) -> bytes:
    """Return a zip of arrays, as numpy writes it."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: np.array(values) for name, values in arrays.items()})
    return buffer.getvalue()


def files(folder: Path, name: str) -> list[Path]:
    """Return the examples of one format."""
    return [path for form, path in examples(folder) if form == name]


def test_every_format_that_is_not_written_has_an_example(tmp_path: Path) -> None:
    assert sorted({name for name, _ in examples(tmp_path)}) == READ_ONLY


@pytest.mark.parametrize("name", READ_ONLY)
def test_it_is_told_by_its_content_under_any_name(name: str, tmp_path: Path) -> None:
    for path in files(tmp_path, name):
        opened = wirecell_ml.data.open(path.rename(tmp_path / "download"))
        assert opened.format.name == name
        events = list(opened)
        assert events
        assert all(set(event.kinds()) <= set(opened.format.kinds) for event in events)


@pytest.mark.parametrize("name", READ_ONLY)
def test_a_cut_file_is_refused_or_read_as_whole_events(name: str, tmp_path: Path) -> None:
    for path in files(tmp_path, name):
        content, form = path.read_bytes(), wirecell_ml.data.open(path).format
        whole, _ = read_until_fault(form, path)
        for percent in CUTS:
            path.write_bytes(content[: len(content) * percent // 100])
            events, fault = read_until_fault(form, path)
            assert fault or [event.ident for event in events] == [event.ident for event in whole]


@pytest.mark.parametrize("name", READ_ONLY)
def test_a_wrong_byte_is_never_another_error(name: str, tmp_path: Path) -> None:
    dice = random.Random(1)  # noqa: S311
    paths = files(tmp_path, name)
    form, whole = wirecell_ml.data.open(paths[0]).format, [path.read_bytes() for path in paths]
    for flip in range(FLIPS):
        damaged = bytearray(whole[flip % len(whole)])
        damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        paths[flip % len(paths)].write_bytes(damaged)
        read_until_fault(form, paths[flip % len(paths)])


@pytest.mark.parametrize("name", READ_ONLY)
def test_a_missing_and_an_empty_file_are_refused(name: str, tmp_path: Path) -> None:
    path = files(tmp_path, name)[0]
    form = wirecell_ml.data.open(path).format
    path.write_bytes(b"")
    for what in ("the file is empty", "no such file"):
        with pytest.raises(DataError, match=what):
            list(form.read(Source.of(path)))
        path.unlink(missing_ok=True)
