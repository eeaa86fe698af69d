"""A stand-in for a PanDA server, on loopback.

  python -m tests.panda_standin      one with pilots, for site=panda_standin

It speaks REST version 1 as panda-server 1.0 does, and is stricter: what no real server has, or takes, is put down in
``wrongs``, and every test ends by asserting that there are none.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt

from tests.oidc_issuer import AUDIENCE, CLIENT, SECRET, Issuer, issuer_at
from tests.panda_contract import ENDPOINTS, Values, Wrong, body_values, read
from tests.panda_rules import Job, Panda, Task

STEP_S = 0.05
LARGEST_UPLOAD_BYTES = 10 * 1024 * 1024


@dataclass
class Standin:
    """The server with its issuer, as a test sees it."""

    issuer: Issuer
    panda: Panda = field(default_factory=Panda)
    address: str = ""
    wrongs: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def task(self, batch: str) -> Task:
        """Return the task of a batch."""
        return next(task for task in self.panda.tasks.values() if task.name.endswith(f".{batch}/"))

    def job(self, token: str) -> Job:
        """Return the job of a token."""
        return self.task(token.rpartition("-")[0]).jobs[token]

    def dispatch_again(self, token: str) -> None:
        """Give a job that runs to another pilot, too."""
        with self.panda.lock:
            self.panda.twice.append(self.job(token))

    def call(self, endpoint: str, values: Values) -> Any:
        """Return what an endpoint answers: success, message, data."""
        answers: dict[str, Callable[..., Any]] = {
            "system/is_alive": lambda: (True, "", None),
            "metaconfig/get_site_specs": lambda **_: (True, "", self.panda.queues),
            "statistics/active_job_stats_by_site": self.active_jobs,
            "file_server/upload_cache_file": self.upload,
            "task/submit": self.submit,
            "task/get_details": self.details,
            "task/get_datasets_and_files": self.files,
            "task/get_status": self.status,
            "task/get_tasks_detailed_info_since": self.find,
            "task/get_detailed_info": self.info,
            "task/get_job_descriptions": self.descriptions,
            "task/kill": self.kill_task,
            "job/get_status": self.job_states,
            "job/get_description": self.describe,
            "job/get_description_incl_archive": self.describe,
            "job/kill": self.kill_jobs,
            "pilot/acquire_jobs": self.acquire,
            "pilot/update_job": self.update,
        }
        with self.panda.lock:
            return answers[endpoint](**values)

    def active_jobs(self) -> Any:
        counted = {queue: {"assigned": 0, "activated": 0, "running": 0} for queue in self.panda.queues}
        for job in self.panda.jobs.values():
            if job.status in ("activated", "running"):
                counted[job.site][job.status] += 1
        return True, "", counted

    def upload(self, file: tuple[str, bytes]) -> Any:
        name, content = file
        if len(content) > LARGEST_UPLOAD_BYTES:
            return False, f"ERROR: upload failure. Exceeded size limit {len(content) >> 20} MB > 10 MB.", None
        if name in self.panda.cache:
            return False, "ERROR: cannot overwrite file", None
        self.panda.cache[name] = content
        return True, "", None

    def submit(self, task_parameters: Values, parent_tid: int | None = None) -> Any:  # noqa: ARG002
        code, message = self.panda.submit(task_parameters)
        if code not in (0, 3):
            return False, message, code
        return True, message, int(message.partition("jediTaskID=")[2].split()[0])

    def details(self, task_id: int, include_parameters: bool = False, include_status: bool = False) -> Any:  # noqa: ARG002
        task = self.panda.known(task_id)
        if not task:
            return False, "Task not found or error retrieving the details", None
        status = {"status": task.status} if include_status else {}
        numbers = [job.number for job in task.jobs.values()]
        return True, "", {"statistics": task.statistics(), "PandaID": numbers} | status

    def status(self, task_id: int) -> Any:
        task = self.panda.known(task_id)
        return (True, "", task.status) if task else (False, "Task not found", None)

    def files(self, task_id: int, dataset_types: tuple[str, ...] = ("input", "pseudo_input")) -> Any:
        task = self.panda.known(task_id)
        if not task or not task.files or "pseudo_input" not in dataset_types:
            return False, "No data found for the task", None
        files = [
            {"lfn": f"{index:06d}:{token}", "scope": None, "id": index, "status": status}
            for index, (token, status) in enumerate(task.files.items())
        ]
        return True, "", [{"dataset": {"name": "pseudo_dataset", "id": task_id}, "files": files}]

    def find(self, filters: str = "{}", since: str | None = None, n_tasks: int = 500) -> Any:  # noqa: ARG002
        wanted = json.loads(filters)
        found = [task for task in self.panda.tasks.values() if task.name == wanted["taskName"]]
        return True, "", [self.record(task) for task in found if task.status != "waiting"]

    def info(self, task_id: int) -> Any:
        task = self.panda.known(task_id)
        return (True, "", self.record(task)) if task else (False, "Task not found or error retrieving task info", None)

    def record(self, task: Task) -> Values:
        return {"jediTaskID": task.number, "taskName": task.name, "status": task.status, "errorDialog": task.error}

    def descriptions(self, task_id: int, unsuccessful_only: bool = False) -> Any:
        jobs = self.panda.tasks[task_id].jobs.values()
        bad = ("failed", "cancelled", "closed")
        return True, "", [job.description() for job in jobs if not unsuccessful_only or job.status in bad]

    def kill_task(self, task_id: int, broadcast: bool = False) -> Any:  # noqa: ARG002
        if task_id not in self.panda.tasks:
            return False, f"jediTaskID={task_id} not found", 2
        code, message = self.panda.kill_task(self.panda.tasks[task_id])
        return code == 0, message, code

    def job_states(self, job_ids: list[int]) -> Any:
        return True, "", [(self.panda.jobs[one].status, self.panda.jobs[one].command) for one in job_ids]

    def describe(self, job_ids: list[int]) -> Any:
        jobs = [self.panda.jobs.get(one) for one in job_ids]
        return True, "", [job.description() if job else None for job in jobs]

    def kill_jobs(self, job_ids: list[int], code: int | None = None) -> Any:  # noqa: ARG002
        return True, "", [self.panda.kill(self.panda.jobs[one]) for one in job_ids]

    def acquire(self, site_name: str, prod_source_label: str, n_jobs: int = 1, **about: Any) -> Any:
        has_gpu = bool(about.get("target_architecture", {}).get("gpus"))
        jobs = self.panda.acquire(site_name, n_jobs, has_gpu) if prod_source_label == "user" else []
        if not jobs:
            return False, "No jobs in PanDA", None
        return True, "", {"StatusCode": 0, "jobs": [self.handed(job) for job in jobs]}

    def handed(self, job: Job) -> Values:
        """Return a job as its pilot gets it."""
        secrets = {"secrets": json.dumps(self.panda.secrets)} if job.task.parameters["useSecrets"] else {}
        return {"PandaID": job.number, "jobPars": job.parameters, "attemptNr": 1} | secrets

    def update(self, job_id: int, job_status: str, **said: Any) -> Any:
        command = self.panda.update(self.panda.jobs[job_id], job_status, said)
        return True, "", {"StatusCode": 0, "command": command}


def authenticated(standin: Standin, headers: Message) -> tuple[str, ...]:
    """Return the groups of whoever sent a request; raises Wrong for a token that a real server would not take."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    vo, _, role = headers.get("Origin", "").replace(":", ".").partition(".")
    if scheme != "Bearer" or not vo:
        raise Wrong("Token authentication failed. no bearer token, or no Origin")
    try:
        claims = jwt.decode(
            token,
            standin.issuer.key.public_key(),
            algorithms=["RS256"],
            audience=CLIENT,
            issuer=standin.issuer.address,
        )
    except jwt.exceptions.InvalidTokenError as error:
        raise Wrong(f"Token authentication failed. Invalid token. {error}") from error
    groups = tuple(claims["groups"])
    if (f"{vo}/{role}" if role else vo) not in groups:
        raise Wrong(f"Token authentication failed. Not a member of the {vo} group")
    return groups


