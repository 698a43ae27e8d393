"""Is a match probability of 0.8 right eight times in ten?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from linkage.evaluate.metrics import Figure, divide, measure, share, sum_by
from linkage.evaluate.scores import Scores

BINS = 10


def calibration_error(probability: np.ndarray, right: np.ndarray, entities: np.ndarray, scores: Scores) -> Figure:
    """Expected calibration error of the best candidates' probabilities in ten bins of equal size.

    The mean distance of probability and share right over the bins, weighted by their size (Naeini et al. 2015).

    Args:
        probability: of each query's best candidate (n,), 0..1; NaN: it has none and is left out.
        right: bool (n,), the best candidate is of the query's entity.
        entities: true entity of each query (n,).
        scores: how the intervals are drawn.
    """
    kept, bins = _bins(probability)
    gaps = np.zeros((len(kept), BINS + 1))
    gaps[np.arange(len(kept)), bins] = probability[kept] - right[kept]
    gaps[:, BINS] = 1
    formulas = {"ece": lambda t: divide(np.abs(t[..., :BINS]).sum(-1), t[..., BINS], np.nan)}
    sums = sum_by(entities[kept], *gaps.T)
    return measure(sums, formulas, len(kept), bootstrap=scores.bootstrap, seed=scores.seed)["ece"]


def reliability(
    probability: np.ndarray, right: np.ndarray, entities: np.ndarray, split: np.ndarray, scores: Scores
) -> pd.DataFrame:
    """The bins of `calibration_error`, for a reliability diagram.

    Args:
        probability, right, entities: as for `calibration_error`.
        split: of each query, object (n,).
        scores: the splits to score and how the intervals are drawn.

    Returns:
        One row per split and bin: split, probability (mean of the bin), value (share right), low, high, n.
    """
    rows = []
    for name, chosen in scores.splits(split):
        places = np.flatnonzero(chosen)
        kept, bins = _bins(probability[places])
        for number in np.unique(bins):
            inside = places[kept[bins == number]]
            figure = share(right[inside], entities[inside], bootstrap=scores.bootstrap, seed=scores.seed)
            rows.append((name, float(probability[inside].mean()), *figure))
    return pd.DataFrame(rows, columns=["split", "probability", "value", "low", "high", "n"])


def _bins(probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that have a probability, lowest first, and the bin of each of them."""
    kept = np.flatnonzero(~np.isnan(probability))
    kept = kept[np.argsort(probability[kept], kind="stable")]
    return kept, np.arange(len(kept)) * BINS // max(len(kept), 1)
