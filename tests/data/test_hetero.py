"""Graphs for torch_geometric."""

import numpy as np
import torch

from wirecell_ml.data.contents import Contents
from wirecell_ml.data.hetero import hetero


def test_stores_become_nodes_and_edges() -> None:
    hit = {"pos": np.zeros((3, 2), np.float32), "y_semantic": np.array([-1, 0, 1])}
    edges = {"edge_index": np.array([[0, 1], [1, 2]])}
    stores = {"hit": hit, "hit_delaunay-planar_hit": edges, "evt": {"num_nodes": np.array(1)}}
    graph = hetero(Contents(1, tables=stores))
    assert graph.node_types == ["hit", "evt"]
    assert graph.edge_types == [("hit", "delaunay-planar", "hit")]
    assert graph["hit"].pos.dtype == torch.float32
    assert graph["hit"].y_semantic.tolist() == [-1, 0, 1]
    assert graph["hit", "delaunay-planar", "hit"].edge_index.tolist() == [[0, 1], [1, 2]]
    assert int(graph["evt"].num_nodes) == 1
