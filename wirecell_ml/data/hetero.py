"""Graphs of files as torch_geometric takes them: of blobs, and of NuGraph's events."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from wirecell_ml.data.blobs import COLUMNS, BlobGraph
from wirecell_ml.data.contents import Contents

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

NAMES = {"a": "activity", "b": "blob", "m": "measure", "s": "slice", "w": "wire"}
LINKS = {  # edges by their two codes, which are alphabetical
    "am": "measured in",
    "as": "of",
    "aw": "on",
    "bb": "touches",
    "bm": "measured in",
    "bs": "of",
    "bw": "covers",
}


def blob_hetero(graph: BlobGraph) -> "HeteroData":
    """Return a graph of blobs with all its nodes and edges, nothing computed or left out.

    Each node has every column of its kind in ``x`` (node, column), float64, which ``columns`` names; edges are
    (2, edge), int64.
    """
    from torch_geometric.data import HeteroData

    held = HeteroData()
    for code, array in graph.nodes.items():
        held[NAMES[code]].x = torch.from_numpy(np.array(array))
        held[NAMES[code]].columns = list(COLUMNS[code])
    for codes, pairs in graph.edges.items():
        first, second = codes[0], codes[1]
        held[NAMES[first], LINKS[codes], NAMES[second]].edge_index = torch.from_numpy(np.array(pairs, np.int64))
    return held


def hetero(event: Contents) -> "HeteroData":
    """Return the graph of an event that ``gnn_files`` reads: nodes by name, edges by their three names."""
    from torch_geometric.data import HeteroData  # takes seconds, and most readers have no use for it

    graph = HeteroData()
    for store, arrays in event.tables.items():
        part = graph[tuple(store.split("_")) if "_" in store else store]
        for attribute, array in arrays.items():
            part[attribute] = torch.from_numpy(np.asarray(array))
    return graph
