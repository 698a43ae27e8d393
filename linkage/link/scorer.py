"""The match scorer: one calibrated probability from the embedding and the strings.

The log odds of a pair (its logit) are linear in the pooled cosine, the string similarities and the likelihood; other
sets of coefficients serve pairs that lack a picture or a text. A query's candidates share a probability: see `shares`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from linkage.errors import ArtefactError, InputError
from linkage.link.wording import MEASURES
from linkage.tables import replacing

log = logging.getLogger(__name__)

SCORER_FILE = "scorer.json"
MIN_POSITIVES = 30
"""Fewer true pairs than this do not move a scorer: its coefficients would follow the noise."""

_PENALTY = 1e-4  # on squared coefficients: weak, but a separable sample keeps finite ones


FEATURES = ("score", *MEASURES)
"""Similarities of a pair, by their columns in the links table: pooled cosine, whole strings, best part, lattice."""

_SEEN, _WRITTEN, _ALONE = 4, 3, 1  # features of a pair that has them all, that lacks a lattice, that lacks a text


@dataclass(frozen=True)
class Scorer:
    """Log odds that a pair of records is a match.

    Attributes:
        intercept, weights: logit = intercept + weights . similarities, in the order of FEATURES.
        intercept_written, weights_written: without the last, for pairs of which neither has a lattice.
        intercept_alone, score_alone: from the pooled cosine alone, for pairs that lack a text.
        origin: "default" (the constants below), "model" (came with a model) or "fitted" (on labelled rows).
        pairs, positives: how many candidate pairs, and true ones among them, it was fitted on.
    """

    intercept: float
    weights: tuple[float, float, float, float]
    intercept_written: float
    weights_written: tuple[float, float, float]
    intercept_alone: float
    score_alone: float
    origin: Literal["default", "model", "fitted"] = "default"
    pairs: int = 0
    positives: int = 0

    def logit(self, alike: np.ndarray) -> np.ndarray:
        """Log odds of a match, float64 (n,).

        Args:
            alike: similarities (n, 4) in the order of FEATURES; NaN where the pair has none.
        """
        known = np.nan_to_num(alike)
        logit = self.intercept + known @ np.asarray(self.weights)
        written = self.intercept_written + known[:, :_WRITTEN] @ np.asarray(self.weights_written)
        alone = self.intercept_alone + self.score_alone * known[:, 0]
        has = _features_of(alike)
        return np.asarray(np.where(has == _SEEN, logit, np.where(has == _WRITTEN, written, alone)))

    def probability(self, alike: np.ndarray) -> np.ndarray:
        """Match probability 0..1 of a pair without rivals; arguments as for `logit`."""
        return sigmoid(self.logit(alike))

    def distance(self, alike: np.ndarray) -> np.ndarray:
        """Fused distance 0..1: the logit, turned round and scaled.

        0 where all similarities are 1; 1 where all are 0 (or below). Pairs that lack some lie on the same scale,
        because their logit does.
        """
        return self._distance(self.logit(alike))

    def distance_at(self, probability: float) -> float:
        """The fused distance 0..1 at which the match probability is `probability` (between 0 and 1)."""
        return float(self._distance(np.log(probability / (1.0 - probability))))

    def _distance(self, logit: np.ndarray) -> np.ndarray:
        total = sum(self.weights)
        return np.clip((self.intercept + total - logit) / total, 0.0, 1.0)

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
            return cls.of_values(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ArtefactError(f"{path}: not a readable scorer ({' '.join(str(error).split())})") from None

    @classmethod
    def of_values(cls, values: dict[str, Any]) -> Scorer:
        """The scorer with these attributes, as they come from JSON.

        Raises:
            TypeError, KeyError: an attribute is missing, unknown or of a wrong type.
            ValueError: coefficients that no fit gives.
        """
        several = {name: tuple(map(float, values[name])) for name in ("weights", "weights_written")}
        scorer = cls(**values | several)
        slopes = [*scorer.weights, *scorer.weights_written, scorer.score_alone]
        offsets = [scorer.intercept, scorer.intercept_written, scorer.intercept_alone]
        sound = bool(np.isfinite([*offsets, *slopes]).all()) and min(slopes) >= 0 and sum(scorer.weights) > 0
        if not sound or (len(scorer.weights), len(scorer.weights_written)) != (_SEEN, _WRITTEN):
            raise ValueError("coefficients of similarities must be positive; fit the scorer again")
        return scorer

    @classmethod
    def of_model(cls, folder: Path) -> Scorer:
        """The scorer that came with a model folder, or the default one where it has none."""
        path = folder / SCORER_FILE
        return replace(cls.load(path), origin="model") if path.is_file() else DEFAULT_SCORER


DEFAULT_SCORER = Scorer(-12.0, (7.0, 5.0, 2.0, 3.0), -12.0, (7.0, 7.0, 3.0), -12.0, 16.0)
"""Used where neither the model nor the labels bring one: 0.7 in all similarities is a match at about 0.5."""


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """Logistic function that does not overflow."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(logit, dtype=np.float64)))


