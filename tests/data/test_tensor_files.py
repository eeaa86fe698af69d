"""Tensor files, built by the plain library and by our writer."""

import io
import json
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.reading import ReaderContract, assert_same_events
from wirecell_ml.data import container, tensor_files
from wirecell_ml.data.blobs import COLUMNS, BlobGraph
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.depos import DepoSet
from wirecell_ml.data.formats import Format, Peek
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.point_tree import PointTree
from wirecell_ml.data.points import PointCloud
from wirecell_ml.data.source import Source
from wirecell_ml.data.tensor_files import FORMAT, WHOLE_SET, event_of, tensors_of
from wirecell_ml.data.tensor_writing import from_point_tree
from wirecell_ml.data.tensors import Tensor, Tensors, joined
from wirecell_ml.errors import DataError

PLAIN = {"datatype": "pcarray", "datapath": "/a"}
FLOATS = np.arange(6, dtype=np.float32).reshape(2, 3)


def contents(ident: int) -> Contents:
    """Return an event with everything that a tensor file can hold, but no tensors yet."""
    raw = Frame(FLOATS, np.array([7, 3], np.int32), -250000.0, 500.0, 4, np.array([1.5, 2.5]))
    other = Frame(2 * FLOATS, np.array([3, 7], np.int32), 0.0, 500.0)
    graph = BlobGraph(
        {code: np.full((2, len(COLUMNS[code])), 1.5) for code in "bs"}, {"bs": np.array([[0, 1], [1, 0]])}
    )
    plain = PointCloud(np.ones((2, 3), np.float32), {"charge": np.array([5.0, 6.0])})
    linked = PointCloud(np.ones((2, 3)), {}, np.array([[0], [1]]), {"distance": np.array([2.0])})
    return Contents(
        ident,
        frames={"raw_0": raw, "other": other, "*": raw},
        masks={"bad": np.array([[3, 0, 9], [7, 2, 5]], np.int32)},
        blobs={"cluster": graph},
        points={"plain": plain, "linked": linked},
        tables={"flash": {"time": np.array([4.0, 5.0]), "type": np.array([0, 1], np.int32)}},
    )


def tensors(ident: int) -> Tensors:
    """Return the tensors of an event with everything that they can mean, and some that mean nothing."""
    points = {"x": np.zeros(3), "y": np.zeros(3), "z": np.arange(3.0)}
    tree = PointTree(np.array([0, 0, 1], np.int32), {"3d": points}, {"3d": np.array([0, 1, 2], np.int32)})
    said = {WHOLE_SET: Tensor({"run": 5, "tags": ["a"], "none": None})}
    return joined([said, {"1": Tensor({}, FLOATS)}, from_point_tree(tree, "trees/live"), tensors_of(contents(ident))])


def numbered(held: Tensors) -> dict[str, Tensor]:
    """Return the same tensors, those without datapath under their numbers."""
    return {path if tensor.metadata.get("datapath") or not path else "0": tensor for path, tensor in held.items()}


class TestTensorFiles(ReaderContract):
    def format(self) -> Format:
        return FORMAT

    def events(self) -> list[Contents]:
        return [event_of(ident, numbered(tensors(ident)), "here") for ident in (3, 12)]


def npy(array: np.ndarray[Any, Any], **how: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **how)
    return buffer.getvalue()


def archive(path: Path, members: Iterable[tuple[str, object]]) -> Source:
    """Write a zip: arrays as .npy, bytes as they are, anything else as JSON."""
    with zipfile.ZipFile(path, "w") as file:
        for name, held in members:
            if isinstance(held, np.ndarray):
                file.writestr(name, npy(held))
            else:
                file.writestr(name, held if isinstance(held, bytes) else json.dumps(held, indent="\t"))
    return Source.of(path)


def only(source: Source) -> Contents:
    (event,) = tensor_files.read(source)
    return event


