"""What PanDA's REST interface takes, as panda-server 1.0 has it: endpoints, methods, fields and their types."""

import json
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from typing import Any

Values = dict[str, Any]


class Wrong(Exception):  # noqa: N818
    """A request that no real server would take."""


@dataclass(frozen=True)
class Endpoint:
    """What an endpoint takes: its method, its fields with their types; those with ? may be left out."""

    method: str
    fields: dict[str, type]
    secure: bool = True
    production: bool = False


ENDPOINTS = {
    "system/is_alive": Endpoint("GET", {}, secure=False),
    "metaconfig/get_site_specs": Endpoint("GET", {"type?": str}, secure=False),
    "statistics/active_job_stats_by_site": Endpoint("GET", {}, secure=False),
    "file_server/upload_cache_file": Endpoint("POST", {"file": tuple}),
    "task/submit": Endpoint("POST", {"task_parameters": dict, "parent_tid?": int}),
    "task/get_details": Endpoint("GET", {"task_id": int, "include_parameters?": bool, "include_status?": bool}),
    "task/get_datasets_and_files": Endpoint("GET", {"task_id": int, "dataset_types?": tuple}),
    "task/get_status": Endpoint("GET", {"task_id": int}),
    "task/get_tasks_detailed_info_since": Endpoint("GET", {"since?": str, "filters?": str, "n_tasks?": int}),
    "task/get_detailed_info": Endpoint("GET", {"task_id": int}),
    "task/get_job_descriptions": Endpoint("GET", {"task_id": int, "unsuccessful_only?": bool}),
    "task/kill": Endpoint("POST", {"task_id": int, "broadcast?": bool}),
    "job/get_status": Endpoint("GET", {"job_ids": list}),
    "job/get_description": Endpoint("POST", {"job_ids": list}),
    "job/get_description_incl_archive": Endpoint("POST", {"job_ids": list}),
    "job/kill": Endpoint("POST", {"job_ids": list, "code?": int}),
    "pilot/acquire_jobs": Endpoint(
        "POST",
        {"site_name": str, "prod_source_label": str, "node?": str, "n_jobs?": int, "target_architecture?": dict},
    ),
    "pilot/update_job": Endpoint(
        "POST",
        {
            "job_id": int,
            "job_status": str,
            "node?": str,
            "site_name?": str,
            "attempt_nr?": int,
            "pilot_id?": str,
            "pilot_error_code?": int,
            "pilot_error_diag?": str,
            "trans_exit_code?": int,
        },
        production=True,
    ),
}


def read(endpoint: str, method: str, values: Values) -> Values:
    """Return the values of a request in their types; raises Wrong for what an endpoint does not take."""
    if endpoint not in ENDPOINTS:
        raise Wrong(f"method {endpoint} is forbidden")
    known = ENDPOINTS[endpoint]
    if method != known.method:
        raise Wrong(f"expecting {known.method}, received {method}")
    kinds = {name.rstrip("?"): kind for name, kind in known.fields.items()}
    missing = {name for name in known.fields if not name.endswith("?")} - set(values)
    if missing or set(values) - set(kinds):
        raise Wrong(f"Argument error: missing {sorted(missing)}, unknown {sorted(set(values) - set(kinds))}")
    held = {name: cast(kinds[name], value) if method == "GET" else value for name, value in values.items()}
    for name, value in held.items():
        if not isinstance(value, kinds[name]) and not (value is None and f"{name}?" in known.fields):
            raise Wrong(f"Type error: '{name}' must be of type {kinds[name].__name__}, got {type(value).__name__}.")
    return held


def cast(kind: type, values: list[str]) -> Any:
    """Return a value of a query in its type."""
    if kind is list:
        return [int(value) for value in values]
    if kind is tuple:
        return tuple(values)
    return values[0].lower() in ("true", "1") if kind is bool else kind(values[0])


def body_values(headers: Message, body: bytes) -> Values:
    """Return the values in the body of a request: JSON, or a form with a file."""
    kind = headers.get("Content-Type", "")
    if kind == "application/json":
        held = json.loads(body)
        if not isinstance(held, dict):
            raise Wrong("a body that is no object")
        return held
    if not kind.startswith("multipart/form-data"):
        raise Wrong(f"a body of type {kind}")
    form = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    parts = [part for part in form.walk() if not part.is_multipart()]
    return {
        str(part.get_param("name", header="content-disposition")): (part.get_filename(), part.get_payload(decode=True))
        for part in parts
    }
