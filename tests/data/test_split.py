"""Splits: whole events, every category alike, never one event in two parts."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirecell_ml.data import RoiData
from wirecell_ml.data.split import PARTS, Split, check_split, load_split, split_events
from wirecell_ml.errors import ConfigError, DataError

CATEGORIES = ("cosmic", "iso", "shower")
by_key = st.dictionaries(st.text(min_size=1, max_size=5), st.sampled_from(CATEGORIES), min_size=3, max_size=40)
seeds = st.integers(0, 100)


@given(categories=by_key, fraction=st.floats(0.01, 0.3), seed=seeds)
def test_parts_are_disjoint_and_hold_every_event(categories: dict[str, str], fraction: float, seed: int) -> None:
    split = split_events(categories, fraction, fraction, seed)
    keys = [*split.train, *split.validation, *split.test]
    assert len(keys) == len(set(keys))
    assert set(keys) == set(categories)
    assert all(getattr(split, part) for part in PARTS)


@given(categories=by_key, seed=seeds, data=st.data())
def test_the_order_of_the_files_does_not_matter(categories: dict[str, str], seed: int, data: st.DataObject) -> None:
    shuffled = dict(data.draw(st.permutations(list(categories.items()))))
    assert split_events(shuffled, 1, 1, seed) == split_events(categories, 1, 1, seed)


@given(seed=seeds, rounds=st.integers(1, 3))
def test_every_category_is_in_every_part_alike(seed: int, rounds: int) -> None:
    categories = {f"g4-rec-0.h5:{ident}": CATEGORIES[ident % 3] for ident in range(30)}
    split = split_events(categories, 3 * rounds, 3 * rounds, seed)
    for part in (split.validation, split.test):
        assert Counter(categories[key] for key in part) == dict.fromkeys(CATEGORIES, rounds)


def test_another_seed_gives_other_events() -> None:
    categories = {str(ident): "all" for ident in range(100)}
    assert split_events(categories, 10, 10, seed=1).test != split_events(categories, 10, 10, seed=2).test


@pytest.mark.parametrize(("size", "number"), [(3, 3), (0.25, 5), (0.001, 1)])
def test_a_size_is_a_number_or_a_fraction(size: float, number: int) -> None:
    split = split_events({str(ident): "all" for ident in range(20)}, size, 1, seed=1)
    assert [len(getattr(split, part)) for part in PARTS] == [19 - number, number, 1]


@pytest.mark.parametrize(("validation", "test"), [(0, 1), (1, 0), (-1, 3)])
def test_a_split_has_events_in_every_part(validation: float, test: float) -> None:
    with pytest.raises(ConfigError, match="give at least one of each"):
        split_events(dict.fromkeys("abcdef", "all"), validation, test, seed=1)


def test_a_split_that_leaves_none_to_train_on_is_refused() -> None:
    with pytest.raises(ConfigError, match="2 validation and 1 test events leave none of 3 to train on"):
        split_events(dict.fromkeys("abc", "all"), 2, 1, seed=1)


def test_the_shipped_sample_splits_16_4_4_with_the_default_config(sample: RoiData) -> None:
    assert [len(getattr(sample.split, part)) for part in PARTS] == [16, 4, 4]
    tested = {summary.category for summary in sample.selected("test").values()}
    assert tested == {"cosmic", "prolonged", "shower", "iso"}  # as data/README.md says


def test_a_saved_split_is_loaded_as_it_was(tmp_path: Path) -> None:
    split = Split(("a:1", "a:2"), ("a:3",), ("b:1",))
    split.save(tmp_path / "split.json", {})
    assert load_split(tmp_path / "split.json") == split


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"train": []}', '{"train": 1, "validation": [], "test": []}'])
def test_a_file_that_is_no_split_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(DataError, match=r"split\.json: not a split file"):
        load_split(tmp_path / "split.json")


def test_a_missing_split_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"split\.json: not a split file"):
        load_split(tmp_path / "split.json")


def test_a_good_split_is_let_through() -> None:
    check_split(Split(("a",), ("b",), ("c",)), {"a": "1", "b": "2", "c": "3", "unused": "4"})


def test_copies_of_an_event_within_one_part_leak_nothing() -> None:
    check_split(Split(("a", "copy"), ("b",), ("c",)), {"a": "1", "copy": "1", "b": "2", "c": "3"})


def test_an_event_in_two_parts_is_a_leak() -> None:
    with pytest.raises(DataError, match="the split leaks: a is in 'test', and it is in 'train'"):
        check_split(Split(("a",), ("b",), ("a",)), {"a": "1", "b": "2"})


def test_a_copy_of_an_event_in_another_part_is_a_leak() -> None:
    with pytest.raises(DataError, match="copy is in 'validation', and the same event as a, which is in 'train'"):
        check_split(Split(("a",), ("copy",), ("b",)), {"a": "1", "copy": "1", "b": "2"})


def test_an_event_that_was_not_found_is_named() -> None:
    with pytest.raises(DataError, match=r"names event z, which is not among the 2 events of data\.files"):
        check_split(Split(("a",), ("b",), ("z",)), {"a": "1", "b": "2"})
