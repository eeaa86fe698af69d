"""What inspection says of events: their facts, the tables and JSON that show them, how much charge was found."""

import json
from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.toy_events import SOUND, blobs, depos, frame, track
from wirecell_ml.data.contents import Contents
from wirecell_ml.data.detectors import detector_named, planes_of, runs_of
from wirecell_ml.data.facts import facts_of
from wirecell_ml.data.formats import Format
from wirecell_ml.data.frame import Frame
from wirecell_ml.data.inspection import Inspection, as_json
from wirecell_ml.data.inspection_tables import event_tables, opening, verdict
from wirecell_ml.data.spread import spread
from wirecell_ml.errors import ConfigError

FORM = Format("toy file", "Toy", ("frames",), (".toy",), lambda _: True, lambda _: iter(()), None)


def shown(*events: Contents, width: int = 200) -> str:
    console = Console(file=StringIO(), width=width, markup=False, highlight=False)
    seen = Inspection(events)
    console.print(opening("toy.toy", FORM))
    for event in seen:
        for table in event_tables(event, console.width):
            console.print(table)
    console.print(verdict(seen))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_spread_is_that_of_numpy_whatever_the_order_of_the_array() -> None:
    values = np.random.default_rng(1).normal(size=(300, 400)).astype(np.float32)
    for array in (values, np.asfortranarray(values), values[::2, ::3]):
        seen = spread(array)
        assert seen.size == array.size
        assert seen.lowest == array.min()
        assert seen.highest == array.max()
        assert seen.mean == pytest.approx(array.mean(dtype=np.float64), rel=1e-9)
        assert seen.rms == pytest.approx(np.sqrt(np.mean(array.astype(np.float64) ** 2)), rel=1e-9)


def test_numbers_that_are_none_are_counted_and_left_out() -> None:
    seen = spread(np.array([np.nan, np.inf, 3.0, 0.0, 4.0]))
    assert (seen.size, seen.nonzero, seen.nonfinite) == (5, 4, 2)
    assert (seen.lowest, seen.highest, seen.total) == (0.0, 4.0, 7.0)
    assert spread(np.array([np.nan])).mean is None
    assert spread(np.zeros(0)).occupancy == 0


def test_the_largest_numbers_make_no_infinity() -> None:
    seen = spread(np.full(10, 1.7e308))
    assert seen.mean
    assert seen.rms
    assert np.isfinite([seen.total, seen.rms, seen.mean]).all()


def test_the_facts_of_a_frame_are_those_of_its_samples() -> None:
    facts = facts_of(SOUND).frames["gauss0"]
    assert facts.channels == (0, 19)
    assert (facts.num_channels, facts.runs, facts.columns) == (20, 1, 100)
    assert (facts.period_ns, facts.start_ns, facts.dtype, facts.unit) == (500, -250000, "float32", "electrons")
    assert facts.values.occupancy == 300 / 2000
    assert facts.values.total == pytest.approx(300 * 900)


@pytest.mark.parametrize(
    ("tag", "samples", "unit"),
    [
        ("*", np.full((2, 2), 900.5), "ADC"),
        ("raw3", np.full((2, 2), 900), "ADC"),
        ("mp3_roi0", [[0, 4000], [400, 4000]], "flag"),
        ("dnn", [[0.1, 0.9], [0.2, 0.3]], "probability"),
        ("gauss0", [[0, 100], [4000, 200]], "electrons"),
    ],
)
def test_the_unit_of_a_frame_is_guessed_from_its_tag_and_values(tag: str, samples: Any, unit: str) -> None:
    assert facts_of(Contents(0, frames={tag: frame(samples)})).frames[tag].unit == unit


def test_integer_samples_are_counts_and_labels() -> None:
    counts, labels = (replace(frame(track()), samples=np.ones((20, 9), kind)) for kind in (np.int16, np.int8))
    facts = facts_of(Contents(0, frames={"x": counts, "y": labels})).frames
    assert (facts["x"].unit, facts["y"].unit) == ("ADC", "label")


def test_planes_follow_from_the_channels() -> None:
    assert planes_of(np.arange(2560, 5120)) == {"U": (2560, 3360), "V": (3360, 4160), "W": (4160, 5120)}
    assert planes_of(np.arange(8256)) == {"U": (0, 2400), "V": (2400, 4800), "W": (4800, 8256)}
    assert planes_of(np.arange(1600)) == {"U": (0, 800), "V": (800, 1600)}
    assert planes_of(np.arange(100)) == {}
    assert planes_of(np.arange(100), detector_named("sbnd")) == {"U": (0, 1984)}
    assert planes_of(np.zeros(0, np.int32)) == {}


