"""The universal scalability law, X(n) = λn / (1 + σ(n−1) + κn(n−1)), fitted to throughputs; nothing is negative."""

import math
from collections.abc import Mapping

from wirecell_ml.submit.broker.speeds import Scaling

FEWEST = 3  # numbers of workers that three parameters need
SMALLEST = 1e-12  # a σ or κ below is none, but what rounding left


def fit_scaling(throughputs: Mapping[int, float]) -> Scaling | None:
    """Return the law that is nearest to the throughput of each number of workers, None where there are too few.

    n/X is linear in 1/λ, σ/λ and κ/λ; what is minimised is the relative error of n/X, so that a slow point counts as
    much as a fast one.
    """
    import numpy as np
    from scipy.optimize import nnls

    points = {workers: rate for workers, rate in throughputs.items() if workers >= 1 and 0 < rate < math.inf}
    if len(points) < FEWEST or min(points) != 1:
        return None
    workers, rates = np.array(list(points), float), np.array(list(points.values()))
    terms = np.stack([np.ones_like(workers), workers - 1, workers * (workers - 1)], axis=1)
    rows = terms * (rates / workers)[:, None]
    largest = rows.max(axis=0)
    inverse, contention, coherency = nnls(rows / largest, np.ones_like(rates))[0] / largest
    shares = [float(part / inverse) for part in (contention, coherency)]
    return Scaling(float(1 / inverse), *(share if share > SMALLEST else 0.0 for share in shares))


def best_workers(law: Scaling) -> float:
    """Return the number of workers with the highest throughput, infinity where more always helps."""
    if law.coherency == 0:
        return math.inf if law.contention < 1 else 1.0
    return max(1.0, math.sqrt(max(0.0, 1 - law.contention) / law.coherency))
