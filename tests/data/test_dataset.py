"""What is drawn in an epoch, in which order, and how images become a batch."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wirecell_ml.data import Augmentation, RoiData
from wirecell_ml.data.cache import load
from wirecell_ml.data.dataset import Batch, PlaneDataset, collate
from wirecell_ml.data.sampling import Draw, EpochSampler


def epoch(sampler: EpochSampler, number: int = 0) -> list[Draw]:
    sampler.set_epoch(number)
    return list(sampler)


@given(num_items=st.integers(1, 20), repeats=st.integers(1, 5), number=st.integers(0, 9))
def test_an_epoch_draws_every_item_as_often(num_items: int, repeats: int, number: int) -> None:
    drawn = epoch(EpochSampler(num_items, repeats, seed=1), number)
    assert Counter(draw.item for draw in drawn) == dict.fromkeys(range(num_items), repeats)


def test_no_two_draws_have_the_same_random_numbers() -> None:
    sampler = EpochSampler(10, 4, seed=1)
    assert len({draw.seed for number in range(3) for draw in epoch(sampler, number)}) == 3 * 40


def test_seed_and_epoch_decide_on_the_order_and_nothing_else_does() -> None:
    first, second = EpochSampler(10, 4, seed=1), EpochSampler(10, 4, seed=1)
    epoch(second, 0)
    assert epoch(first, 3) == epoch(second, 3)
    assert epoch(first, 3) != epoch(first, 4)
    assert epoch(first, 3) != epoch(EpochSampler(10, 4, seed=2), 3)


@given(num_items=st.integers(4, 30), num_ranks=st.integers(1, 4))
def test_ranks_share_an_epoch_without_overlap(num_items: int, num_ranks: int) -> None:
    shares = [epoch(EpochSampler(num_items, 1, 7, rank, num_ranks)) for rank in range(num_ranks)]
    drawn = [draw for share in shares for draw in share]
    assert len(set(drawn)) == len(drawn) == num_items // num_ranks * num_ranks
    assert {len(share) for share in shares} == {num_items // num_ranks}
    assert set(drawn) <= set(epoch(EpochSampler(num_items, 1, 7)))


def test_skipped_draws_are_left_out_once() -> None:
    sampler = EpochSampler(10, 2, seed=1)
    whole = epoch(sampler)
    sampler.skip = 7
    assert epoch(sampler) == whole[7:]
    assert epoch(sampler) == whole


def test_smaller_images_are_padded_at_the_end() -> None:
    small, large = (Batch(torch.ones(3, *shape), torch.ones(1, *shape)) for shape in ((2, 5), (4, 3)))
    batch = collate([small, large])
    assert batch.images.shape == (2, 3, 4, 5)
    assert batch.targets.shape == (2, 1, 4, 5)
    assert batch.images[0, :, :2].all()
    assert batch.images.sum() == 3 * (2 * 5 + 4 * 3)
    assert batch.targets.sum() == 2 * 5 + 4 * 3


def test_a_batch_of_one_is_that_image() -> None:
    one = Batch(torch.rand(3, 4, 5), torch.ones(1, 4, 5))
    assert torch.equal(collate([one]).images[0], one.images)


@pytest.fixture
def training(sample: RoiData) -> PlaneDataset:
    return PlaneDataset(sample.items("train"), sample.target, (64, 32), Augmentation(0.5, 3, 0.1, 50, 0.1))


def test_a_draw_with_a_seed_is_a_window_that_the_seed_decides_on(training: PlaneDataset) -> None:
    first, again, other = (training[Draw(0, seed)] for seed in (1, 1, 2))
    assert (first.images.shape, first.targets.shape) == ((3, 64, 32), (1, 64, 32))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)


def test_a_draw_without_a_seed_is_the_whole_image_as_it_is(training: PlaneDataset) -> None:
    whole = training[0].images.clone()
    training[0].images.zero_()
    training[Draw(0, 1)].images.zero_()
    assert whole.shape == (3, 800, 600)
    assert torch.equal(training[0].images, whole)


def test_a_target_is_where_the_charge_is_above_the_threshold(training: PlaneDataset) -> None:
    truth = load(training.items[0].place, "U", "truth")
    assert torch.equal(training[0].targets[0] == 1, torch.tensor(truth > 100))
