"""What every backend promises: the same tests for each, on the real thing."""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.sweeping import PROGRAMS, wait_for
from wirecell_ml.errors import SubmitError
from wirecell_ml.paths import PACKAGE
from wirecell_ml.submit.backend import make_backend
from wirecell_ml.submit.job import Batch, Resources
from wirecell_ml.submit.local import RUNNER
from wirecell_ml.submit.mailbox import UnitBox
from wirecell_ml.submit.site import Site
from wirecell_ml.submit.states import JobState

SMALL = Resources(cores=1, memory_gb=0.1, gpus=0, minutes=5)
SLOW = {"DUMMY_EPOCHS": "600", "DUMMY_EPOCH_S": "0.1"}
LIVE = {JobState.WAITING, JobState.RUNNING}
NOBODY = "nobody-000000-0"
ODD = ("it's", 'a "b"', "$HOME", "a\\b", "", "two\nlines", "ν", "*", "-x")
TELL = "import json, os, sys; json.dump({}, open(sys.argv[1], 'w'))"  # a job that writes what it sees
WORDS, NAMES = TELL.format("sys.argv[2:]"), TELL.format("sorted(os.environ)")


def values(*names: str) -> str:
    """Return a program that writes variables of its environment."""
    return TELL.format(f"[os.environ[name] for name in {names}]")


def units(folder: Path, number: int, resources: Resources = SMALL) -> tuple[list[UnitBox], Batch]:
    """Return the mailboxes of dummy units, and the batch that runs them."""
    boxes = [UnitBox(folder / "units" / f"{index:06d}") for index in range(number)]
    start = [sys.executable, str(PROGRAMS / "dummy_unit.py")]
    for box in boxes:
        unit = {"start": start, "resume": start, "heartbeat_s": 0.2, "minutes": 5, "kill_after_s": 45}
        box.prepare("", unit, {"optimizer.lr": 1e-3})
    runner = ["env", f"PYTHONPATH={PACKAGE.parent}", sys.executable, "-m", RUNNER]
    return boxes, batch_of(folder, [[*runner, str(box.folder), "1"] for box in boxes], resources)


def batch_of(folder: Path, commands: Sequence[Sequence[str]], resources: Resources = SMALL) -> Batch:
    """Return commands as a batch whose logs go to a folder of a name that nobody should choose."""
    return Batch.of("contract", commands, resources, folder / "jobs, 100% it's")


def tokens(batch: Batch) -> list[str]:
    return [job.token for job in batch.jobs]


def written(path: Path) -> list[str]:
    """Return the words that a job was asked to write, once it has."""
    wait_for(lambda: path.exists() and path.stat().st_size > 0, 120)
    found: list[str] = json.loads(path.read_text())
    return found