class Handler(BaseHTTPRequestHandler):
    """Answers the requests to a stand-in."""

    standin: Standin

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/auth/dune_auth_config.json":
            self.answer(200, json.dumps(auth_config(self.standin)).encode())
        elif parts.path.startswith("/cache/"):
            content = self.standin.panda.cache.get(parts.path.removeprefix("/cache/"))
            self.answer(404 if content is None else 200, content or b"")
        else:
            self.serve("GET", parts.path, lambda: dict(parse_qs(parts.query)))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.serve("POST", self.path, lambda: body_values(self.headers, body))

    def serve(self, method: str, path: str, values: Callable[[], Values]) -> None:
        """Answer a request."""
        endpoint = path.removeprefix("/api/v1/")
        self.standin.requests.append(endpoint)
        if not self.out_of_order(endpoint):
            self.answer(*self.reply(method, endpoint, values))

    def reply(self, method: str, endpoint: str, values: Callable[[], Values]) -> tuple[int, bytes]:
        """Return status and body of the answer to a request."""
        try:
            groups = authenticated(self.standin, self.headers)
        except Wrong as wrong:
            return 403, f"ERROR : {wrong}".encode()
        try:
            asked = read(endpoint, method, values())
            if ENDPOINTS[endpoint].production and "dune/pilot" not in groups:
                raise Wrong("production or pilot role required")
        except Wrong as wrong:
            self.standin.wrongs.append(f"{method} {endpoint}: {wrong}")
            return 403, f"ERROR : {wrong}".encode()
        success, message, data = self.standin.call(endpoint, asked)
        return 200, json.dumps({"success": success, "message": message, "data": data}).encode()

    def out_of_order(self, endpoint: str) -> bool:
        """Return whether a fault has taken care of a request; those of pilots have none."""
        faults = self.standin.panda.faults
        if endpoint.startswith("pilot/") or not (faults.down or faults.broken):
            return False
        if faults.broken:
            self.answer(faults.broken, b"ERROR : out of order")
        else:
            self.hang_up()
        return True

    def hang_up(self) -> None:
        """Say nothing."""
        self.connection.shutdown(SHUT_RDWR)

    def answer(self, status: int, body: bytes) -> None:
        """Send an answer, unless it is one that shall be lost."""
        faults = self.standin.panda.faults
        if faults.lose_answers and self.path.endswith("task/submit"):
            faults.lose_answers -= 1
            self.hang_up()
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status == 200 else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


