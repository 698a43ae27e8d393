"""The match scorer: the log odds that two records are of one entity, from all that is alike in them.

Log odds (the logit) are linear in the similarities. Pairs that lack a text, or of which neither has a crop that was
read, have coefficients of their own. A query's candidates share a probability: see `shares`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from linkage.compare.wording import LIKELIHOODS, MEASURES
from linkage.errors import ArtefactError
from linkage.tables import replacing

SCORER_FILE = "scorer.json"
FORMAT = 3
Origin = Literal["default", "model", "fitted"]
_MOST = 1e6  # no fit comes near it; sums of greater coefficients could overflow

COSINES = ("score", "image_cosine", "text_cosine", "cross_cosine")
"""Cosines of pooled embeddings, of the pictures, of the texts, and of picture with text (the mean of both ways).

Where a pair lacks one of the last three the pooled one stands in for it."""

FEATURES = (*COSINES, *MEASURES)
"""What the scorer weighs, by the columns of the links table."""

FREE = ("confidence", "length")
"""Features that may speak for or against a match; a higher value of any other never lowers the logit."""

_SEEN = tuple(name for name in FEATURES if name != "log_likelihood")
_WRITTEN = tuple(name for name in FEATURES if name not in LIKELIHOODS)
LEVELS: dict[str, tuple[str, ...]] = {"read": FEATURES, "seen": _SEEN, "written": _WRITTEN, "alone": COSINES}
"""Features that pairs of each kind have: of those where a crop's reading stands for a text that was not given; of those
with both texts, and a lattice; of those without a lattice; of those that lack a text."""


@dataclass(frozen=True)
class Weights:
    """Coefficients of one kind of pair: logit = intercept + sum of weight x feature.

    Attributes:
        intercept: log odds where every feature is 0.
        weights: by feature; those that are missing are 0.
    """

    intercept: float
    weights: dict[str, float]

    def vector(self, names: Sequence[str] = FEATURES) -> np.ndarray:
        """The weights in the order of `names`, float64."""
        return np.array([self.weights.get(name, 0.0) for name in names])

    def times(self, stretch: float, shift: float) -> Weights:
        """The weights of logit' = shift + stretch x logit."""
        return Weights(
            shift + stretch * self.intercept, {name: stretch * weight for name, weight in self.weights.items()}
        )


@dataclass(frozen=True)
class FieldWeight:
    """A further comparison, of a column that the user named: weight x similarity + shift, 0 where it is missing.

    Attributes:
        weight: log odds between "nothing in common" and "the same".
        shift: log odds where nothing is alike; what it says that both records have a value is in it, too.
    """

    weight: float
    shift: float


DEFAULT_EXTRA = FieldWeight(4.0, -2.0)
"""Of a field of which no label told how much it counts: e^2 to 1 for a match where equal, as much against it."""


