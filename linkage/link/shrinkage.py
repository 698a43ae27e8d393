"""A threshold that starts from the default and moves as far as labels are evidence for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from linkage.arrays import codes_of
from linkage.compare.fit import folds_of
from linkage.link.decide import scan

PULLS = (300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.0)
"""Pulls tried, the strongest first, in queries; 0 is the exact scan."""

MIN_OPPOSED = 10
"""The threshold goes down only with this many labelled queries that may show what a lower one costs: that have no match
(aim f1: whose best candidate is wrong); and up only with this many whose best candidate is right."""

_SURE = 1.28  # standard errors by which a pull must do better than to stay, on entities left out

Totals = np.ndarray
"""Sums over queries (..., 5): right and passed, passed, have no match and do not pass, have a match, all."""


class MovedThreshold(NamedTuple):
    """A threshold, and the pull under which it moved; None: it stayed where it started."""

    value: float
    pull: float | None


def move_threshold(
    probability: np.ndarray,
    is_correct: np.ndarray,
    is_matchable: np.ndarray,
    entity: np.ndarray,
    aim: Literal["accuracy", "f1"] = "accuracy",
    *,
    start: float,
) -> MovedThreshold:
    """Move a threshold from where it starts to where labels make it better, against a pull back.

    The threshold maximises queries answered rightly (aim f1: n times the F1 of links) less pull x (threshold -
    start)^2. That is as if `pull` queries more had been seen, spread evenly over the probabilities, whose best
    candidates are right as often as their probability says. How strong the pull is, entities left out say (in folds):
    the one whose thresholds answer them best is taken, if it beats staying by more than chance would (jackknife over
    entities); else the threshold stays. See MIN_OPPOSED for what else must be known.

    Args:
        probability, is_correct, is_matchable, aim: as for `decide.fit_threshold`.
        entity: the true entity of each query (n,); folds hold whole ones.
        start: the threshold to start from, 0..1.
    """
    scores = np.asarray(probability, dtype=np.float64)
    correct, matchable = np.asarray(is_correct, bool), np.asarray(is_matchable, bool)
    opposed = ~matchable if aim == "accuracy" else ~correct
    lowest, highest = _room(scores, correct, opposed, start)
    if not len(scores) or lowest == highest:
        return MovedThreshold(start, None)
    measure = _accuracy if aim == "accuracy" else _f1
    fold, code = folds_of(entity), codes_of(entity)

    def best(rows: np.ndarray, pull: float) -> float:
        found = _best(scores[rows], correct[rows], matchable[rows], measure, pull, start)
        return float(np.clip(found, lowest, highest))

    def answered(cut: np.ndarray) -> Totals:
        """Totals by entity where each query has a threshold of its own."""
        passed = np.nan_to_num(scores, nan=-1.0) >= cut
        parts = passed & correct, passed, ~matchable & ~passed, matchable, np.ones(len(passed))
        return np.stack([np.bincount(code, part) for part in parts], axis=-1)

    stayed = answered(np.full(len(scores), start))
    gains = []
    for pull in PULLS:
        cut = np.empty(len(scores))
        for number in np.unique(fold):
            cut[fold == number] = best(np.flatnonzero(fold != number), pull)
        gains.append(_gain(answered(cut), stayed, measure))
    chosen = int(np.argmax([gain for gain, _ in gains]))
    gain, error = gains[chosen]
    if gain <= _SURE * error or gain <= 0:
        return MovedThreshold(start, None)
    return MovedThreshold(best(np.arange(len(scores)), PULLS[chosen]), PULLS[chosen])


def _room(scores: np.ndarray, correct: np.ndarray, opposed: np.ndarray, start: float) -> tuple[float, float]:
    """How far down and up the threshold may go at all."""
    found = ~np.isnan(scores)
    down, up = (found & opposed).sum() >= MIN_OPPOSED, (found & correct).sum() >= MIN_OPPOSED
    return (0.0 if down else start), (np.inf if up else start)


def _best(
    scores: np.ndarray,
    correct: np.ndarray,
    matchable: np.ndarray,
    measure: Callable[[Totals], np.ndarray],
    pull: float,
    start: float,
) -> float:
    """The threshold with the highest worth less the pull; of equals the nearest to the start."""
    order, cuts, possible = scan(scores)
    passed = np.arange(len(order) + 1)
    right = np.concatenate([[0], np.cumsum(correct[order])])
    unmatched = np.concatenate([[0], np.cumsum(~matchable[order])])
    n = len(scores)
    kept = np.full((len(passed), 2), [matchable.sum(), n])
    totals = np.column_stack([right, passed, (~matchable).sum() - unmatched, kept])
    own = int((scores[order] >= start).sum())
    cuts[own] = start  # between two neighbouring probabilities every threshold is as good
    away = (np.minimum(cuts, 1.0) - start) ** 2
    worth = np.where(possible, n * measure(totals) - pull * away, -np.inf)
    ties = np.flatnonzero(worth >= worth.max() - 1e-9)
    return float(cuts[ties[np.argmin(away[ties])]])


def _gain(moved: Totals, stayed: Totals, measure: Callable[[Totals], np.ndarray]) -> tuple[float, float]:
    """By how much the measure is higher than where the threshold stays, and the jackknife error of that."""
    all_moved, all_stayed = moved.sum(axis=0), stayed.sum(axis=0)
    left = measure(all_moved - moved) - measure(all_stayed - stayed)  # without each entity
    error = np.sqrt((len(left) - 1) / len(left) * ((left - left.mean()) ** 2).sum())
    return float(measure(all_moved) - measure(all_stayed)), float(error)


def _accuracy(totals: Totals) -> np.ndarray:
    return np.asarray((totals[..., 0] + totals[..., 2]) / np.maximum(totals[..., 4], 1))


def _f1(totals: Totals) -> np.ndarray:
    both = totals[..., 1] + totals[..., 3]
    return np.asarray(np.where(both > 0, 2 * totals[..., 0] / np.maximum(both, 1), 1.0))
