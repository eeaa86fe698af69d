"""Tracks onto images: which wire, when, and whose charge."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wirecell_ml.data.particles import Track, WireGeometry, label_tracks, read_tracks
from wirecell_ml.errors import DataError
from wirecell_ml.paths import shipped

START_NS, PERIOD_NS = -250_000.0, 5_000.0

WRAPPED = {"pitch_mm": 4.669, "num_wires": 1148, "num_channels": 800}
PROTODUNE_SP: dict[str, Any] = {
    "drift_velocity_mm_per_us": -1.6,
    "anode_x_mm": -3590.0,
    "planes": {  # as in configs/detector/protodune_sp.yaml
        "U": {**WRAPPED, "pitch_angle_deg": 125.707, "wire0_mm": -3534.344, "first_channel": 0, "wire0_channel": 400},
        "V": {
            **WRAPPED,
            "pitch_angle_deg": -125.707,
            "wire0_mm": -5405.125,
            "first_channel": 800,
            "wire0_channel": 1200,
        },
    },
}


@pytest.fixture
def geometry() -> WireGeometry:
    return WireGeometry.from_numbers(**PROTODUNE_SP)


def true_charge(event: int, plane: str) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Return the truth mask (channel, slice) of one plane of a shipped event, and its channels."""
    rows = {"U": slice(0, 800), "V": slice(800, 1600)}[plane]
    with h5py.File(shipped("data") / "g4-tru-0.h5") as file:
        frame = file[f"{event}/frame_ductor0"][:, rows].T
        return frame > 100, file[f"{event}/channels_ductor0"][rows]


def muon(x_mm: float = -1000.0, t0_ns: float = 0.0, length_mm: float = 1000.0) -> Track:
    """Return a track parallel to z, so to the wire planes, in the middle of the anode."""
    return Track("cosmic", (x_mm, 3000.0, 500.0), (x_mm, 3000.0, 500.0 + length_mm), t0_ns, {"U": 0.0, "V": 0.0})


@pytest.mark.parametrize(("plane", "channels"), [("U", [400, 799, 0, 400, 747]), ("V", [1200, 1599, 800, 1200, 1547])])
def test_wires_are_read_by_the_channels_of_the_wires_file(
    geometry: WireGeometry, plane: str, channels: list[int]
) -> None:
    wires = np.array([0, 399, 400, 800, 1147])
    assert geometry.plane(plane).channel_of(wires).tolist() == channels


def test_wires_run_through_their_end_points_of_the_wires_file(geometry: WireGeometry) -> None:
    u_ends_mm = np.array([[0, 6055.69, 0], [0, 1463.81, 0], [0, 89.25, 2306.72]])
    v_ends_mm = np.array([[0, 6063.35, 2298.38], [0, 1472.52, 2303.38], [0, 76.1, 6.61]])
    np.testing.assert_allclose(geometry.plane("U").wire_at(u_ends_mm), [0, 574, 1147], atol=0.01)
    np.testing.assert_allclose(geometry.plane("V").wire_at(v_ends_mm), [0, 573, 1147], atol=0.01)


def test_348_channels_of_a_wrapped_plane_read_two_wires_and_the_others_one(geometry: WireGeometry) -> None:
    wires = geometry.plane("V").wires_of(np.arange(800, 1600))
    assert wires.shape == (800, 2)
    assert np.isfinite(wires).sum(axis=1).tolist() == [1] * 400 + [2] * 348 + [1] * 52


def test_channels_of_another_plane_read_no_wire(geometry: WireGeometry) -> None:
    assert np.isnan(geometry.plane("U").wires_of(np.array([800, 1599, 2080]))).all()


@given(wire=st.integers(0, 1147), plane=st.sampled_from("UV"))
def test_a_wire_is_among_those_of_its_channel(wire: int, plane: str) -> None:
    wrapped = WireGeometry.from_numbers(**PROTODUNE_SP).plane(plane)
    assert wire in wrapped.wires_of(wrapped.channel_of(np.array([wire])))


def test_charge_that_drifts_160_mm_more_is_seen_100_us_later(geometry: WireGeometry) -> None:
    near, far = geometry.arrival_ns(np.array([[-3590.0, 0, 0], [-3430.0, 0, 0]]), t0_ns=7.0)
    assert (near, far) == (7.0, pytest.approx(100_007.0))


