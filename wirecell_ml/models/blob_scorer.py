"""BlobScorer: a trained blob network as a job runs it, from features to probabilities and electrons."""

from torch import Tensor, nn


class BlobScorer(nn.Module):
    """A blob network, which scales its features itself, with the sigmoid and the exponential of its answers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(
        self, blobs: Tensor, activities: Tensor, planes: Tensor, pairs: Tensor, neighbours: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the probability that each blob is real and its charge in electrons, (blob,) each, float32.

        ``blobs`` (blob, feature) and ``activities`` (activity, feature) are float32, the others int64: ``planes``
        (activity,) 0, 1, 2 for U, V, W, ``pairs`` (2, pair) rows of a blob and an activity, ``neighbours`` (2, pair) of
        two blobs.
        """
        logit, log_charge = self.network(blobs, activities, planes, pairs, neighbours)
        return logit.sigmoid().contiguous(), log_charge.expm1().clamp(min=0.0).contiguous()
