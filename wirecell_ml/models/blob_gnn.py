"""BlobGNN: real blobs told from ghosts by messages between blobs and the channels in a slice that they share."""

import torch
from torch import Tensor, nn
from torch_geometric.nn.aggr import MeanAggregation

NUM_PLANES = 3
LEAST_SPREAD = 1e-3  # a feature that varies less is left as it is, but for its mean


class Standardize(nn.Module):
    """Features less their mean, over their standard deviation, both as measured on the training events."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("deviation", torch.ones(num_features))

    def fit(self, features: Tensor) -> None:
        """Take mean and standard deviation from ``features`` (row, feature)."""
        self.mean.copy_(features.mean(dim=0))
        deviation = features.std(dim=0)
        self.deviation.copy_(torch.where(deviation > LEAST_SPREAD, deviation, torch.ones_like(deviation)))

    def forward(self, features: Tensor) -> Tensor:
        """Return the features of every row, standardized."""
        return (features - self.mean) / self.deviation


def perceptron(width_in: int, hidden: int, width_out: int) -> nn.Sequential:
    """Return a hidden layer between two widths."""
    return nn.Sequential(nn.Linear(width_in, hidden), nn.ReLU(), nn.Linear(hidden, width_out))


class Round(nn.Module):
    """One exchange of messages: blobs to activities, then activities of each plane and neighbours to blobs."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.num_planes = NUM_PLANES  # TorchScript knows no globals
        self.mean = MeanAggregation()
        self.activity = perceptron(2 * hidden, hidden, hidden)
        self.blob = perceptron((2 + NUM_PLANES) * hidden, hidden, hidden)
        self.activity_norm, self.blob_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)

    def forward(
        self, blobs: Tensor, activities: Tensor, planes: Tensor, pairs: Tensor, neighbours: Tensor
    ) -> tuple[Tensor, Tensor]:  # (blob, hidden), (activity, hidden)
        """Return blobs and activities with what they were told added to them."""
        blob, activity = pairs[0], pairs[1]
        told = self.mean(blobs.index_select(0, blob), activity, dim_size=activities.shape[0])
        activities = self.activity_norm(activities + self.activity(torch.cat([activities, told], dim=1)))
        slots = blob * self.num_planes + planes[activity]  # three for each blob: one mean for each plane
        views = self.mean(activities.index_select(0, activity), slots, dim_size=blobs.shape[0] * self.num_planes)
        views = views.reshape(blobs.shape[0], self.num_planes * blobs.shape[1])
        beside = self.mean(blobs.index_select(0, neighbours[0]), neighbours[1], dim_size=blobs.shape[0])
        blobs = self.blob_norm(blobs + self.blob(torch.cat([blobs, views, beside], dim=1)))
        return blobs, activities


class BlobGNN(nn.Module):
    """A factor graph of blobs and activities, after the network of wcp-porting-validation, with means for messages.

    The last of the blob features is a first guess of the charge, log(1 + electrons), which the answer corrects.
    """

    def __init__(self, blob_features: int, activity_features: int, hidden: int, rounds: int) -> None:
        super().__init__()
        self.num_planes = NUM_PLANES  # TorchScript knows no globals
        self.blob_scale, self.activity_scale = Standardize(blob_features), Standardize(activity_features)
        self.blob = nn.Sequential(nn.Linear(blob_features, hidden), nn.ReLU())
        self.activity = nn.Sequential(nn.Linear(activity_features + NUM_PLANES, hidden), nn.ReLU())
        self.rounds = nn.ModuleList(Round(hidden) for _ in range(rounds))
        self.head = perceptron(hidden, hidden, 2)

    def fit_scale(self, blobs: Tensor, activities: Tensor) -> None:
        """Take the scale of the features from those of the training events, (row, feature)."""
        self.blob_scale.fit(blobs)
        self.activity_scale.fit(activities)

    def forward(
        self, blobs: Tensor, activities: Tensor, planes: Tensor, pairs: Tensor, neighbours: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the logit of "this blob is real" and the logarithm of one plus its charge in electrons, (blob,) each.

        ``blobs`` (blob, feature) and ``activities`` (activity, feature) are float32, ``planes`` (activity,) int64 with
        0, 1, 2 for U, V, W; ``pairs`` (2, pair) int64 are rows of blobs and activities, ``neighbours`` of two blobs.
        """
        guess = blobs[:, -1]
        view = nn.functional.one_hot(planes, self.num_planes).to(blobs.dtype)
        blobs = self.blob(self.blob_scale(blobs))
        activities = self.activity(torch.cat([self.activity_scale(activities), view], dim=1))
        for exchange in self.rounds:
            blobs, activities = exchange(blobs, activities, planes, pairs, neighbours)
        answer = self.head(blobs)
        return answer[:, 0], guess + answer[:, 1]


class BlobMLP(nn.Module):
    """The same features of each blob without the graph: what a graph network must beat."""

    def __init__(self, blob_features: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.blob_scale = Standardize(blob_features)
        widths = [blob_features, *[hidden] * layers]
        steps = [step for a, b in zip(widths, widths[1:], strict=False) for step in (nn.Linear(a, b), nn.ReLU())]
        self.body = nn.Sequential(*steps, nn.Linear(hidden, 2))

    def fit_scale(self, blobs: Tensor, activities: Tensor) -> None:  # noqa: ARG002  (as BlobGNN does)
        """Take the scale of the features from those of the training events, (row, feature)."""
        self.blob_scale.fit(blobs)

    def forward(
        self,
        blobs: Tensor,
        activities: Tensor,  # noqa: ARG002  (it takes what BlobGNN takes)
        planes: Tensor,  # noqa: ARG002
        pairs: Tensor,  # noqa: ARG002
        neighbours: Tensor,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        """Return what ``BlobGNN`` does, from the features of each blob alone."""
        answer = self.body(self.blob_scale(blobs))
        return answer[:, 0], blobs[:, -1] + answer[:, 1]
