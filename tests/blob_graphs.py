"""Blob graphs made by hand: two touching blobs in two slices, and a ghost that shares a wire with one of them."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.blobs import COLUMNS, BlobGraph

U, V, W = 1, 2, 4  # layer flags of wire-plane ids


def nodes(code: str, *rows: Mapping[str, float]) -> NDArray[np.float64]:
    """Return the array of some nodes whose columns are zero where a row does not give them."""
    return np.array([[row.get(name, 0.0) for name in COLUMNS[code]] for row in rows])


def edges(*pairs: tuple[int, int]) -> NDArray[np.int64]:
    """Return edges as (2, edge)."""
    return np.array(pairs, np.int64).reshape(-1, 2).T


def small_graph() -> BlobGraph:
    """Return a graph of three blobs: 0 and 2 in the first slice, which share their U wire, and 1 in the second."""
    channels = {0: (10, U), 1: (20, V), 2: (30, W), 3: (21, V), 4: (31, W)}
    activities = [(0, 0, 100.0), (0, 1, 110.0), (0, 2, 90.0), (0, 3, 5.0), (0, 4, 7.0)]
    activities += [(1, 0, 200.0), (1, 1, 190.0), (1, 2, 210.0)]  # slice, wire, charge
    blob_wires = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 3), (2, 4)]
    blobs = [(7, 0.0, 95.0), (8, 2000.0, 200.0), (9, 0.0, 3.0)]  # ident, start, charge
    return BlobGraph(
        nodes={
            "s": nodes("s", {"ident": 0, "span": 2000}, {"ident": 1, "start": 2000, "span": 2000}),
            "b": nodes(
                "b", *({"ident": i, "start": t, "val": q, "ncorners": 2, "y0": 10, "z1": 4} for i, t, q in blobs)
            ),
            "w": nodes("w", *({"ident": n, "channel": c, "wpid": p} for n, (c, p) in channels.items())),
            "a": nodes(
                "a", *({"ident": channels[w][0], "val": q, "unc": 1, "wpid": channels[w][1]} for _, w, q in activities)
            ),
        },
        edges={
            "bs": edges((0, 0), (1, 1), (2, 0)),
            "bw": edges(*blob_wires),
            "bb": edges((0, 1)),
            "as": edges(*((row, activity[0]) for row, activity in enumerate(activities))),
            "aw": edges(*((row, activity[1]) for row, activity in enumerate(activities))),
        },
    )
