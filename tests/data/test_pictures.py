"""Pictures of events: what is drawn of each kind of contents, and that thin tracks and masks are seen."""

from dataclasses import replace
from pathlib import Path

import awkward as ak
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from tests.toy_events import SOUND, blobs, depos, frame, track
from wirecell_ml.data.blob_space import as_points, centres, clusters
from wirecell_ml.data.blobs import BlobGraph
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.detectors import detector_named
from wirecell_ml.data.frame_pictures import MOST_BINS, draw_frames, panels_of, pool, shown_of
from wirecell_ml.data.panel_pictures import MOST_PANELS, flat_numbers
from wirecell_ml.data.panel_pictures import panels_of as panels_of_rest
from wirecell_ml.data.pictures import draw_event
from wirecell_ml.data.points import PointCloud
from wirecell_ml.data.space_pictures import MOST_DOTS, rows_of
from wirecell_ml.data.tensors import Tensor
from wirecell_ml.errors import DataError

PNG = b"\x89PNG"


def test_an_event_of_every_kind_gives_a_picture_of_each(tmp_path: Path) -> None:
    written = draw_event(tmp_path / "event.png", SOUND, "toy, event 7")
    assert [path.name for path in written] == ["event.png", "event-space.png", "event-tables.png"]
    for path in written:
        assert path.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    "event",
    [
        Contents(0, frames={"gauss0": frame(np.zeros((4, 9)))}),
        Contents(0, frames={"raw": frame(np.full((4, 9), np.nan))}),
        Contents(0, frames={"one": frame([[5.0]])}),
        Contents(0, frames={"label": replace(frame(track()), samples=np.ones((20, 9), np.int8))}),
        Contents(0, frames={"*": replace(frame(track()), samples=np.full((20, 9), 900, np.int16))}),
        Contents(0, depos=depos(charge=np.zeros(4, np.float32))),
        Contents(0, blobs={"cluster": blobs(val=np.nan)}),
        Contents(0, points={"bare": PointCloud(np.eye(3))}),
        Contents(0, points={"linked": PointCloud(np.eye(3), edges=np.array([[0, 1], [1, 2]]))}),
        Contents(0, tensors={"image": Tensor({}, np.eye(40)[None, None])}),
        Contents(0, tensors={"row": Tensor({}, np.arange(9)), "none": Tensor({"datatype": "pcdataset"})}),
        Contents(0, tables={"jagged": {"x": ak.Array([[1, 2], [], [3]])}}),
    ],
    ids=lambda event: next(event.kinds()),
)
def test_contents_of_a_strange_sort_can_be_drawn(event: Contents, tmp_path: Path) -> None:
    (path,) = draw_event(tmp_path / "event.png", event, "toy")
    assert path.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    "event",
    [
        Contents(0),
        Contents(0, tables={"text": {"kind": np.array(["a", "b"])}}),
        Contents(0, frames={"empty": frame(np.zeros((0, 9)))}),
        Contents(0, points={"nowhere": PointCloud(np.full((2, 3), np.nan))}),
    ],
)
def test_an_event_that_cannot_be_drawn_is_said(event: Contents, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="toy: nothing that can be drawn"):
        draw_event(tmp_path / "event.png", event, "toy")
    assert not any(tmp_path.iterdir())


def test_whatever_a_stranger_wrote_can_be_drawn(tmp_path: Path) -> None:
    most, tiny, name = np.finfo(np.float64).max, np.float32(1e-45), "$\\frac{\n\x1b\U0001f9ca"
    hits = {"wire": np.array([most, 1.0]), "time": np.array([1.0, np.nan]), "plane": np.array([0, 1])}
    event = Contents(
        0,
        frames={name: frame([[tiny, 0]], time_ns=1e300, period_ns=1e300, channels=np.array([2**31 - 1], np.int32))},
        masks={name: np.array([[-(2**31), -(2**31), 2**31 - 1]], np.int32)},
        depos=depos(position=np.full((4, 3), np.inf, np.float32)),
        blobs={name: blobs(start=most, span=most, val=-np.inf)},
        points={name: PointCloud(np.array([[most, 0, 0], [0, 0, 0]]), {"charge": np.array([1.0, most])})},
        tables={name: {name: np.array([most, -most, 0.0, 1.0])}, "hits": hits},
        arrays={name: np.full((20, 20), most), "label": np.array([-(2**62), 2 - 2**62]), "one": np.full(9, 1e99)},
    )
    for one in (event, Contents(0, arrays=event.arrays)):
        for path in draw_event(tmp_path / "event.png", one, name):
            assert path.read_bytes().startswith(PNG)


