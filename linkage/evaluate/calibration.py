"""Is a match probability of 0.8 right eight times in ten?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from linkage.evaluate.ablation import equal_bins
from linkage.evaluate.answers import join_notes
from linkage.evaluate.intervals import CONFIDENCE
from linkage.evaluate.metrics import NOTHING, Figure, ratio, resampled, share, sum_by
from linkage.evaluate.scores import SYSTEM, Scores

ERROR, PERFECT, BRIER = "calibration error", "calibration error if calibrated", "Brier score"

DRAWS = 200
"""Of answers that would be right just as often as their probabilities say."""

_TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
_EXPECTED_NOTE = "what chance alone makes of probabilities that are right; the interval holds 95 % of it"


def add_calibration(
    scores: Scores, split: str, probability: np.ndarray, right: np.ndarray, entities: np.ndarray, note: str
) -> None:
    """Add the calibration error of the best candidates' probabilities, what it would be by chance, the Brier score.

    Args:
        scores: takes the figures.
        split: that the queries are of.
        probability: of each query's best candidate (n,), 0..1; NaN: it has none and is left out.
        right: bool (n,), the best candidate is of the query's entity.
        entities: true entity of each query (n,).
        note: of every figure.
    """
    kept = ~np.isnan(probability)
    probability, right, entities = probability[kept], right[kept], entities[kept]
    bootstrap, seed = scores.bootstrap, scores.seed
    error = calibration_error(probability, right, entities, bootstrap=bootstrap, seed=seed)
    scores.add(ERROR, SYSTEM, split, error, note)
    scores.add(PERFECT, SYSTEM, split, expected_error(probability, seed), join_notes(note, _EXPECTED_NOTE))
    squares = (probability - right) ** 2
    brier = ratio(squares, np.ones(len(squares)), entities, bootstrap=bootstrap, seed=seed)
    scores.add(BRIER, SYSTEM, split, brier, note)


def calibration_error(
    probability: np.ndarray, right: np.ndarray, entities: np.ndarray, *, bootstrap: int, seed: int
) -> Figure:
    """Expected calibration error in bins of equal size, ten at the most.

    The mean distance of probability and share right over the bins, weighted by their size (Naeini et al. 2015).
    Equal probabilities share a bin, so that the order of the rows does not matter. Resamples are further off than the
    sample, as that is further off than what it was drawn from; the interval is theirs, moved by their mean excess, and
    its upper end leaves room for one entity more whose surest answers are wrong.

    Args:
        probability: (n,), 0..1.
        right: bool (n,).
        entities: unit of sampling (n,).
        bootstrap, seed: of the resamples.
    """
    if not len(probability):
        return NOTHING
    code = _bin_of(probability)
    gaps = np.zeros((len(probability), code.max() + 1))
    gaps[np.arange(len(code)), code] = probability - right
    sums = np.column_stack([sum_by(entities, *gaps.T), sum_by(entities, np.ones(len(code)))])

    def error(totals: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(totals[..., :-1]).sum(-1) / totals[..., -1])

    value, found = float(error(sums.sum(axis=0))), error(resampled(sums, bootstrap, seed))
    wrong = np.append(np.zeros(gaps.shape[1]), np.full(2, sums[:, -1].mean()))  # an entity more, all of it surely wrong
    worse = error(resampled(np.vstack([np.insert(sums, -1, 0.0, axis=1), wrong]), bootstrap, seed))
    moved = value - found.mean()
    low, high = np.clip([np.quantile(found, _TAILS[0]) + moved, np.quantile(worse, _TAILS[1]) + moved], 0.0, 1.0)
    return Figure(value, min(value, float(low)), max(value, float(high)), len(code))


def expected_error(probability: np.ndarray, seed: int) -> Figure:
    """The calibration error of answers that are right with the probabilities given, each by itself.

    Args:
        probability: (n,), 0..1.
        seed: of DRAWS such answers.

    Returns:
        Their mean, and the middle 95 % of them.
    """
    if not len(probability):
        return NOTHING
    rng, code = np.random.default_rng(seed), _bin_of(probability)
    found = np.empty(DRAWS)
    for draw in range(DRAWS):
        gaps = probability - (rng.random(len(code)) < probability)
        found[draw] = np.abs(np.bincount(code, gaps)).sum() / len(code)
    low, high = np.quantile(found, _TAILS)
    return Figure(float(found.mean()), float(low), float(high), len(code))


def reliability(
    probability: np.ndarray, right: np.ndarray, entities: np.ndarray, split: np.ndarray, scores: Scores
) -> pd.DataFrame:
    """The bins of `calibration_error`, for a reliability diagram.

    Args:
        probability, right, entities: as for `add_calibration`.
        split: of each query, object (n,).
        scores: the splits to score.

    Returns:
        One row per split and bin: split, probability (mean of the bin), value (share right), low, high, n.
    """
    rows = []
    for name, chosen in scores.splits(split):
        places = np.flatnonzero(chosen & ~np.isnan(probability))
        for inside in (places[some] for some in equal_bins(probability[places], 1)):
            rows.append((name, float(probability[inside].mean()), *share(right[inside], entities[inside])))
    return pd.DataFrame(rows, columns=["split", "probability", "value", "low", "high", "n"])


def _bin_of(probability: np.ndarray) -> np.ndarray:
    """The bin of each row, int64 (n,), lowest first."""
    code = np.empty(len(probability), dtype=np.int64)
    for number, rows in enumerate(equal_bins(probability, 1)):
        code[rows] = number
    return code
