"""The horizon: when the study would end if every site worked at its pace, and who is worth its money until then."""

from collections.abc import Sequence

from wirecell_ml.submit.broker.view import View

STEPS = 40  # of the bisection: to a part in 10^12


def horizon_s(views: Sequence[View], pool: int) -> float:
    """Return in how many seconds the last of ``pool`` units that have not started ends.

    Each site starts ``rate`` units a second, those that wait there at once and new ones after the scheduler's wait.
    H is where what they have ended by then adds up to the pool, and no sooner than the first end of any unit.
    """
    soonest = min(view.done_s(0) for view in views)
    low, high = 0.0, max(view.long_run_s + view.wait_s() for view in views) + pool / sum(view.rate for view in views)
    for _ in range(STEPS):
        middle = (low + high) / 2
        ended = sum(view.ended_by(middle) for view in views)
        low, high = (middle, high) if ended < pool else (low, middle)
    return max(soonest, high)


def worth_their_money(views: Sequence[View], seconds_per_currency: float) -> list[View]:
    """Return the views that make the sum of time and money smaller.

    Sites of rates r and prices p work a unit off in ``(1 + w Σ r p) / Σ r`` seconds, money counted as time with w.
    Taken from the cheapest on, a site makes that smaller as long as ``w p`` of its own is smaller than it.
    """
    chosen: list[View] = []
    for view in sorted(views, key=lambda view: (view.price, view.name)):
        rates = sum(other.rate for other in chosen)
        paid = sum(other.rate * other.price for other in chosen)
        if chosen and seconds_per_currency * view.price > (1 + seconds_per_currency * paid) / rates:
            break
        chosen.append(view)
    return chosen
