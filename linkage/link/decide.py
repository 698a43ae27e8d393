"""From probabilities to decisions."""

from __future__ import annotations

import numpy as np

from linkage.errors import InputError


def fit_threshold(probability: np.ndarray, is_correct: np.ndarray, is_matchable: np.ndarray) -> float:
    """The threshold with the highest no-match accuracy, by an exact scan of the sorted probabilities.

    A query is answered rightly when its best candidate is correct and passes (>=), or when it has no match in
    the index and does not pass (the measure of Arora et al., arXiv 2304.03464). Thresholds tried are the
    midpoints between neighbouring probabilities; among equally good ones the nearest to 0.5 is taken.

    Args:
        probability: of each query's best candidate (n,), 0..1; NaN: it has no candidate (never passes).
        is_correct: the best candidate is of the query's entity (n,).
        is_matchable: the query's entity is in the index (n,).

    Raises:
        InputError: there are no queries.
    """
    scores = np.asarray(probability, dtype=np.float64)
    if not len(scores):
        raise InputError("threshold: there are no labelled queries to fit it on")
    seen = ~np.isnan(scores)
    order = np.argsort(-scores[seen], kind="stable")
    ranked = scores[seen][order]
    gain = np.asarray(is_correct, bool)[seen][order].astype(int) - ~np.asarray(is_matchable, bool)[seen][order]
    right = np.concatenate([[0], np.cumsum(gain)])  # [i]: gained over "always no-match" when the first i pass
    above = np.concatenate([[max(1.0, np.nextafter(ranked.max(initial=0.0), 2.0))], ranked])
    below = np.concatenate([ranked, [0.0]])
    middle = (above + below) / 2
    cuts = np.where(middle > below, middle, above)  # two neighbouring floats have no middle
    possible = above > below
    possible[-1] = True
    chosen = cuts[possible & (right == right[possible].max())]
    return float(chosen[np.argmin(np.abs(chosen - 0.5))])
