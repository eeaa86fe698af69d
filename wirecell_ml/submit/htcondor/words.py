"""What HTCondor says, in the words of a physicist: why jobs wait, are held, or have ended."""

import re
from typing import Any

from wirecell_ml.submit.states import JobState

SILENT = re.compile(
    r"can't find address|failed to connect|could ?n.t connect|failed to fetch ads|communication error|did not respond"
    r"|timed out|connection (refused|closed|reset)|unable to locate|could ?n.t contact|failed to receive",
    re.IGNORECASE,
)
LOGIN = re.compile(
    r"AUTHENTICATE:100[34]|SECMAN:2010|\b(token|credential|proxy)\b.*\b(expired|not valid|invalid)\b", re.IGNORECASE
)

STATES = {  # JobStatus → our word
    1: JobState.WAITING,
    2: JobState.RUNNING,
    3: JobState.ENDED,
    4: JobState.ENDED,
    5: JobState.HELD,
    6: JobState.RUNNING,  # it brings its files home
    7: JobState.WAITING,  # suspended
}
RELEASED_BY_USER = {1, 15, 16}  # codes of holds that pass: condor_hold, hold = true, files on their way
OUT_OF_MEMORY = {34}
HOLDS = {  # HoldReasonCode → what it means, and what to do
    1: "you, or an administrator, hold it back: condor_release",
    3: "it broke a rule of its own submit file",
    4: "its credentials are not valid: renew your proxy or token",
    5: "its credentials are not valid: renew your proxy or token",
    6: "the machine could not start it: see that site.python and site.setup fit the machines",
    7: "its standard output cannot be written where it should be",
    8: "its standard input cannot be read",
    9: "its standard output cannot be written where it should be",
    10: "its standard error cannot be written where it should be",
    12: "what it made cannot be brought home: is there room in the folder of the study?",
    13: "its files cannot be brought to the machine",
    14: "its working folder is not there: does the pool see the folder of the study? Else write site.mailbox=transfer",
    15: "it was submitted on hold: condor_release",
    16: "its files are on their way to the queue",
    21: "the machine put it on hold",
    22: "it could not be started in its own folder",
    26: "it broke a rule of the pool",
    34: "it used more memory than it asked for: raise site.resources.memory_gb",
    35: "the container could not be started: see site.container.image",
    43: "a protected address gave no files",
    46: "it ran longer than site.resources.minutes",
    47: "it ran longer than site.resources.minutes",
    48: "the image of its container is not valid: see site.container.image",
    49: "the container could not be started: see site.container.image",
    104: "it used more disk than it asked for: raise request_disk in site.htcondor.attributes",
}


def job_state(job: dict[str, Any]) -> JobState:
    """Return our word for the state of a job."""
    state = STATES.get(job.get("JobStatus", 0), JobState.ENDED)
    if state is not JobState.HELD:
        return state
    code = job.get("HoldReasonCode")
    if code in RELEASED_BY_USER:
        return JobState.WAITING
    return JobState.OUT_OF_MEMORY if code in OUT_OF_MEMORY else JobState.HELD


def said_of(job: dict[str, Any]) -> str:
    """Return what HTCondor says of a job that is held or has ended."""
    if job.get("JobStatus") == 5:
        meaning, said = HOLDS.get(job.get("HoldReasonCode", 0), ""), one_line(str(job.get("HoldReason", "")))
        return f"held: {meaning} ({said})" if meaning else f"held: {said}"
    if job.get("JobStatus") == 3:
        return f"removed: {one_line(str(job.get('RemoveReason', 'nobody said why')))}"
    if job.get("ExitBySignal") is True:
        return f"ended by signal {job.get('ExitSignal')}"
    return f"ended with exit status {job['ExitCode']}" if "ExitCode" in job else ""


def why_it_waits(job: dict[str, Any], analysis: str) -> str:
    """Return why a job waits, from what condor_q -better-analyze says."""
    last = job.get("VacateReason") or job.get("LastVacateReason")
    before = f"its last start ended: {one_line(str(last))}; " if last else ""
    found = re.search(r"Of (\d+) (?:slots|machines)", analysis)
    fits = re.search(r"(\d+) (?:slots |machines )?(?:match and are willing|are able) to run your job", analysis)
    if not found:
        return f"{before}it waits for a negotiation".strip()
    if fits and int(fits[1]):
        return f"{before}{fits[1]} of {found[1]} slots could run it, and are busy or yet to be asked"
    failed = [condition for slots, condition in CONDITION.findall(analysis) if slots == "0"]
    unmet = f" where it asks for {' and '.join(failed)}" if failed else ""
    return f"{before}none of {found[1]} slots could ever run it{unmet}"


CONDITION = re.compile(r"^\[\d+\] +(\d+)  (.+?)\s*$", re.MULTILINE)


def one_line(text: str) -> str:
    """Return text in a line of sensible length."""
    return " ".join(text.split())[:300]
