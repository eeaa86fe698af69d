"""Points of one event: what is known of them, and what networks see of them."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from torch import Tensor
from torch_geometric.data import Data

from wirecell_ml.data.point_labels import NEUTRINO

FEATURES = ("x", "y", "z", "log_charge")  # m, x from the mean of the event; log(1 + electrons)


@dataclass(frozen=True)
class Near:
    """Which of the nearest points in space are the neighbours of a point."""

    number: int  # of them
    reach: int  # the last of them is so many points away; those between are spread geometrically

    def ranks(self) -> NDArray[np.int64]:
        """Return by how many points each neighbour is away, (number,), the nearest being 1."""
        wanted = np.geomspace(1, self.reach, self.number).round().astype(np.int64)
        least = np.arange(1, self.number + 1)
        return np.maximum.accumulate(wanted - least) + least  # no rank twice


@dataclass(frozen=True)
class Overlay:
    """How neutrinos of one training event are laid over another, so that no network can go by the kind of event."""

    share: float  # of the events that train, 0 to 1
    shift_mm: float  # by which the neutrinos, mirrored at random, are moved along x, y and z, at most


@dataclass(frozen=True, eq=False)
class PointEvent:
    """The points of one event and what they are."""

    key: str
    category: str
    position: NDArray[np.float64]  # (point, 3): x, y, z in mm
    charge: NDArray[np.float64]  # (point,), electrons
    label: NDArray[np.int8]  # (point,): 1 neutrino, 0 cosmic, -1 not known

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the points."""
        digest = hashlib.sha256()
        for values in (self.position, self.charge, self.label):
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    @property
    def has_neutrinos(self) -> bool:
        """Whether any point is of a neutrino."""
        return bool((self.label == NEUTRINO).any())

    def overlaid(
        self, other: "PointEvent", shift_mm: ArrayLike = (0, 0, 0), sign: ArrayLike = (1, 1, 1)
    ) -> "PointEvent":
        """Return this event with the neutrino points of another instead of its own.

        These are mirrored about their middle along x, y, z where ``sign`` is -1, and moved by ``shift_mm``.
        """
        own, new = self.label != NEUTRINO, other.label == NEUTRINO
        place = other.position[new]
        middle = place.mean(axis=0)
        return PointEvent(
            key=f"{self.key}+{other.key}",
            category="overlaid",
            position=np.concatenate(
                [self.position[own], middle + (place - middle) * np.asarray(sign) + np.asarray(shift_mm)]
            ),
            charge=np.concatenate([self.charge[own], other.charge[new]]),
            label=np.concatenate([self.label[own], other.label[new]]),
        )

    def features(self) -> NDArray[np.float32]:
        """Return what a network sees of each point, (point, feature) as ``FEATURES`` names them.

        The time of an event is not known, and so x is no place in the detector: only differences of x are given.
        """
        place = (self.position - [self.position[:, 0].mean(), 0, 0]) / 1000
        return np.column_stack([place, np.log1p(np.maximum(self.charge, 0))]).astype(np.float32)


def as_graph(event: PointEvent, near: Near) -> Data:
    """Return what a network sees of one event; the edges to each point come from ``near`` points of it, in order.

    Where an event has too few points, the edges that are left come from the point itself.
    """
    size = len(event.position)
    rows = np.arange(size)[:, None].repeat(near.number, axis=1)
    ranks = near.ranks()[near.ranks() <= size - 1]
    if len(ranks):
        rows[:, : len(ranks)] = cKDTree(event.position).query(event.position, ranks + 1)[1]  # the first is the point
    sources = torch.from_numpy(rows.reshape(-1))
    targets = torch.arange(size).repeat_interleave(near.number)
    return Data(
        x=torch.from_numpy(event.features()),
        y=torch.from_numpy(event.label).long(),
        charge=torch.from_numpy(event.charge).float(),
        edge_index=torch.stack([sources, targets]),
    )


def network_inputs(graph: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return what a point network takes, by position: features, rows of the neighbours of each point, its event."""
    features, event = graph.x, getattr(graph, "batch", None)
    if event is None:
        event = torch.zeros(len(features), dtype=torch.int64, device=features.device)
    return features, graph.edge_index[0].reshape(len(features), -1), event
