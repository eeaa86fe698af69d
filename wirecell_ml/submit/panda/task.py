"""The JEDI task of a batch, and the sandbox that travels with it: pure functions of batch and site."""

import gzip
import io
import json
import math
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wirecell_ml.errors import SubmitError
from wirecell_ml.submit.backend import Refused
from wirecell_ml.submit.job import Batch, Resources
from wirecell_ml.submit.panda import start
from wirecell_ml.submit.panda.rest import server_address
from wirecell_ml.submit.site import PandaSettings, Site

LARGEST_SANDBOX_BYTES = 10 * 1024 * 1024  # PanDA's limit for a sandbox that is not built on the worker
START = "exec python3 start.py "  # any Python of the worker's; the site's own begins with the job
INPUT = "${IN/L}"  # JEDI writes the pseudo-input of a job, its token, in place of this


def settings(site: Site) -> PandaSettings:
    """Return what a site says of PanDA; raises SubmitError where it says nothing."""
    if site.panda is None:
        raise SubmitError(
            f"site {site.name}: kind is panda, and there is no site.panda. docs/site_panda.md has an example"
        )
    return site.panda


def task_name(batch: str, site: Site) -> str:
    """Return the name that the task of a batch is found by."""
    return f"{settings(site).scope}.wirecell_ml.{batch}/"


def sandbox_name(batch: Batch) -> str:
    """Return the name of a sandbox in PanDA's cache; what begins with jobO is unpacked on the worker as it is."""
    return f"jobO.{batch.name}.tar.gz"


def parameters(batch: Batch, site: Site) -> dict[str, Any]:
    """Return the parameters of the task of a batch."""
    asked, size = settings(site), batch.resources
    log = f"{task_name(batch.name, site).rstrip('/')}.log"
    return {
        "taskName": task_name(batch.name, site),
        "uniqueTaskName": True,
        "vo": asked.task_vo,
        "prodSourceLabel": "user",
        "taskType": "anal",
        "taskPriority": asked.priority,
        "processingType": asked.processing_type,
        "noInput": True,
        "pfnList": [job.token for job in batch.jobs],
        "nFiles": len(batch.jobs),
        "nFilesPerJob": 1,
        "maxAttempt": 1,  # another attempt is ours to make
        "maxFailure": 1,
        "disableAutoRetry": 1,
        "skipScout": True,
        "noLoopingCheck": True,  # the heartbeat of the runner says more
        "useSecrets": asked.secrets,
        "transUses": "",
        "transHome": "",
        "architecture": architecture(size, site),
        **sizes(size),
        **{name: value for name, value in places(asked, site).items() if value},
        "sourceURL": server_address(asked.url),
        "jobParameters": [
            {"type": "constant", "value": '-j "" --sourceURL ${SURL} -r .'},
            {"type": "constant", "value": f"-a {sandbox_name(batch)}"},
            {"type": "constant", "value": f'-p "{quote(START)}{INPUT}"'},
        ],
        "log": {
            "dataset": f"{log}/",
            "container": f"{log}/",
            "type": "template",
            "param_type": "log",
            "token": "local",
            "destination": "local",
            "value": f"{log}.$JEDITASKID.${{SN}}.log.tgz",
        },
    }


def sizes(size: Resources) -> dict[str, Any]:
    """Return the size of a job: memory in MB per core, walltime in seconds and, for the brokerage, in hours."""
    return {
        "coreCount": size.cores,
        "ramCount": math.ceil(1000 * size.memory_gb / size.cores),
        "ramUnit": "MBPerCore",
        "walltime": 60 * size.minutes,
        "maxWalltime": math.ceil(size.minutes / 60),
    }


def places(asked: PandaSettings, site: Site) -> dict[str, str | None]:
    """Return where the jobs of a task may run, and in what."""
    return {
        "site": asked.queue,
        "workingGroup": asked.working_group,
        "cloud": asked.working_group,
        "transPath": asked.transform,
        "container_name": site.container.image if site.container else None,
    }


def architecture(size: Resources, site: Site) -> str:
    """Return what a worker must have beside cores and memory, as PanDA's dispatcher reads it."""
    if not size.gpus:
        return ""
    model = {"model": f".*{site.gpu_model}.*"} if site.gpu_model else {}
    return json.dumps({"gpu_spec": {"vendor": "nvidia"} | model})


def jobs(batch: Batch, site: Site) -> dict[str, Any]:
    """Return what start.py reads on the worker: the words of each job, and what comes before them."""
    return {
        "environment": {"OMP_NUM_THREADS": str(batch.resources.cores)} | site.environment,
        "setup": list(site.setup),
        "jobs": {job.token: list(job.command) for job in batch.jobs},
    }


def sandbox(batch: Batch, site: Site) -> bytes:
    """Return the archive that travels with a task; raises Refused for one that PanDA would not take."""
    text = json.dumps(jobs(batch, site)).encode()
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for name, content in (("jobs.json", text), ("start.py", Path(start.__file__).read_bytes())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    if packed.tell() > LARGEST_SANDBOX_BYTES:
        raise Refused(
            f"the sandbox of {len(batch.jobs)} jobs takes {packed.tell() / 1e6:.0f} MB, and PanDA takes "
            f"{LARGEST_SANDBOX_BYTES / 1e6:.0f} MB. Lower site.array_limit"
        )
    return packed.getvalue()


def said(batch: Batch, site: Site) -> str:
    """Return all that is sent for a batch, to be read."""
    held = {"task": parameters(batch, site), sandbox_name(batch): jobs(batch, site)}
    return json.dumps(held, indent=1, ensure_ascii=False) + "\n"
