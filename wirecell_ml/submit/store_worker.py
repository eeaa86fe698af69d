"""A store as the mailbox of a worker: what the carrier fetches, says and keeps there. The layout stands in store.py."""

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wirecell_ml.submit.carrier import News
from wirecell_ml.submit.heeding import complain
from wirecell_ml.submit.letters import Distrusted, read_json
from wirecell_ml.submit.mailbox import CHECKPOINT, UnitBox, trusted_result, whole
from wirecell_ml.submit.objects import Stored, open_objects
from wirecell_ml.submit.parcel import (
    LARGEST_PARCEL,
    LARGEST_SAVED,
    MOST_FILES,
    Entry,
    digest,
    files_of,
    open_parcel,
    pack_files,
    unpack,
)

SAVED = re.compile(r".*/saved/([1-9][0-9]{0,8})-([1-9][0-9]{0,8})\.tar\.gz")
KEPT_SAVED = 2  # run directories of a unit, so that a damaged one is not the only one


class StoreCourier:
    """Worker's end, of the attempt that a parcel has an entry for."""

    def __init__(self, address: str, entry: Entry) -> None:
        self.entry = entry
        self.objects = open_objects(address.rsplit("/", 2)[0], os.environ)
        self.unit = f"units/{entry.unit}"
        self.start = 0
        self.read: dict[str, tuple[Stored, dict[str, Any]]] = {}  # what does not change is read once

    def claim(self) -> int:
        """Take the next number among the starts of the attempt."""
        start = newest(self.objects.find(self.starts), self.starts) + 1
        while not self.objects.create(f"{self.starts}/{start}", b""):
            start += 1
        self.start = start
        return start

    @property
    def starts(self) -> str:
        """Folder of the numbers that are taken."""
        return f"{self.unit}/starts/{self.entry.token}"

    def receive(self) -> News:
        """Look at everything there is about the unit."""
        found = self.objects.find(self.unit)
        mark = self.held(f"{self.unit}/mark.json", found) or {}
        result = self.held(f"{self.unit}/result.json", found) or mark.get("result")
        return News(
            fence=int(mark.get("fence", 0)),
            stop=mark.get("stop"),
            start=newest(found, self.starts),
            result=trusted_result(result) if result else None,
        )

    def held(self, name: str, found: Mapping[str, Stored]) -> dict[str, Any] | None:
        """Return the JSON object of a name, read again where it has changed; None where there is none."""
        stored = found.get(name)
        if stored is None:
            return None
        if self.read.get(name, (None, {}))[0] != stored:
            text = self.objects.read([name]).get(name)
            if text is None:  # for the moment
                return None
            self.read[name] = stored, small_object(text)
        return self.read[name][1]

    def send(self, text: bytes) -> None:
        """Put a letter in the place of the one before."""
        self.objects.write({f"letters/{self.entry.token}/{self.start}.json": text})

    def commit(self, result: dict[str, Any]) -> bool:
        """Create the result; the store decides who was first."""
        name = f"{self.unit}/result.json"
        if self.objects.create(name, json.dumps(result).encode()):
            return True
        there = small_object(self.objects.read([name]).get(name, b"{}"))
        return there == result  # whose first answer was lost

    def save(self, run: Path, attempt: int, start: int) -> None:
        """Keep a run directory, and of the unit's earlier ones the newest."""
        folder = f"{self.unit}/saved"
        with tempfile.TemporaryDirectory(dir=run.parent) as here:
            archive = Path(here) / "run.tar.gz"
            pack_files(run, files_of(run), archive)
            self.objects.upload(archive, f"{folder}/{attempt}-{start}.tar.gz")
        self.objects.remove(saved_in(self.objects.find(folder))[KEPT_SAVED:])

    def saved(self, box: UnitBox) -> None:
        """Bring the newest run directory whose checkpoint is whole."""
        for name in saved_in(self.objects.find(f"{self.unit}/saved")):
            match = SAVED.fullmatch(name)
            assert match
            run = box.attempt(int(match[1])) / f"run-{match[2]}"
            if self.bring(name, run):
                return

    def bring(self, name: str, run: Path) -> bool:
        """Bring a run directory to its place; return whether its checkpoint is whole."""
        with tempfile.TemporaryDirectory(dir=run.parents[1]) as here:
            archive = Path(here) / "run.tar.gz"
            self.objects.download(name, archive)
            try:
                with archive.open("rb") as stream:
                    unpack(stream, run, lambda _: True, LARGEST_SAVED, MOST_FILES)
            except Distrusted as error:
                complain(error)
                return False
        return whole(run / CHECKPOINT)

    def deliver(self, files: Path, start: int) -> None:
        """Put the files of a run where the driver looks for them."""
        self.objects.upload(files, f"files/{self.entry.token}/{start}.tar.gz")


def newest(found: Mapping[str, Stored], folder: str) -> int:
    """Return the largest number that is a name in a folder, 0 where there is none."""
    names = [name.removeprefix(f"{folder}/") for name in found if name.startswith(f"{folder}/")]
    return max((int(name) for name in names if name.isdecimal()), default=0)


def saved_in(found: Mapping[str, Stored]) -> list[str]:
    """Return the names of the run directories that are kept, the newest first."""
    numbers = {name: (int(match[1]), int(match[2])) for name in found if (match := SAVED.fullmatch(name))}
    return sorted(numbers, key=lambda name: numbers[name], reverse=True)


def small_object(text: bytes) -> dict[str, Any]:
    """Return a JSON object, {} for anything else."""
    try:
        held = read_json(text)
    except Distrusted:
        return {}
    return held if isinstance(held, dict) else {}


def fetch_parcel(address: str, token: str, scratch: Path) -> Entry:
    """Open a parcel of a store in a scratch folder, and the code that it names; raises Distrusted, OSError."""
    root, folder, name = address.rsplit("/", 2)
    objects = open_objects(root, os.environ)
    objects.download(f"{folder}/{name}", scratch / "parcel.tar.gz")
    entry = open_parcel(scratch / "parcel.tar.gz", token, scratch)
    if entry.code:
        path = scratch / "code.tar.gz"
        objects.download(f"code/{entry.code}.tar.gz", path)
        if digest(path.read_bytes()) != entry.code:
            raise Distrusted("its code is not what it names")
        with path.open("rb") as stream:
            unpack(stream, scratch, lambda name: name.startswith("code/"), LARGEST_PARCEL, MOST_FILES)
    return entry
