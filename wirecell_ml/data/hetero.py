"""Graphs of NuGraph's files as torch_geometric takes them."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from wirecell_ml.data.contents import Contents

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData


def hetero(event: Contents) -> "HeteroData":
    """Return the graph of an event that ``gnn_files`` reads: nodes by name, edges by their three names."""
    from torch_geometric.data import HeteroData  # takes seconds, and most readers have no use for it

    graph = HeteroData()
    for store, arrays in event.tables.items():
        part = graph[tuple(store.split("_")) if "_" in store else store]
        for attribute, array in arrays.items():
            part[attribute] = torch.from_numpy(np.asarray(array))
    return graph
