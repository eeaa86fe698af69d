"""Point networks: every point judged by its event (PointNet), or by its neighbours, too (EdgeNet)."""

import torch
from torch import Tensor, nn
from torch_geometric.nn.aggr import MaxAggregation, MeanAggregation

from wirecell_ml.models.blob_gnn import Standardize, perceptron

ROWS_AT_ONCE = 1024  # of distances between points, so that a large event needs little memory


class PoolEvent(nn.Module):
    """The largest and the mean of every feature among the points of an event, given to each of its points."""

    def __init__(self) -> None:
        super().__init__()
        self.largest, self.mean = MaxAggregation(), MeanAggregation()

    def forward(self, points: Tensor, event: Tensor) -> Tensor:  # (point, 2 * feature)
        """Return what each point is told of its event."""
        number = int(event.max()) + 1
        pooled = torch.cat([pool(points, event, dim_size=number) for pool in (self.largest, self.mean)], dim=1)
        return pooled[event]


class PointNet(nn.Module):
    """One perceptron for all points, their pool, and a perceptron for both (arXiv:1612.00593, less its transforms)."""

    def __init__(self, features: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.scale = Standardize(features)
        self.local = nn.Sequential(
            perceptron(features, hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.pool = PoolEvent()
        self.head = nn.Sequential(nn.Dropout(dropout), perceptron(3 * hidden, hidden, 1))

    def forward(self, points: Tensor, neighbours: Tensor, event: Tensor) -> Tensor:  # noqa: ARG002  (as EdgeNet)
        """Return the logit of "neutrino" of each point, (point,).

        ``points`` (point, feature) are float32; ``event`` (point,) int64 says which event of the batch a point is of.
        """
        local = self.local(self.scale(points))
        logit: Tensor = self.head(torch.cat([local, self.pool(local, event)], dim=1))
        return logit[:, 0]


class EdgeConv(nn.Module):
    """For each point the largest of what a perceptron makes of it and of each neighbour (arXiv:1801.07829)."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.centre, self.edge = nn.Linear(width_in, width_out), nn.Linear(width_in, width_out, bias=False)
        self.last = nn.Linear(width_out, width_out)
        self.norm = nn.LayerNorm(width_out)

    def forward(self, points: Tensor, neighbours: Tensor) -> Tensor:  # (point, width_out)
        """Return the points, told by their ``neighbours`` (point, neighbour)."""
        edge = self.edge(points)  # of a difference it is the difference: once for each point, not for each edge
        hidden = (self.centre(points) - edge)[:, None] + edge[neighbours]
        told: Tensor = self.norm(self.last(hidden.relu()).amax(dim=1))
        return told


class EdgeNet(nn.Module):
    """Edge convolutions, the first over neighbours in space, all others over those in the features before."""

    def __init__(self, features: int, hidden: int, layers: int, neighbours: int, dropout: float) -> None:
        super().__init__()
        self.scale = Standardize(features)
        self.neighbours = neighbours
        widths = [features, *[hidden] * layers]
        self.convolutions = nn.ModuleList(map(EdgeConv, widths, widths[1:]))
        self.pool = PoolEvent()
        self.head = nn.Sequential(nn.Dropout(dropout), perceptron((layers + 2) * hidden, hidden, 1))

    def forward(self, points: Tensor, neighbours: Tensor, event: Tensor) -> Tensor:
        """Return the logit of "neutrino" of each point, (point,).

        ``points`` (point, feature) are float32; ``neighbours`` (point, neighbour) int64 are rows of points near in
        space; ``event`` (point,) int64, in order, says which event of the batch a point is of.
        """
        points = self.scale(points)
        seen: list[Tensor] = []
        for convolution in self.convolutions:
            if seen:
                neighbours = nearest(points, event, self.neighbours)
            points = convolution(points, neighbours)
            seen.append(points)
        logit: Tensor = self.head(torch.cat([*seen, self.pool(points, event)], dim=1))
        return logit[:, 0]


@torch.no_grad()
def nearest(points: Tensor, event: Tensor, number: int) -> Tensor:
    """Return for each point the rows of the nearest of the same event, itself among them, (point, number).

    ``event`` (point,) is in order. An event with fewer points has all of them as neighbours, the last one repeated.
    """
    found, first = [], 0
    for size in torch.bincount(event).tolist():
        inside = points[first : first + size]
        places = torch.arange(number, device=points.device).clamp(max=size - 1)
        for start in range(0, size, ROWS_AT_ONCE):
            distances = torch.cdist(inside[start : start + ROWS_AT_ONCE], inside)
            near = distances.topk(min(number, size), largest=False).indices
            found.append(first + near[:, places])
        first += size
    return torch.cat(found)