def test_planes_of_several_anodes_are_numbered() -> None:
    assert list(planes_of(np.arange(2560, 2 * 2560 + 800))) == ["U1", "V1", "W1", "U2"]


def test_runs_of_channels_are_found_in_any_order() -> None:
    assert runs_of(np.array([7, 3, 4, 5, 9, 8])) == [(3, 6), (7, 10)]
    assert runs_of(np.zeros(0, np.int32)) == []


def test_an_unknown_detector_is_said_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'protodune_sp'"):
        detector_named("protodune_ps")


def test_everything_that_an_event_holds_is_shown() -> None:
    text = shown(SOUND)
    assert "toy.toy: toy file (Toy)" in text
    assert "event 7, run 3" in text
    for part in ("gauss0", "0..19", "100 × 500 ns from -250 µs", "15.00%", "bad", "μ− 4", "cluster", "{0: 1, 1: 1}"):
        assert part in text
    for part in ("frames/0/traces  traces 3 × 3 float32", "wire: int64; kind: <U1", "Σreco/Σtrue", "0.9000", "1 event"):
        assert part in text


def test_a_table_that_is_too_wide_is_turned() -> None:
    wide, narrow = shown(SOUND), shown(SOUND, width=80)
    assert "gauss0 ductor0 loose_lf0" in " ".join(narrow.split())
    assert max(map(len, narrow.splitlines())) <= 80
    assert "…" not in narrow
    assert len(narrow.splitlines()) > len(wide.splitlines())


def test_names_with_markup_and_control_characters_are_shown_as_they_are() -> None:
    text = shown(Contents(0, arrays={"[/bold]": np.zeros(1), "\x1b[31m": np.zeros(1)}, tables={"[red]": {"[/x]": [1]}}))
    assert "[/bold]" in text
    assert "\x1b" not in text
    assert "[red]" in text


def test_json_is_one_line_with_everything_in_it() -> None:
    broken = replace(SOUND, frames={"gauss0": frame(np.full((2, 2), np.nan))})
    line = as_json("toy.toy", FORM, Inspection([SOUND, broken]))
    held = json.loads(line)
    assert "\n" not in line
    assert [event["ident"] for event in held["events"]] == [7, 7]
    assert held["events"][1]["frames"]["gauss0"]["values"]["mean"] is None
    assert held["events"][0]["charge_ratios"][0]["ratio"] == pytest.approx(0.9)
    assert any("ident comes twice" in one["text"] for one in held["suspicions"])


def test_priors_are_counted_and_left_out() -> None:
    facts = facts_of(Contents(0, depos=depos(generation=np.array([0, 0, 1, 1], np.int32)))).depos
    assert facts
    assert (facts.depos, facts.priors, facts.charge, facts.x) == (2, 2, -2001, (0, 1))


def test_found_and_true_charge_are_compared_plane_by_plane() -> None:
    true = Frame(np.ones((2560, 20), np.float32), np.arange(2560, dtype=np.int32), 0.0, 500.0)
    half = replace(true, samples=np.full((2560, 2), 0.5, np.float32), period_ns=5000.0)
    truth = [Contents(1), Contents(0, frames={"ductor0": true})]
    flag = replace(half, samples=np.eye(2560, 2, dtype=np.float32))
    (seen,) = Inspection([Contents(0, frames={"gauss0": half, "mp3_roi0": flag})], truth)
    assert [(one.reco, one.truth, one.plane, one.ratio) for one in seen.ratios] == [
        ("gauss0", "ductor0", plane, 0.5) for plane in "UVW"
    ]


def test_blobs_are_compared_with_true_ones_and_ghosts_counted() -> None:
    truth = [Contents(0, blobs={"cluster": blobs(val=[50.0, 100.0, 5000.0])})]
    (seen,) = Inspection([Contents(0, blobs={"cluster": blobs()})], truth)
    (ratio,) = seen.ratios
    assert ratio.ratio == pytest.approx(3210 / 5150)
    assert ratio.ghosts == pytest.approx(1 / 3)
