"""What tests of sweeps need: studies of units that take no time, drivers in processes, and what must hold."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wirecell_ml.hpo import ordering
from wirecell_ml.hpo.ordering import make_source
from wirecell_ml.hpo.trials import read_trials
from wirecell_ml.submit.arguments import parse
from wirecell_ml.submit.driver import Driver
from wirecell_ml.submit.states import ATTEMPT_ENDS, UNIT_ENDS
from wirecell_ml.submit.study import Study

PROGRAMS = Path(__file__).parent / "programs"
SPACE = "sweep=optimizer.lr=tag(log,interval(1e-4,1e-1))"
QUICK = (  # nothing is waited for longer than a dummy lives
    "site.policy.poll_s=0.2",
    "site.policy.heartbeat_s=0.2",
    "site.policy.lease_s=3",
    "site.policy.grace_s=1",
    "site.policy.backoff_s=0.2",
    "site.resources.memory_gb=0.1",
)
OWN = ("study", "folder", "ledger", "site", "sweep", "sampler", "pruner", "trials", "trial_seed", "program", "search")


def order(folder: Path, *settings: str, name: str = "dummies", site: str = "local") -> Study:
    """Write a study of dummy units below ``folder`` and return it; nothing runs yet.

    The test must have put the folder of tests/dummy_unit.py on sys.path (see conftest.py).
    """
    words = [f"study={name}", f"folder={folder}", f"site={site}", SPACE, "program=dummy_unit", "sampler=random"]
    arguments = parse([*words, *QUICK, *settings], ["start"], "start", OWN)
    return ordering.write(ordering.draft(ordering.read_settings(arguments), arguments))


def drive(study: Study) -> bool:
    """Drive a study in this process; return whether every unit has ended."""
    return driver_of(study).run()


def driver_of(study: Study) -> Driver:
    """Return a driver of a study, in this process."""
    return Driver(study.order(), study.ledger(), ordering.work_of(study), lambda: make_source(study))


@contextmanager
def driver_process(study: Study, *settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``hpo resume`` as a user does, in a process of its own; it is killed at the end if it lives."""
    command = [
        sys.executable,
        "-m",
        "wirecell_ml.hpo",
        "resume",
        f"study={study.name}",
        f"folder={study.folder.parent}",
    ]
    with (study.folder / "driver.log").open("ab") as log:
        process = subprocess.Popen([*command, *settings], stdout=log, stderr=log, env=os.environ)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait_for(happened: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something has happened; fail where it does not."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def check_exactly_once(study: Study, trials: int) -> dict[str, int]:
    """Assert that every trial ended exactly once and that nothing is lost; return the counts."""
    ledger = study.ledger()
    units, attempts, events = ledger.units(study.name), ledger.attempts(study.name), ledger.events(study.name)
    assert [unit.number for unit in units] == list(range(trials))
    lost = [unit.number for unit in units if unit.state not in UNIT_ENDS]
    assert not lost, f"trials that never ended: {lost}"
    ends = Counter(event.number for event in events if event.attempt is None and event.new in set(UNIT_ENDS))
    doubled = [number for number, times in ends.items() if times > 1]
    assert not doubled, f"trials that ended more than once: {doubled}"
    assert set(ends) == set(range(trials)), "a trial ended without an event"
    assert all(attempt.state in ATTEMPT_ENDS for attempt in attempts), Counter(attempt.state for attempt in attempts)
    for unit in units:
        committed = study.order().box(unit.number).result()
        if unit.state == "DONE" and unit.twin_of is None:
            assert committed is not None
            assert unit.result == committed
    source = make_source(study)
    source.restore(units)
    assert source.ask() is None, "the budget is not exact"
    states = Counter(trial.state for trial in read_trials(study))
    counts = {"trials": len(units), "attempts": len(attempts), "done": states["DONE"]}
    return counts | {"lost": len(lost), "doubled": len(doubled)}


def record_fault(name: str, what: str, counts: dict[str, int]) -> None:
    """Append a fault, what was done to the system, and its counts to the file that WIRECELL_ML_FAULT_COUNTS names."""
    path = os.environ.get("WIRECELL_ML_FAULT_COUNTS")
    if path:
        test = Path(os.environ["PYTEST_CURRENT_TEST"].partition("::")[0]).stem
        with Path(path).open("a") as file:
            file.write(json.dumps({"test": test, "fault": name, "what": what, "counts": counts}) + "\n")
