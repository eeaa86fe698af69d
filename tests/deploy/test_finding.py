"""Our DNNROIFinding computes what the C++ one computed, and follows each of its rules."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from torch import Tensor

from wirecell_ml.data.frame import Frame
from wirecell_ml.deploy.finding import Found, Image, Settings, downsample, fill, find, subtract_baseline
from wirecell_ml.errors import DataError
from wirecell_ml.paths import shipped

RECORDED = shipped("data") / "dnnroi"
RECORDED_JOB = Settings(("loose_lf0", "mp2_roi0", "mp3_roi0"), "decon_charge0")  # the rest as C++ has it by default
LAST_PLACE = 6e-8  # of a float32 just below 1: the model was recorded on another type of CPU
PLANES = ("u", "v")
TOY = Settings(("a", "b"), "decon", tick_per_slice=2, input_scale=1.0)
TOY_CHANNELS = np.array([7, 5, 6], np.int32)


def recorded(name: str) -> dict[str, NDArray[Any]]:
    with np.load(RECORDED / f"{name}.npz") as held:
        return dict(held)


def toy_frame(num_ticks: int = 8, tbin: int = 0, value: float = 1.0, channels: tuple[int, ...] = (5, 6, 7)) -> Frame:
    samples = np.full((len(channels), num_ticks), value, np.float32)
    return Frame(samples, np.array(channels, np.int32), 0.0, 500.0, tbin)


def toy_frames(**change: Frame) -> dict[str, Frame]:
    return {"a": toy_frame(), "b": toy_frame(), "decon": toy_frame()} | change


class Network:
    """Answers every pixel with the same probability, and keeps what it was given."""

    def __init__(self, probability: float = 1.0, features: int = 1, images: int = 1) -> None:
        self.probability, self.features, self.images = probability, features, images
        self.given: list[Tensor] = []

    def __call__(self, image: Tensor) -> Tensor:
        self.given.append(image)
        answer = torch.zeros(self.images, self.features, *image.shape[2:])
        answer[0, 0] = self.probability
        return answer


def find_toy(network: Network | None = None, frames: dict[str, Frame] | None = None, **setting: Any) -> Found:
    job = Settings(**(vars(TOY) | setting))
    return find(toy_frames() if frames is None else frames, TOY_CHANNELS, network or Network(), job)


@pytest.mark.parametrize("plane", PLANES)
class TestRecorded:
    @pytest.fixture
    def found(self, plane: str, recorded_event: dict[str, Frame], recorded_model: torch.jit.ScriptModule) -> Found:
        return find(recorded_event, recorded(f"expected-{plane}")["chlist"], recorded_model, RECORDED_JOB)

    def test_input_tensor_is_that_of_wire_cell(self, found: Found, plane: str) -> None:
        expected = recorded(f"expected-{plane}")
        assert found.batch.dtype == np.float32
        assert found.batch.flags.c_contiguous
        assert found.batch.shape == (1, 3, len(expected["chlist"]), 224) == expected["tensor_in"].shape
        np.testing.assert_allclose(found.batch, expected["tensor_in"], rtol=0, atol=3e-7)

    def test_model_answers_the_recorded_input_as_in_wire_cell(
        self, plane: str, recorded_model: torch.jit.ScriptModule
    ) -> None:
        expected = recorded(f"expected-{plane}")
        with torch.no_grad():
            answer = recorded_model(torch.from_numpy(expected["tensor_in"])).numpy()
        np.testing.assert_allclose(answer, expected["tensor_out"], rtol=0, atol=LAST_PLACE)
        threshold = RECORDED_JOB.mask_thresh
        np.testing.assert_array_equal(answer > threshold, expected["tensor_out"] > threshold)

    def test_mask_is_that_of_wire_cell(self, found: Found, plane: str) -> None:
        mask = recorded(f"expected-{plane}")["tensor_out"][0, 0] > RECORDED_JOB.mask_thresh
        np.testing.assert_array_equal(found.probability > RECORDED_JOB.mask_thresh, mask)
        assert mask.any()

    def test_charge_is_that_of_wire_cell(self, found: Found, plane: str) -> None:
        out, channels = recorded("frames-dnnsp"), recorded(f"expected-{plane}")["chlist"]
        charge = out["frame_dnnsp0_0"][np.searchsorted(out["channels_dnnsp0_0"], channels)]
        assert found.charge.shape == charge.shape
        np.testing.assert_allclose(found.charge, charge, rtol=0, atol=1e-3)
        assert found.charge.sum(dtype=float) == pytest.approx(charge.sum(dtype=float), rel=1e-6)


def test_the_recorded_charge_has_the_rows_of_both_planes() -> None:
    out = recorded("frames-dnnsp")
    channels = np.concatenate([recorded(f"expected-{plane}")["chlist"] for plane in PLANES])
    np.testing.assert_array_equal(out["channels_dnnsp0_0"], channels)
    assert out["frame_dnnsp0_0"].shape == (1600, 2240)


@pytest.mark.parametrize("tag", ["a", "b", "decon"])
def test_image_ends_with_the_longest_waveform_of_any_tag_and_not_at_nticks(tag: str) -> None:
    found = find_toy(frames=toy_frames(**{tag: toy_frame(num_ticks=4, tbin=20)}), nticks=1000)
    assert found.charge.shape == (len(TOY_CHANNELS), 24)
    assert found.batch.shape[-1] == 24 // TOY.tick_per_slice


def test_image_has_nticks_where_there_are_no_ticks() -> None:
    empty = toy_frame(num_ticks=0)
    assert find_toy(frames=dict.fromkeys(("a", "b", "decon"), empty), nticks=12).charge.shape == (3, 12)


def test_ticks_are_counted_from_tick0() -> None:
    frame = toy_frame(num_ticks=6, tbin=4)
    frame.samples[:] = np.arange(6)
    found = find_toy(frames=toy_frames(a=frame, b=frame, decon=frame), tick0=6)
    np.testing.assert_array_equal(found.batch[0, 0, 0], [2.5, 4.5])
    assert found.charge.shape[1] == 4


@pytest.mark.parametrize(("multiple", "slices"), [(0, 5), (2, 5), (8, 8), (16, 8), (20, 10)])
def test_ticks_are_padded_with_zeros_to_a_multiple(multiple: int, slices: int) -> None:
    long = dict.fromkeys(("a", "b", "decon"), toy_frame(num_ticks=9))
    found = find_toy(frames=long, tick_pad_multiple=multiple)
    np.testing.assert_array_equal(found.batch[0, 0, 0], [1, 1, 1, 1, 0.5] + (slices - 5) * [0])
    assert found.charge.shape[1] == 9


def test_layers_are_the_tags_in_their_order() -> None:
    frames = toy_frames(a=toy_frame(value=2), b=toy_frame(value=3))
    for tags in (("a", "b"), ("b", "a")):
        batch = find_toy(frames=frames, intags=tags).batch
        assert [float(layer.mean()) for layer in batch[0]] == [frames[tag].samples.mean() for tag in tags]


def test_rows_are_the_channels_in_the_order_that_was_asked_for() -> None:
    frame = toy_frame()
    frame.samples[:] = frame.channels[:, None]
    np.testing.assert_array_equal(find_toy(frames=toy_frames(a=frame)).batch[0, 0, :, 0], TOY_CHANNELS)


def test_missing_channels_and_ticks_are_zeros() -> None:
    image = fill(toy_frame(num_ticks=2, tbin=3, channels=(6, 99)), TOY_CHANNELS, ticks=7, tick0=0)
    expected = np.zeros((3, 7))
    expected[list(TOY_CHANNELS).index(6), 3:5] = 1
    np.testing.assert_array_equal(image, expected)


def test_ticks_before_tick0_and_after_the_end_are_left_out() -> None:
    frame = toy_frame(num_ticks=9)
    frame.samples[:] = np.arange(9)
    np.testing.assert_array_equal(fill(frame, TOY_CHANNELS, ticks=3, tick0=4)[0], [4, 5, 6])


def test_frame_without_any_of_the_channels_is_zeros() -> None:
    assert not fill(toy_frame(channels=(98, 99)), TOY_CHANNELS, ticks=4, tick0=0).any()


def test_a_slice_is_the_mean_of_its_ticks() -> None:
    np.testing.assert_array_equal(downsample(np.array([[1, 3, 5, 9]], np.float32), 2), [[2, 7]])


def test_input_is_scaled_and_the_offset_goes_on_the_padding_too() -> None:
    found = find_toy(input_scale=0.5, input_offset=3.0, tick_pad_multiple=12)
    np.testing.assert_array_equal(found.batch[0, 0, 0], [3.5, 3.5, 3.5, 3.5, 3, 3])


def test_missing_tag_is_an_error_that_names_it() -> None:
    with pytest.raises(DataError, match=r"'b', which Wire-Cell would take as zeros.* Known here: a, decon"):
        find_toy(frames={"a": toy_frame(), "decon": toy_frame()})


def sloping() -> Frame:
    """Waveforms whose baseline is 0, with charge in the middle and zeros at the end."""
    frame = toy_frame()
    frame.samples[:] = [1, 5, 9, 5, 1, 0, 0, 0]
    return frame


def test_a_probability_equal_to_the_threshold_is_no_roi() -> None:
    frames, above = toy_frames(decon=sloping()), float(np.nextafter(np.float32(0.5), np.float32(1)))
    assert not find_toy(Network(0.5), frames).charge.any()
    assert find_toy(Network(above), frames).charge.any()


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_network_gets_the_pieces_that_torch_chunk_makes(number: int) -> None:
    network = Network()
    found = find_toy(network, nchunks=number)
    pieces = torch.from_numpy(found.batch).chunk(number, dim=2)
    assert len(network.given) == len(pieces)
    assert all(torch.equal(*pair) for pair in zip(network.given, pieces, strict=True))
    assert found.probability.shape == found.batch.shape[2:]


@pytest.mark.parametrize("number", [2, 3])
def test_pieces_are_copies_of_their_own(number: int) -> None:
    network = Network()
    find_toy(network, nchunks=number)
    assert all(piece.is_contiguous() and piece.storage_offset() == 0 for piece in network.given)
    assert len({piece.untyped_storage().data_ptr() for piece in network.given}) == len(network.given)


def test_only_the_first_feature_of_the_first_image_is_used() -> None:
    found = find_toy(Network(probability=0.75, features=2, images=2))
    np.testing.assert_array_equal(found.probability, np.full(found.batch.shape[2:], 0.75))


@pytest.mark.parametrize(
    ("ticks", "left"),
    [
        ([0, 2, 7, 4, 0], [0, 0, 4, 0, 0]),  # a straight line from the first to the last sample goes
        ([2, 7, 4, 0, 0], [0, 4, 0, 0, 0]),  # at the first tick, too
        ([0, 0, 2, 7, 4], [0, 0, 0, 0, 0]),  # an ROI that touches the last tick is lost
        ([0, 0, 9, 0, 0], [0, 0, 0, 0, 0]),  # and so is one of one tick
        ([0, 3, 5, 0, 0], [0, 0, 0, 0, 0]),  # two ticks are their own baseline
        ([1, 6, 1, 0, 2, 9, 2, 0], [0, 5, 0, 0, 0, 7, 0, 0]),  # a zero splits an ROI
        ([4, 1, 4, 0], [0, -3, 0, 0]),  # below its baseline
    ],
)
def test_baseline_of(ticks: list[float], left: list[float]) -> None:
    np.testing.assert_array_equal(subtract_baseline(np.array([ticks], np.float32)), [left])


def less_the_baseline(waveform: NDArray[np.float32]) -> list[float]:
    """Return what is left of one waveform, found tick by tick."""
    left, roi = [0.0] * len(waveform), []
    for tick, value in enumerate(waveform.tolist()):
        if value != 0:
            roi.append(tick)
            continue
        for inside in roi if len(roi) > 1 else []:  # a zero ends an ROI; without one, nothing does
            share = (inside - roi[0]) / (roi[-1] - roi[0])
            left[inside] = float(waveform[inside] - (1 - share) * waveform[roi[0]] - share * waveform[roi[-1]])
        roi = []
    return left


WAVEFORMS = arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 30)),
    elements=st.sampled_from([0.0, 0.0, 1.0, -2.0, 3.5]) | st.floats(-1e4, 1e4, width=32, allow_subnormal=False),
)


@settings(deadline=None)
@given(WAVEFORMS)
def test_baseline_is_what_a_slow_loop_subtracts(image: Image) -> None:
    slow = [less_the_baseline(waveform) for waveform in image]
    np.testing.assert_allclose(subtract_baseline(image), slow, rtol=1e-5, atol=0.01)


def test_an_roi_at_the_end_of_the_readout_is_kept_where_padding_follows() -> None:
    touching = toy_frame()
    touching.samples[:] = [0, 0, 0, 1, 5, 9, 5, 1]
    assert not find_toy(frames=toy_frames(decon=touching)).charge.any()
    padded = find_toy(frames=toy_frames(decon=touching), tick_pad_multiple=10)
    np.testing.assert_array_equal(padded.charge[0], [0, 0, 0, 0, 4, 8, 4, 0])


@pytest.mark.parametrize(("kept", "left"), [(False, 0), (True, -3)])
def test_negative_charge_is_zero_unless_it_is_saved(kept: bool, left: float) -> None:
    dip = toy_frame(num_ticks=4)
    dip.samples[:] = [4, 1, 4, 0]
    frames = {"a": dip, "b": dip, "decon": dip}
    assert find_toy(frames=frames, save_negative_charge=kept).charge[0, 1] == left


def test_charge_is_scaled_and_offset_after_the_baseline() -> None:
    found = find_toy(frames=toy_frames(decon=sloping()), output_scale=2.0, output_offset=10.0)
    np.testing.assert_array_equal(found.charge[0], [10, 18, 26, 18, 10, 10, 10, 10])


def test_charge_outside_the_mask_is_zero() -> None:
    def left_half(image: Tensor) -> Tensor:
        answer = torch.ones_like(image[:, :1])
        answer[..., answer.shape[-1] // 2 :] = 0
        return answer

    frame = toy_frame()
    frame.samples[:] = [1, 5, 1, 0, 1, 5, 1, 0]
    found = find(toy_frames(decon=frame), TOY_CHANNELS, left_half, TOY)
    np.testing.assert_array_equal(found.charge[0], [0, 4, 0, 0, 0, 0, 0, 0])