def test_members_are_those_of_any_prefix_and_the_rest_is_skipped(tmp_path: Path) -> None:
    members = [
        ("a_b/tensorset_7_metadata.json", None),
        ("a_b/tensor_7_0_metadata.json", PLAIN),
        ("notes_7.txt", b"hello"),
        ("a_b/tensor_7_0_array.npy", FLOATS),
        ("a_b/tensor_7_1_metadata.json", {"datatype": "pcdataset", "datapath": "/b", "arrays": {}}),
    ]
    event = only(archive(tmp_path / "x.npz", members))
    assert event.ident == 7
    assert list(event.tensors) == ["/a", "/b"]
    np.testing.assert_array_equal(event.tensors["/a"].array, FLOATS)
    assert event.tensors["/b"].array is None
    assert event.tensors["/a"].metadata == PLAIN


def test_tensors_come_in_the_order_of_their_numbers_whatever_that_of_the_members(tmp_path: Path) -> None:
    members: list[tuple[str, object]] = [(f"tensor_0_{n}_metadata.json", {"datapath": f"/{n}"}) for n in (10, 2, 1)]
    members += [("tensorset_0_metadata.json", {"run": 5})]
    event = only(archive(tmp_path / "x.npz", [("tensor_0_10_array.npy", FLOATS), *members]))
    assert list(event.tensors) == [WHOLE_SET, "/1", "/2", "/10"]
    assert event.tensors[WHOLE_SET].metadata == {"run": 5}
    assert event.tensors["/10"].array is not None


def test_tensors_without_datapath_or_metadata_are_known_by_their_numbers(tmp_path: Path) -> None:
    members = [
        ("tensor_0_0_metadata.json", None),
        ("tensor_0_0_array.npy", FLOATS),
        ("tensor_0_1_array.npy", FLOATS[0]),
    ]
    assert list(only(archive(tmp_path / "x.npz", members)).tensors) == ["0", "1"]


def test_a_header_without_byte_order_is_read(tmp_path: Path) -> None:
    header = b"{'descr': 'f4', 'fortran_order': False, 'shape': (2, 3), }".ljust(117) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + FLOATS.tobytes()
    event = only(archive(tmp_path / "x.npz", [("tensor_0_0_array.npy", content)]))
    np.testing.assert_array_equal(event.tensors["0"].array, FLOATS)


def test_metadata_may_have_what_json_does_not_know(tmp_path: Path) -> None:
    text = b'{"v": NaN, "n": 100000000000000000000}'
    held = only(archive(tmp_path / "x.npz", [("tensor_0_0_metadata.json", text)]))
    assert np.isnan(held.tensors["0"].metadata["v"])
    assert held.tensors["0"].metadata["n"] == 10**20


def test_the_first_event_comes_before_damage_in_a_later_one(tmp_path: Path) -> None:
    source = archive(tmp_path / "x.npz", [("tensor_0_0_array.npy", FLOATS), ("tensor_1_0_array.npy", b"damaged")])
    events = tensor_files.read(source)
    assert next(events).ident == 0
    with pytest.raises(DataError, match=r"member 'tensor_1_0_array\.npy' is damaged"):
        next(events)


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({}, "no tensors in it"),
        ({"frame_x_0.npy": FLOATS}, "no tensors in it"),
        ({"tensor_0_0_metadata.json": b"{"}, r"member 'tensor_0_0_metadata\.json' is no JSON"),
        ({"tensor_0_0_metadata.json": b"\xff\xfe"}, "is no JSON"),
        ({"tensor_0_0_metadata.json": b"[" * 100_000}, "is no JSON"),
        ({"tensor_0_0_metadata.json": [1]}, "holds a list; expected a JSON object"),
        ({"tensorset_0_metadata.json": "x"}, "holds a str; expected a JSON object"),
        ({"tensor_0_0_metadata.json": {"datapath": 3}}, "tensor 0 has the datapath 3; expected a name"),
        ({"tensor_0_0_metadata.json": {"datatype": [[]]}}, r"tensor 0 has the datatype \[\[\]\]; expected a name"),
        ({"tensor_0_0_metadata.json": {"datapath": ""}}, "tensor 0 has the datapath ''; expected a name"),
        ({"tensor_0_0_metadata.json": PLAIN, "tensor_0_1_metadata.json": PLAIN}, "tensor 1 has the datapath '/a'"),
        ({"tensor_0_0_metadata.json": PLAIN, "xtensor_0_0_metadata.json": PLAIN}, "comes twice; write it once"),
        ({"tensor_0_0_array.npy": b"no array"}, "is damaged, truncated or no .npy"),
        ({"tensor_0_0_array.npy": npy(np.array([print]), allow_pickle=True)}, "expected numbers"),
        ({"tensor_0_0_array.npy": pickle.dumps(print)}, "is damaged, truncated or no .npy"),
    ],
)
def test_what_is_no_tensor_is_refused(tmp_path: Path, members: Mapping[str, object], fault: str) -> None:
    source = archive(tmp_path / "x.npz", [("other.txt", b"1"), *members.items()])
    with pytest.raises(DataError, match=fault) as caught:
        list(tensor_files.read(source))
    assert str(caught.value).startswith(f"{source}: ")
    assert "\n" not in str(caught.value)


