"""What looks wrong in events is noticed, once for all events, and sound events raise no suspicion."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.toy_events import SOUND, blobs, depos, frame, track
from wirecell_ml.data.blobs import BlobGraph
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.inspection import Inspection
from wirecell_ml.data.points import PointCloud


def doubts(*events: Contents, truth: Iterable[Contents] | None = None) -> list[str]:
    seen = Inspection(events, truth)
    for _ in seen:
        pass
    return [one.text() for one in seen.suspicions.all()]


def test_nothing_looks_wrong_in_a_sound_event() -> None:
    event = replace(SOUND, frames={tag: SOUND.frames[tag] for tag in ("ductor0", "loose_lf0")})
    assert doubts(event, replace(event, ident=8)) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"samples": np.zeros((20, 100), np.float32)}, "zero throughout"),
        ({"samples": np.full((20, 100), np.nan, np.float32)}, "NaN or infinite values"),
        ({"channels": np.arange(20, dtype=np.int32)[::-1]}, "not ascending"),
        ({"channels": np.zeros(20, np.int32)}, "comes twice"),
    ],
)
def test_a_frame_that_looks_wrong_is_noticed(change: Any, why: str) -> None:
    (found,) = doubts(Contents(3, frames={"loose_lf0": replace(frame(track()), **change)}))
    assert found.startswith("frame 'loose_lf0'")
    assert why in found
    assert "(event 3" in found


def test_a_period_that_was_not_updated_is_noticed() -> None:
    whole = Frame(np.ones((2560, 1500), np.float32), np.arange(2560, dtype=np.int32), 0.0, 500.0)
    (found,) = doubts(Contents(0, frames={"gauss0": whole}))
    assert "if 4 ticks were averaged in each" in found
    assert "a period is 2000 ns" in found
    assert doubts(Contents(0, frames={"gauss0": replace(whole, period_ns=2000.0)})) == []


def test_frames_of_one_period_and_different_lengths_are_noticed() -> None:
    (found,) = doubts(Contents(0, frames={"a": frame(track()), "b": frame(track()[:, ::2])}))
    assert "50 in 'b', 100 in 'a'" in found


def test_a_tag_of_another_anode_is_noticed() -> None:
    whole = Frame(np.ones((2560, 9), np.float32), np.arange(2560, 5120, dtype=np.int32), 0.0, 500.0)
    (found,) = doubts(Contents(0, frames={"gauss0": whole}))
    assert "the tag ends with 0, but its channels are those of APA 1" in found
    assert doubts(Contents(0, frames={"gauss1": whole})) == []


def test_equal_frames_are_noticed() -> None:
    assert doubts(Contents(0, frames={"a": frame(track()), "b": frame(track())})) == [
        "frame 'b': the same samples as 'a' (event 0)"
    ]


def test_truth_that_was_masked_in_every_event_is_noticed() -> None:
    masked = Contents(0, frames={"gauss0": frame(track(0.9)), "ductor0": frame(track())})
    missing = replace(masked, ident=1, frames={"gauss0": frame(np.roll(track(), 3)), "ductor0": frame(track())})
    (found,) = doubts(masked, replace(masked, ident=1))
    assert found.startswith("truth 'ductor0': every true pixel of every event is a pixel of 'gauss0'")
    assert doubts(masked, missing) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"charge": np.full(4, 5, np.float32)}, "positive charge"),
        ({"time_ns": np.full(4, np.nan, np.float32)}, "NaN or infinite"),
        ({"extent_long": np.array([0, 1, 1, 1], np.float32)}, "24.96% of the charge"),
    ],
)
def test_depos_that_look_wrong_are_noticed(change: Any, why: str) -> None:
    (found,) = doubts(Contents(0, depos=depos(**change)))
    assert why in found


def test_depos_that_have_not_drifted_have_no_width() -> None:
    assert doubts(Contents(0, depos=depos(extent_long=np.zeros(4, np.float32)))) == []


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"val": [np.nan, 1, 1]}, "NaN as charge"),
        ({"val": 0}, "no blob has charge"),
        ({"val": -1}, "negative charge"),
        ({"ident": 1}, "2 of 3 blobs"),
        ({"ncorners": [2, 3, 3]}, "fewer than three corners"),
        ({"span": 0}, "no length in time"),
        ({"y2": [1, 1, 50]}, "corners beyond the ends of the wires"),
    ],
)
def test_blobs_that_look_wrong_are_noticed(columns: Any, why: str) -> None:
    (found,) = doubts(Contents(0, blobs={"cluster": blobs(**columns)}))
    assert why in found


def test_a_blob_in_no_slice_is_noticed() -> None:
    graph = BlobGraph(blobs().nodes, {"bs": np.array([[0, 1], [0, 0]])})
    (found,) = doubts(Contents(0, blobs={"cluster": graph}))
    assert "in no slice, or in several (event 0: 1 of 3 blobs)" in found


def test_masks_arrays_points_and_tables_that_look_wrong_are_noticed() -> None:
    event = Contents(
        0,
        frames={"x": frame(track())},
        masks={"bad": np.array([[77, 9, 9], [99, 0, 5]], np.int32)},
        arrays={"a": np.array([np.inf])},
        points={"p": PointCloud(np.array([[np.nan, 0, 0]]))},
        tables={"t": {"e": np.array([np.inf, np.nan]), "unknown": np.array([np.nan, 0])}},
    )
    found = "\n".join(doubts(event))
    for why in (
        "ends before it begins",
        "no frame of the event has any",
        "array 'a'",
        "no place",
        "infinite values in e",
    ):
        assert why in found
    assert "unknown" not in found


def test_an_event_that_differs_from_the_first_or_holds_nothing_is_noticed() -> None:
    found = doubts(Contents(0, frames={"x": frame(track())}), Contents(1))
    assert any("it holds nothing (event 1)" in one for one in found)
    assert any("frames 'x'" in one for one in found)


def test_an_ident_that_comes_twice_is_noticed_but_not_where_files_of_a_bundle_share_their_events() -> None:
    one, other = (Contents(0, frames={name: frame(track())}) for name in ("a/x", "b/x"))
    assert doubts(one, other) == []
    assert doubts(one, other, one) == ["event: its ident comes twice in this file (event 0)"]


def test_a_cut_of_a_readout_has_any_number_of_columns() -> None:
    cut = Frame(np.ones((2560, 1500), np.float32), np.arange(2560, dtype=np.int32), 0.0, 500.0, tbin=1200)
    assert doubts(Contents(0, frames={"gauss0": cut})) == []


def test_what_is_wrong_alike_with_several_frames_is_one_line() -> None:
    nothing = frame(np.zeros((4, 9)))
    (found,) = doubts(Contents(0, frames={"a": nothing, "b": nothing}))
    assert found.startswith("frame 'a', frame 'b': zero throughout")


def test_many_events_with_one_fault_are_one_line() -> None:
    (found,) = doubts(*(Contents(i, depos=depos(charge=np.full(4, 5, np.float32))) for i in range(9)))
    assert "0: 4 of them, 1: 4 of them, 2: 4 of them and 6 more" in found


def test_an_event_without_truth_is_noticed() -> None:
    (found,) = doubts(Contents(5, depos=depos()), truth=[Contents(6)])
    assert found == "event: it is not in the file of the truth (event 5)"
