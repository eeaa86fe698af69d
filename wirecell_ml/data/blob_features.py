"""Features: what a network is told of each blob, and of each activity (a channel in a slice) that blobs are made of."""

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.blob_sample import BlobSample
from wirecell_ml.data.blobs import BlobGraph, neighbours, plane_of, wire_slices

PLANES = ("U", "V", "W")
PER_PLANE = ("channels", "channels with charge", "charge", "charge per channel")  # log(1 + …) of each
BLOB_FEATURES = (
    *(f"{name} {plane}" for plane in PLANES for name in PER_PLANE),
    *("charge U/V", "charge V/W", "charge U/W"),  # logarithms of the ratios
    "solved charge",  # log(1 + electrons), 0 where the solver or the deghosting dropped the blob
    "solved",  # 1 where there is such a charge
    "solved charge / least plane",  # logarithm of the ratio
    "guess of the charge",  # log(1 + electrons): the solved charge, or that of the least plane where there is none
)
ACTIVITY_FEATURES = ("charge", "uncertainty", "solved charge of its blobs", "blobs")  # log(1 + …) of each


def make_sample(graph: BlobGraph, solved: NDArray[np.float64]) -> BlobSample:
    """Return what a network sees of one event; ``solved`` (blob,) are electrons, not above zero where there are none.

    Activities that no blob is made of are left out.
    """
    pairs = wire_slices(graph)
    used, rows = np.unique(pairs[1], return_inverse=True)
    pairs = np.stack([pairs[0], rows])
    charge = np.clip(np.nan_to_num(graph.column("a", "val")[used]), 0, None)
    uncertainty = np.clip(np.nan_to_num(graph.column("a", "unc")[used]), 0, None)
    planes = plane_of(graph.column("a", "wpid")[used])
    solved = np.clip(np.nan_to_num(solved), 0, None)
    shared = np.bincount(pairs[1], solved[pairs[0]], minlength=len(used))
    blobs = np.bincount(pairs[1], minlength=len(used))
    return BlobSample(
        blobs=blob_features(len(graph), charge, planes, pairs, solved),
        activities=np.log1p(np.stack([charge, uncertainty, shared, blobs], axis=1)).astype(np.float32),
        planes=planes.astype(np.int8),
        pairs=pairs.astype(np.int32),
        neighbours=neighbours(graph).astype(np.int32),
    )


def blob_features(
    num_blobs: int,
    charge: NDArray[np.float64],
    planes: NDArray[np.int64],
    pairs: NDArray[np.int64],
    solved: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Return the features of the blobs, (blob, feature), named in ``BLOB_FEATURES``."""
    columns, sums = [], []
    for plane in range(len(PLANES)):
        blob, activity = pairs[:, planes[pairs[1]] == plane]
        channels = np.bincount(blob, minlength=num_blobs)
        charged = np.bincount(blob, charge[activity] > 0, minlength=num_blobs)
        total = np.bincount(blob, charge[activity], minlength=num_blobs)
        columns += [channels, charged, total, total / np.maximum(channels, 1)]
        sums.append(np.log1p(total))
    least = np.min(sums, axis=0)
    found = np.log1p(solved)
    ratios = [sums[0] - sums[1], sums[1] - sums[2], sums[0] - sums[2]]
    known = [found, solved > 0, found - least, np.where(solved > 0, found, least)]
    return np.stack([*np.log1p(columns), *ratios, *known], axis=1).astype(np.float32)
