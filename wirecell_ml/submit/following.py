"""Following: the progress of running units, and the end of those that are not worth their time."""

import json
import math
from pathlib import Path

from wirecell_ml.submit.mailbox import read_plain
from wirecell_ml.submit.session import Session
from wirecell_ml.submit.states import AttemptState

LARGEST_READ = 1_000_000  # bytes of progress read at once; what a worker writes is not trusted


def follow(session: Session) -> None:
    """Tell the source how running units are doing, and stop those that it would prune."""
    for attempt in session.picture.out():
        if attempt.state is not AttemptState.RUNNING:
            continue
        for epoch, value in read_progress(session, attempt.number):
            session.source.report(attempt.number, epoch, value)
            if attempt.number not in session.picture.pruned and session.source.should_prune(attempt.number):
                session.stop(attempt, "pruned")
                session.picture.pruned.add(attempt.number)


def read_progress(session: Session, number: int) -> list[tuple[int, float]]:
    """Return epoch and first objective of every line that a unit has written since the last look."""
    picture, objective = session.picture, session.order.objectives[0]
    path = session.order.box(number).progress(picture.made[number])
    before, offset = picture.read_to.get(number, (path, 0))
    lines, offset = new_lines(path, offset if path == before else 0)
    picture.read_to[number] = path, offset
    known = picture.progress.setdefault(number, {})
    news = [point for line in lines if (point := point_of(line, objective)) and str(point[0]) not in known]
    known.update({str(epoch): value for epoch, value in news})
    return news


def new_lines(path: Path, offset: int) -> tuple[list[str], int]:
    """Return the whole lines of a file after ``offset``, and the offset after them."""
    try:
        text = read_plain(path, offset, LARGEST_READ)
    except OSError:
        return [], offset
    end = text.rfind(b"\n") + 1
    return text[:end].decode(errors="replace").splitlines(), offset + end


def point_of(line: str, objective: str) -> tuple[int, float] | None:
    """Return epoch and objective of a line of progress, or None where it has none."""
    try:
        held = json.loads(line)
        epoch, value = int(held["epoch"]), float(held["metrics"][objective])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return (epoch, value) if math.isfinite(value) else None