def test_particles_with_an_end_are_tracks() -> None:
    path = shipped("data") / "g4-meta-0.json"
    events = {ident: read_tracks(path, ident) for ident in range(5)}
    assert [category for category, _ in events.values()] == ["cosmic", "prolonged", "vertex", "shower", "iso"]
    assert all(set(track.theta_xz_deg) == {"U", "V", "W"} for _, tracks in events.values() for track in tracks)
    assert not {track.kind for _, tracks in events.values() for track in tracks} & {"blips", "shower-e", "vtx-gamma"}


def test_a_missing_event_names_the_ones_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "meta.json"
    path.write_text(json.dumps({"7": {}, "8": {}}))
    with pytest.raises(DataError, match=r"meta\.json: no event '99'.*7, 8"):
        read_tracks(path, 99)


@pytest.mark.parametrize(("content", "fault"), [(b"\x89HDF", "not JSON"), (b"[1, 2]", "a JSON list")])
def test_a_file_that_is_no_generator_truth_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "meta.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"meta\.json: {fault}.*ident -> event"):
        read_tracks(path, 0)


@pytest.mark.parametrize("plane", ["U", "V"])
def test_most_true_pixels_of_an_event_of_tracks_belong_to_one(geometry: WireGeometry, plane: str) -> None:
    truth_mask, channels = true_charge(1, plane)
    _, tracks = read_tracks(shipped("data") / "g4-meta-0.json", 1)
    labels = label_tracks(tracks, geometry, plane, truth_mask, channels, START_NS, PERIOD_NS)
    assert (labels[truth_mask] >= 0).mean() > 0.8
    assert (labels[~truth_mask] == -1).all()


def test_a_track_moved_away_from_its_charge_gets_next_to_none(geometry: WireGeometry) -> None:
    truth_mask, channels = true_charge(1, "U")
    _, tracks = read_tracks(shipped("data") / "g4-meta-0.json", 1)
    late = [replace(track, t0_ns=track.t0_ns + 400_000) for track in tracks]
    labels = label_tracks(late, geometry, "U", truth_mask, channels, START_NS, PERIOD_NS)
    assert (labels[truth_mask] >= 0).mean() < 0.2


def test_a_pixel_near_two_tracks_belongs_to_neither(geometry: WireGeometry) -> None:
    everywhere, channels = np.ones((800, 600), dtype=bool), np.arange(800)
    alone = label_tracks([muon()], geometry, "U", everywhere, channels, START_NS, PERIOD_NS)
    both = label_tracks([muon(), muon()], geometry, "U", everywhere, channels, START_NS, PERIOD_NS)
    assert (alone == 0).sum() > 1000
    assert (both == -1).all()


def test_a_short_track_takes_pixels_from_others_but_gets_none(geometry: WireGeometry) -> None:
    everywhere, channels = np.ones((800, 600), dtype=bool), np.arange(800)
    alone = label_tracks([muon()], geometry, "U", everywhere, channels, START_NS, PERIOD_NS)
    crossed = label_tracks([muon(), muon(length_mm=50)], geometry, "U", everywhere, channels, START_NS, PERIOD_NS)
    assert 0 < (crossed == 0).sum() < (alone == 0).sum()
    assert crossed.max() == 0


def test_no_track_labels_nothing(geometry: WireGeometry) -> None:
    labels = label_tracks([], geometry, "U", np.ones((800, 600), dtype=bool), np.arange(800), START_NS, PERIOD_NS)
    assert labels.dtype == np.int16
    assert (labels == -1).all()


def test_an_image_of_the_wrong_orientation_is_refused(geometry: WireGeometry) -> None:
    with pytest.raises(DataError, match="600 rows, but there are 800 channels"):
        label_tracks([], geometry, "U", np.ones((600, 800), dtype=bool), np.arange(800), START_NS, PERIOD_NS)


def test_an_unknown_plane_is_refused(geometry: WireGeometry) -> None:
    with pytest.raises(DataError, match=r"no plane 'Y'.*U, V"):
        geometry.plane("Y")