def test_an_event_in_two_pieces_is_refused(tmp_path: Path) -> None:
    members = [(f"tensor_{ident}_0_metadata.json", PLAIN) for ident in (0, 1, 0)]
    with pytest.warns(UserWarning, match="Duplicate"):
        source = archive(tmp_path / "x.npz", members)
    with pytest.raises(DataError, match="event 0 comes twice"):
        list(tensor_files.read(source))


@pytest.mark.parametrize(("limit", "kind"), [("MOST_METADATA", "metadata.json"), ("MOST_BYTES", "array.npy")])
def test_an_event_is_bounded_even_if_each_member_is_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, kind: str
) -> None:
    held = np.zeros(50) if kind == "array.npy" else {"x": "y" * 500}
    source = archive(tmp_path / "x.npz", [(f"tensor_0_{n}_{kind}", held) for n in range(4)])
    monkeypatch.setattr(tensor_files if limit == "MOST_METADATA" else container, limit, 1600)
    with pytest.raises(DataError, match=rf"member 'tensor_0_3_{kind}': with it, the event has more bytes than"):
        list(tensor_files.read(source))


def test_tensors_are_read_even_where_they_do_not_fit_together(tmp_path: Path) -> None:
    lost = {"datatype": "pcdataset", "datapath": "/b", "arrays": {"x": "/nowhere", "y": "/y", "z": "/z"}}
    event = only(archive(tmp_path / "x.npz", [("tensor_4_0_metadata.json", lost)]))
    assert list(event.tensors) == ["/b"]
    with pytest.raises(DataError, match=r"x\.npz: event 4: tensor '/b' refers to '/nowhere', which is missing"):
        len(event.points)


def test_a_read_event_can_be_sent_to_another_process(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    tensor_files.write(path, [contents(3)])
    event = only(Source.of(path))
    assert_same_events([pickle.loads(pickle.dumps(event))], [event])  # noqa: S301


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("tensorset_0_metadata.json", True),
        ("my_tensor_-1_12_metadata.json", True),
        ("tensor_0_0_array.npy", True),
        ("frame_tensor_0.npy", False),
        ("tensor_0_metadata.json", False),
        ("tensor_0_0_array.npy.bak", False),
    ],
)
def test_a_tensor_file_is_told_by_its_members(name: str, known: bool) -> None:
    assert FORMAT.recognises(Peek("archive", ("README", name))) is known
    assert not FORMAT.recognises(Peek("hdf5", (name,)))


