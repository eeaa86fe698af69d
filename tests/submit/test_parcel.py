"""Parcels: what a job needs is all in one archive, equal contents give equal bytes, and each job takes its own."""

import json
import os
import sys
from pathlib import Path

import pytest

from wirecell_ml.errors import ConfigError
from wirecell_ml.paths import PACKAGE
from wirecell_ml.submit.job import Batch, Resources
from wirecell_ml.submit.letters import Distrusted
from wirecell_ml.submit.mailbox import UnitBox
from wirecell_ml.submit.parcel import (
    LARGEST_FILE,
    Entry,
    digest,
    files_of,
    is_kept,
    kept_files,
    open_parcel,
    pack,
    pack_code,
    pack_files,
    unpack,
)
from wirecell_ml.submit.post import Address

RUNNER = "wirecell_ml.submit.unit"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A snapshot of the code of a study."""
    code = tmp_path / "code" / "0123456789ab"
    for name in ("wirecell_ml/train.py", "configs/train.yaml", "of_mine.py", "wirecell_ml/__pycache__/train.pyc"):
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        (code / name).write_text(f"this is {name}\n")
    (code / "COMMIT").write_text("abc")
    return code


def order(folder: Path, code: Path, units: int = 2) -> tuple[Batch, list[Address]]:
    """Return units as a batch, and where they write."""
    boxes = [UnitBox(folder / "units" / f"{number:06d}") for number in range(units)]
    for number, box in enumerate(boxes):
        box.prepare(f"number: {number}\n", {"minutes": 5}, {"lr": number})
        box.raise_fence(1)
    words = [["env", f"PYTHONPATH={code}", sys.executable, "-P", "-m", RUNNER, str(box.folder), "1"] for box in boxes]
    return Batch.of("s", words, Resources(), folder / "jobs"), [Address(box, 1) for box in boxes]


def opened(text: bytes, token: str, folder: Path) -> tuple[Entry, list[str]]:
    """Open a parcel below a new folder; return what the token stands for, and the names of all files."""
    folder.mkdir()
    (folder / "parcel").write_bytes(text)
    entry = open_parcel(folder / "parcel", token, folder / "there")
    return entry, sorted(path.relative_to(folder / "there").as_posix() for path in files_of(folder / "there").values())


def test_each_job_takes_the_code_and_its_own_unit(tmp_path: Path, code: Path) -> None:
    batch, addresses = order(tmp_path, code)
    addresses[1].box.raise_fence(3)
    addresses[1].box.stop("pruned")
    addresses[1] = Address(addresses[1].box, 3)
    job = batch.jobs[1]
    entry, names = opened(pack(batch, addresses), job.token, tmp_path / "worker")
    assert entry == Entry(job.token, job.command, "000001", 3, None)
    own = [f"units/000001/{name}" for name in ("config.yaml", "fence", "params.json", "stop", "unit.json")]
    assert names == ["code/COMMIT", "code/configs/train.yaml", "code/of_mine.py", "code/wirecell_ml/train.py", *own]
    box = UnitBox(tmp_path / "worker" / "there" / "units" / "000001")
    assert (box.fence, box.stopped()) == (3, "pruned")
    assert (box.folder / "config.yaml").read_text() == "number: 1\n"


def test_equal_contents_give_equal_bytes(tmp_path: Path, code: Path) -> None:
    batch, addresses = order(tmp_path, code)
    before = pack(batch, addresses), pack_code(code)
    for path in files_of(tmp_path).values():
        os.utime(path, (5, 5))
        path.chmod(0o600)
    assert (pack(batch, addresses), pack_code(code)) == before
    (code / "of_mine.py").write_text("another thing")
    assert digest(pack_code(code)) != digest(before[1])


def test_the_code_can_be_kept_elsewhere(tmp_path: Path, code: Path) -> None:
    batch, addresses = order(tmp_path, code)
    text = pack(batch, addresses, with_code=False, code="abc")
    entry, names = opened(text, batch.jobs[0].token, tmp_path / "worker")
    assert entry.code == "abc"
    assert all(name.startswith("units/000000/") for name in names)


def test_of_a_checkout_only_our_code_travels(tmp_path: Path) -> None:
    batch, addresses = order(tmp_path, PACKAGE.parent)
    _, names = opened(pack(batch, addresses), batch.jobs[0].token, tmp_path / "worker")
    assert {name.split("/")[1] for name in names if name.startswith("code/")} <= {"wirecell_ml", "configs"}
    assert "code/wirecell_ml/submit/unit.py" in names
    assert not any("__pycache__" in name for name in names)


def test_plain_commands_travel_word_by_word(tmp_path: Path) -> None:
    odd = ["true", "it's", 'a "b"', "$HOME", "a\\b", "", "two\nlines", "ν", "*", "-x"]
    batch = Batch.of("s", [odd], Resources(), tmp_path)
    entry, names = opened(pack(batch, [None]), batch.jobs[0].token, tmp_path / "worker")
    assert entry == Entry(batch.jobs[0].token, (*odd, batch.jobs[0].token), None, 0, None)
    assert names == []


def test_a_token_that_a_parcel_does_not_know_is_an_error(tmp_path: Path, code: Path) -> None:
    batch, addresses = order(tmp_path, code)
    with pytest.raises(Distrusted, match="knows no token s-000000-7"):
        opened(pack(batch, addresses), "s-000000-7", tmp_path / "worker")


@pytest.mark.parametrize("text", [b"", b"no archive", pack_code(Path(__file__).parent)])
def test_what_is_no_parcel_is_an_error(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(Distrusted):
        opened(text, "s-000000-7", tmp_path / "worker")


def test_a_thousand_units_are_a_small_parcel(tmp_path: Path, code: Path) -> None:
    batch, addresses = order(tmp_path, code, 1000)
    assert len(pack(batch, addresses)) < 300_000
    index = json.dumps([job.command for job in batch.jobs])
    assert len(index) > 200_000


def test_a_run_directory_comes_back_as_it_was(tmp_path: Path) -> None:
    run = tmp_path / "run-1"
    contents = {
        "last.ckpt": os.urandom(3_000_000),
        ".hydra/config.yaml": b"a: 1",
        "csv/version_0/metrics.csv": b"",
        "a b": b"c",
    }
    for name, text in contents.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(text)
    (run / "link").symlink_to("/etc/passwd")
    pack_files(run, files_of(run), tmp_path / "packed")
    with (tmp_path / "packed").open("rb") as stream:
        names = unpack(stream, tmp_path / "again", lambda _: True, 10_000_000, 10)
    assert {name: (tmp_path / "again" / name).read_bytes() for name in names} == contents


def test_what_people_read_comes_to_the_driver_and_what_is_large_stays(tmp_path: Path) -> None:
    kept = [
        ".hydra/config.yaml",
        "best.ckpt",
        "csv/version_0/metrics.csv",
        "figures/roc.png",
        "log.txt",
        "summary.json",
    ]
    stay = [
        "last.ckpt",
        "progress.jsonl",
        "data.h5",
        ".secret/key.txt",
        ".hidden.json",
        "figures/a b.png",
        "x/" * 60 + "log.txt",
    ]
    for name in [*kept, *stay]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert sorted(kept_files(tmp_path)) == kept
    assert not any(map(is_kept, stay))
    with (tmp_path / "log.txt").open("wb") as log:
        log.truncate(LARGEST_FILE + 1)
    assert sorted(kept_files(tmp_path)) == [name for name in kept if name != "log.txt"]


def test_a_name_too_long_to_travel_is_an_error_that_names_it(code: Path) -> None:
    (code / ("x" * 120 + ".py")).write_text("")
    with pytest.raises(ConfigError, match=r"x\.py: a name too long to travel"):
        pack_code(code)
