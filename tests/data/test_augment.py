"""Augmentations: each can be off, and none changes what it was given."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from wirecell_ml.data import Augmentation
from wirecell_ml.data.augment import random_window, shifted

OFF: dict[str, Any] = {"flip_channels": 0.0, "shift_slices": 0, "gain": 0.0, "noise": 0.0, "dead_channels": 0.0}
ON: dict[str, Any] = {"flip_channels": 1.0, "shift_slices": 3, "gain": 0.5, "noise": 50.0, "dead_channels": 0.5}


def augmented(seed: int = 1, **settings: float) -> tuple[Tensor, Tensor]:
    """Return inputs and target after an augmentation that is off but for ``settings``."""
    return Augmentation(**OFF | settings)(*images(), Generator().manual_seed(seed))


def images() -> tuple[Tensor, Tensor]:
    """Return inputs (tag, channel, slice) without a zero, and a target that is 1 throughout."""
    return 1 + torch.arange(3 * 40 * 20.0).reshape(3, 40, 20), torch.ones(40, 20)


def test_all_off_leaves_input_and_target_alone() -> None:
    for before, after in zip(images(), augmented(), strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("name", ["flip_channels", "shift_slices", "gain", "noise", "dead_channels"])
def test_each_augmentation_changes_the_inputs(name: str) -> None:
    drawn = [augmented(seed, **{name: ON[name]})[0] for seed in range(5)]
    assert not all(torch.equal(image, images()[0]) for image in drawn)


@pytest.mark.parametrize("name", ["gain", "noise"])
def test_gain_and_noise_change_nothing_but_the_waveform(name: str) -> None:
    inputs, target = augmented(**{name: ON[name]})
    assert torch.equal(inputs[1:], images()[0][1:])
    assert torch.equal(target, images()[1])


@pytest.mark.parametrize("name", [*OFF, "all"])
def test_what_was_given_is_never_changed(name: str) -> None:
    inputs, target = images()
    settings = ON if name == "all" else OFF | {name: ON[name]}
    Augmentation(**settings)(inputs, target, Generator().manual_seed(1))
    assert torch.equal(inputs, images()[0])
    assert torch.equal(target, images()[1])


def test_a_flip_turns_input_and_target_alike_and_twice_is_none() -> None:
    flip = Augmentation(**OFF | {"flip_channels": 1.0})
    inputs, target = images()[0], images()[0][0]
    once = flip(inputs, target, Generator())
    assert torch.equal(once[0][0], once[1])
    assert torch.equal(once[1], target.flip(0))
    twice = flip(*once, Generator())
    assert torch.equal(twice[0], inputs)
    assert torch.equal(twice[1], target)


def test_dead_channels_are_zero_in_inputs_and_target() -> None:
    inputs, target = augmented(dead_channels=0.5)
    dead = target.sum(dim=1) == 0
    assert 10 < dead.sum() < 30
    assert not inputs[:, dead].any()
    assert torch.equal(inputs[:, ~dead], images()[0][:, ~dead])
    assert torch.equal(target[~dead], images()[1][~dead])


def test_the_same_seed_draws_the_same() -> None:
    assert torch.equal(augmented(seed=5, **ON)[0], augmented(seed=5, **ON)[0])
    assert not torch.equal(augmented(seed=5, **ON)[0], augmented(seed=6, **ON)[0])


@given(slices=st.integers(-15, 15))
def test_a_shift_moves_every_slice_and_fills_up_with_zeros(slices: int) -> None:
    image = torch.arange(1.0, 11.0)[None]
    expected = [value if 1 <= (value := 1.0 + i - slices) <= 10 else 0.0 for i in range(10)]
    assert shifted(image, slices)[0].tolist() == expected


@given(size=st.integers(1, 50), crop=st.integers(1, 60), seed=st.integers(0, 1000))
def test_a_window_lies_inside_the_image(size: int, crop: int, seed: int) -> None:
    rows, columns = random_window((size, size), (crop, crop), Generator().manual_seed(seed))
    assert torch.zeros(size, size)[rows, columns].shape == (min(size, crop), min(size, crop))