def test_a_pooled_image_keeps_a_track_that_is_thinner_than_a_pixel() -> None:
    samples = np.zeros((5000, 6000), np.float32)
    samples[4321, 1234], samples[17, 5999] = 7, -9
    pooled = pool(samples, np.arange(5000, dtype=np.int32), (0, 5000))
    assert pooled.shape == MOST_BINS
    assert pooled[4321 * MOST_BINS[0] // 5000, 1234 * MOST_BINS[1] // 6000] == 7
    assert pooled[17 * MOST_BINS[0] // 5000, -1] == -9
    assert np.count_nonzero(pooled) == 2


def test_channels_are_drawn_in_their_order_and_missing_ones_are_blank() -> None:
    samples = np.array([[1, 2], [3, 4]], np.float32)
    pooled = pool(samples, np.array([12, 10], np.int32), (10, 13))
    np.testing.assert_array_equal(pooled, [[3, 4], [np.nan, np.nan], [1, 2]])


def test_panels_are_planes_or_runs_of_channels_or_everything() -> None:
    apart = np.r_[0:476, 952:1428, 1904:2488].astype(np.int32)
    whole = replace(frame(np.zeros((1536, 2))), channels=apart)
    assert list(panels_of(whole, None)) == ["0–475", "952–1427", "1904–2487"]
    assert list(panels_of(frame(np.zeros((2560, 2))), None)) == ["U", "V", "W"]
    assert list(panels_of(frame(np.zeros((100, 2))), detector_named("sbnd"))) == ["U"]
    scattered = replace(frame(np.zeros((30, 2))), channels=np.arange(0, 90, 3, dtype=np.int32))
    assert panels_of(scattered, None) == {"": (0, 88)}


def test_waveforms_are_symmetric_about_zero_and_charge_is_logarithmic() -> None:
    noisy, charge = shown_of("loose_lf0", frame(track() - 5)), shown_of("gauss0", frame(track()))
    assert noisy.norm.vmin == -(noisy.norm.vmax or 0)
    assert isinstance(charge.norm, LogNorm)


def test_a_digitized_frame_is_drawn_without_its_pedestals() -> None:
    counts = np.full((3, 50), 900.0) + np.arange(3)[:, None]
    counts[1, 7] += 40
    shown = shown_of("*", frame(counts))
    assert np.flatnonzero(shown.image).tolist() == [57]


def test_masked_channels_are_shaded() -> None:
    with mpl.rc_context():
        figure = Figure()
        masks = {"bad": np.array([[3, -5, 10**6], [7, 50, 60], [500, 0, 9]], np.int32)}
        draw_frames(figure, {"x": frame(track())}, masks, None)
    shaded = np.asarray(figure.axes[0].images[1].get_array()).T
    assert np.flatnonzero(shaded.any(axis=1)).tolist() == [3, 7]
    assert shaded[3].all()
    assert np.flatnonzero(shaded[7]).tolist() == list(range(50, 60))


def test_drifted_depos_are_drawn_against_their_time() -> None:
    flat = depos(position=np.array([[-3488, 0, 0]] * 4, np.float32), time_ns=np.arange(4, dtype=np.float32) * 1000)
    (row,) = rows_of(Contents(0, depos=flat))
    assert row.axes == ("time [µs]", "y [mm]", "z [mm]")
    assert sorted(row.place[:, 0]) == [0, 1, 2, 3]


def test_points_are_coloured_by_charge_and_by_label() -> None:
    cloud = PointCloud(np.ones((4, 3)), {"charge": np.arange(4), "blob": np.arange(4), "is_nu": np.array([0, 0, 1, 1])})
    assert [row.color_name for row in rows_of(Contents(0, points={"p": cloud}))] == ["charge [electrons]", "is_nu"]


def test_very_many_points_are_thinned_out() -> None:
    (row,) = rows_of(Contents(0, points={"p": PointCloud(np.zeros((MOST_DOTS + 5, 3), np.float32))}))
    assert len(row.place) == MOST_DOTS
    assert str(MOST_DOTS + 5) in row.thinned


def test_hits_are_wire_against_time_of_each_plane() -> None:
    number = np.arange(6)
    hits = {"local_plane": number % 3, "local_wire": number, "local_time": number[:, None], "integral": number}
    titles = [panel.title for panel in panels_of_rest(Contents(0, tables={"hit_table": hits}))]
    assert titles[:3] == ["hit_table: plane 0", "hit_table: plane 1", "hit_table: plane 2"]


def test_no_more_panels_are_drawn_than_can_be_seen() -> None:
    table = {f"column{i}": np.arange(5) for i in range(200)}
    assert len(panels_of_rest(Contents(0, tables={"t": table}))) == MOST_PANELS


def test_text_and_values_that_are_no_numbers_make_no_histogram() -> None:
    assert flat_numbers(np.array([1, np.nan, 3])).tolist() == [1, 3]
    assert flat_numbers(np.array(["a"])).tolist() == []
    assert flat_numbers(ak.Array([[1, None], [2]])).tolist() == [1, 2]
    assert flat_numbers(ak.Array(["text"])).tolist() == []


def test_the_centre_of_a_blob_is_the_mean_of_its_corners_only() -> None:
    graph = blobs(ncorners=[3, 0, 3])
    np.testing.assert_allclose(centres(graph), [[4 / 3, 4 / 3], [np.nan, np.nan], [4 / 3, 4 / 3]])
    cloud = as_points(graph, 1.6)
    np.testing.assert_allclose(cloud.position, [[2.4, 4 / 3, 4 / 3]] * 2)  # 1500 ns at 1.6 mm/us
    assert cloud.columns["charge"].tolist() == [10, 3000]


def test_clusters_are_the_blobs_that_edges_join() -> None:
    assert len(set(clusters(blobs()).tolist())) == 3
    joined = BlobGraph(blobs().nodes, {"bb": np.array([[2], [0]])})
    first, second, third = clusters(joined).tolist()
    assert first == third != second
