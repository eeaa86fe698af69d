"""Reasons: choices of the broker in sentences that a physicist understands."""

from collections.abc import Mapping, Sequence

from wirecell_ml.submit.broker.past import Wanted
from wirecell_ml.submit.broker.view import View
from wirecell_ml.submit.status import duration


def left_out(view: View) -> str:
    """Return why nothing is sent to a site now, "" where it may be."""
    if view.place.trouble:
        return f"does not answer: {view.place.trouble}"
    if view.health.closed_until:
        return f"failed {view.health.row} times in a row and rests"
    return ""


def why_here(best: View, views: Sequence[View], out: Mapping[str, str], one: Wanted) -> str:
    """Return why a unit goes to the best site."""
    begin = f"{best.name}: done in about {duration(best.done_s(best.ahead))}, of which {waits(best)}"
    others = [view for view in views if view is not best and view.name not in one.barred]
    second = min(others, key=lambda view: (view.done_s(view.ahead), view.name), default=None)
    parts = [f"{begin}{runs(best)}"]
    if best.health.on_trial:
        parts.append(f"it failed {best.health.row} times in a row, and this unit shows whether it is well again")
    if second:
        parts.append(f"{second.name} would take {duration(second.done_s(second.ahead))}")
    parts += [f"{name} {reason}" for name, reason in sorted(out.items())]
    return "; ".join(parts)


def waits(view: View) -> str:
    """Return the wait that is expected at a site in words."""
    word = " (the scheduler's word counted)" if view.place.outlook_s is not None else ""
    return f"{duration(view.queue_s(view.ahead))} in the queue{word}"


def runs(view: View) -> str:
    """Return what the run time of a site is known from."""
    known = f"{view.runs.measured} runs there" if view.runs.measured else "no run there yet"
    return f" and {duration(view.long_run_s)} to run ({known})"


def why_leave(here: View, stays_s: float, best: View, horizon_s: float) -> str:
    """Return why a unit leaves a queue."""
    return (
        f"taken out of the queue of {here.name}, where it would end in about {duration(stays_s)}, at {best.name} in "
        f"{duration(best.done_s(best.ahead))}; all can be done in {duration(horizon_s)}"
    )


def why_rests(here: View) -> str:
    """Return why a whole queue is given up."""
    return f"taken out of the queue of {here.name}, which failed {here.health.row} times in a row"
