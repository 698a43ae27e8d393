"""A fitted threshold starts from the default and moves as far as labels are evidence for it, on simulated scores."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.compare.scorer import sigmoid
from linkage.link.decide import fit_threshold
from linkage.link.shrinkage import MIN_OPPOSED, move_threshold

START = 0.5


class Simulated(NamedTuple):
    """Best candidates of queries, two of each entity: probability, right, has a match, entity."""

    probability: np.ndarray
    right: np.ndarray
    matchable: np.ndarray
    entity: np.ndarray


def simulated(seed: int, n: int, right: float, wrong: float, *, matchable: float = 0.6) -> Simulated:
    """Logits are normal about `right` and `wrong`, with a spread of 1.5; 95 % of those with a match find it."""
    rng = np.random.default_rng(seed)
    entity = np.arange(n) // 2
    has = (rng.random(n // 2 + 1) < matchable)[entity]
    found = has & (rng.random(n) < 0.95)
    logit = np.where(found, rng.normal(right, 1.5, n), rng.normal(wrong, 1.5, n))
    return Simulated(sigmoid(logit), found, has, entity.astype(str))


def accuracy(threshold: float, queries: Simulated) -> float:
    passed = queries.probability >= threshold
    return float(np.where(passed, queries.right, ~queries.matchable).mean())


SCORERS = {"calibrated": (2.2, -2.2), "too low": (0.3, -3.5), "too high": (4.0, 1.0), "weak": (1.0, -1.0)}
SIZES = (20, 80, 320)
SEEDS = range(24)


@pytest.mark.parametrize("name", SCORERS)
def test_more_labels_never_hurt_and_few_never_do_worse_than_the_default(name: str) -> None:
    held_out = simulated(0, 20_000, *SCORERS[name])
    means = [accuracy(START, held_out)]
    for n in SIZES:
        fitted = [move_threshold(*simulated(1 + seed, n, *SCORERS[name]), start=START).value for seed in SEEDS]
        means.append(float(np.mean([accuracy(value, held_out) for value in fitted])))
    assert all(more >= fewer - 0.006 for fewer, more in pairwise(means)), means
    best = max(accuracy(value, held_out) for value in np.linspace(0.01, 0.99, 99))
    assert means[-1] > best - 0.01, "with many labels it comes to the best there is"


def test_few_labels_leave_the_threshold_where_it_was_and_an_exact_scan_does_not() -> None:
    drawn = [simulated(seed, 20, *SCORERS["calibrated"]) for seed in SEEDS]
    moved = np.array([move_threshold(*labels, start=START).value for labels in drawn])
    scanned = np.array([fit_threshold(*labels[:3]) for labels in drawn])
    assert (moved == START).mean() > 0.9
    assert np.abs(scanned - START).max() > 0.3
    held_out = simulated(99, 20_000, *SCORERS["calibrated"])
    assert min(accuracy(value, held_out) for value in moved) > min(accuracy(value, held_out) for value in scanned)


@pytest.mark.parametrize("n", [40, 400])
def test_labels_of_matching_records_alone_do_not_bring_it_down(n: int) -> None:
    labels = simulated(3, n, 1.5, -2.0, matchable=1.0)
    assert fit_threshold(*labels[:3]) < 0.2, "with nothing to lose the lowest is the best"
    assert move_threshold(*labels, start=START) == (START, None)


def test_the_f1_of_links_is_an_aim_too() -> None:
    labels = simulated(4, 400, *SCORERS["too low"])
    moved = move_threshold(*labels, "f1", start=START)
    assert moved.value < 0.3 and moved.pull is not None


@given(
    st.lists(
        st.tuples(st.one_of(st.just(float("nan")), st.floats(0, 1)), st.booleans(), st.booleans(), st.integers(0, 5)),
        max_size=60,
    ),
    st.sampled_from(["accuracy", "f1"]),
)
def test_it_is_a_threshold_whatever_the_labels(rows: list[tuple[float, bool, bool, int]], aim: str) -> None:
    probability, right, matchable, entity = (
        (np.array(column) for column in zip(*rows, strict=True)) if rows else [[]] * 4
    )
    right = np.asarray(right, bool) & ~np.isnan(np.asarray(probability, float))
    has = np.asarray(matchable, bool) | right
    moved = move_threshold(probability, right, has, np.asarray(entity, dtype=object), aim, start=START)  # type: ignore[arg-type]
    assert 0.0 <= moved.value <= 2.0
    if moved.pull is None:
        assert moved.value == START
    else:
        assert right.sum() >= MIN_OPPOSED or (~right).sum() >= MIN_OPPOSED