@dataclass(frozen=True)
class Scorer:
    """Log odds that a pair of records is a match.

    Attributes:
        levels: coefficients by kind of pair, see LEVELS.
        extras: by name of the comparison (see `fields.comparisons`); others count as DEFAULT_EXTRA, and evidence of
            place (same page, same source) as nothing.
        origin: "default" (the constants below), "model" (came with a model) or "fitted" (on labelled rows).
        pairs, positives: how many candidate pairs, and true ones among them, it was fitted on.
        strength: of the pull towards the scorer that the fit began with (see `fit.fit_scorer`); None: not fitted.
    """

    levels: dict[str, Weights]
    extras: dict[str, FieldWeight] = field(default_factory=dict)
    origin: Origin = "default"
    pairs: int = 0
    positives: int = 0
    strength: float | None = None

    def contributions(self, alike: pd.DataFrame) -> pd.DataFrame:
        """What speaks for a match of each pair: columns `intercept` and those of `alike`; a row's sum is its logit.

        Args:
            alike: one row per pair, columns FEATURES and those of further comparisons; NaN where it has none.
        """
        known = imputed(alike[list(FEATURES)].to_numpy(float))
        level = levels_of(alike)
        rows = [self.levels[name] for name in LEVELS]
        weights = np.array([row.vector() for row in rows])[level]
        parts = pd.DataFrame(known * weights, columns=list(FEATURES), index=alike.index)
        parts.insert(0, "intercept", np.array([row.intercept for row in rows])[level])
        for name in further(alike):
            extra = self.extra(name)
            parts[name] = (extra.weight * alike[name].astype(float) + extra.shift).fillna(0.0)
        return parts

    def extra(self, name: str) -> FieldWeight:
        """The coefficients of a further comparison."""
        return self.extras.get(name, FieldWeight(0.0, 0.0) if name in PLACES else DEFAULT_EXTRA)

    def logit(self, alike: pd.DataFrame) -> np.ndarray:
        """Log odds of a match, float64 (n,); arguments as for `contributions`."""
        known = imputed(alike[list(FEATURES)].to_numpy(float))
        level = levels_of(alike)
        logit = np.empty(len(alike))
        for place, name in enumerate(LEVELS):
            rows = level == place
            logit[rows] = self.levels[name].intercept + known[rows] @ self.levels[name].vector()
        for name in further(alike):
            extra = self.extra(name)
            logit += np.nan_to_num(extra.weight * alike[name].to_numpy(float) + extra.shift)
        return logit

    def probability(self, alike: pd.DataFrame) -> np.ndarray:
        """Match probability 0..1 of a pair without rivals; arguments as for `contributions`."""
        return sigmoid(self.logit(alike))

    def distance(self, alike: pd.DataFrame) -> np.ndarray:
        """Fused distance 0..1: the logit, turned round and scaled.

        0 where nothing could be more alike; 1 where all similarities are 0 (or below). Pairs that lack some lie on the
        same scale, because their logit does.
        """
        return self._distance(self.logit(alike))

    def distance_at(self, probability: float) -> float:
        """The fused distance 0..1 at which the match probability is `probability` (between 0 and 1)."""
        return float(self._distance(np.log(probability / (1.0 - probability))))

    def _distance(self, logit: np.ndarray) -> np.ndarray:
        seen = self.levels["seen"]
        span = float(seen.vector().clip(min=0).sum())
        return np.clip((seen.intercept + span - logit) / span, 0.0, 1.0)

    def scaled(self, stretch: float, shifts: np.ndarray) -> Scorer:
        """The scorer whose logit is shift + stretch x this one's, with a shift for each of LEVELS (4,)."""
        extras = {name: FieldWeight(stretch * one.weight, stretch * one.shift) for name, one in self.extras.items()}
        moved = zip(LEVELS, shifts.tolist(), strict=True)
        levels = {name: self.levels[name].times(stretch, shift) for name, shift in moved}
        return replace(self, extras=extras, levels=levels)

    def save(self, path: Path) -> None:
        """Write as JSON, atomically."""
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(self.as_dict(), indent=1) + "\n", encoding="utf-8")

    def as_dict(self) -> dict[str, Any]:
        """JSON-like values that `of_values` reads back."""
        return {"format": FORMAT} | asdict(self)

    @classmethod
    def load(cls, path: Path) -> Scorer:
        """Read a scorer that `save` wrote.

        Raises:
            ArtefactError: missing, not a scorer, or coefficients that no fit gives.
        """
        try:
            return cls.of_values(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ArtefactError(f"{path}: not a readable scorer ({' '.join(str(error).split())})") from None

    @classmethod
    def of_values(cls, values: dict[str, Any]) -> Scorer:
        """The scorer with these attributes, as they come from JSON.

        Raises:
            TypeError, KeyError, AttributeError: an attribute is missing, unknown or of a wrong type.
            ValueError: another format, or values that no fit gives.
        """
        values = dict(values)
        if values.pop("format", None) != FORMAT:
            raise ValueError(f"not of format {FORMAT}; make the model or the links again")
        levels = values.pop("levels")
        levels = {name: _weights(levels[name]) for name in LEVELS}
        extras = {str(name): FieldWeight(**one) for name, one in values.pop("extras").items()}
        scorer = cls(levels, extras, **values)
        if not all(_is_number(value) for one in extras.values() for value in (one.weight, one.shift)):
            raise ValueError("coefficients of further comparisons are not readable; fit the scorer again")
        if scorer.levels["seen"].vector().max() <= 0:
            raise ValueError("some similarity must count; fit the scorer again")
        counts = all(type(count) is int and count >= 0 for count in (scorer.pairs, scorer.positives))
        strength = scorer.strength is None or (_is_number(scorer.strength) and scorer.strength >= 0)
        if scorer.origin not in get_args(Origin) or not counts or not strength:
            raise ValueError("it does not say where it comes from; fit the scorer again")
        return scorer

    @classmethod
    def of_model(cls, folder: Path) -> Scorer:
        """The scorer that came with a model folder, or the default one where it has none."""
        path = folder / SCORER_FILE
        return replace(cls.load(path), origin="model") if path.is_file() else DEFAULT_SCORER


def _weights(values: Mapping[str, Any]) -> Weights:
    given = values["weights"]
    wrong = [name for name, weight in given.items() if name not in FEATURES or not _is_number(weight)]
    if wrong or not _is_number(values["intercept"]):
        raise ValueError(f"coefficients of {', '.join(sorted(wrong)) or 'a kind of pair'} are not readable")
    known = {name: float(weight) for name, weight in given.items()}
    part = Weights(float(values["intercept"]), known)
    if any(weight < 0 for name, weight in known.items() if name not in FREE):
        raise ValueError("coefficients of similarities must not be negative; fit the scorer again")
    return part


def _is_number(value: Any) -> bool:
    """Whether a value from JSON is a number that a fit could give."""
    return type(value) in (int, float) and abs(value) <= _MOST


PLACES = ("same_page", "same_source")
"""Comparisons of where two records stand: evidence only where labels have shown what it is worth."""

_STRINGS = {"image_cosine": 2.4, "string_score": 1.2, "partial_score": 2.4, "rarity_score": 2.4}
DEFAULT_SCORER = Scorer(
    {
        "read": Weights(-31.0, {"score": 6.0, "likelihood": 10.0, "log_likelihood": 20.0} | _STRINGS),
        "seen": Weights(-13.5, {"score": 6.0, "likelihood": 4.8} | _STRINGS),
        "written": Weights(-11.5, {"score": 7.0, "string_score": 5.0, "partial_score": 1.0, "rarity_score": 3.0}),
        "alone": Weights(-12.0, {"score": 12.0, "image_cosine": 4.0}),
    }
)
"""Used where neither the model nor the labels bring one: a match at about 0.5 where all similarities are 0.7."""


def further(alike: pd.DataFrame) -> list[str]:
    """Names of the comparisons beyond FEATURES."""
    return [name for name in alike.columns if name not in FEATURES]


def imputed(known: np.ndarray) -> np.ndarray:
    """Features (n, F) without NaN: a missing cosine is the pooled one, anything else that is missing 0."""
    values = known.copy()
    cosines = values[:, : len(COSINES)]
    np.copyto(cosines, cosines[:, :1], where=np.isnan(cosines))
    return np.asarray(np.nan_to_num(values))


def levels_of(alike: pd.DataFrame) -> np.ndarray:
    """Which of LEVELS each pair is of, int (n,)."""
    written = alike["string_score"].notna().to_numpy()
    seen, read = (alike[name].notna().to_numpy() for name in LIKELIHOODS)
    return np.asarray(np.where(~written, 3, np.where(read, 0, np.where(seen, 1, 2))))


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """Logistic function that does not overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -np.asarray(logit, dtype=np.float64))))


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
    starts = starts_of(query)
    total = np.repeat(log_total(logit, starts), np.diff(starts, append=len(logit)))
    return np.asarray(np.exp(logit - total))


def starts_of(query: np.ndarray) -> np.ndarray:
    """Where each query's pairs begin, int (queries,)."""
    return np.flatnonzero(np.diff(query, prepend=query[0] - 1))


def log_total(logit: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """log(1 + sum of exp(logit)) of every query, without overflow."""
    highest = np.maximum(np.maximum.reduceat(logit, starts), 0.0)
    odds = np.exp(logit - np.repeat(highest, np.diff(starts, append=len(logit))))
    return np.asarray(highest + np.log(np.exp(-highest) + np.add.reduceat(odds, starts)))