def auth_config(standin: Standin) -> dict[str, str]:
    """Return how users of the virtual organisation log in."""
    return {
        "audience": AUDIENCE,
        "client_id": CLIENT,
        "client_secret": SECRET,
        "oidc_config_url": f"{standin.issuer.address}/.well-known/openid-configuration",
        "vo": "dune",
    }


class QuietServer(ThreadingHTTPServer):
    """A server that is used to clients and connections that go away."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def standin_at(port: int = 0, issuer_port: int = 0) -> Iterator[Standin]:
    """Run a stand-in; its pilots are panda_pilot.py's."""
    with issuer_at(issuer_port) as issuer:
        standin, ended = Standin(issuer), Event()
        with QuietServer(("127.0.0.1", port), type("Bound", (Handler,), {"standin": standin})) as server:
            standin.address = f"http://127.0.0.1:{server.server_port}"
            daemons = Thread(target=keep_stepping, args=(standin.panda, ended))
            daemons.start()
            Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            try:
                yield standin
            finally:
                ended.set()
                daemons.join()
                server.shutdown()


def keep_stepping(panda: Panda, ended: Event) -> None:
    """Do the work of the server's daemons until it ends."""
    while not ended.wait(STEP_S):
        panda.step()


def main() -> None:
    """Run a stand-in with pilots until it is interrupted."""
    from tests.panda_pilot import pilots_of

    with standin_at(16860, 16861) as standin, pilots_of(standin, 2):
        print(f"PanDA stands in at {standin.address}. To use it as {os.environ.get('USER', 'yourself')}:")
        print(f"export PANDA_AUTH_ID_TOKEN={standin.issuer.mint(life_s=12 * 3600)}")
        print("python -m wirecell_ml.submit check site=panda_standin", flush=True)
        while True:
            time.sleep(60)


if __name__ == "__main__":
    main()
