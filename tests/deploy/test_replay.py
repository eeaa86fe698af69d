"""A replay takes what its card says, and refuses waveforms that C++ would take in silence."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from wirecell_ml.data.frame import Frame
from wirecell_ml.deploy.card import Card
from wirecell_ml.deploy.contract import PARITY
from wirecell_ml.deploy.replay import Choices, choices, replay_shipped, rows, run_plane, tags_of, wire_order
from wirecell_ml.errors import ConfigError, DataError
from wirecell_ml.paths import shipped

RECORDED = shipped("data") / "dnnroi"
PLANES = ("U", "V")

Event = dict[str, Frame]


def certain(image: Tensor) -> Tensor:
    """A network that sees signal everywhere."""
    return torch.ones_like(image[:, :1])


def recorded(name: str, key: str) -> np.ndarray:
    with np.load(RECORDED / f"{name}.npz") as held:
        return np.array(held[key])


def changed(event: Event, tag: str, **change: object) -> Event:
    return event | {tag: replace(event[tag], **change)}  # type: ignore[arg-type]


@pytest.mark.parametrize("plane", PLANES)
def test_ascending_rows_are_those_of_wire_cell_with_sort_chanids(card: Card, plane: str) -> None:
    channels = recorded(f"expected-{plane.lower()}", "chlist")
    np.testing.assert_array_equal(rows(card, plane, apa=0), channels)
    assert (np.diff(channels) == 1).all()


@pytest.mark.parametrize("plane", PLANES)
def test_rows_in_wire_order_are_those_of_wire_cell_by_default(card: Card, plane: str) -> None:
    channels = recorded("row-order-default", f"chlist_{plane.lower()}")
    np.testing.assert_array_equal(rows(replace(card, sort_chanids=False), plane, apa=0), channels)


@pytest.mark.parametrize("ascending", [True, False])
def test_rows_of_another_anode_are_its_own_channels(card: Card, ascending: bool) -> None:
    kind = replace(card, sort_chanids=ascending)
    np.testing.assert_array_equal(rows(kind, "V", apa=3) - rows(kind, "V", apa=0), 3 * card.channels_per_apa)


OTHERS = sorted({path.stem for path in (shipped("configs") / "detector").glob("*.yaml")} - {"protodune_sp"})


@pytest.mark.parametrize(
    ("detector", "plane"), [*((name, "U") for name in OTHERS), ("protodune_sp", "W"), ("mine", "U")]
)
def test_unknown_wire_order_says_where_to_give_it(detector: str, plane: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"{plane} of {detector} is not known.*wire_order.*{detector}\.yaml.*sort_ch"
    ):
        wire_order(detector, plane)


@pytest.mark.parametrize("plane", PLANES)
def test_rows_in_another_order_change_the_image_and_the_answer(
    card: Card, recorded_event: Event, recorded_model: torch.jit.ScriptModule, plane: str
) -> None:
    chosen, unsorted = choices(card), replace(card, sort_chanids=False)
    right = run_plane(recorded_event, plane, recorded_model, card, chosen).probability
    wrong = run_plane(recorded_event, plane, recorded_model, unsorted, chosen).probability
    assert np.any((wrong > card.mask_thresh) != (right > card.mask_thresh))
    same_channels = wrong[np.argsort(rows(unsorted, plane, apa=0))]
    assert np.abs(same_channels - right).max() > PARITY


@pytest.mark.parametrize("plane", PLANES)
def test_the_card_alone_gives_the_charge_of_wire_cell(
    card: Card, recorded_event: Event, recorded_model: torch.jit.ScriptModule, plane: str
) -> None:
    found = run_plane(recorded_event, plane, recorded_model, card, choices(card))
    held = np.isin(recorded("frames-dnnsp", "channels_dnnsp0_0"), rows(card, plane, apa=0))
    np.testing.assert_allclose(found.charge, recorded("frames-dnnsp", "frame_dnnsp0_0")[held], rtol=0, atol=1e-3)


def test_tags_end_with_the_number_of_the_anode(card: Card) -> None:
    assert tags_of(card, choices(card, apa=2)) == ["loose_lf2", "mp2_roi2", "mp3_roi2", "decon_charge2"]


@pytest.mark.parametrize("tag", ["loose_lf0", "mp3_roi0", "decon_charge0"])
def test_missing_tag_is_named_with_those_that_are_there(card: Card, recorded_event: Event, tag: str) -> None:
    frames = {name: frame for name, frame in recorded_event.items() if name != tag}
    with pytest.raises(DataError, match=rf"'{tag}', which Wire-Cell would take as zeros.*{', '.join(sorted(frames))}"):
        run_plane(frames, "U", certain, card, choices(card))


@pytest.mark.parametrize("tag", ["loose_lf0", "mp2_roi0", "decon_charge0"])
def test_a_tag_of_zeros_is_refused_for_the_plane_where_it_is_zero(card: Card, recorded_event: Event, tag: str) -> None:
    samples = recorded_event[tag].samples.copy()
    samples[rows(card, "V", apa=0)] = 0
    event = changed(recorded_event, tag, samples=samples)
    with pytest.raises(DataError, match=rf"'{tag}' is zero in all of plane V.*zeros=accept"):
        run_plane(event, "V", certain, card, choices(card))
    assert run_plane(event, "U", certain, card, choices(card)).charge.any()


def test_zeros_are_taken_where_they_are_accepted(card: Card, recorded_event: Event) -> None:
    event = changed(recorded_event, "mp2_roi0", samples=np.zeros_like(recorded_event["mp2_roi0"].samples))
    found = run_plane(event, "U", certain, card, replace(choices(card), accept_zeros=True))
    assert not found.batch[0, 1].any()
    assert found.charge.any()


def test_channels_of_another_anode_are_refused(card: Card, recorded_event: Event) -> None:
    frame = recorded_event["mp2_roi0"]
    event = changed(recorded_event, "mp2_roi0", channels=frame.channels + np.int32(card.channels_per_apa))
    with pytest.raises(
        DataError, match=r"'mp2_roi0' holds channels 2560\.\.4159, none of plane U of anode 0, 0\.\.799"
    ):
        run_plane(event, "U", certain, card, choices(card))


@pytest.mark.parametrize("change", [{"period_ns": 512.0}, {"time_ns": 0.0}])
def test_tags_of_different_times_or_ticks_are_refused(
    card: Card, recorded_event: Event, change: dict[str, float]
) -> None:
    event = changed(recorded_event, "decon_charge0", **change)
    with pytest.raises(DataError, match=r"decon_charge0 differ in time or tick.*not of one event"):
        run_plane(event, "U", certain, card, choices(card))


@pytest.mark.parametrize(
    ("ticks", "message"),
    [
        (4, "columns of 4 ticks make no slices of 10, which 'dummy-unet' wants"),
        (1.024, "512 ns, no multiple of the 500"),
    ],
)
def test_columns_that_make_no_slices_are_refused(card: Card, recorded_event: Event, ticks: float, message: str) -> None:
    event = {tag: replace(frame, period_ns=ticks * card.tick_ns) for tag, frame in recorded_event.items()}
    with pytest.raises(DataError, match=message):
        run_plane(event, "U", certain, card, choices(card))


def test_columns_that_are_averaged_already_make_the_same_slices(card: Card, recorded_event: Event) -> None:
    def averaged(frame: Frame, by: int) -> Frame:
        samples = frame.samples.reshape(len(frame.samples), -1, by).mean(axis=2)
        return replace(frame, samples=samples, period_ns=by * frame.period_ns, tbin=frame.tbin // by)

    event = {tag: averaged(frame, by=5) for tag, frame in recorded_event.items()}
    fine = run_plane(recorded_event, "U", certain, card, choices(card)).batch
    np.testing.assert_allclose(run_plane(event, "U", certain, card, choices(card)).batch, fine, atol=1e-6)


def test_the_choices_reach_the_finding(card: Card, recorded_event: Event) -> None:
    given: list[Tensor] = []

    def network(image: Tensor) -> Tensor:
        given.append(image)
        return torch.full_like(image[:, :1], 0.6)

    chosen = Choices(apa=0, charge_tag="loose_lf0", mask_thresh=0.7, nchunks=4)
    assert not run_plane(recorded_event, "U", network, card, chosen).charge.any()
    assert len(given) == chosen.nchunks
    assert run_plane(recorded_event, "U", network, card, replace(chosen, mask_thresh=0.5)).charge.any()


def test_padding_that_makes_no_whole_slices_is_refused(card: Card, recorded_event: Event) -> None:
    odd = replace(card, tick_pad_multiple=card.tick_per_slice + 1)
    with pytest.raises((ConfigError, DataError), match="tick_pad_multiple"):
        run_plane(recorded_event, "U", certain, odd, choices(card))


def test_the_shipped_event_gives_the_recorded_charge_of_each_plane(
    card: Card, recorded_model: torch.jit.ScriptModule
) -> None:
    replayed = replay_shipped(recorded_model, card)
    assert (shipped("data") / replayed["file"]).is_file()
    charge, channels = (recorded("frames-dnnsp", f"{key}_dnnsp0_0") for key in ("frame", "channels"))
    for plane in card.planes:
        expected = charge[np.isin(channels, rows(card, plane, apa=0))]
        found = replayed["planes"][plane]
        assert found["charge"] == pytest.approx(expected.sum(dtype=float), rel=1e-6)
        assert found["ticks"] == np.count_nonzero(expected)
        assert found["rois"] > 0


@pytest.mark.parametrize("change", [{"detector": "sbnd"}, {"intags": ["wiener"]}, {"apa": 1}])
def test_the_shipped_event_is_left_alone_by_models_of_other_waveforms(card: Card, change: dict[str, object]) -> None:
    assert replay_shipped(certain, replace(card, **change)) == {}  # type: ignore[arg-type]
