"""Letters: what a worker that shares no folder with the driver says of its attempt, and how the driver takes it.

A letter is JSON of at most 1 MB: the whole state of one start of an attempt. Of many the newest counts, so that none is
missed where one is lost, comes twice or comes late. Nothing in it is trusted, and nothing but checked numbers of it
ever becomes a path. Nothing but the standard library.
"""

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wirecell_ml.submit.mailbox import ENDS, LARGEST_BYTES, NOTES, UnitBox, printable, replace, spent
from wirecell_ml.submit.post import Address

log = logging.getLogger(__name__)

TOKEN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,50}[a-z0-9])?")
LARGEST_NUMBER = 2**53  # that JSON readers agree on
MOST_STARTS = 100  # of one attempt that may have gone by unheard
LARGEST_PROGRESS = 20_000_000  # bytes of one start that are kept here
LATEST = 1e12  # seconds; no time and no duration is longer
DEEPEST = 8  # levels of lists and objects
LONGEST_TEXT = 100_000  # characters of a line of progress
LARGEST_RESULT = 900_000  # bytes
SMALL_BYTES = 10_000  # enough for all of a letter but its progress and its result

refusals: Counter[str] = Counter()  # token → letters that this process has refused


class Distrusted(Exception):  # noqa: N818  (it says what the letter is)
    """Something that no worker of ours would have written; the text is the reason."""


@dataclass(frozen=True)
class Letter:
    """The state of one start of an attempt."""

    token: str
    attempt: int
    run: int  # number of the start
    number: int  # of the letter; it grows
    beat: float  # when the runner last said that it lives, by the clock of the worker
    skipped: int  # lines of progress before those below, for which there was no room
    progress: tuple[str, ...]
    note: dict[str, Any] | None  # why the start ended without a result
    result: dict[str, Any] | None


TYPES: dict[str, tuple[type, ...]] = {
    "token": (str,),
    "attempt": (int,),
    "run": (int,),
    "number": (int,),
    "beat": (int, float),
    "skipped": (int,),
    "progress": (list,),
    "note": (dict, type(None)),
    "result": (dict, type(None)),
}


def write_letter(box: UnitBox, attempt: int, run: int, token: str, number: int, last: bool = True) -> bytes:
    """Return the letter about a start of an attempt, with the newest lines of progress that there is room for.

    Only the ``last`` one has result or note: who reads it finds all else that belongs to the start in its place.
    """
    path = box.attempt(attempt) / f"run-{run}" / "progress.jsonl"
    lines = whole_lines(path)
    result, note = (box.result(), box.note(attempt)) if last else (None, None)
    if result and len(json.dumps(result)) > LARGEST_RESULT:
        result = result | {"metrics": {}}
    kept = newest(lines, LARGEST_BYTES - SMALL_BYTES - len(json.dumps(result)))
    skipped = len(lines) - len(kept)
    letter = Letter(token, attempt, run, number, box.beat(attempt) or 0.0, skipped, tuple(kept), note, result)
    return json.dumps(asdict(letter), allow_nan=False).encode()


def whole_lines(path: Path) -> list[str]:
    """Return the lines of a file that were written to their end; none where there is no file."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    return [line.decode(errors="replace")[:LONGEST_TEXT] for line in text.split(b"\n")[:-1]]


def newest(lines: Sequence[str], room: int) -> list[str]:
    """Return as many of the last lines as fit into ``room`` bytes of JSON."""
    used = 0
    for index in range(len(lines) - 1, -1, -1):
        used += len(json.dumps(lines[index])) + 2
        if used > room:
            return list(lines[index + 1 :])
    return list(lines)


def read_letter(text: bytes) -> Letter:
    """Return a letter as it was written; raises Distrusted for what no worker of ours would write."""
    held = read_json(text)
    if not isinstance(held, dict) or held.keys() != TYPES.keys():
        raise Distrusted("it has not the fields of a letter")
    for name, types in TYPES.items():
        if type(held[name]) not in types:
            raise Distrusted(f"{name} is a {type(held[name]).__name__}")
    if not TOKEN.fullmatch(held["token"]):
        raise Distrusted("its token is none")
    for name, least in (("attempt", 1), ("run", 1), ("number", 0), ("skipped", 0)):
        if not least <= held[name] <= LARGEST_NUMBER:
            raise Distrusted(f"{name} is a number that cannot be")
    if not 0 <= held["beat"] < LATEST:
        raise Distrusted("its beat is no time")
    if not all(isinstance(line, str) and len(line) <= LONGEST_TEXT and "\n" not in line for line in held["progress"]):
        raise Distrusted("its progress is not made of lines")
    return Letter(**held | {"progress": tuple(held["progress"]), "note": note_of(held), "result": result_of(held)})


def read_json(text: bytes) -> Any:
    """Return what a small JSON text holds; raises Distrusted where it is large, deep, ambiguous or no JSON at all."""
    if len(text) > LARGEST_BYTES:
        raise Distrusted(f"it is larger than {LARGEST_BYTES / 1e6:g} MB")
    try:
        held = json.loads(text, object_pairs_hook=once, parse_constant=no_number, parse_float=finite_number)
    except (ValueError, RecursionError) as error:
        raise Distrusted("it is no JSON") from error
    if depth(held) > DEEPEST:
        raise Distrusted("it is too deep")
    return held


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose keys are all different."""
    held = dict(pairs)
    if len(held) < len(pairs):
        raise Distrusted("it says one thing twice")
    return held