def shares(logit: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Match probability of every candidate of a query, given that one of them matches at most.

    exp(logit) over 1 + the sum over the query's candidates: a rival takes from a candidate's probability, and two
    that cannot be told apart have one half each at best. One candidate alone has sigmoid(logit).

    Args:
        logit: float64 (n,).
        query: int (n,): which query a pair belongs to; the pairs of a query stand together.

    Returns:
        float64 (n,), 0..1; at most 1 in sum over a query.
    """
    if not len(logit):
        return np.empty(0)
    starts = _starts(query)
    total = np.repeat(_log_total(logit, starts), np.diff(starts, append=len(logit)))
    return np.asarray(np.exp(logit - total))


def _starts(query: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.diff(query, prepend=query[0] - 1))


def _log_total(logit: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """log(1 + sum of exp(logit)) of every query, without overflow."""
    highest = np.maximum(np.maximum.reduceat(logit, starts), 0.0)
    odds = np.exp(logit - np.repeat(highest, np.diff(starts, append=len(logit))))
    return np.asarray(highest + np.log(np.exp(-highest) + np.add.reduceat(odds, starts)))


def fit_scorer(alike: np.ndarray, is_match: np.ndarray, query: np.ndarray) -> Scorer:
    """Fit a scorer on labelled candidates: the coefficients under which `shares` are likeliest.

    This is a conditional logit (McFadden 1974) with "no match" among the choices; where every pair is a query of
    its own it is a logistic regression. Coefficients of similarities are not negative.

    Args:
        alike: similarities (n, 4) as for `Scorer.logit`.
        is_match: bool (n,); at most one per query.
        query: int (n,): which query a pair belongs to; the pairs of a query stand together.

    Raises:
        InputError: fewer than MIN_POSITIVES true pairs, no false one, or true pairs are not the more similar.
    """
    truth = np.asarray(is_match, dtype=bool)
    if not _enough(truth):
        raise InputError(
            f"scorer: {int(truth.sum())} true and {int((~truth).sum())} false labelled pairs; "
            f"at least {MIN_POSITIVES} true ones and one false one are needed"
        )
    has = _features_of(alike)

    def fitted(features: int) -> list[float]:
        """Intercept and weights from the pairs that have these features at least, or from all where they are few."""
        rows = has >= features
        if not _enough(truth[rows]):
            return []
        return [float(value) for value in _conditional_logit(alike[rows, :features], truth[rows], query[rows])]

    alone = fitted(_ALONE)
    written = fitted(_WRITTEN) or [*alone, 0.0, 0.0]  # hardly any pair has texts: nothing is known of what they say
    seen = fitted(_SEEN) or [*written, 0.0]
    return Scorer(
        intercept=seen[0],
        weights=(seen[1], seen[2], seen[3], seen[4]),
        intercept_written=written[0],
        weights_written=(written[1], written[2], written[3]),
        intercept_alone=alone[0],
        score_alone=alone[1],
        origin="fitted",
        pairs=len(truth),
        positives=int(truth.sum()),
    )


def calibrate(scorer: Scorer, alike: np.ndarray, is_match: np.ndarray, query: np.ndarray) -> Scorer:
    """The same scorer with its logit stretched and shifted until `shares` are likeliest (Platt 1999, as `fit_scorer`).

    What counts how much stays as it is: from labelled pairs of another kind than those to come one can learn how sure
    to be, but not what to look at.

    Args:
        scorer: its coefficients are scaled.
        alike, is_match, query: as for `fit_scorer`.

    Raises:
        InputError: as `fit_scorer`.
    """
    truth = np.asarray(is_match, dtype=bool)
    if not _enough(truth):
        raise InputError(f"scorer: {int(truth.sum())} true labelled pairs; at least {MIN_POSITIVES} are needed")
    shift, stretch = (float(value) for value in _conditional_logit(scorer.logit(alike)[:, None], truth, query))
    weights, written = (np.multiply(part, stretch) for part in (scorer.weights, scorer.weights_written))
    return Scorer(
        intercept=shift + stretch * scorer.intercept,
        weights=(float(weights[0]), float(weights[1]), float(weights[2]), float(weights[3])),
        intercept_written=shift + stretch * scorer.intercept_written,
        weights_written=(float(written[0]), float(written[1]), float(written[2])),
        intercept_alone=shift + stretch * scorer.intercept_alone,
        score_alone=stretch * scorer.score_alone,
        origin="fitted",
        pairs=len(truth),
        positives=int(truth.sum()),
    )


def _features_of(alike: np.ndarray) -> np.ndarray:
    """How many of the features each pair has: 4, 3 (no lattice) or 1 (no text), int (n,)."""
    written = ~np.isnan(alike[:, 1:_WRITTEN]).any(axis=1)
    return np.where(written, np.where(np.isnan(alike[:, _WRITTEN]), _WRITTEN, _SEEN), _ALONE)


def refit(scorer: Scorer, alike: np.ndarray, is_match: np.ndarray, query: np.ndarray) -> Scorer:
    """`fit_scorer`, or `scorer` unchanged where the labels are too few or teach nothing."""
    try:
        return fit_scorer(alike, is_match, query)
    except InputError as error:
        log.info("%s: the %s scorer is used", error, scorer.origin)
        return scorer


def _enough(truth: np.ndarray) -> bool:
    return bool(truth.sum() >= MIN_POSITIVES and not truth.all())


def _conditional_logit(features: np.ndarray, truth: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Intercept, then one coefficient >= 0 per feature; at least one of them is positive."""
    from scipy.optimize import minimize

    design = np.column_stack([np.ones(len(features)), features])
    starts = _starts(query)
    penalty = np.array([0.0, *([_PENALTY] * features.shape[1])])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logit = design @ weights
        likelihood = logit[truth].sum() - _log_total(logit, starts).sum()
        gradient = design.T @ (shares(logit, query) - truth) / len(starts) + penalty * weights
        return float(-likelihood / len(starts) + penalty @ weights**2 / 2), gradient

    start = np.array([-5.0, *([5.0] * features.shape[1])])
    bounds = [(None, None), *([(0.0, None)] * features.shape[1])]
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x
    if found[1:].max() <= 1e-3:
        raise InputError("scorer: the labelled pairs are no more similar than the others; check the labels")
    return np.asarray(found)
