"""The carrier on a worker that shares no folder with the driver: the runner and the driver notice nothing of it."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.carried import DUMMY, Elsewhere, worker_log
from tests.driving import ended
from tests.object_store import make_bucket, object_store, who_we_are
from tests.sweeping import wait_for
from wirecell_ml.errors import INTERRUPTED
from wirecell_ml.submit import carrier
from wirecell_ml.submit.job import Batch, Resources
from wirecell_ml.submit.parcel import pack
from wirecell_ml.submit.site import Site

ODD = ["it's", 'a "b"', "$HOME", "a\\b", "", "two\nlines", "ν", "*", "-x", "--courier"]
OFTEN = "import sys; from wirecell_ml.submit import carrier; carrier.SAVE_S = 0.2; sys.exit(carrier.main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with object_store() as address:
        yield address


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Elsewhere]:
    """Workers that write to a folder which the driver brings letters from."""
    place = Elsewhere(tmp_path, Site(name="far", kind="local", mailbox=f"file://{tmp_path}/store"))
    yield place
    place.close()


@pytest.fixture
def far(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    """Workers that write to an object store."""
    for name, value in who_we_are(store).items():
        monkeypatch.setenv(name, value)
    place = Elsewhere(tmp_path, Site(name="far", kind="local", mailbox=f"s3://{make_bucket(store)}/of/mine"))
    yield place
    place.close()


@pytest.fixture(params=["elsewhere", "far"])
def anywhere(request: pytest.FixtureRequest) -> Elsewhere:
    """Workers of either kind."""
    place = request.getfixturevalue(request.param)
    assert isinstance(place, Elsewhere)
    return place


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainings last until something happens to them."""
    monkeypatch.setenv("DUMMY_EPOCHS", "3000")


def collected(elsewhere: Elsewhere, epochs: int = 1, attempt: int = 1) -> None:
    """Wait until the driver has heard of some epochs."""
    wait_for(lambda: len(elsewhere.epochs(attempt)) >= epochs)