def test_frames_blobs_points_and_tables_are_written_as_tensors_and_come_back(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    tensor_files.write(path, [contents(3), contents(4)])
    events = list(tensor_files.read(Source.of(path)))
    assert all(event.tensors for event in events)
    bare = [Contents(e.ident, None, None, e.frames, e.masks, None, e.blobs, e.points, {}, e.tables) for e in events]
    assert_same_events(bare, [contents(3), contents(4)])
    assert list(events[0].kinds()) == ["frames", "masks", "blobs", "points", "tensors", "tables"]


def test_tensors_are_what_is_written_where_an_event_has_any(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    event = Contents(0, tensors={"/a": Tensor(PLAIN, FLOATS)}, points=contents(0).points)
    tensor_files.write(path, [event])
    assert list(only(Source.of(path)).tensors) == ["/a"]


def test_a_datapath_that_the_metadata_lack_is_put_there(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    tensor_files.write(path, [Contents(0, tensors={"mine": Tensor({}, FLOATS), "1": Tensor({}, FLOATS)})])
    held = only(Source.of(path)).tensors
    assert held["mine"].metadata == {"datapath": "mine"}
    assert held["1"].metadata == {}


def test_members_are_those_that_the_toolkit_writes(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    tensor_files.write(path, [Contents(5, tensors={"/a": Tensor(PLAIN, FLOATS.T), "/b": Tensor({})})])
    with zipfile.ZipFile(path) as file:
        names = ["tensorset_5_metadata.json", "tensor_5_0_metadata.json", "tensor_5_0_array.npy"]
        assert file.namelist() == [*names, "tensor_5_1_metadata.json"]
        assert json.loads(file.read("tensor_5_0_metadata.json")) == PLAIN
        assert b"'fortran_order': False" in file.read("tensor_5_0_array.npy")
        assert b"'descr': '<f4'" in file.read("tensor_5_0_array.npy")


NONE, INTS = np.zeros(0, np.float32), np.zeros(0, np.int32)
DEPOS = DepoSet(NONE, NONE, np.zeros((0, 3), np.float32), NONE, NONE, INTS, INTS, INTS, INTS)


@pytest.mark.parametrize(
    ("event", "fault"),
    [
        (Contents(0, depos=DEPOS), "has depos or bare arrays"),
        (Contents(0, arrays={"x": FLOATS}), "has depos or bare arrays"),
        (Contents(10**18), "its number is too long"),
        (Contents(0, tensors={"/b": Tensor(PLAIN)}), "tensor '/b' has the datapath '/a' in its metadata"),
        (Contents(0, tensors={"/b": Tensor({"x": FLOATS})}), "its metadata are no JSON"),
        (Contents(0, tensors={"/b": Tensor({}, np.array(["a"]))}), "an array of <U1; expected numbers"),
        (Contents(0, masks={"bad": np.zeros((0, 3), np.int32)}), "masks without a frame"),
        (Contents(0, tables={"t": {"x": [1, 2]}}), "'x' is a list; tensors hold arrays of numpy"),
        (Contents(0, tables={"t": {"x": np.zeros(2), "y": np.zeros(3)}}), "columns of different lengths"),
        (Contents(0, tables={"t": {}}, points={"t": PointCloud(np.zeros((1, 3)))}), "two tensors would have the data"),
    ],
)
def test_what_no_tensor_can_hold_is_not_written(tmp_path: Path, event: Contents, fault: str) -> None:
    with pytest.raises(DataError, match=fault) as caught:
        tensor_files.write(tmp_path / "x.npz", [event])
    assert str(caught.value).startswith(f"{tmp_path / 'x.npz'}: event {event.ident}")
    assert not list(tmp_path.iterdir())


def test_an_event_is_written_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="event 0 comes twice"):
        tensor_files.write(tmp_path / "x.npz", [Contents(0), Contents(0)])


NUMBERS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int16, np.int32, np.uint64, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
METADATA = st.dictionaries(st.text().filter(lambda key: key != "datapath"), JSON, max_size=3)
SETS = st.dictionaries(st.text(min_size=1), st.tuples(METADATA, st.none() | NUMBERS), max_size=4)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.integers(-3, 10**17), SETS, min_size=1, max_size=3), st.sampled_from([".npz", ".tar.bz2"]))
def test_any_tensors_come_back(
    tmp_path_factory: pytest.TempPathFactory, sets: dict[int, dict[str, Any]], suffix: str
) -> None:
    path = tmp_path_factory.mktemp("any") / f"x{suffix}"
    events = [
        Contents(ident, tensors={key: Tensor({"datapath": key, **said}, array) for key, (said, array) in held.items()})
        for ident, held in sets.items()
    ]
    tensor_files.write(path, events)
    back = [Contents(event.ident, tensors=event.tensors) for event in tensor_files.read(Source.of(path))]
    assert_same_events(back, events)
    assert [list(event.tensors) for event in back] == [list(event.tensors) for event in events]
