"""Labels of points by the nearest particle of generator truth."""

import json
from pathlib import Path

import numpy as np
import pytest

from wirecell_ml.data.blob_data import BlobData
from wirecell_ml.data.blob_files import find_jobs
from wirecell_ml.data.event_data import SplitSettings
from wirecell_ml.data.point_labels import COSMIC, NEUTRINO, UNKNOWN, Drift, particles_beside, read_segments
from wirecell_ml.errors import DataError
from wirecell_ml.paths import shipped

DRIFT = Drift(time0_us=-250, velocity_mm_per_us=-1.6, anode_x_mm=-3590)
MUON = {"kind": "mu-exit", "p0": [0, 0, 0], "p1": [0, 0, 100], "t0": 0}
COSMIC_RAY = {"kind": "cosmic", "p0": [0, 60, 0], "p1": [0, 60, 100], "t0": 10_000}
SHOWER = {"kind": "shower-e", "p0": [0, -60, 0], "dir": [0, 0, 1], "t0": 0}
BLIPS = {"kind": "blips", "n_ar39": 3}


def written(folder: Path, *particles: object) -> Path:
    path = folder / "meta-job-1.json"
    path.write_text(json.dumps({"7": {"category": "vertex", "particles": particles}}))
    return path


def test_a_point_has_the_label_of_the_nearest_particle(tmp_path: Path) -> None:
    segments = read_segments(written(tmp_path, MUON, COSMIC_RAY, SHOWER, BLIPS), 7, DRIFT, 500)
    points = np.array([[0, 5, 50], [16, 55, 50], [0, -60, 450], [0, 0, 900]], np.float64)
    assert segments.labels(points, 50).tolist() == [NEUTRINO, COSMIC, UNKNOWN, UNKNOWN]


def test_charge_of_a_later_particle_seems_to_come_from_farther_away(tmp_path: Path) -> None:
    segments = read_segments(written(tmp_path, COSMIC_RAY), 7, DRIFT, 500)
    assert segments.start.tolist() == [[16, 60, 0]]


def test_a_particle_on_the_anode_at_time_0_is_seen_at_time_0() -> None:
    assert DRIFT.x_mm(np.array([250.0])).tolist() == [-3590]


def test_an_event_without_particles_has_no_labels(tmp_path: Path) -> None:
    assert read_segments(written(tmp_path, BLIPS), 7, DRIFT, 500).labels(np.zeros((2, 3)), 50).tolist() == [-1, -1]


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"7": 1}', '{"7": {"particles": [{"p0": [0, 0, 0]}]}}', '{"7": {"particles": [3]}}']
)
def test_truth_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "meta-1.json"
    path.write_text(text)
    with pytest.raises(DataError, match="event 7: expected JSON"):
        read_segments(path, 7, DRIFT, 500)


def test_a_particle_of_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="kind 'cosmos'"):
        read_segments(written(tmp_path, COSMIC_RAY | {"kind": "cosmos"}), 7, DRIFT, 500)


def test_a_job_finds_the_truth_whose_name_fits_longest(tmp_path: Path) -> None:
    for name in ("meta-apa0-1.json", "meta-apa0-10.json", "other.json"):
        (tmp_path / name).touch()
    assert particles_beside(tmp_path / "clusters-apa0-10.tar.xz", "meta-*.json").name == "meta-apa0-10.json"
    with pytest.raises(DataError, match="no meta-"):
        particles_beside(tmp_path / "clusters-apa1-3.tar.xz", "meta-*.json")


def test_tracks_of_the_generator_lie_on_the_blobs_of_the_shipped_events(tmp_path: Path) -> None:
    files, split = str(shipped("data") / "blobs"), SplitSettings(1, 1, 1)
    names = ("clusters-tru5-*.npz", "clusters-img-*.npz", None, "meta-*.json")
    data = BlobData(files, *names, 0, split, 1, 0, str(tmp_path), 1)
    data.prepare_data()
    (job,) = find_jobs(files, data.names)
    near = []
    for stored in data.stored(job):
        truth = stored.load().truth
        place = truth.position[truth.charge > 100].astype(np.float64)
        place[:, 0] = DRIFT.x_mm(place[:, 0])
        segments = read_segments(particles_beside(job.path, "meta-*.json"), stored.ident, DRIFT, 500)
        near.append(segments.distances(place).min(axis=0))
    assert np.median(np.concatenate(near)) < 20  # multiple scattering and the width of a blob
