"""The match scorer: one calibrated probability from the embedding and the string, and the threshold on it.

A pair of records is a match with probability sigmoid(logit), the logit being linear in the pooled cosine and
in the string similarity (logistic regression). A second set of coefficients serves pairs that lack a text.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from linkage.errors import ArtefactError, InputError
from linkage.tables import replacing

SCORER_FILE = "scorer.json"
MIN_POSITIVES = 30
"""Fewer true pairs than this do not move a scorer: two coefficients would follow the noise."""

_REGULARISATION = (
    100.0  # C of the logistic regression: weak, but a separable sample keeps finite coefficients
)


@dataclass(frozen=True)
class Scorer:
    """Match probability of a pair of records.

    Attributes:
        intercept, score, string: logit = intercept + score * pooled cosine + string * string similarity.
        intercept_alone, score_alone: logit where the string similarity is missing (NaN).
        origin: "default" (the constants below), "model" (came with a model) or "fitted" (on labelled rows).
        pairs, positives: how many candidate pairs, and true ones among them, it was fitted on.
    """

    intercept: float
    score: float
    string: float
    intercept_alone: float
    score_alone: float
    origin: Literal["default", "model", "fitted"] = "default"
    pairs: int = 0
    positives: int = 0

    def logit(self, score: np.ndarray, string_score: np.ndarray) -> np.ndarray:
        """Log odds of a match, float64, same shape as the inputs.

        Args:
            score: pooled cosine, -1..1.
            string_score: normalised string similarity 0..1, NaN where a text is missing.
        """
        cosine = np.asarray(score, dtype=np.float64)
        string = np.asarray(string_score, dtype=np.float64)
        both = self.intercept + self.score * cosine + self.string * np.nan_to_num(string)
        return np.where(np.isnan(string), self.intercept_alone + self.score_alone * cosine, both)

    def probability(self, score: np.ndarray, string_score: np.ndarray) -> np.ndarray:
        """Match probability 0..1; arguments as for `logit`."""
        return sigmoid(self.logit(score, string_score))

    def distance(self, score: np.ndarray, string_score: np.ndarray) -> np.ndarray:
        """Fused distance 0..1: the logit, turned round and scaled.

        0 where both similarities are 1; 1 where both are 0 (or below). Pairs without a text lie on the same
        scale, because their logit does.
        """
        best = self.intercept + self.score + self.string
        return np.clip((best - self.logit(score, string_score)) / (self.score + self.string), 0.0, 1.0)

    def distance_at(self, probability: float) -> float:
        """The fused distance 0..1 at which the match probability is `probability` (between 0 and 1)."""
        logit = np.log(probability / (1.0 - probability))
        best = self.intercept + self.score + self.string
        return float(np.clip((best - logit) / (self.score + self.string), 0.0, 1.0))

    def save(self, path: Path) -> None:
        """Write as JSON, atomically."""
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Scorer:
        """Read a scorer that `save` wrote.

        Raises:
            ArtefactError: missing, not a scorer, or coefficients that no fit gives.
        """
        try:
            scorer = cls(**json.loads(path.read_text(encoding="utf-8")))
            numbers = [
                scorer.intercept,
                scorer.score,
                scorer.string,
                scorer.intercept_alone,
                scorer.score_alone,
            ]
            sound = (
                bool(np.isfinite(numbers).all()) and min(scorer.score, scorer.string, scorer.score_alone) >= 0
            )
        except (OSError, ValueError, TypeError) as error:
            raise ArtefactError(f"{path}: not a readable scorer ({' '.join(str(error).split())})") from None
        if not sound or scorer.score + scorer.string <= 0:
            raise ArtefactError(
                f"{path}: coefficients of similarities must be positive; fit the scorer again"
            )
        return scorer

    @classmethod
    def of_model(cls, folder: Path) -> Scorer:
        """The scorer that came with a model folder, or the default one where it has none."""
        path = folder / SCORER_FILE
        return replace(cls.load(path), origin="model") if path.is_file() else DEFAULT_SCORER


DEFAULT_SCORER = Scorer(-13.0, 7.0, 9.0, -12.0, 15.0)
"""Used where neither the model nor the labels bring one: 0.9 in both similarities is a match at 0.80."""


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """Logistic function that does not overflow."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(logit, dtype=np.float64)))


def fit_scorer(score: np.ndarray, string_score: np.ndarray, is_match: np.ndarray) -> Scorer:
    """Fit a scorer on labelled candidate pairs by logistic regression.

    Every pair counts once, so that the probability is that of a pair among candidates and needs no prior
    correction. A similarity whose coefficient comes out negative is noise on this sample: it is left out and
    the other is fitted alone.

    Args:
        score: pooled cosines (n,).
        string_score: string similarities (n,), NaN where a text is missing.
        is_match: bool (n,).

    Raises:
        InputError: fewer than MIN_POSITIVES true pairs, or no false one.
    """
    cosine, string = np.asarray(score, dtype=np.float64), np.asarray(string_score, dtype=np.float64)
    truth = np.asarray(is_match, dtype=bool)
    if not _enough(truth):
        raise InputError(
            f"scorer: {int(truth.sum())} true and {int((~truth).sum())} false labelled pairs; "
            f"at least {MIN_POSITIVES} true ones and one false one are needed"
        )
    has_text = ~np.isnan(string)
    alone = ~has_text if _enough(truth[~has_text]) else np.ones(len(truth), dtype=bool)
    intercept_alone, weights_alone = _logistic(cosine[alone, None], truth[alone])
    if _enough(truth[has_text]):
        both = np.column_stack([cosine, string])[has_text]
        intercept, weights = _logistic(both, truth[has_text])
    else:  # hardly any pair has texts: nothing is known of what they say
        intercept, weights = intercept_alone, np.array([weights_alone[0], 0.0])
    return Scorer(
        intercept=intercept,
        score=float(weights[0]),
        string=float(weights[1]),
        intercept_alone=intercept_alone,
        score_alone=float(weights_alone[0]),
        origin="fitted",
        pairs=len(truth),
        positives=int(truth.sum()),
    )


def _enough(truth: np.ndarray) -> bool:
    return bool(truth.sum() >= MIN_POSITIVES and not truth.all())


def _logistic(features: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
    """Intercept and non-negative coefficients; at least one of them is positive."""
    from sklearn.linear_model import LogisticRegression

    weights = np.zeros(features.shape[1])
    used = np.arange(features.shape[1])
    while len(used):
        model = LogisticRegression(C=_REGULARISATION, max_iter=1000).fit(features[:, used], truth)
        found = model.coef_[0]
        if (found >= 0).all() and found.max() > 1e-6:
            weights[used] = found
            return float(model.intercept_[0]), weights
        used = np.delete(used, int(found.argmin()))
    raise InputError("scorer: the labelled pairs are no more similar than the others; check the labels")


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
    gain = (
        np.asarray(is_correct, bool)[seen][order].astype(int) - ~np.asarray(is_matchable, bool)[seen][order]
    )
    right = np.concatenate([[0], np.cumsum(gain)])  # [i]: gained over "always no-match" when the first i pass
    above = np.concatenate([[max(1.0, np.nextafter(ranked.max(initial=0.0), 2.0))], ranked])
    below = np.concatenate([ranked, [0.0]])
    middle = (above + below) / 2
    cuts = np.where(middle > below, middle, above)  # two neighbouring floats have no middle
    possible = above > below
    possible[-1] = True
    chosen = cuts[possible & (right == right[possible].max())]
    return float(chosen[np.argmin(np.abs(chosen - 0.5))])