def below(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return runner and training of a worker."""
    return list(psutil.Process(process.pid).children(recursive=True))


def note(elsewhere: Elsewhere, attempt: int = 1) -> tuple[str, str]:
    """Return kind and message of the note of an attempt, which there must be."""
    elsewhere.collect()
    found = elsewhere.box.note(attempt)
    assert found
    return found["kind"], found["message"]


def test_a_unit_runs_where_it_shares_nothing_with_the_driver(anywhere: Elsewhere) -> None:
    worker = anywhere.start()
    assert worker.wait() == 0
    assert anywhere.epochs() == [1, 2, 3]
    result = anywhere.result()
    [token] = anywhere.addresses
    assert result["metrics"]["val/dice"] == pytest.approx(0.75)
    assert (result["end"], result["attempt"], result["token"]) == ("done", 1, token)
    run = anywhere.box.attempt(1) / "run-1"
    assert {path.name for path in run.iterdir()} == {"log.txt", "progress.jsonl", "summary.json"}
    assert list((anywhere.folder / "machine-0").iterdir()) == [worker_log(anywhere, 0)], "the scratch folder is gone"


@pytest.mark.parametrize(("status", "kind"), [(1, "crashed"), (2, "mistake")])
def test_why_a_training_failed_is_heard_and_its_log_is_here(elsewhere: Elsewhere, status: int, kind: str) -> None:
    assert elsewhere.start(DUMMY_EXIT=str(status)).wait() == status
    assert note(elsewhere)[0] == kind
    assert (elsewhere.box.attempt(1) / "run-1" / "log.txt").read_text() == f"error: told to end with {status}\n"


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_means_a_checkpoint_and_the_next_attempt_goes_on_elsewhere(anywhere: Elsewhere, number: int) -> None:
    worker = anywhere.start()
    collected(anywhere, 2)
    worker.send_signal(number)
    assert worker.wait() == INTERRUPTED
    done = len(anywhere.epochs())
    assert note(anywhere) == ("preempted", f"checkpointed after epoch {done}")
    assert anywhere.start(2, DUMMY_EPOCHS=str(done + 2)).wait() == 0
    assert anywhere.epochs(2) == list(range(1, done + 3))


@pytest.mark.usefixtures("long")
def test_the_same_job_started_again_takes_the_next_number_and_goes_on(anywhere: Elsewhere) -> None:
    command = anywhere.pack()
    worker = anywhere.start_again(command)
    collected(anywhere, 2)
    worker.terminate()
    worker.wait()
    done = len(anywhere.epochs())
    assert anywhere.start_again(command, DUMMY_EPOCHS=str(done + 2)).wait() == 0
    assert anywhere.epochs() == list(range(1, done + 3))
    assert anywhere.box.newest_run(1) == 2


@pytest.mark.usefixtures("long")
def test_a_checkpoint_travels_while_the_unit_runs(elsewhere: Elsewhere) -> None:
    elsewhere.prepare([*DUMMY[:1], "-c", CHECKPOINTING])
    command = list(elsewhere.pack())
    command[command.index("-m") : command.index("-m") + 2] = ["-c", OFTEN]
    worker = elsewhere.start_again(tuple(command))
    wait_for(lambda: "saved" in stored(elsewhere))
    worker.kill()
    elsewhere.prepare(DUMMY)
    assert elsewhere.start(2, DUMMY_EPOCHS="7").wait() == 0
    assert elsewhere.epochs(2) == [6, 7]


CHECKPOINTING = """
import time, zipfile
while True:
    with zipfile.ZipFile("last.ckpt", "w") as archive:
        archive.writestr("epoch", "5")
    time.sleep(0.5)
"""


def stored(elsewhere: Elsewhere) -> set[str]:
    """Return the names of all folders of the unit in the store."""
    found = elsewhere.objects().find("")
    return {part for name in found if "/units/" in name for part in name.split("/")[3:]}


@pytest.mark.usefixtures("long")
def test_where_the_newest_checkpoint_is_damaged_the_one_before_is_taken(elsewhere: Elsewhere) -> None:
    done = [0]
    for attempt in (1, 2):
        worker = elsewhere.start(attempt)
        collected(elsewhere, done[-1] + 2, attempt)
        worker.terminate()
        worker.wait()
        done.append(len(elsewhere.epochs(attempt)))
    first = done[1]
    [newest] = [name for name in elsewhere.objects().find("") if name.endswith("/saved/2-1.tar.gz")]
    elsewhere.objects().write({newest: b"damaged"})
    assert elsewhere.start(3, DUMMY_EPOCHS=str(first + 1)).wait() == 0
    assert elsewhere.epochs(3) == list(range(1, first + 2))


@pytest.mark.usefixtures("long")
def test_a_stop_mark_is_heard(anywhere: Elsewhere) -> None:
    worker = anywhere.start()
    collected(anywhere)
    anywhere.box.stop("pruned")
    anywhere.tell()
    assert worker.wait() == 0
    anywhere.collect()
    assert anywhere.result()["end"] == "pruned"


@pytest.mark.usefixtures("long")
def test_a_study_that_is_stopped_has_checkpoints_and_goes_on_from_them(elsewhere: Elsewhere) -> None:
    worker = elsewhere.start()
    collected(elsewhere, 2)
    elsewhere.box.stop("stopped")
    elsewhere.tell()
    assert worker.wait() == INTERRUPTED
    done = len(elsewhere.epochs())
    assert note(elsewhere)[0] == "stopped"
    elsewhere.box.allow()
    assert elsewhere.start(2, DUMMY_EPOCHS=str(done + 1)).wait() == 0
    assert elsewhere.epochs(2) == list(range(1, done + 2))


@pytest.mark.usefixtures("long")
def test_a_runner_ends_where_a_later_attempt_may_run(anywhere: Elsewhere) -> None:
    worker = anywhere.start()
    collected(anywhere)
    processes = below(worker)
    assert len(processes) == 2
    anywhere.pack(2)
    assert worker.wait() == 0
    assert all(map(ended, processes))
    anywhere.collect()
    assert anywhere.box.result() is None


@pytest.mark.usefixtures("long")
def test_of_two_starts_of_one_job_the_later_one_goes_on(anywhere: Elsewhere) -> None:
    command = anywhere.pack()
    first = anywhere.start_again(command)
    collected(anywhere)
    assert anywhere.start_again(command, DUMMY_EPOCHS="3").wait() == 0
    assert first.wait() == 0
    anywhere.collect()
    assert anywhere.box.newest_run(1) == 2
    assert anywhere.epochs() == [1, 2, 3]
    assert anywhere.result()["metrics"]["val/dice"] == pytest.approx(0.75)


def test_a_carrier_of_a_unit_that_has_a_result_starts_nothing(anywhere: Elsewhere) -> None:
    assert anywhere.start().wait() == 0
    assert anywhere.start(2).wait() == 0
    anywhere.collect()
    assert not (anywhere.box.attempt(2) / "run-1" / "log.txt").exists()
    assert anywhere.result()["attempt"] == 1, "the second one told of the result that it found"


def test_a_result_that_came_from_elsewhere_ends_a_carrier(elsewhere: Elsewhere) -> None:
    command = elsewhere.pack()
    another = "of-another-site-0"
    elsewhere.box.commit({"end": "done", "metrics": {"val/dice": 0.5}, "attempt": 1, "token": another})
    elsewhere.tell()
    assert elsewhere.start_again(command, DUMMY_EPOCHS="3000").wait() == 0
    assert elsewhere.result()["token"] == another


@pytest.mark.usefixtures("long")
def test_runner_and_training_die_with_their_carrier(elsewhere: Elsewhere) -> None:
    worker = elsewhere.start()
    collected(elsewhere)
    processes = below(worker)
    assert len(processes) == 2
    worker.kill()
    wait_for(lambda: all(map(ended, processes)))


def test_a_signal_before_the_runner_began_is_noted(elsewhere: Elsewhere) -> None:
    elsewhere.prepare(["{python}", "-c", "open('began', 'w')"])
    command = list(elsewhere.pack())
    early = "import os, signal; from wirecell_ml.submit import carrier; real = carrier.make_courier\n"
    early += "def make(*words):\n    os.kill(os.getpid(), signal.SIGTERM)\n    return real(*words)\n"
    early += "import sys; carrier.make_courier = make; sys.exit(carrier.main(sys.argv[1:]))"
    command[command.index("-m") : command.index("-m") + 2] = ["-c", early]
    assert elsewhere.start_again(tuple(command)).wait() == INTERRUPTED
    assert note(elsewhere) == ("preempted", "ended by a signal before it began")


def test_a_signal_to_all_while_the_runner_begins_is_noted(elsewhere: Elsewhere) -> None:
    """A pilot signals carrier and runner at once, and Python has yet to start in the runner."""
    command = list(elsewhere.pack())
    early = "import os, signal; from wirecell_ml.submit import carrier; real = carrier.subprocess.Popen\n"
    early += "def start(*words, **more):\n    child = real(*words, **more)\n"
    early += "    [os.kill(number, signal.SIGTERM) for number in (child.pid, os.getpid())]\n    return child\n"
    early += "import sys; carrier.subprocess.Popen = start; sys.exit(carrier.main(sys.argv[1:]))"
    command[command.index("-m") : command.index("-m") + 2] = ["-c", early]
    assert elsewhere.start_again(tuple(command)).wait() == INTERRUPTED
    assert note(elsewhere) == ("preempted", "ended by a signal before it began")


def test_a_runner_ends_after_its_minutes(elsewhere: Elsewhere) -> None:
    elsewhere.prepare(DUMMY, minutes=0.05)
    assert elsewhere.start(DUMMY_EPOCHS="3000").wait() == INTERRUPTED
    assert note(elsewhere)[0] == "preempted"


def test_a_plain_command_of_a_parcel_runs_as_it_is(tmp_path: Path) -> None:
    tell = [sys.executable, "-c", "import json, sys; json.dump(sys.argv[1:], open('said', 'w')); sys.exit(7)"]
    batch = Batch.of("s", [[*tell, *ODD]], Resources(), tmp_path)
    (tmp_path / "parcel").write_bytes(pack(batch, [None]))
    token = batch.jobs[0].token
    command = [sys.executable, "-m", carrier.__name__, str(tmp_path / "parcel"), token]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 7
    assert json.loads((tmp_path / "said").read_text()) == [*ODD, token]


def test_a_parcel_that_is_not_there_is_an_error_at_once(tmp_path: Path) -> None:
    for parcel in (str(tmp_path / "parcel"), f"file://{tmp_path}/store/study/jobs/batch.tar.gz"):
        command = [sys.executable, "-m", carrier.__name__, parcel, "s-000000-0"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 1
        assert ended.stderr.startswith(f"error: {parcel}: ")
        assert ended.stderr.count("\n") == 1
