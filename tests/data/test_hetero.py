"""Graphs for torch_geometric."""

import numpy as np
import torch

from tests.blob_graphs import small_graph
from wirecell_ml.data.blobs import COLUMNS
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.hetero import blob_hetero, hetero


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


def test_a_graph_of_blobs_keeps_every_node_and_edge() -> None:
    graph = small_graph()
    held = blob_hetero(graph)
    assert {name: len(held[name].x) for name in held.node_types} == {"slice": 2, "blob": 3, "wire": 5, "activity": 8}
    assert held["blob"].columns == list(COLUMNS["b"])
    assert held["blob"].x[:, held["blob"].columns.index("ident")].tolist() == [7, 8, 9]
    assert held["blob", "of", "slice"].edge_index.tolist() == graph.edges["bs"].tolist()
    assert sum(held[name].edge_index.shape[1] for name in held.edge_types) == sum(
        e.shape[1] for e in graph.edges.values()
    )
    assert held.validate()
