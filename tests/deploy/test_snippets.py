"""The jsonnet engine and Triton's parser take what is written for a job, and it says what the card says."""

import json
from dataclasses import replace
from typing import Any

import _jsonnet
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from wirecell_ml.deploy.card import Card
from wirecell_ml.deploy.snippets import jsonnet, triton_config

Node = dict[str, Any]

# Stand-ins for what Wire-Cell calls so: a pnode is its configuration and ports, a graph is its pnodes and edges.
PGRAPH = """
{
  pnode(inode, nin=0, nout=0, uses=[]):: { node: inode, nin: nin, nout: nout, uses: uses },
  edge(tail, head, tp=0, hp=0)::
    assert tp < tail.nout && hp < head.nin : 'no such port';
    { tail: [tail.node.type, tail.node.name, tp], head: [head.node.type, head.node.name, hp] },
  intern(innodes=[], centernodes=[], outnodes=[], edges=[])::
    { innodes: innodes, centernodes: centernodes, outnodes: outnodes, edges: edges },
}
"""
WIRECELL = "{ tn(obj):: obj.type + (if std.objectHas(obj, 'name') then ':' + obj.name else '') }"


def evaluated(card: Card, anode: int = 0, arguments: str = "") -> Node:
    """Return the graph that a job gets from the written function."""
    written = {"dnnroi.jsonnet": jsonnet(card), "pgraph.jsonnet": PGRAPH, "wirecell.jsonnet": WIRECELL}
    job = f"""
    local rois = import 'dnnroi.jsonnet';
    rois({{ type: 'AnodePlane', name: 'apa{anode}', data: {{ ident: {anode} }} }} {arguments})
    """
    graph: Node = json.loads(
        _jsonnet.evaluate_snippet("job", job, import_callback=lambda _, name: (name, written[name].encode()))
    )
    return graph


def pnodes(graph: Node) -> list[Node]:
    return [*graph["innodes"], *graph["centernodes"], *graph["outnodes"]]


def nodes(graph: Node, kind: str) -> list[Node]:
    return [one["node"] for one in pnodes(graph) if one["node"]["type"] == kind]


def names(graph: Node) -> set[tuple[str, str]]:
    return {(one["node"]["type"], one["node"]["name"]) for one in pnodes(graph)}


@pytest.fixture
def unlike(card: Card) -> Card:
    """A card none of whose settings is C++'s default."""
    return replace(
        card,
        name="roi-net.2",
        intags=["tight_lf", "mp3_roi"],
        decon_charge_tag="charge",
        outtag="roi",
        tick_per_slice=4,
        tick_pad_multiple=128,
        input_scale=1.0,
        input_offset=-0.25,
        scale_inside=[4000.0, 1.0],
        mask_thresh=0.2,
        sort_chanids=True,
    )


def test_networks_run_on_the_planes_of_the_card_and_others_pass_through(card: Card) -> None:
    graph = evaluated(card)
    finders, selectors = nodes(graph, "DNNROIFinding"), nodes(graph, "PlaneSelector")
    assert [node["data"]["plane"] for node in finders] == [card.plane_numbers[plane] for plane in ("U", "V")]
    assert [node["data"]["plane"] for node in selectors] == [card.plane_numbers["W"]]
    assert selectors[0]["data"]["tags"] == ["gauss0"]


@pytest.mark.parametrize("kind", ["card", "unlike"])
def test_every_setting_of_a_node_is_that_of_the_card(kind: str, request: pytest.FixtureRequest) -> None:
    card: Card = request.getfixturevalue(kind)
    direct = ("input_scale", "input_offset", "mask_thresh", "tick_per_slice", "tick_pad_multiple", "sort_chanids")
    for node in nodes(evaluated(card, anode=3), "DNNROIFinding"):
        data = node["data"]
        assert {name: data[name] for name in direct} == {name: getattr(card, name) for name in direct}
        assert data["intags"] == [f"{tag}3" for tag in card.intags]
        assert data["decon_charge_tag"] == f"{card.decon_charge_tag}3"
        assert data["anode"] == "AnodePlane:apa3"
        assert (data["nchunks"], data["output_scale"]) == (1, 1)


@pytest.mark.parametrize("ascending", [True, False])
def test_the_order_of_rows_is_written_out(card: Card, ascending: bool) -> None:
    graph = evaluated(replace(card, sort_chanids=ascending))
    assert [node["data"]["sort_chanids"] for node in nodes(graph, "DNNROIFinding")] == [ascending] * len(card.planes)


def test_every_plane_has_an_output_tag_of_its_own(card: Card) -> None:
    graph = evaluated(card)
    written = [node["data"]["outtag"] for node in nodes(graph, "DNNROIFinding")]
    passed = [node["data"]["tag_rules"][0]["trace"]["gauss0"] for node in nodes(graph, "PlaneSelector")]
    rules = nodes(graph, "FrameFanin")[0]["data"]["tag_rules"]
    assert len({*written, *passed}) == len(card.plane_numbers)
    assert [rule["trace"][".*"] for rule in rules] == [*written, *passed]


def test_the_planes_are_merged_under_the_tag_of_the_card(unlike: Card) -> None:
    rule = nodes(evaluated(unlike, anode=3), "Retagger")[0]["data"]["tag_rules"][0]
    assert rule["merge"] == {".*": f"{unlike.outtag}3"}