def no_number(name: str) -> float:
    """Raise Distrusted for NaN and infinities, which are no JSON."""
    raise Distrusted(f"{name} is no number")


def finite_number(text: str) -> float:
    """Return a number that a float can hold."""
    if not math.isfinite(number := float(text)):
        raise Distrusted(f"{text[:20]} is too large a number")
    return number


def depth(held: object) -> int:
    """Return how many levels of lists and objects there are, as far as they matter."""
    level, layer = 0, [held]
    while layer and level <= DEEPEST:
        inner = [one for one in layer if isinstance(one, dict | list)]
        layer = [value for one in inner for value in (one.values() if isinstance(one, dict) else one)]
        level += bool(inner)
        if not inner:
            break
    return level


def note_of(held: dict[str, Any]) -> dict[str, Any] | None:
    """Return the note of a letter in the form that a runner gives it."""
    note = held["note"]
    if note is None:
        return None
    if note.get("kind") not in NOTES or not isinstance(note.get("message"), str):
        raise Distrusted("its note is none")
    return {"kind": note["kind"], "message": printable(note["message"])} | times(note)


def result_of(held: dict[str, Any]) -> dict[str, Any] | None:
    """Return the result of a letter in the form that a runner gives it."""
    result = held["result"]
    if result is None:
        return None
    metrics = result.get("metrics")
    if result.get("end") not in ENDS or not isinstance(metrics, dict):
        raise Distrusted("its result is none")
    if not all(type(value) in (int, float, type(None)) and abs(value or 0) < 1e300 for value in metrics.values()):
        raise Distrusted("a metric of its result is no number")
    if type(result.get("attempt")) is not int or not isinstance(result.get("token"), str):
        raise Distrusted("its result does not say whose it is")
    if not 1 <= result["attempt"] <= held["attempt"] or not TOKEN.fullmatch(result["token"]):
        raise Distrusted("its result is of an attempt that cannot have made it")
    if result["attempt"] == held["attempt"] and result["token"] != held["token"]:
        raise Distrusted("its result is of another token")
    numbers = {printable(name): value for name, value in metrics.items()}
    who = {"attempt": result["attempt"], "token": result["token"]}
    return {"end": result["end"], "metrics": numbers} | who | times(result)


def times(held: dict[str, Any]) -> dict[str, float]:
    """Return the times that a runner reports; raises Distrusted where one cannot be."""
    said = spent(held)
    if not all(0 <= value < LATEST for value in said.values()):
        raise Distrusted("a time in it cannot be")
    return said


def accept(text: bytes, token: str, address: Address) -> bool:
    """Take in a letter that came for an attempt; return whether it held news. One that is refused is logged once."""
    try:
        return deliver(read_letter(text), token, address)
    except Distrusted as error:
        refuse(token, str(error))
        return False


def refuse(token: str, why: str) -> None:
    """Log, once for each token, that something of its worker was refused, and count it."""
    refusals[token] += 1
    if refusals[token] == 1:
        log.warning("%s: a letter of its worker was refused, since %s", token, why)


def deliver(letter: Letter, token: str, address: Address) -> bool:
    """Write into the box here what a letter says, and return whether that is news; raises Distrusted."""
    check_sender(letter, token, address)
    known = read_known(address.box.attempt(letter.attempt) / f"run-{letter.run}.letter")
    if letter.number <= known.number:
        return False
    write_down(letter, address.box, known)
    return True


def check_sender(letter: Letter, token: str, address: Address) -> None:
    """Raise Distrusted for a letter of another attempt, of one that is over, or of a start that cannot be."""
    box, attempt = address.box, address.attempt
    if (letter.token, letter.attempt) != (token, attempt):
        raise Distrusted("it speaks for another attempt")
    if attempt < box.fence:
        raise Distrusted(f"attempt {attempt} is over: attempt {box.fence} may run now")
    newest_run = box.newest_run(attempt)
    if letter.run > newest_run + MOST_STARTS:
        raise Distrusted(f"it speaks of start {letter.run}, and {newest_run} are known")


@dataclass(frozen=True)
class Known:
    """What has been written down of a start already."""

    number: int = -1
    beat: float | None = None
    lines: int = 0


def read_known(path: Path) -> Known:
    """Return what has been written down of a start."""
    try:
        return Known(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return Known()


def write_down(letter: Letter, box: UnitBox, known: Known) -> None:
    """Write a letter into the box: what it says is all there before it counts as known."""
    folder = box.attempt(letter.attempt)
    run = folder / f"run-{letter.run}"
    run.mkdir(parents=True, exist_ok=True)
    lines = append(run / "progress.jsonl", letter, known.lines)
    if letter.beat != known.beat and letter.run >= box.newest_run(letter.attempt):
        (folder / "heartbeat").touch()  # by the clock here
    if letter.note:
        replace(run.with_suffix(".json"), json.dumps(letter.note))
    if letter.result:
        box.commit(letter.result)
    replace(run.with_suffix(".letter"), json.dumps(asdict(Known(letter.number, letter.beat, lines))))


def append(path: Path, letter: Letter, known: int) -> int:
    """Append the lines of progress that are new; return how many the start has written so far."""
    lines = letter.progress[max(0, known - letter.skipped) :]
    with path.open("a", errors="replace") as file:
        if file.tell() + sum(map(len, lines)) <= LARGEST_PROGRESS:
            file.writelines(f"{line}\n" for line in lines)
    return max(known, letter.skipped + len(letter.progress))
