from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from linkage.encode.batches import align_batches, class_batches, hard_negatives


@given(st.lists(st.integers(0, 8), max_size=60), st.integers(2, 10), st.integers(0, 5))
def test_align_batches_hold_no_content_twice_and_no_row_twice(keys: list[int], size: int, seed: int) -> None:
    codes = np.array(keys, dtype=np.int64)
    batches = align_batches(codes, size, np.random.default_rng(seed))
    rows = np.concatenate(batches) if batches else np.array([], dtype=int)
    assert len(set(rows.tolist())) == len(rows)
    for batch in batches:
        assert 2 <= len(batch) <= size
        assert len(set(codes[batch].tolist())) == len(batch)


def test_align_batches_take_every_row_where_all_differ() -> None:
    batches = align_batches(np.arange(40), 8, np.random.default_rng(0))
    assert sorted(np.concatenate(batches).tolist()) == list(range(40))


@given(st.lists(st.integers(1, 4), min_size=2, max_size=30), st.integers(4, 12), st.integers(0, 5))
def test_class_batches_bring_every_class_once(sizes: list[int], size: int, seed: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    rng = np.random.default_rng(seed)
    neighbours = rng.integers(-1, len(sizes), (len(sizes), 3))
    batches = class_batches(labels, neighbours, size, 2, rng)
    drawn = np.concatenate(batches) if batches else np.array([], dtype=int)
    assert len(set(drawn.tolist())) == len(drawn)
    counts = np.bincount(labels[drawn], minlength=len(sizes))
    wanted = np.minimum(np.bincount(labels), 2)
    assert (counts <= wanted).all()
    assert (counts < wanted).sum() <= 1  # a lone class at the end has nothing to be told from


def test_neighbours_stand_in_the_batch_of_their_anchor() -> None:
    labels = np.repeat(np.arange(40), 2)
    neighbours = (np.arange(40) ^ 1)[:, None]  # 0-1, 2-3, ...
    for batch in class_batches(labels, neighbours, 8, 2, np.random.default_rng(1)):
        present = set(labels[batch].tolist())
        assert {label ^ 1 for label in present} == present


def test_hard_negatives_are_the_nearest_other_classes() -> None:
    angles = np.array([0.0, 0.1, 1.0, 1.15, 3.0])
    vectors = np.repeat(np.stack([np.cos(angles), np.sin(angles)], axis=1), 2, axis=0)
    labels = np.repeat(np.arange(5), 2)
    vectors[8:] = 0  # class 4 was never embedded
    found = hard_negatives(vectors, labels, np.full(10, -1), 2, 0.98)
    assert found.tolist() == [[1, 2], [0, 2], [3, 1], [2, 1], [-1, -1]]


def test_hard_negatives_of_one_class_or_none_wanted() -> None:
    assert hard_negatives(np.ones((2, 4)), np.zeros(2, dtype=int), np.zeros(2, dtype=int), 3, 0.98).tolist() == [
        [-1, -1, -1]
    ]
    assert hard_negatives(np.eye(4), np.arange(4), np.arange(4), 0, 0.98).shape == (4, 0)


def test_a_likely_duplicate_is_no_hard_negative() -> None:
    angles = np.array([0.0, 0.05, 0.06, 1.0])
    vectors = np.repeat(np.stack([np.cos(angles), np.sin(angles)], axis=1), 2, axis=0)
    labels = np.repeat(np.arange(4), 2)
    readings = np.array([7, 1, 2, 7, 3, -1, 7, -1])  # classes 0, 1 and 3 share a text; 2 only looks the same
    assert hard_negatives(vectors, labels, readings, 2, 0.98).tolist() == [[2, 3], [2, 3], [1, 0], [2, 1]]
    assert hard_negatives(vectors, labels, readings, 2, 0.9999).tolist()[0] == [1, 2]  # not as near as that
    empty = np.full(8, -1)  # no text is no text in common
    assert hard_negatives(vectors, labels, empty, 2, 0.98).tolist()[0] == [1, 2]


def test_the_exemplar_of_a_class_is_drawn_every_time() -> None:
    labels = np.repeat(np.arange(6), 20)
    exemplar = np.zeros(120, dtype=bool)
    exemplar[[7, 33, 119]] = True  # of classes 0, 1 and 5
    none = np.full((6, 0), -1)
    rng = np.random.default_rng(0)
    for _ in range(5):
        drawn = np.concatenate(class_batches(labels, none, 12, 3, rng, exemplar))
        assert {7, 33, 119} <= set(drawn.tolist())
        assert (np.bincount(labels[drawn]) == 3).all()