def test_two_anodes_have_no_node_in_common(card: Card) -> None:
    first, second = (evaluated(card, anode) for anode in (0, 1))
    assert len(names(first)) == len(pnodes(first))
    assert not names(first) & names(second)


def test_two_models_have_no_node_in_common(card: Card, unlike: Card) -> None:
    first, second = evaluated(card), evaluated(unlike)
    assert not names(first) & names(second)
    assert services(first).keys().isdisjoint(services(second))


def services(graph: Node) -> dict[str, Node]:
    """Return the services that nodes use, by type and name."""
    used = [one for pnode in pnodes(graph) for one in pnode["uses"] if one["type"] == "TorchService"]
    return {f"TorchService:{one['name']}": one for one in used}


def test_every_finder_asks_a_service_that_it_uses(card: Card) -> None:
    graph = evaluated(card)
    assert {node["data"]["forward"] for node in nodes(graph, "DNNROIFinding")} == set(services(graph))
    assert [one["data"] for one in services(graph).values()] == [
        {"model": card.model["file"], "device": "cpu", "concurrency": 1}
    ]


def test_every_pnode_that_names_an_anode_uses_it(card: Card) -> None:
    for pnode in pnodes(evaluated(card)):
        anodes = [f"{one['type']}:{one['name']}" for one in pnode["uses"] if one["type"] == "AnodePlane"]
        assert anodes == [pnode["node"]["data"][key] for key in ("anode",) if key in pnode["node"]["data"]]


def test_where_the_model_runs_can_be_chosen(card: Card) -> None:
    graph = evaluated(
        card, arguments=", model='elsewhere.ts', device='gpu1', concurrency=2, nchunks=4, output_scale=0.9"
    )
    service = next(iter(services(graph).values()))
    assert service["data"] == {"model": "elsewhere.ts", "device": "gpu1", "concurrency": 2}
    for node in nodes(graph, "DNNROIFinding"):
        assert (node["data"]["nchunks"], node["data"]["output_scale"]) == (4, 0.9)


def test_settings_override_those_of_the_card_and_no_others(card: Card) -> None:
    plain, changed = (
        nodes(evaluated(card, arguments=arguments), "DNNROIFinding")
        for arguments in ("", ", settings={ mask_thresh: 0.7, debugfile: 'dump' }")
    )
    for before, after in zip(plain, changed, strict=True):
        assert after["data"] == before["data"] | {"mask_thresh": 0.7, "debugfile": "dump"}


@pytest.mark.parametrize("planes", [["U", "V"], ["V"], ["U", "V", "W"]])
def test_a_frame_goes_through_the_fanout_every_plane_the_fanin_and_the_merge(card: Card, planes: list[str]) -> None:
    graph = evaluated(replace(card, planes=planes))
    number = len(card.plane_numbers)
    (fanout,), (*pipes, fanin), (merge,) = (graph[part] for part in ("innodes", "centernodes", "outnodes"))
    port = [[one["node"]["type"], one["node"]["name"]] for one in (fanout, *pipes, fanin, merge)]
    expected = [{"tail": [*port[0], i], "head": [*port[1 + i], 0]} for i in range(number)]
    expected += [{"tail": [*port[1 + i], 0], "head": [*port[-2], i]} for i in range(number)]
    assert graph["edges"] == [*expected, {"tail": [*port[-2], 0], "head": [*port[-1], 0]}]
    assert (fanout["nin"], fanout["nout"], fanin["nin"], fanin["nout"]) == (1, number, number, 1)
    assert fanout["node"]["data"]["multiplicity"] == fanin["node"]["data"]["multiplicity"] == number
    assert len(fanin["node"]["data"]["tag_rules"]) == number


def usage(card: Card) -> str:
    """Return the code in the comment at the head of the file, which users copy."""
    lines = [line.removeprefix("//   ") for line in jsonnet(card).splitlines() if line.startswith("//   ")]
    return "\n".join([*lines, "rois"])


@pytest.mark.parametrize("name", ["dummy-unet", "roi.net", "2026_unet"])
def test_the_usage_in_the_comment_can_be_copied(card: Card, name: str) -> None:
    named = replace(card, name=name)
    written = {"dnnroi.jsonnet": jsonnet(named), "pgraph.jsonnet": PGRAPH, "wirecell.jsonnet": WIRECELL}
    job = "local anode = { type: 'AnodePlane', name: 'apa0', data: { ident: 0 } };\n" + usage(named)
    copied = _jsonnet.evaluate_snippet("job", job, import_callback=lambda _, file: (file, written[file].encode()))
    assert json.loads(copied) == evaluated(named)


@pytest.mark.parametrize("kind", ["card", "unlike"])
def test_triton_takes_its_config_and_wire_cell_finds_its_names(kind: str, request: pytest.FixtureRequest) -> None:
    card: Card = request.getfixturevalue(kind)
    config = text_format.Parse(triton_config(card), model_config_pb2.ModelConfig())
    (taken,), (given,) = config.input, config.output
    assert (config.name, config.platform, config.max_batch_size) == (card.name, "pytorch_libtorch", 0)
    assert config.default_model_filename == card.model["file"]
    assert (taken.name, given.name) == ("INPUT__0", "OUTPUT__0")  # what TritonService asks for by default
    assert taken.data_type == given.data_type == model_config_pb2.TYPE_FP32
    assert list(taken.dims) == [1, len(card.intags), -1, -1]
    assert list(given.dims) == [1, 1, -1, -1]
