"""Toy events: small contents of every kind, made by hand, to be looked at, drawn, converted and spoiled."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.blobs import COLUMNS, BlobGraph
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.depos import DepoSet
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.points import PointCloud
from wirecell_ml.data.tensors import Tensor


def frame(samples: Any, first: int = 0, **more: Any) -> Frame:
    """Return a frame of these samples, (channel, tick), from channel ``first`` on."""
    samples = np.asarray(samples, np.float32)
    channels = np.arange(first, first + len(samples), dtype=np.int32)
    return Frame(samples, **{"channels": channels, "time_ns": -250000.0, "period_ns": 500.0, **more})


def track(scale: float = 1.0) -> NDArray[np.float64]:
    """Return 20 channels of 100 ticks with a block of charge."""
    return np.pad(np.full((10, 30), 1000.0 * scale), ((5, 5), (10, 60)))


def depos(**change: Any) -> DepoSet:
    """Return four drifted depos, some of whose columns may be replaced."""
    number = np.arange(4, dtype=np.float32)
    rows = np.zeros(4, np.int32)
    held: dict[str, Any] = {
        "time_ns": number,
        "charge": -1000 - number,
        "position": np.stack([number, number, number], axis=1),
        "extent_long": number + 1,
        "extent_tran": number + 1,
        "ident": rows,
        "pdg": rows + 13,
        "generation": rows,
        "child": rows,
    }
    return DepoSet(**held | change)


def blobs(**columns: Any) -> BlobGraph:
    """Three triangles in one slice, wires around them; columns of the blobs may be replaced."""
    nodes = {code: np.zeros((1, len(names))) for code, names in COLUMNS.items()}
    nodes["b"] = np.zeros((3, len(COLUMNS["b"])))
    corners = {"y0": 1.0, "z0": 1.0, "y1": 2.0, "z1": 1.0, "y2": 1.0, "z2": 2.0}
    values: dict[str, Any] = {
        "ident": [4, 5, 6],
        "val": [10.0, 200.0, 3000.0],
        "span": 2000.0,
        "start": 500.0,
        "ncorners": 3,
    }
    for name, value in (values | corners | columns).items():
        nodes["b"][:, COLUMNS["b"].index(name)] = value
    nodes["w"][0, 6:] = [0, 0, 0, 0, 10, 10]
    return BlobGraph(nodes, {"bs": np.array([[0, 1, 2], [0, 0, 0]])})


SOUND = Contents(
    7,
    run=3,
    frames={"gauss0": frame(track(0.9)), "ductor0": frame(track()), "loose_lf0": frame(track() - 5)},
    masks={"bad": np.array([[3, 0, 50], [4, 0, 10]], np.int32)},
    depos=depos(),
    blobs={"cluster": blobs()},
    points={"img": PointCloud(np.ones((2, 3)), {"charge": np.array([5.0, 6.0]), "is_nu": np.array([0, 1])})},
    tensors={"frames/0/traces": Tensor({"datatype": "traces"}, np.eye(3, dtype=np.float32))},
    tables={"hits": {"wire": np.arange(3), "kind": np.array(["a", "b", "c"])}},
    arrays={"row": np.arange(5)},
)
