"""Conversion: which format is written, what of an event goes into it, and what is said of the rest."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.toy_events import SOUND, blobs, depos, frame, track
from wirecell_ml.data import conversion
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.conversion import Conversion, target_format
from wirecell_ml.data.formats import Format
from wirecell_ml.data.readers import DataFile
from wirecell_ml.data.source import Source
from wirecell_ml.errors import ConfigError, DataError

written: list[Contents] = []


def keep(path: Path, events: Iterable[Contents]) -> None:
    written[:] = events
    path.touch()


def toy(name: str, kinds: str, suffixes: str, write: Callable[..., None] | None = keep, loses: str = "") -> Format:
    return Format(
        name, name, tuple(kinds.split()), tuple(suffixes.split()), lambda _: False, lambda _: iter(()), write, loses
    )


TAP = toy("frame tap", "frames", ".h5")
ARCHIVE = toy("frame archive", "frames masks", ".npz .tar.gz", loses="run numbers")
TENSORS = toy("tensor file", "tensors frames masks blobs points tables", ".npz .tar.gz")
GRAPHS = toy("cluster json", "blobs", ".json .tar.gz")
ARRAYS = toy("cluster numpy", "blobs", ".npz .tar.gz")
BEE = toy("bee", "points", ".bee.zip")
DEPOS = toy("depo file", "depos tables", ".npz .tar.gz")
TABLES = toy("numl", "tables", ".h5")
MAGNIFY = toy("magnify", "frames masks tables", ".root")
BUNDLE = toy("bundle", "frames blobs depos", ".npz", write=None)


@pytest.fixture(autouse=True)
def toy_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [TAP, ARCHIVE, TENSORS, GRAPHS, ARRAYS, BEE, DEPOS, BUNDLE, TABLES, MAGNIFY]
    monkeypatch.setattr(conversion, "formats", lambda: iter(known))


def convert(target: Format, path: Path, *events: Contents, ident: int | None = None) -> Conversion:
    held = replace(BUNDLE, read=lambda _: iter(events))
    done = Conversion(DataFile(Source("toy.npz"), held), target, drift_speed=2.0, ident=ident)
    done.write(path)
    return done


@pytest.mark.parametrize(
    ("held", "path", "target"),
    [
        (TAP, "new.npz", ARCHIVE),
        (ARCHIVE, "new.h5", TAP),
        (ARCHIVE, "new.tar.gz", ARCHIVE),
        (TENSORS, "new.tar.gz", TENSORS),
        (ARRAYS, "new.tar.gz", ARRAYS),
        (ARRAYS, "new.json", GRAPHS),
        (GRAPHS, "new.npz", ARRAYS),
        (GRAPHS, "new.bee.zip", BEE),
        (DEPOS, "new.bee.zip", BEE),
        (DEPOS, "new.npz", DEPOS),
        (MAGNIFY, "new.h5", TAP),
        (MAGNIFY, "new.npz", ARCHIVE),
        (ARCHIVE, "new.root", MAGNIFY),
        (BUNDLE, "new.tar.gz", ARCHIVE),
    ],
)
def test_the_format_follows_from_the_name_and_what_is_held(held: Format, path: str, target: Format) -> None:
    assert target_format(held, Path(path), None) is target


def test_a_format_that_is_named_is_taken() -> None:
    assert target_format(ARRAYS, Path("new.tar.gz"), "cluster json") is GRAPHS


@pytest.mark.parametrize(
    ("held", "path", "name", "message"),
    [
        (TENSORS, "new.json", "jason", "format 'jason' is not known.*Known here: bee"),
        (TAP, "new.npz", "bundle", "can be read, but not written"),
        (TAP, "new.npz", "cluster numpy", "'frame tap' holds frames, 'cluster numpy' blobs: nothing in common"),
        (TAP, "new.txt", "frame archive", "new.txt: files of the format 'frame archive' are called .npz, .tar.gz"),
        (TAP, "new.txt", None, r"what is in 'frame tap' is not written under such a name. Known: frame tap \(.h5\)"),
        (TENSORS, "new.json.tar.gz", "bee", "files of the format 'bee' are called .bee.zip"),
        (TABLES, "new.npz", None, "may be tensor file or depo file. Say which with --format"),
        (BEE, "new.h5", None, "'bee' is not written under such a name. Known: tensor file"),
    ],
)
def test_what_cannot_be_written_is_refused(held: Format, path: str, name: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        target_format(held, Path(path), name)


def test_what_the_target_cannot_hold_is_left_out_and_said(tmp_path: Path) -> None:
    done = convert(ARCHIVE, tmp_path / "new.npz", SOUND, replace(SOUND, ident=8), Contents(9, depos=depos()))
    assert [event.ident for event in written] == [7, 8]
    assert list(written[0].kinds()) == ["frames", "masks"]
    assert written[0].frames is SOUND.frames
    losses = list(done.losses())
    assert "depos left out in 3 events: the format 'frame archive' does not hold them" in losses
    assert "1 event with nothing to keep left out" in losses
    assert losses[-1] == "not kept in the format 'frame archive': run numbers"


def test_one_event_can_be_picked(tmp_path: Path) -> None:
    convert(ARCHIVE, tmp_path / "new.npz", SOUND, replace(SOUND, ident=8), ident=8)
    assert [event.ident for event in written] == [8]
    with pytest.raises(DataError, match="no event 9, or it has nothing"):
        convert(ARCHIVE, tmp_path / "new.npz", SOUND, ident=9)


def test_nothing_is_said_where_nothing_is_lost(tmp_path: Path) -> None:
    done = convert(TAP, tmp_path / "new.h5", Contents(0, frames={"x": frame(track())}))
    assert list(done.losses()) == []
    assert done.num_written == 1


def test_blobs_become_points_where_the_target_holds_points_only(tmp_path: Path) -> None:
    done = convert(BEE, tmp_path / "new.bee.zip", Contents(0, blobs={"cluster": blobs()}))
    cloud = written[0].points["cluster"]
    np.testing.assert_allclose(cloud.position, [[3.0, 4 / 3, 4 / 3]] * 3)
    assert list(done.losses()) == ["blobs became points in 1 event, with x = slice time × 2 mm/µs"]


def test_depos_become_points_of_positive_charge_without_their_priors(tmp_path: Path) -> None:
    drifted = depos(generation=np.array([0, 1, 0, 1], np.int32))
    convert(BEE, tmp_path / "new.bee.zip", Contents(0, depos=drifted))
    assert written[0].points["depos"].columns["charge"].tolist() == [1000, 1002]


def test_points_that_are_there_are_kept_beside_those_made(tmp_path: Path) -> None:
    convert(BEE, tmp_path / "new.bee.zip", SOUND)
    assert list(written[0].points) == ["img", "cluster", "depos"]


def test_events_are_counted_one_by_one_as_they_are_written(tmp_path: Path) -> None:
    def write_half(_: Path, events: Iterable[Contents]) -> None:
        counts.extend(event.ident for event, _ in zip(events, range(2), strict=False))

    counts: list[int] = []
    events = (Contents(i, frames={"x": frame(track())}) for i in range(10**9))
    held = replace(BUNDLE, read=lambda _: events)
    Conversion(DataFile(Source("toy.npz"), held), replace(TAP, write=write_half), 1.6).write(tmp_path / "new.h5")
    assert counts == [0, 1]
    assert next(events).ident == 3


def test_a_file_without_anything_to_keep_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"toy\.npz: no event of it has anything that the format 'frame tap' holds"):
        convert(TAP, tmp_path / "new.h5", Contents(0, depos=depos()))
