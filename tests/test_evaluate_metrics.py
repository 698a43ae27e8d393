"""Metrics against their definitions, counted record by record and pair by pair."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, roc_auc_score

from linkage.evaluate.metrics import NOTHING, auroc, clustering, precision_at, ratio, share

QUICK = {"bootstrap": 100, "seed": 0}
PARTITIONS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=25)


@given(PARTITIONS)
def test_clustering_metrics_equal_their_definitions(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(pairs).T
    figures = {name: figure.value for name, figure in clustering(truth, predicted, **QUICK).items()}

    together = [(truth[a] == truth[b], predicted[a] == predicted[b]) for a, b in combinations(range(len(pairs)), 2)]
    both = sum(t and p for t, p in together)
    true, called = sum(t for t, _ in together), sum(p for _, p in together)
    precision, recall = both / called if called else 1.0, both / true if true else 1.0
    assert figures["pairwise precision"] == pytest.approx(precision)
    assert figures["pairwise recall"] == pytest.approx(recall)
    assert figures["pairwise F1"] == pytest.approx(2 * precision * recall / ((precision + recall) or 1))

    shared = np.array([((truth == t) & (predicted == p)).sum() for t, p in pairs])
    precision = np.mean(shared / [(predicted == p).sum() for _, p in pairs])
    recall = np.mean(shared / [(truth == t).sum() for t, _ in pairs])
    assert figures["B-cubed precision"] == pytest.approx(precision)
    assert figures["B-cubed recall"] == pytest.approx(recall)
    assert figures["B-cubed F1"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert figures["adjusted Rand index"] == pytest.approx(adjusted_rand_score(truth, predicted))


@given(PARTITIONS, st.randoms(use_true_random=False))
def test_names_of_clusters_and_order_of_records_do_not_matter(pairs, random) -> None:
    truth, predicted = (np.array(side) for side in zip(*pairs, strict=True))
    random.shuffle(pairs)
    shuffled, renamed = (np.array(side) for side in zip(*pairs, strict=True))
    one = clustering(truth, predicted, **QUICK)
    other = clustering(shuffled, np.char.add("cluster ", renamed.astype(str)), **QUICK)
    for name in one:
        assert one[name] == pytest.approx(other[name], nan_ok=True)


def test_a_perfect_clustering_is_not_proved_perfect() -> None:
    truth = np.repeat(np.arange(40), 2)
    for name, figure in clustering(truth, truth, **QUICK).items():
        assert figure.value == figure.high == 1.0, name
        assert 0.8 < figure.low < 0.99, name
    for figure in clustering(truth, np.arange(80), **QUICK).values():
        assert figure.low <= figure.value <= figure.high
        assert figure.low < figure.high


def test_all_singletons_and_one_record_are_defined() -> None:
    truth = np.array(["a", "a", "b"])
    figures = clustering(truth, np.arange(3), **QUICK)
    assert figures["pairwise precision"].value == 1.0
    assert figures["pairwise recall"].value == figures["pairwise F1"].value == 0.0
    assert figures["adjusted Rand index"].value == 0.0
    for figure in clustering(np.array(["a"]), np.array(["x"]), **QUICK).values():
        assert figure.value == 1.0
    for figure in clustering(np.arange(4), np.arange(4), **QUICK).values():
        assert figure.value == 1.0


def test_nothing_to_measure_is_not_a_number() -> None:
    empty = np.array([], dtype=object)
    assert str(share(empty.astype(bool), empty)) == str(NOTHING)
    assert all(figure.n == 0 and np.isnan(figure.value) for figure in clustering(empty, empty, **QUICK).values())
    assert np.isnan(ratio(np.zeros(2), np.zeros(2), np.array(["a", "b"]), **QUICK).value)


def test_the_interval_is_over_entities_not_records() -> None:
    right = np.tile([True, False], 500)
    by_record = share(right, np.arange(1000))
    by_entity = share(right, np.arange(1000) // 2 % 2 * 2 + np.tile([0, 1], 500))
    assert by_record.value == by_entity.value == 0.5
    assert by_record.high - by_record.low < 0.08 < 0.5 < by_entity.high - by_entity.low


def test_equal_seeds_give_equal_intervals() -> None:
    values, entities = np.arange(40) % 3 / 2, np.arange(40) // 2
    one, again, other = (ratio(values, np.ones(40), entities, bootstrap=200, seed=seed) for seed in (5, 5, 6))
    assert one == again
    assert one[1:3] != other[1:3]


def test_what_is_right_throughout_may_be_wrong_yet() -> None:
    every = np.ones(50, dtype=bool)
    assert share(every, np.arange(50)) == (1.0, pytest.approx(0.9289, abs=1e-4), 1.0, 50)  # Clopper-Pearson
    assert share(~every, np.arange(50)) == (0.0, 0.0, pytest.approx(0.0711, abs=1e-4), 50)
    assert share(every, np.arange(50) // 5).low == pytest.approx(0.6915, abs=1e-4), "as ten rows, whatever they say"
    score = np.concatenate([np.full(25, 0.9), np.full(25, 0.1)])
    for figure in (
        precision_at(0.5, score, every, np.arange(50), **QUICK),
        auroc(score, score > 0.5, np.arange(50), **QUICK),
        ratio(np.ones(50), np.ones(50), np.arange(50), **QUICK),
    ):
        assert figure.value == figure.high == 1.0
        assert 0.8 < figure.low < 0.99
    nothing_lost = ratio(np.zeros(50), np.ones(50), np.arange(50), within=(-1.0, 1.0), **QUICK)
    assert nothing_lost.low < 0.0 < nothing_lost.high


SCORED = st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.9]), st.booleans()), min_size=2, max_size=25)


@given(SCORED, st.randoms(use_true_random=False))
def test_the_area_under_the_curve_is_that_of_scikit_learn(pairs, random) -> None:
    score, positive = (np.array(side) for side in zip(*pairs, strict=True))
    entities = np.arange(len(pairs)) // 2
    figure = auroc(score, positive, entities, **QUICK)
    if positive.all() or not positive.any():
        assert np.isnan(figure.value)
        return
    assert figure.value == pytest.approx(roc_auc_score(positive, score))
    assert 0 <= figure.low <= figure.high <= 1
    order = random.sample(range(len(pairs)), len(pairs))
    assert auroc(score[order], positive[order], entities[order], **QUICK) == figure


@given(SCORED, st.floats(0.05, 1.0))
def test_precision_at_coverage_equals_its_definition(pairs, coverage: float) -> None:
    score, right = (np.array(side) for side in zip(*pairs, strict=True))
    figure = precision_at(coverage, score, right, np.arange(len(pairs)), **QUICK)
    left, found = coverage * len(pairs), 0.0
    for level in sorted(set(score), reverse=True):  # ties share what is still to be answered
        tied = score == level
        given = min(left, tied.sum())
        found += given * right[tied].mean()
        left -= given
    assert figure.value == pytest.approx(found / (coverage * len(pairs)))
    assert figure.n == len(pairs)


def test_all_answers_at_full_coverage_are_the_accuracy() -> None:
    rng = np.random.default_rng(0)
    score, right, entities = rng.random(300), rng.random(300) < 0.7, rng.integers(40, size=300)
    whole = precision_at(1.0, score, right, entities, bootstrap=500, seed=3)
    plain = ratio(right, np.ones(300), entities, bootstrap=500, seed=3)
    assert whole == pytest.approx(plain, abs=0.01)  # the same resamples: figures of two measures vary together


def test_what_has_no_score_comes_last() -> None:
    score, right = np.array([np.nan, 0.1, 0.9, np.nan]), np.array([False, True, True, False])
    assert precision_at(0.5, score, right, np.arange(4), **QUICK).value == 1.0
    assert auroc(score, right, np.arange(4), **QUICK).value == 1.0


def test_nothing_to_rank_is_not_a_number() -> None:
    empty = np.array([])
    assert str(auroc(empty, empty.astype(bool), empty, **QUICK)) == str(NOTHING)
    assert str(precision_at(0.9, empty, empty.astype(bool), empty, **QUICK)) == str(NOTHING)


def test_the_area_varies_with_the_entities() -> None:
    rng = np.random.default_rng(1)
    positive = np.arange(400) % 2 == 0
    score = rng.normal(size=400) + positive
    by_record = auroc(score, positive, np.arange(400), bootstrap=300, seed=0)
    few = np.repeat(np.arange(8), 50)
    by_entity = auroc(score + np.repeat(rng.normal(size=8), 50), positive, few, bootstrap=300, seed=0)
    assert by_record.low < by_record.value < by_record.high
    assert by_entity.high - by_entity.low > by_record.high - by_record.low
