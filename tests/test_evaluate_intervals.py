"""Intervals of shares hold the true share as often as they say, also where rows come in entities."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from linkage.evaluate.intervals import binomial_interval, effective, share_interval
from linkage.evaluate.metrics import ratio

MEASURE = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "measure_coverage.py"))


@pytest.mark.parametrize(("kind", "alike", "n", "share"), list(MEASURE["cases"]()))
def test_intervals_cover(kind: str, alike: float, n: int, share: float) -> None:
    coverage, width, _ = MEASURE["covered"](kind, alike, n, share, 1000)
    assert coverage >= 0.93
    assert width < 1.0


@given(st.integers(1, 300), st.data())
def test_alone_it_is_the_exact_one(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    exact = binomtest(hits, n).proportion_ci(0.95, "exact")
    assert binomial_interval(hits / n, n) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert share_interval((np.arange(n) < hits).astype(float), np.ones(n)) == pytest.approx(tuple(exact), abs=1e-9)


@given(st.lists(st.tuples(st.integers(1, 9), st.floats(0, 1)), min_size=1, max_size=30))
def test_entities_count_between_the_worst_case_and_all_their_rows(entities: list[tuple[int, float]]) -> None:
    sizes = np.array([size for size, _ in entities], dtype=float)
    hits = np.round(sizes * [part for _, part in entities])
    n = sizes.sum()
    kish = n**2 / (sizes**2).sum()
    assert kish - 1e-9 <= effective(hits, sizes) <= n + 1e-9
    low, high = share_interval(hits, sizes)
    assert 0 <= low <= hits.sum() / n <= high <= 1
    assert low < high


@pytest.mark.parametrize("kind", MEASURE["KINDS"])
@pytest.mark.parametrize(("n", "share"), [(20, 0.97), (50, 0.9), (50, 0.99), (200, 0.97)])
def test_resamples_with_one_entity_more_cover(kind: str, n: int, share: float) -> None:
    """What is no share, here the mean of parts of right answers, has the interval of resampled entities."""
    rng, sizes = np.random.default_rng(3), MEASURE["sizes_of"](kind, n)
    entities = np.repeat(np.arange(len(sizes)), sizes)
    part = rng.choice([0.0, 1.0], p=[1 - share, share], size=(200, len(sizes)))[:, entities]
    figures = [ratio(row, np.ones(n), entities, bootstrap=200, seed=0) for row in part]
    assert np.mean([figure.low <= share <= figure.high for figure in figures]) >= 0.93
