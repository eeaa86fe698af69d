"""Cluster graphs in JSON as files: in archives, and by themselves."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.reading import ReaderContract, assert_same_events, same
from wirecell_ml.data import cluster_json
from wirecell_ml.data.blobs import COLUMNS, BlobGraph
from wirecell_ml.data.cluster_json import FORMAT
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.graph_json import graph_in
from wirecell_ml.data.source import Source
from wirecell_ml.errors import DataError

TEXT = """{
    "edges": [
        {"head": 1, "tail": 0}, {"head": 4, "tail": 2}, {"head": 1, "tail": 4}, {"head": 5, "tail": 4},
        {"head": 5, "tail": 0}
    ],
    "nodes": [
        {"data": {"ident": 100, "index": 7, "wpid": 1}, "ident": 0, "type": "c"},
        {"data": {"chid": 100, "head": [1.5, 2.5, 3.5], "ident": 1000, "index": 9, "seg": 0, "tail": [4, 5, 6],
         "wpid": 1}, "ident": 1, "type": "w"},
        {"data": {"frameid": 2, "ident": 40, "signal": [{"ident": 100, "unc": 2.5, "val": 10.0}], "span": 2000.0,
         "start": 500.0}, "ident": 2, "type": "s"},
        {"data": {"frameid": 2, "ident": 41, "signal": [{"ident": 100, "unc": 3.0, "val": 20.0}], "span": 2000.0,
         "start": 2500.0}, "ident": 3, "type": "s"},
        {"data": {"bounds": [{"beg": 0, "end": 3}, {"beg": 10, "end": 13}, {"beg": 20, "end": 23}],
         "corners": [[500.0, 1.25, 2.5], [500.0, -3.5, 4.0]], "faceid": 8, "ident": 60, "sliceid": 40, "span": 2000.0,
         "start": 500.0, "unc": 0.0, "val": null}, "ident": 4, "type": "b"},
        {"data": {"ident": 80, "unc": 2.0, "val": 10.0, "wpid": 1}, "ident": 5, "type": "m"}
    ]
}"""


def graph() -> BlobGraph:
    return graph_in(json.loads(TEXT), "here")


class TestClusterJson(ReaderContract):
    def format(self) -> Format:
        return FORMAT

    def events(self) -> list[Contents]:
        return [
            Contents(3, blobs={"cluster": graph()}),
            Contents(-12, blobs={"live_1": graph(), "dead": BlobGraph({"m": graph().nodes["m"]}, {})}),
            Contents(4, blobs={"cluster": BlobGraph({}, {})}),
        ]


def only(path: Path, text: str | bytes) -> Contents:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    (event,) = cluster_json.read(Source.of(path))
    return event


def test_a_file_of_its_own_tells_prefix_and_ident_by_its_name(tmp_path: Path) -> None:
    event = only(tmp_path / "live_a_17_graph.json", TEXT)
    assert (event.ident, list(event.blobs)) == (17, ["live_a"])


def test_nan_is_read_as_null_is(tmp_path: Path) -> None:
    text = TEXT.replace("null", "NaN")
    assert "NaN" in text
    assert same(only(tmp_path / "x.json", text).blobs["cluster"], graph())


def test_a_member_of_an_archive_is_a_graph(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as file:
        for ident in (5, 2):
            info = tarfile.TarInfo(f"cluster_{ident}_graph.json")
            info.size = len(TEXT)
            file.addfile(info, io.BytesIO(TEXT.encode()))
    events = [Contents(ident, blobs={"cluster": graph()}) for ident in (5, 2)]
    assert_same_events(list(cluster_json.read(Source.of(tmp_path / "x.tar.gz"))), events)


def test_it_is_told_from_others() -> None:
    assert FORMAT.recognises(Peek("archive", ("a_b_0_graph.json",)))
    assert FORMAT.recognises(Peek("json", ("edges", "edges.[].head", "edges.[].tail")))
    assert FORMAT.recognises(Peek("json", ("nodes", "nodes.[].data", "nodes.[].type")))
    assert FORMAT.recognises(Peek("json", ("edges", "nodes")))
    assert not FORMAT.recognises(Peek("json", ("nodes", "links")))
    assert not FORMAT.recognises(Peek("archive", ("data/0/0-graph.json", "graph.json")))


@pytest.mark.parametrize("text", ["[]", "{", '{"nodes":' + "[" * 100_000, '{"nodes": 1e999}', "{" + "}" * 9, '"nodes"'])
def test_what_is_no_graph_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError):
        only(tmp_path / "x.json", text)


def changed(code: str, row: int, name: str, value: float) -> BlobGraph:
    held = graph()
    held.nodes[code][row, COLUMNS[code].index(name)] = value
    return held


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (changed("b", 0, "val", np.inf), "an infinite number"),
        (changed("b", 0, "ident", 0.5), "nodes 'b' have an ident"),
        (changed("w", 0, "desc", 5), "two nodes have one descriptor"),
        (changed("a", 1, "wpid", 5), "activities of one channel differ in desc, index or wpid"),
        (changed("b", 0, "ncorners", 13), "a number of corners other than 0 to 12"),
        (BlobGraph(graph().nodes, {}), "an activity that is not in one slice"),
        (BlobGraph(graph().nodes, {"as": np.zeros((2, 2), np.int64)}), "an activity that is not in one slice"),
    ],
)
def test_a_graph_that_json_cannot_hold_is_refused(tmp_path: Path, held: BlobGraph, said: str) -> None:
    with pytest.raises(DataError, match=f"x.tar: cluster_8_graph.json cannot be written: .*{said}"):
        cluster_json.write(tmp_path / "x.tar", [Contents(8, blobs={"cluster": held})])
    assert not list(tmp_path.iterdir())