class Contract:
    """The promises; a subclass says at which site they are kept."""

    def test_what_would_be_sent_depends_on_batch_and_site_only(self, site: Site, tmp_path: Path) -> None:
        boxes, batch = units(tmp_path, 2)
        text = make_backend(site).render(batch)
        assert make_backend(site).render(batch) == text
        assert all(str(box.folder) in text for box in boxes)
        assert all(token in text for token in tokens(batch))
        assert not batch.folder.exists()

    def test_every_job_runs_under_its_own_token(self, site: Site, tmp_path: Path) -> None:
        boxes, batch = units(tmp_path, 3)
        make_backend(site).submit(batch)
        wait_for(lambda: all(box.result() for box in boxes), 120)
        assert [(box.result() or {})["token"] for box in boxes] == tokens(batch)
        assert [box.newest_run(1) for box in boxes] == [1, 1, 1]

    def test_a_backend_keeps_nothing(self, site: Site, tmp_path: Path) -> None:
        _, batch = units(tmp_path, 2)
        slow = replace(site, environment=site.environment | SLOW)
        make_backend(slow).submit(batch)
        another = make_backend(slow)
        running = dict.fromkeys(tokens(batch), JobState.RUNNING)
        wait_for(lambda: another.states([*tokens(batch), NOBODY]) == running, 120)
        another.cancel(tokens(batch))
        wait_for(lambda: not LIVE & set(another.states(tokens(batch)).values()), 120)

    def test_a_cancelled_job_checkpoints(self, site: Site, tmp_path: Path) -> None:
        (first, second), batch = units(tmp_path, 2)
        backend = make_backend(replace(site, environment=site.environment | SLOW))
        backend.submit(batch)
        wait_for(lambda: first.progress(1).exists() and second.progress(1).exists(), 120)
        backend.cancel(tokens(batch)[:1])
        wait_for(lambda: first.note(1) is not None, 120)
        assert (first.note(1) or {})["kind"] == "preempted"
        assert first.checkpointed(2, 1) is not None
        assert backend.states(tokens(batch))[tokens(batch)[1]] is JobState.RUNNING, "the other one goes on"
        backend.cancel(tokens(batch))
        wait_for(lambda: second.note(1) is not None, 120)

    def test_a_job_that_has_ended_neither_waits_nor_runs(self, site: Site, tmp_path: Path) -> None:
        _, batch = units(tmp_path, 1)
        backend = make_backend(site)
        backend.submit(batch)
        wait_for(lambda: not LIVE & set(backend.states(tokens(batch)).values()), 120)
        wait_for(lambda: UnitBox(tmp_path / "units" / "000000").result() is not None, 120)

    def test_nobody_is_known_and_can_be_cancelled(self, site: Site) -> None:
        backend = make_backend(site)
        backend.cancel([NOBODY])
        backend.cancel([])
        assert backend.states([NOBODY]) == {}

    def test_asked_of_no_job_it_says_nothing_of_others(self, site: Site, tmp_path: Path) -> None:
        _, batch = units(tmp_path, 1)
        backend = make_backend(replace(site, environment=site.environment | SLOW))
        backend.submit(batch)
        wait_for(lambda: backend.states(tokens(batch)) != {}, 120)
        assert backend.states([]) == {}
        backend.cancel(tokens(batch))

    def test_words_arrive_as_they_were_sent(self, site: Site, tmp_path: Path) -> None:
        tell = [sys.executable, "-c", WORDS]
        batch = batch_of(tmp_path, [[*tell, str(tmp_path / "0"), *ODD], [*tell, str(tmp_path / "1"), *reversed(ODD)]])
        make_backend(site).submit(batch)
        assert written(tmp_path / "0") == [*ODD, tokens(batch)[0]]
        assert written(tmp_path / "1") == [*reversed(ODD), tokens(batch)[1]]

    def test_the_environment_of_the_site_arrives(self, site: Site, tmp_path: Path) -> None:
        tell = [sys.executable, "-c", values("FLAVOUR", "OMP_NUM_THREADS")]
        batch = batch_of(tmp_path, [[*tell, str(tmp_path / "0")]])
        own = {"FLAVOUR": 'it\'s "ν" $HOME'}
        make_backend(replace(site, environment=site.environment | own)).submit(batch)
        assert written(tmp_path / "0") == [own["FLAVOUR"], "1"]

    def test_what_a_job_prints_is_kept(self, site: Site, tmp_path: Path) -> None:
        batch = batch_of(tmp_path, [["sh", "-c", 'echo "$0 spoke"']] * 2)
        backend = make_backend(site)
        backend.submit(batch)
        said = [f"{token} spoke" for token in tokens(batch)]

        def kept() -> bool:
            backend.fetch(tokens(batch), batch.folder)
            return sorted(lines_below(batch.folder)) == said

        wait_for(kept, 120)

    def test_where_little_waits_it_says_so_or_nothing(self, site: Site) -> None:
        seconds = make_backend(site).outlook(SMALL)
        assert seconds is None or 0 <= seconds < 3600

    def test_of_nobody_nothing_is_explained_or_fetched(self, site: Site, tmp_path: Path) -> None:
        backend = make_backend(site)
        assert backend.explain(NOBODY) == ""
        backend.fetch([NOBODY], tmp_path)
        assert lines_below(tmp_path) == []

    def test_no_more_is_sent_than_the_user_allows(self, site: Site) -> None:
        backend = make_backend(replace(site, in_flight=3))
        assert backend.room(SMALL, 0) <= 3
        assert backend.room(SMALL, 3) == backend.room(SMALL, 5) == 0

    def test_a_size_that_fits_is_taken(self, site: Site) -> None:
        make_backend(site).check(SMALL)

    @pytest.mark.parametrize("size", [{"cores": 1001}, {"memory_gb": 1e6}, {"gpus": 99}])
    def test_a_size_that_no_machine_has_is_refused(self, site: Site, size: dict[str, Any]) -> None:
        ((name, value),) = size.items()
        with pytest.raises(SubmitError, match=re.escape(f"site.resources.{name}={value:g}: {site.name} has ")):
            make_backend(site).check(replace(SMALL, **size))


class QueueContract(Contract):
    """What a batch system promises beside: its jobs are not processes of the driver."""

    def test_a_job_sees_nothing_of_the_driver_s_environment(
        self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("A_PASSWORD", "secret")
        make_backend(site).submit(batch_of(tmp_path, [[sys.executable, "-c", NAMES, str(tmp_path / "0")]]))
        names = written(tmp_path / "0")
        assert "A_PASSWORD" not in names
        assert "PATH" in names


def lines_below(folder: Path) -> list[str]:
    """Return the lines of all logs in a folder."""
    return [line for log in folder.glob("*.log") for line in log.read_text().splitlines()]
