"""Metrics of links and clusters, each with n and a bootstrap interval over entities.

Intervals come from drawing the entities with replacement, not the records: records of one entity are right or wrong
together. Most metrics are functions of totals over entities; those of an order of the queries are functions of how
often each query was drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95
_DRAWS_AT_A_TIME = 1_000_000  # bounds the memory of the bootstrap to about 50 MB

Formula = Callable[[np.ndarray], np.ndarray]
"""Totals (..., m) float64 to values (...) float64."""


class Figure(NamedTuple):
    """A measured value.

    Attributes:
        value: the measure; NaN where n is 0.
        low, high: 95 % percentile interval of the bootstrap over entities; NaN where n is 0.
        n: queries or records that it was measured on.
    """

    value: float
    low: float
    high: float
    n: int


NOTHING = Figure(np.nan, np.nan, np.nan, 0)


def measure(sums: np.ndarray, formulas: dict[str, Formula], n: int, *, bootstrap: int, seed: int) -> dict[str, Figure]:
    """Apply formulas to the totals, and to the totals of resampled entities.

    Args:
        sums: (entities, m) what each entity adds to the totals.
        formulas: by name of the measure.
        n: queries or records behind them.
        bootstrap: resamples.
        seed: equal seeds and entities draw equal samples, so figures of two systems vary together.
    """
    if not n:
        return dict.fromkeys(formulas, NOTHING)
    sums = np.asarray(sums, dtype=np.float64)
    totals = np.concatenate([sums[drawn].sum(axis=1) for drawn in _drawn(len(sums), bootstrap, seed)])
    return {name: _figure(float(formula(sums.sum(axis=0))), formula(totals), n) for name, formula in formulas.items()}


def _drawn(entities: int, bootstrap: int, seed: int, width: int = 1) -> Iterator[np.ndarray]:
    """Resamples as rows of drawn entities, int64 (some, entities), fewer at a time where each takes `width` cells."""
    rng = np.random.default_rng(seed)
    step = max(1, _DRAWS_AT_A_TIME // max(entities, width))
    for start in range(0, bootstrap, step):
        yield rng.integers(entities, size=(min(step, bootstrap - start), entities))


def _figure(value: float, resampled: np.ndarray, n: int) -> Figure:
    tail = (1 - CONFIDENCE) / 2
    known = resampled[~np.isnan(resampled)]
    low, high = np.quantile(known, [tail, 1 - tail]) if len(known) else (np.nan, np.nan)
    return Figure(value, float(low), float(high), n)


def share(right: np.ndarray, entities: np.ndarray, *, bootstrap: int, seed: int) -> Figure:
    """Share of queries answered rightly, e.g. matched accuracy or recall@k.

    Args:
        right: bool (n,).
        entities: true entity of each query (n,), any hashable dtype; the unit of resampling.
        bootstrap: resamples.
        seed: of the resampling.
    """
    return ratio(right, np.ones(len(right)), entities, bootstrap=bootstrap, seed=seed)


def ratio(
    above: np.ndarray,
    below: np.ndarray,
    entities: np.ndarray,
    *,
    bootstrap: int,
    seed: int,
    empty: float = np.nan,
) -> Figure:
    """Sum of `above` over sum of `below` (n,), e.g. edits over characters; `empty` where the latter is 0."""
    if not len(entities):
        return NOTHING
    sums = sum_by(entities, above, below)
    formulas = {"ratio": lambda t: divide(t[..., 0], t[..., 1], empty)}
    return measure(sums, formulas, len(entities), bootstrap=bootstrap, seed=seed)["ratio"]


def sum_by(entities: np.ndarray, *columns: np.ndarray) -> np.ndarray:
    """Sum columns (n,) within each entity: float64 (entities, columns)."""
    codes = np.unique(np.asarray(entities, dtype=str), return_inverse=True)[1]
    return np.column_stack([np.bincount(codes, np.asarray(column, np.float64)) for column in columns])


def auroc(score: np.ndarray, positive: np.ndarray, entities: np.ndarray, *, bootstrap: int, seed: int) -> Figure:
    """Chance that a positive scores higher than a negative, ties counting half: the area under the ROC curve.

    Args:
        score: (n,), any scale; NaN: lower than every other.
        positive: bool (n,).
        entities: true entity of each (n,); the unit of resampling.
        bootstrap: resamples; those without a positive or without a negative are left out.
        seed: of the resampling.

    Returns:
        The area; NaN without a positive or without a negative.
    """
    order = np.argsort(_known(score), kind="stable")
    ranked, up = _known(score)[order], np.asarray(positive, dtype=bool)[order]
    first, last = (np.searchsorted(ranked, ranked, side) for side in ("left", "right"))

    def formula(times: np.ndarray) -> np.ndarray:
        times = times[:, order]
        negatives = np.cumsum(times * ~up, axis=1)
        below = np.concatenate([np.zeros((len(times), 1)), negatives], axis=1)
        won = times * up * (below[:, first] + below[:, last]) / 2
        return divide(won.sum(axis=1), (times * up).sum(axis=1) * below[:, -1], np.nan)

    return _of_order(formula, entities, bootstrap=bootstrap, seed=seed)


def precision_at(
    coverage: float, score: np.ndarray, right: np.ndarray, entities: np.ndarray, *, bootstrap: int, seed: int
) -> Figure:
    """Share of right answers among the highest scoring `coverage` of all.

    Of answers that tie at the end each counts with the same part, so that their order does not matter (Geifman and
    El-Yaniv 2017, Selective classification for deep neural networks, for the measure).

    Args:
        coverage: share of the answers that is given, above 0, at most 1.
        score: (n,), any scale; NaN: given last.
        right: bool (n,).
        entities: true entity of each (n,); the unit of resampling.
        bootstrap: resamples.
        seed: of the resampling.
    """
    order = np.argsort(-_known(score), kind="stable")
    ranked, good = _known(score)[order], np.asarray(right, dtype=bool)[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1])) if len(ranked) else np.empty(0, np.int64)

    def formula(times: np.ndarray) -> np.ndarray:
        times = times[:, order]
        tied, hits = (np.add.reduceat(column, starts, axis=1) for column in (times, times * good))
        wanted = coverage * tied.sum(axis=1, keepdims=True)
        given = np.clip(divide(wanted - (np.cumsum(tied, axis=1) - tied), tied, 0.0), 0.0, 1.0)
        return np.asarray(((given * hits).sum(axis=1) / wanted[:, 0]).round(12))

    return _of_order(formula, entities, bootstrap=bootstrap, seed=seed)


def _known(score: np.ndarray) -> np.ndarray:
    return np.nan_to_num(np.asarray(score, dtype=np.float64), nan=-np.inf, neginf=-np.inf, posinf=np.inf)


def _of_order(formula: Formula, entities: np.ndarray, *, bootstrap: int, seed: int) -> Figure:
    """The figure of a formula from how often each query counts, (samples, n) float64, to values (samples,)."""
    if not len(entities):
        return NOTHING
    codes = np.unique(np.asarray(entities, dtype=str), return_inverse=True)[1]
    size = int(codes.max()) + 1
    values = []
    for drawn in _drawn(size, bootstrap, seed, len(codes)):
        places = drawn + size * np.arange(len(drawn))[:, None]
        times = np.bincount(places.ravel(), minlength=size * len(drawn)).reshape(len(drawn), size)
        values.append(formula(times[:, codes].astype(np.float64)))
    return _figure(float(formula(np.ones((1, len(codes))))[0]), np.concatenate(values), len(codes))


def clustering(truth: np.ndarray, predicted: np.ndarray, *, bootstrap: int, seed: int) -> dict[str, Figure]:
    """Pairwise and B-cubed precision, recall and F1, and the adjusted Rand index.

    From the sparse contingency table. Pairs of records that a cluster puts together wrongly are counted half for
    either record's entity, so that totals are sums over entities (Binette et al. 2023, Estimating the performance
    of entity resolution algorithms). Where no pair is predicted, precision is 1; where there is none to find,
    recall is 1: all-singleton predictions and truths have defined values.

    Args:
        truth: entity of each record (n,).
        predicted: cluster of each record (n,).
        bootstrap: resamples of the true entities.
        seed: of the resampling.

    Returns:
        Figures by name.
    """
    return measure(entity_sums(truth, predicted), CLUSTERING, len(truth), bootstrap=bootstrap, seed=seed)


def entity_sums(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """What each true entity adds to the totals of the clustering metrics.

    Returns:
        float64 (entities, 6): records; pairs in the same entity and cluster; pairs in the same entity; its half of
        the pairs in the same cluster; sum of B-cubed precision; sum of B-cubed recall (Bagga and Baldwin 1998).
    """
    if not len(truth):
        return np.zeros((0, 6))
    entity = np.unique(np.asarray(truth, dtype=str), return_inverse=True)[1]
    cluster = np.unique(np.asarray(predicted, dtype=str), return_inverse=True)[1]
    cells, shared = np.unique(np.column_stack([entity, cluster]), axis=0, return_counts=True)
    size_e, size_c = np.bincount(entity), np.bincount(cluster)
    e, c = cells.T
    in_entity, in_cluster = size_e[e], size_c[c]

    def by_entity(weights: np.ndarray) -> np.ndarray:
        return np.bincount(e, weights, minlength=len(size_e))

    columns = [
        size_e,
        by_entity(shared * (shared - 1) / 2),
        size_e * (size_e - 1) / 2,
        by_entity(shared * (in_cluster - 1) / 2),
        by_entity(shared**2 / in_cluster),
        by_entity(shared**2 / in_entity),
    ]
    return np.column_stack(columns).astype(np.float64)


def divide(above: np.ndarray, below: np.ndarray, empty: float) -> np.ndarray:
    """Ratio of totals; `empty` where there is nothing to divide by."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 1e-9, above / below, empty)


