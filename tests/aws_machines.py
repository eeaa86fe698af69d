"""Moto with machines in its AWS Batch: its jobs run here, each as a process in place of a container; HOST PORT.

What AWS answers is moto's. The states of a job follow the process; whoever ends a job gives it SIGTERM, as AWS does.
"""

import os
import subprocess
import sys
import time
from typing import Any

from moto.batch.models import Job
from moto.batch.utils import JobStatus
from moto.server import main

BEFORE = (JobStatus.SUBMITTED, JobStatus.PENDING, JobStatus.RUNNABLE, JobStatus.STARTING)
LOOK_S = 0.1


def run(job: Any) -> None:
    """Take a job through its states, and run its command once it has a machine."""
    for state in BEFORE:
        job.advance()
        while job.status == state and not job.stop:
            time.sleep(LOOK_S)
    job.exit_code = None if job.stop else ended(job)
    job._mark_stopped(success=job.exit_code == 0)


def ended(job: Any) -> int:
    """Return the exit status of the command of a job, which is told to end where its job is."""
    variables = {one["name"]: one["value"] for one in job._get_container_property("environment", [])}
    process = subprocess.Popen(job._get_container_property("command", []), env=os.environ | variables)
    while process.poll() is None:
        if job.stop:
            process.terminate()
        time.sleep(LOOK_S)
    return process.returncode


if __name__ == "__main__":
    Job.run = run  # type: ignore[assignment,method-assign]
    main(["-H", *sys.argv[1:2], "-p", *sys.argv[2:3]])
