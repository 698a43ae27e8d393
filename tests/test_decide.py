from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from linkage.compare.scorer import sigmoid
from linkage.errors import InputError
from linkage.link.decide import (
    Threshold,
    bound_false_links,
    conformal_cut,
    fit_threshold,
    tied_counts,
)
from linkage.link.trial import resampled_violations

PROBABILITIES = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1))
ROWS = st.lists(st.tuples(PROBABILITIES, st.booleans(), st.booleans()), min_size=1, max_size=12)


def columns(rows: list[tuple[float, bool, bool]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    probability, correct, matchable = (np.array(column) for column in zip(*rows, strict=True))
    return probability, correct, correct | matchable


def accuracy(threshold: float, rows: list[tuple[float, bool, bool]]) -> float:
    """The measure in its plainest form."""
    return sum(correct if p >= threshold else not (correct or matchable) for p, correct, matchable in rows)


def f1(threshold: float, rows: list[tuple[float, bool, bool]]) -> float:
    called = sum(p >= threshold for p, _, _ in rows)
    matchable = sum(correct or matchable for _, correct, matchable in rows)
    right = sum(correct and p >= threshold for p, correct, _ in rows)
    return 2 * right / (called + matchable) if called + matchable else 1.0


@pytest.mark.parametrize(("aim", "measure"), [("accuracy", accuracy), ("f1", f1)])
@given(rows=ROWS)
def test_threshold_is_the_best_there_is(aim, measure, rows) -> None:  # type: ignore[no-untyped-def]
    found = fit_threshold(*columns(rows), aim=aim)
    best = max(measure(threshold, rows) for threshold in [0.0, 2.0, *(p for p, _, _ in rows)])
    assert measure(found, rows) == best


def test_threshold_lies_between_scores_and_is_inclusive() -> None:
    probability = np.array([0.9, 0.7, 0.4])
    correct = np.array([True, True, False])
    assert fit_threshold(probability, correct, correct) == pytest.approx(0.55)
    touching = np.array([0.5, np.nextafter(0.5, 0)])
    threshold = fit_threshold(touching, np.array([True, False]), np.array([True, False]))
    assert (touching >= threshold).tolist() == [True, False]


def test_queries_without_candidates_never_pass() -> None:
    threshold = fit_threshold(np.array([np.nan, 0.8]), np.array([False, True]), np.array([False, True]))
    assert 0 < threshold <= 0.8
    assert fit_threshold(np.array([np.nan]), np.array([False]), np.array([False])) == 0.5
    with pytest.raises(InputError, match="no labelled queries"):
        fit_threshold(np.empty(0), np.empty(0, bool), np.empty(0, bool))


def drawn(seed: int, entities: int, *, flat: float | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probability, correctness and entity of queries whose entities are of very unequal size and err as one.

    Errors grow rarer with the probability, or, with `flat`, have this rate everywhere.
    """
    rng = np.random.default_rng(seed)
    sizes = np.minimum(rng.zipf(2.2, entities), 30)
    entity = np.repeat(np.arange(entities), sizes)
    clear = np.sqrt(0.9) * rng.normal(size=entities)[entity] + np.sqrt(0.1) * rng.normal(size=len(entity))
    rate = sigmoid(-4.5 - 2 * clear) if flat is None else np.full(len(entity), flat)
    luck = np.where(rng.uniform(size=entities) < 0.9, rng.uniform(size=entities), np.nan)[entity]
    wrong = np.where(np.isnan(luck), rng.uniform(size=len(entity)), luck) < rate
    return sigmoid(clear), ~wrong, entity


def test_a_bounded_threshold_says_what_it_promises_and_on_what_evidence() -> None:
    probability = np.linspace(0.999, 0.5, 3000)
    correct = np.ones(3000, bool)
    correct[[500, 1500]] = False  # the first ends the sequence from the first start
    correct[2000::2] = False
    found = bound_false_links(probability, correct, np.arange(3000), max_false_links=0.01, risk=0.05)
    called = found.passed(probability)
    promise = found.promise
    assert promise is not None
    assert (promise.links, promise.false_links) == (called.sum(), (called & ~correct).sum())
    assert promise.effective == promise.links
    assert 2000 <= promise.links < 2050
    exact = binomtest(promise.false_links, promise.links, alternative="less").proportion_ci(0.975).high
    assert promise.upper == pytest.approx(exact)
    assert promise.upper <= 0.01
    assert Threshold(**json.loads(json.dumps(asdict(found))) | {"promise": promise}) == found
    assert "1.00% false links at 95% confidence" in found.sentence and "Assumed" in found.sentence


@pytest.mark.parametrize("entity", [np.arange(300), np.zeros(900, int)], ids=["too few", "of one entity"])
def test_nothing_is_promised_where_the_labels_cannot_carry_it(entity: np.ndarray) -> None:
    found = bound_false_links(
        np.full(len(entity), 0.9), np.ones(len(entity), bool), entity, max_false_links=0.01, risk=0.05
    )
    assert found.value is None and found.promise is not None
    assert found.promise.needed == 368  # the first with 0.99**n <= 0.025
    assert not found.passed(np.ones(3)).any()
    assert "No threshold can promise" in found.sentence
    enough = bound_false_links(np.full(368, 0.9), np.ones(368, bool), np.arange(368), max_false_links=0.01, risk=0.05)
    assert enough.value == pytest.approx(0.45)


def test_without_any_query_nothing_is_promised() -> None:
    nothing = np.empty(0)
    assert bound_false_links(nothing, nothing, nothing, max_false_links=0.1, risk=0.1).value is None
    unseen = np.array([np.nan])
    assert bound_false_links(unseen, unseen == 0, unseen, max_false_links=0.1, risk=0.1).value is None


@given(st.data())
def test_a_bounded_threshold_holds_by_its_own_bound(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 120))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    probability = rng.uniform(size=n).round(data.draw(st.integers(1, 3)))
    probability[rng.uniform(size=n) < 0.1] = np.nan
    correct = (rng.uniform(size=n) < 0.9 + 0.1 * np.nan_to_num(probability)) & ~np.isnan(probability)
    entity = rng.integers(data.draw(st.integers(1, 120)), size=n).astype(str).astype(object)
    most, risk = data.draw(st.sampled_from([0.05, 0.2])), data.draw(st.sampled_from([0.05, 0.3]))
    options = {"max_false_links": most, "risk": risk}
    found = bound_false_links(probability, correct, entity, **options)
    order = rng.permutation(n)
    assert bound_false_links(probability[order], correct[order], entity[order], **options) == found
    promise = found.promise
    assert promise is not None
    if found.value is None:
        assert (promise.links, promise.upper) == (0, None)
        return
    called = found.passed(probability)
    sizes = np.unique(entity[called], return_counts=True)[1]
    assert (promise.links, promise.false_links) == (called.sum(), (called & ~correct).sum())
    assert promise.effective == pytest.approx(sizes.sum() ** 2 / (sizes**2).sum())
    assert promise.false_links / promise.links < promise.upper <= promise.max_false_links


@pytest.mark.parametrize(("most", "entities"), [(0.01, 1500), (0.05, 500)])
@pytest.mark.parametrize("flat", [False, True], ids=["graded", "just too many"])
def test_the_promise_is_broken_no_more_often_than_the_risk(most: float, entities: int, flat: bool) -> None:
    rate = 1.02 * most if flat else None  # no threshold keeps the promise
    everybody, right, _ = drawn(0, 100_000, flat=rate)
    broken, kept = [], []
    for seed in range(1, 201):
        found = bound_false_links(*drawn(seed, entities, flat=rate), max_false_links=most, risk=0.05)
        called = found.passed(everybody)
        broken.append((called & ~right).sum() > most * called.sum())
        kept.append((called & right).sum() / right.sum())
    assert np.mean(broken) <= 0.05
    assert flat or most == 0.01 or np.mean(kept) > 0.2


def test_the_promise_is_tried_on_resampled_entities() -> None:
    labels = drawn(5, 600)
    tried = resampled_violations(*labels, max_false_links=0.05, risk=0.1, seed=0, resamples=100)
    assert tried.violations <= 0.1
    assert tried.kept > 0.5
    assert (tried.resamples, tried.queries, tried.entities) == (100, len(labels[0]), 600)
    assert tried == resampled_violations(*labels, max_false_links=0.05, risk=0.1, seed=0, resamples=100)
    hopeless = resampled_violations(*labels, max_false_links=0.001, risk=0.1, seed=0, resamples=10)
    assert (hopeless.violations, hopeless.unpromised, hopeless.kept) == (0.0, 1.0, 0.0)


def test_a_conformal_cut_has_the_correction_for_a_finite_sample() -> None:
    probability = np.linspace(0.1, 1.0, 19)
    found = conformal_cut(probability, np.arange(19), coverage=0.9)
    assert (found.cut, found.promised) == (probability[1], True)  # the 18th of 19: 18 / (19 + 1)
    assert conformal_cut(probability, np.arange(19), coverage=0.95).cut == probability[0]
    few = conformal_cut(probability[1:], np.arange(18), coverage=0.95)
    assert (few.cut, few.promised) == (0.0, False)
    assert "No set of candidates can promise" in few.sentence
    assert "Assumed" in found.sentence


def test_sets_promise_nothing_where_the_true_entity_is_too_often_no_candidate() -> None:
    probability = np.where(np.arange(200) < 11, np.nan, 0.7)
    assert not conformal_cut(probability, np.arange(200), coverage=0.95).promised
    probability[:2] = [0.0, 0.6]
    assert not conformal_cut(probability, np.arange(200), coverage=0.95).promised
    probability[2:4] = 0.6
    assert conformal_cut(probability, np.arange(200), coverage=0.95).cut == 0.6
    assert not conformal_cut(np.empty(0), np.empty(0), coverage=0.95).promised


def test_an_entity_counts_once_however_many_queries_it_has() -> None:
    probability = np.array([0.2] * 500 + [0.6] * 99)
    entity = np.array([0] * 500 + list(range(1, 100)))
    assert conformal_cut(probability, entity, coverage=0.95).cut == 0.6


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_candidate_sets_hold_the_true_entity_of_a_new_one(coverage: float) -> None:
    rng = np.random.default_rng(5)
    held = []
    for _ in range(400):
        sizes = np.minimum(rng.zipf(1.8, 61), 200)
        entity = np.repeat(np.arange(61), sizes)
        true = sigmoid(rng.normal(size=61)[entity] * 2 - np.log(sizes)[entity] + rng.normal(size=len(entity)) * 0.5)
        labelled = entity < 60
        found = conformal_cut(true[labelled], entity[labelled], coverage=coverage)
        assert found.promised and (found.queries, found.entities) == (labelled.sum(), 60)
        held.append((true[~labelled] >= found.cut).mean())
    assert coverage - 0.02 < np.mean(held) < coverage + 0.05


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 1e-10, 1e-8, 1.0, -1.0, 30.0])), max_size=20))
def test_ties_are_the_candidates_as_likely_as_the_best(rows: list[tuple[int, float]]) -> None:
    rows.sort(key=lambda row: row[0])
    query, logit = np.array([q for q, _ in rows], dtype=int), np.array([x for _, x in rows])
    plain = [(logit[query == q] >= logit[query == q].max() - 1e-9).sum() for q in np.unique(query)]
    assert tied_counts(logit, query).tolist() == plain