def f1(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Harmonic mean; 0 where both are 0."""
    return divide(2 * precision * recall, precision + recall, 0.0)


def _pairwise_precision(t: np.ndarray) -> np.ndarray:
    return divide(t[..., 1], t[..., 3], 1.0)


def _pairwise_recall(t: np.ndarray) -> np.ndarray:
    return divide(t[..., 1], t[..., 2], 1.0)


def _bcubed_precision(t: np.ndarray) -> np.ndarray:
    return divide(t[..., 4], t[..., 0], np.nan)


def _bcubed_recall(t: np.ndarray) -> np.ndarray:
    return divide(t[..., 5], t[..., 0], np.nan)


def _ari(t: np.ndarray) -> np.ndarray:
    """Hubert and Arabie 1985; 1 where truth and prediction are both trivial in the same way."""
    every = t[..., 0] * (t[..., 0] - 1) / 2
    expected = divide(t[..., 2] * t[..., 3], every, 0.0)
    return divide(t[..., 1] - expected, (t[..., 2] + t[..., 3]) / 2 - expected, 1.0)


CLUSTERING: dict[str, Formula] = {
    "pairwise precision": _pairwise_precision,
    "pairwise recall": _pairwise_recall,
    "pairwise F1": lambda t: f1(_pairwise_precision(t), _pairwise_recall(t)),
    "B-cubed precision": _bcubed_precision,
    "B-cubed recall": _bcubed_recall,
    "B-cubed F1": lambda t: f1(_bcubed_precision(t), _bcubed_recall(t)),
    "adjusted Rand index": _ari,
}
