"""Metrics of links and clusters, each with n and a 95 % interval.

Entities are drawn, not records: records of one entity are right or wrong together. Shares have the binomial interval
at an effective number of records (see `intervals`). The rest has percentiles of resampled entities, drawn with one
entity more: for the lower end one that could not be answered worse, for the upper end one that could not be answered
better. Without it, a sample without an error would say that there never is one. Most of these metrics are functions of
totals over entities; those of an order of the queries are functions of how often each query was drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from linkage.arrays import codes_of
from linkage.evaluate.intervals import CONFIDENCE, share_interval

_DRAWS_AT_A_TIME = 1_000_000  # bounds the memory of the bootstrap to about 50 MB

Formula = Callable[[np.ndarray], np.ndarray]
"""Totals (..., m) float64 to values (...) float64."""


Extremes = tuple[np.ndarray, np.ndarray]
"""What an entity adds to the totals, (m,), that could not be answered worse, and one that could not be better."""


class Figure(NamedTuple):
    """A measured value.

    Attributes:
        value: the measure; NaN where n is 0.
        low, high: its 95 % interval; NaN where n is 0.
        n: queries or records that it was measured on.
    """

    value: float
    low: float
    high: float
    n: int


NOTHING = Figure(np.nan, np.nan, np.nan, 0)


def measure(
    sums: np.ndarray,
    formulas: dict[str, Formula],
    n: int,
    *,
    bootstrap: int,
    seed: int,
    extremes: Extremes | None = None,
) -> dict[str, Figure]:
    """Apply formulas to the totals, and to the totals of resampled entities.

    Args:
        sums: (entities, m) what each entity adds to the totals.
        formulas: by name of the measure.
        n: queries or records behind them.
        bootstrap: resamples.
        seed: equal seeds and entities draw equal samples, so figures of two systems vary together.
        extremes: the entity more of each end, for measures that grow with the answers' worth; None: none is drawn,
            as for measures without a best and a worst.
    """
    if not n:
        return dict.fromkeys(formulas, NOTHING)
    sums = np.asarray(sums, dtype=np.float64)
    low, high = (resampled(sums if end is None else np.vstack([sums, end]), bootstrap, seed) for end in _ends(extremes))
    return {
        name: _figure(float(formula(sums.sum(axis=0))), formula(low), formula(high), n)
        for name, formula in formulas.items()
    }


def _ends(extremes: Extremes | None) -> tuple[np.ndarray | None, np.ndarray | None]:
    return (None, None) if extremes is None else extremes


def resampled(sums: np.ndarray, bootstrap: int, seed: int) -> np.ndarray:
    """Totals (bootstrap, m) of resamples of rows (entities, m)."""
    return np.concatenate([sums[drawn].sum(axis=1) for drawn in _drawn(len(sums), bootstrap, seed)])


def _drawn(entities: int, bootstrap: int, seed: int, width: int = 1) -> Iterator[np.ndarray]:
    """Resamples as rows of drawn entities, int64 (some, entities), fewer at a time where each takes `width` cells."""
    rng = np.random.default_rng(seed)
    step = max(1, _DRAWS_AT_A_TIME // max(entities, width))
    for start in range(0, bootstrap, step):
        yield rng.integers(entities, size=(min(step, bootstrap - start), entities))


def _figure(value: float, lower: np.ndarray, upper: np.ndarray, n: int) -> Figure:
    """A value with the ends that it has by the resamples for either of them."""
    tail = (1 - CONFIDENCE) / 2
    low, high = _quantile(lower, tail), _quantile(upper, 1 - tail)
    return Figure(value, float(np.fmin(low, value)), float(np.fmax(high, value)), n)


def _quantile(values: np.ndarray, at: float) -> float:
    known = values[~np.isnan(values)]
    return float(np.quantile(known, at)) if len(known) else np.nan


def share(right: np.ndarray, entities: np.ndarray) -> Figure:
    """Share of queries answered rightly, e.g. matched accuracy or recall@k.

    Args:
        right: bool (n,).
        entities: true entity of each query (n,), any hashable dtype; the unit of sampling.
    """
    if not len(right):
        return NOTHING
    hits, sizes = sum_by(entities, right, np.ones(len(right))).T
    return Figure(float(hits.sum() / sizes.sum()), *share_interval(hits, sizes), len(right))


def ratio(
    above: np.ndarray,
    below: np.ndarray,
    entities: np.ndarray,
    *,
    bootstrap: int,
    seed: int,
    empty: float = np.nan,
    within: tuple[float, float] | None = (0.0, 1.0),
) -> Figure:
    """Sum of `above` over sum of `below` (n,), e.g. edits over characters; `empty` where the latter is 0.

    `within` says between which values the ratio of one entity lies, for the ends of the interval; None: it is not
    bounded, and no entity more is drawn.
    """
    if not len(entities):
        return NOTHING
    sums = sum_by(entities, above, below)
    mean = float(sums[:, 1].mean())
    extremes = None if within is None else (np.array([within[0] * mean, mean]), np.array([within[1] * mean, mean]))
    formulas = {"ratio": lambda t: divide(t[..., 0], t[..., 1], empty)}
    return measure(sums, formulas, len(entities), bootstrap=bootstrap, seed=seed, extremes=extremes)["ratio"]


def sum_by(entities: np.ndarray, *columns: np.ndarray) -> np.ndarray:
    """Sum columns (n,) within each entity: float64 (entities, columns)."""
    codes = codes_of(entities)
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
    up = np.asarray(positive, dtype=bool)
    part = float(up.mean()) if len(up) else 0.0
    worst = _Rows(np.array([-np.inf, np.inf]), np.array([True, False]), np.array([part, 1 - part]))
    best = worst._replace(score=-worst.score)
    return _of_order(_area, _Rows.of(score, up), entities, (worst, best), bootstrap=bootstrap, seed=seed)


def _area(rows: _Rows) -> Formula:
    order = np.argsort(rows.score, kind="stable")
    ranked, up = rows.score[order], rows.good[order]
    first, last = (np.searchsorted(ranked, ranked, side) for side in ("left", "right"))

    def formula(times: np.ndarray) -> np.ndarray:
        times = times[:, order]
        negatives = np.cumsum(times * ~up, axis=1)
        below = np.concatenate([np.zeros((len(times), 1)), negatives], axis=1)
        won = times * up * (below[:, first] + below[:, last]) / 2
        return np.asarray(divide(won.sum(axis=1), (times * up).sum(axis=1) * below[:, -1], np.nan).round(12))

    return formula


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

    def at_coverage(rows: _Rows) -> Formula:
        order = np.argsort(-rows.score, kind="stable")
        ranked, good = rows.score[order], rows.good[order]
        starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1])) if len(ranked) else np.empty(0, np.int64)

        def formula(times: np.ndarray) -> np.ndarray:
            times = times[:, order]
            tied, hits = (np.add.reduceat(column, starts, axis=1) for column in (times, times * good))
            wanted = coverage * tied.sum(axis=1, keepdims=True)
            given = np.clip(divide(wanted - (np.cumsum(tied, axis=1) - tied), tied, 0.0), 0.0, 1.0)
            return np.asarray(((given * hits).sum(axis=1) / wanted[:, 0]).round(12))

        return formula

    worst, best = (_Rows(np.array([np.inf]), np.array([good]), np.ones(1)) for good in (False, True))
    return _of_order(at_coverage, _Rows.of(score, right), entities, (worst, best), bootstrap=bootstrap, seed=seed)


class _Rows(NamedTuple):
    """Queries in some order: score, never NaN; whether each is good; how often it counts, (n,) each."""

    score: np.ndarray
    good: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, score: np.ndarray, good: np.ndarray) -> _Rows:
        known = np.nan_to_num(np.asarray(score, dtype=np.float64), nan=-np.inf, neginf=-np.inf, posinf=np.inf)
        return cls(known, np.asarray(good, dtype=bool), np.ones(len(known)))


def _of_order(
    make: Callable[[_Rows], Formula],
    rows: _Rows,
    entities: np.ndarray,
    ends: tuple[_Rows, _Rows],
    *,
    bootstrap: int,
    seed: int,
) -> Figure:
    """The figure of what `make` makes of rows: from how often each counts, (samples, n) float64, to values (samples,).

    `ends` are the rows of an entity of one query, to be scaled to the mean size: none is worse, none is better.
    """
    if not len(entities):
        return NOTHING
    codes = codes_of(entities)
    size = int(codes.max()) + 1
    found = []
    for end in ends:
        formula = make(_Rows(*(np.concatenate(pair) for pair in zip(rows, end, strict=True))))
        weight = np.concatenate([rows.times, end.times * (len(codes) / size)])
        places = np.concatenate([codes, np.full(len(end.times), size)])
        values = []
        for drawn in _drawn(size + 1, bootstrap, seed, len(places)):
            cells = drawn + (size + 1) * np.arange(len(drawn))[:, None]
            times = np.bincount(cells.ravel(), minlength=(size + 1) * len(drawn)).reshape(len(drawn), size + 1)
            values.append(formula(times[:, places] * weight))
        found.append(np.concatenate(values))
    low, high = found
    return _figure(float(make(rows)(rows.times[None])[0]), low, high, len(codes))


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
    sums = entity_sums(truth, predicted)
    extremes = _whole_and_scattered(sums) if len(sums) else None
    return measure(sums, CLUSTERING, len(truth), bootstrap=bootstrap, seed=seed, extremes=extremes)


def _whole_and_scattered(sums: np.ndarray) -> Extremes:
    """Entities of mean size that no cluster holds two records of, among others' ones, and that one cluster is."""
    size, _, true, called = (float(value) for value in sums[:, :4].mean(axis=0))
    true, called = true or 1.0, called or 1.0  # where no pair was looked at, there is one
    return np.array([size, 0.0, true, called, 0.0, 0.0]), np.array([size, true, true, true, size, size])


def entity_sums(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """What each true entity adds to the totals of the clustering metrics.

    Returns:
        float64 (entities, 6): records; pairs in the same entity and cluster; pairs in the same entity; its half of
        the pairs in the same cluster; sum of B-cubed precision; sum of B-cubed recall (Bagga and Baldwin 1998).
    """
    if not len(truth):
        return np.zeros((0, 6))
    entity = codes_of(truth)
    cluster = codes_of(predicted)
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
