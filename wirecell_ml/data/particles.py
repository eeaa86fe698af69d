"""Which true pixels belong to which generator track: straight lines projected onto (channel, slice) images."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.errors import DataError, suggest


@dataclass(frozen=True)
class WirePlane:
    """Parallel wires of one plane, on the face that sees the drift, and the channels that read them.

    Wires count from 0 across the plane. A wrapped channel reads every ``num_channels``-th wire of this face;
    its segments on the other face see no charge and are left out.
    """

    pitch_mm: float
    pitch_angle_deg: float  # direction in which wire numbers grow, from +y towards +z
    wire0_mm: float  # position of wire 0 along that direction
    num_wires: int
    first_channel: int
    num_channels: int
    wire0_channel: int  # the channel that reads wire 0; channels grow with wires and start over after the last

    def wire_at(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the fractional wire number nearest to each point (..., xyz)."""
        angle = np.radians(self.pitch_angle_deg)
        across_mm = points_mm[..., 1] * np.cos(angle) + points_mm[..., 2] * np.sin(angle)
        return np.asarray((across_mm - self.wire0_mm) / self.pitch_mm)

    def channel_of(self, wires: NDArray[np.integer]) -> NDArray[np.integer]:
        """Return the channel that reads each wire."""
        row0 = self.wire0_channel - self.first_channel
        return self.first_channel + (row0 + wires) % self.num_channels

    def wires_of(self, channels: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the wires (channel, turn) that each channel reads, NaN where it reads no more."""
        num_turns = -(-self.num_wires // self.num_channels)
        turns = np.arange(num_turns) * self.num_channels
        wires = (channels - self.wire0_channel)[:, None] % self.num_channels + turns
        row = channels[:, None] - self.first_channel
        read = (wires < self.num_wires) & (row >= 0) & (row < self.num_channels)
        return np.where(read, wires, np.nan)


@dataclass(frozen=True)
class WireGeometry:
    """Where and when a point charge is read out."""

    drift_velocity_mm_per_us: float  # along x, so negative where charge drifts towards small x
    anode_x_mm: float  # charge set free here at time t is seen at time t
    planes: Mapping[str, WirePlane]

    @classmethod
    def from_numbers(
        cls, drift_velocity_mm_per_us: float, anode_x_mm: float, planes: Mapping[str, Mapping[str, Any]]
    ) -> Self:
        """Build the geometry from plain numbers, as a YAML file gives them."""
        return cls(drift_velocity_mm_per_us, anode_x_mm, {name: WirePlane(**plane) for name, plane in planes.items()})

    def plane(self, name: str) -> WirePlane:
        """Return the plane called ``name``."""
        if name not in self.planes:
            raise DataError(f"wire geometry: no plane '{name}'.{suggest(name, self.planes)}")
        return self.planes[name]

    def arrival_ns(self, points_mm: NDArray[np.float64], t0_ns: float) -> NDArray[np.float64]:
        """Return when charge set free at ``t0_ns`` at each point (..., xyz) is seen."""
        return np.asarray(t0_ns + (self.anode_x_mm - points_mm[..., 0]) / self.drift_velocity_mm_per_us * 1000)


@dataclass(frozen=True)
class Track:
    """A particle that ran (nearly) straight from start to end."""

    kind: str
    start_mm: tuple[float, float, float]
    end_mm: tuple[float, float, float]
    t0_ns: float
    theta_xz_deg: dict[str, float]  # by plane; 0: parallel to the wire planes, 90: along the drift or along the wires

    @property
    def length_mm(self) -> float:
        """Distance from start to end."""
        return float(np.linalg.norm(np.subtract(self.end_mm, self.start_mm)))


def read_tracks(path: Path, ident: int) -> tuple[str, list[Track]]:
    """Return the category of an event and its tracks: muons, pions and protons of any length.

    A track is a particle whose end is recorded; electrons, photons and blips have no one line, nor an angle.
    """
    try:
        events = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}). Generator truth is one object, ident -> event") from None
    if not isinstance(events, dict):
        raise DataError(f"{path}: a JSON {type(events).__name__}. Generator truth is one object, ident -> event")
    if str(ident) not in events:
        raise DataError(f"{path}: no event '{ident}'.{suggest(str(ident), events)}")
    event = events[str(ident)]
    return event["category"], [_track(particle) for particle in event["particles"] if "p1" in particle]


def label_tracks(
    tracks: Sequence[Track],
    geometry: WireGeometry,
    plane: str,
    truth_mask: NDArray[np.bool_],
    channels: NDArray[np.integer],
    start_ns: float,
    period_ns: float,
    halo: tuple[float, float] = (8, 5),
    min_length_mm: float = 200,
) -> NDArray[np.int16]:
    """Return (channel, slice) the index of the one track within whose halo a true pixel lies, -1 elsewhere.

    The halo, an ellipse of (channels, slices), makes room for multiple scattering, diffusion and short delta rays.
    A track below ``min_length_mm`` is no measure of an angle: it makes pixels of others ambiguous, but is given none.
    """
    if truth_mask.shape[0] != len(channels):
        raise DataError(f"truth mask has {truth_mask.shape[0]} rows, but there are {len(channels)} channels")
    rows, slices = np.nonzero(truth_mask)
    wires = geometry.plane(plane).wires_of(channels)[rows]  # (pixel, turn)
    times = np.broadcast_to(slices[:, None] + 0.5, wires.shape)
    pixels = np.stack([wires, times], axis=-1) / halo  # (pixel, turn, 2)

    owner = np.full(len(rows), -1, dtype=np.int16)
    claims = np.zeros(len(rows), dtype=np.int16)
    for index, track in enumerate(tracks):
        start, end = _project(track, geometry, plane, start_ns, period_ns) / halo
        near = _within_one(pixels, start, end).any(axis=1)
        claims += near
        owner[near] = index if track.length_mm >= min_length_mm else -1
    owner[claims != 1] = -1

    labels = np.full(truth_mask.shape, -1, dtype=np.int16)
    labels[rows, slices] = owner
    return labels


def _track(particle: Mapping[str, Any]) -> Track:
    """Return the track of one particle of the generator truth."""
    theta_xz_deg = {plane: particle[f"thxz_{plane.lower()}"] for plane in "UVW"}
    return Track(particle["kind"], tuple(particle["p0"]), tuple(particle["p1"]), particle["t0"], theta_xz_deg)


def _project(
    track: Track, geometry: WireGeometry, plane: str, start_ns: float, period_ns: float
) -> NDArray[np.float64]:
    """Return the ends of a track as (end, 2): fractional wire number and slice."""
    ends_mm = np.array([track.start_mm, track.end_mm])
    slices = (geometry.arrival_ns(ends_mm, track.t0_ns) - start_ns) / period_ns
    return np.stack([geometry.plane(plane).wire_at(ends_mm), slices], axis=-1)


def _within_one(points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which points (..., 2) lie within 1 of the straight line from start to end; NaN never does."""
    line = end - start
    fraction = np.clip((points - start) @ line / max(float(line @ line), 1e-12), 0, 1)
    gap = points - start - fraction[..., None] * line
    return np.asarray((gap**2).sum(axis=-1) <= 1)
