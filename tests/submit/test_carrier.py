"""The carrier on a worker that shares no folder with the driver: the runner and the driver notice nothing of it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.carried import Elsewhere
from tests.sweeping import wait_for
from wirecell_ml.errors import INTERRUPTED
from wirecell_ml.submit.site import Site


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Elsewhere]:
    place = Elsewhere(tmp_path, Site(name="far", kind="local", mailbox=f"file://{tmp_path}/store"))
    yield place
    place.close()


def test_a_unit_runs_where_it_shares_nothing_with_the_driver(elsewhere: Elsewhere) -> None:
    assert elsewhere.start().wait() == 0
    elsewhere.collect()
    print(list(elsewhere.box.folder.rglob("*")))
    assert elsewhere.result()["metrics"]["val/dice"] == pytest.approx(0.75)
