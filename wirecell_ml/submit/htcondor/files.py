"""What condor_submit is given for a batch: a submit file, and the script that each job runs with its number.

The words of the jobs are in the script, since no line of a submit file can hold every word.
"""

import re
from pathlib import Path

from wirecell_ml.submit.job import Batch, Resources
from wirecell_ml.submit.script import starting
from wirecell_ml.submit.site import Site

TOKEN, BATCH = "WirecellMlToken", "WirecellMlBatch"  # attributes that jobs are found by
TRANSFER = "transfer"  # mailbox of a pool whose machines share no folder with the driver
MORE_SECONDS = 60  # for a unit that was asked to checkpoint, before its job is put on hold
HELD_WHY = "it was started again and again, and never came to an end"


def rendered(batch: Batch, site: Site) -> str:
    """Return submit file and script of a batch, one after the other."""
    return f"{description(batch, site)}\n# {script_of(batch).name}\n{script(batch, site)}"


def description(batch: Batch, site: Site) -> str:
    """Return the submit file of a batch."""
    logs = batch.folder / f"{batch.name}-$(Process).log"
    lines = {
        "universe": universe(batch, site),
        "executable": plain(script_of(batch)),
        "arguments": "$(Process)",
        "initialdir": plain(batch.folder),
        "output": plain(logs),
        "error": plain(logs),
        "log": plain(batch.folder / f"{batch.name}.events"),
        "batch_name": batch.name,
        f"+{BATCH}": quoted(batch.name),
        f"+{TOKEN}": quoted(f"{batch.name}-$(Process)"),
        "getenv": "false",
        "notification": "never",
        **carried(batch, site),
        **size(batch.resources, site),
        **endings(batch.resources, site),
        "accounting_group": site.account,
        "requirements": None if batch.alone else site.htcondor.requirements,
        **site.htcondor.attributes,
    }
    return "".join(f"{name} = {value}\n" for name, value in lines.items() if value is not None) + (
        f"queue {len(batch.jobs)}\n"
    )


def universe(batch: Batch, site: Site) -> str:
    """Return where jobs run: a driver on the machine of the queue, which alone can send jobs, others in the pool."""
    if batch.alone:
        return "local"
    return "container" if site.container and site.mailbox == TRANSFER else "vanilla"


def carried(batch: Batch, site: Site) -> dict[str, str | None]:
    """Return what is said of files: nothing is carried where the machines see the folder of the study."""
    if batch.alone:
        return {}
    if site.mailbox != TRANSFER:
        return {"should_transfer_files": "NO"}
    return {
        "should_transfer_files": "YES",
        "when_to_transfer_output": "ON_EXIT_OR_EVICT",
        "transfer_input_files": parcel_of(batch).name if has_parcel(batch) else None,
        "transfer_output_files": "",  # no more than it prints: the unit writes home itself
        "container_image": site.container.image if site.container else None,
        "+WantIOProxy": "true",
    }


def has_parcel(batch: Batch) -> bool:
    """Return whether the jobs of a batch open its parcel."""
    return all(parcel_of(batch).name in job.command for job in batch.jobs)


def size(resources: Resources, site: Site) -> dict[str, str | None]:
    """Return what is said of cores, memory and GPUs."""
    gpus, model = resources.gpus, site.gpu_model
    return {
        "request_cpus": str(resources.cores),
        "request_memory": f"{round(1000 * resources.memory_gb)}M",
        "request_gpus": str(gpus) if gpus else None,
        "require_gpus": f'regexp("{re.escape(model)}", DeviceName, "i")' if gpus and model else None,
    }


def endings(resources: Resources, site: Site) -> dict[str, str]:
    """Return what is said of the end of a job: it may checkpoint, and who sends it anew is the driver, not HTCondor."""
    minutes, starts = resources.minutes, 1 + site.policy.preemptions
    return {
        "kill_sig": "SIGTERM",
        "want_graceful_removal": "true",
        "job_max_vacate_time": str(site.signal_s),
        "allowed_execute_duration": str(60 * minutes + site.signal_s + MORE_SECONDS),
        "on_exit_remove": "true",
        "periodic_hold": f"NumShadowStarts > {starts}",
        "periodic_hold_reason": quoted(HELD_WHY),
    }


def script(batch: Batch, site: Site) -> str:
    """Return the script whose argument is the number of a job in its batch."""
    container = None if site.mailbox == TRANSFER else site.container
    return "\n".join(
        [
            f"#!/bin/bash{' -l' if site.setup else ''}",
            *site.setup,
            "export PATH  # which HTCondor may leave to the shell",
            *([f"tar -xzf {parcel_of(batch).name} code"] if has_parcel(batch) else []),
            *starting(batch, site, container, "$1"),
        ]
    )


def script_of(batch: Batch) -> Path:
    """Return where the script of a batch is kept."""
    return batch.folder / f"{batch.name}.sh"


def parcel_of(batch: Batch) -> Path:
    """Return where the parcel of a batch is kept, see spool.py."""
    return batch.folder / f"{batch.name}.tar.gz"


def plain(path: Path) -> str:
    """Return a path for a submit file, in which only our own $(Process) is replaced."""
    return str(path).replace("$(", "$(DOLLAR)(").replace("$(DOLLAR)(Process)", "$(Process)")


def quoted(text: str) -> str:
    """Return a string as a ClassAd has it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
