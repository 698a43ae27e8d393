"""Fitting a scorer to labelled pairs: a conditional logit that starts from another scorer and is pulled towards it."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from linkage.arrays import codes_of
from linkage.compare.scorer import (
    FEATURES,
    FREE,
    LEVELS,
    PLACES,
    FieldWeight,
    Scorer,
    Weights,
    further,
    imputed,
    levels_of,
    log_total,
    shares,
    starts_of,
)
from linkage.errors import InputError

log = logging.getLogger(__name__)

MIN_POSITIVES = 30
"""Fewer true pairs than this do not move a scorer: its coefficients would follow the noise."""

STRENGTHS = (1000.0, 100.0, 10.0, 1.0)
"""Pulls tried, the strongest first; of equally good ones the strongest is taken."""

FOLDS = 5
_BUCKETS = 1 << 16


class LabelledPairs(NamedTuple):
    """Candidate pairs of which it is known whether they match.

    Attributes:
        alike: one row per pair, as for `Scorer.logit`.
        is_match: bool (n,).
        query: int (n,): which query a pair belongs to; the pairs of a query stand together.
        group: object (n,): entity of the query. Folds hold whole groups.
    """

    alike: pd.DataFrame
    is_match: np.ndarray
    query: np.ndarray
    group: np.ndarray

    def at(self, rows: np.ndarray) -> LabelledPairs:
        """Some of the pairs, by a mask."""
        return LabelledPairs(self.alike[rows], self.is_match[rows], self.query[rows], self.group[rows])

    @property
    def enough(self) -> bool:
        """Whether there are true pairs enough to learn from, and a false one."""
        return bool(self.is_match.sum() >= MIN_POSITIVES and not self.is_match.all())


class ScorerFit(NamedTuple):
    """What a fit gives.

    Attributes:
        scorer: fitted on all pairs.
        left_out: logits of the pairs (n,), each by a scorer that was fitted without the fold of its entity, moved by
            the calibration that is learned from them.
    """

    scorer: Scorer
    left_out: np.ndarray


def fit_scorer(pairs: LabelledPairs, start: Scorer, *, strength: float | None = None) -> ScorerFit:
    """Fit a scorer on labelled candidates: the coefficients under which `shares` are likeliest.

    This is a conditional logit (McFadden 1974) with "no match" among the choices; where every pair is a query of
    its own it is a logistic regression. A quadratic penalty pulls the coefficients towards those of `start`, by the
    strength that serves entities best that were left out (cross-validation by entity): a few labels correct the
    scorer, many replace it. The probabilities are calibrated (Platt 1999) on the entities left out.

    Args:
        pairs: what is known.
        start: the scorer to correct.
        strength: of the pull, in the unit of one query's evidence; None: the best of STRENGTHS.

    Raises:
        InputError: fewer than MIN_POSITIVES true pairs, no false one, or true pairs are not the more similar.
    """
    if not pairs.enough:
        raise InputError(
            f"scorer: {int(pairs.is_match.sum())} true and {int((~pairs.is_match).sum())} false labelled pairs; "
            f"at least {MIN_POSITIVES} true ones and one false one are needed"
        )
    strength = _chosen_strength(pairs, start) if strength is None else strength
    left_out = _left_out(pairs, start, strength)
    fitted = _fit_levels(pairs, start, strength)
    if max(weights.vector().max() for weights in fitted.levels.values()) <= 1e-3:
        raise InputError("scorer: the labelled pairs are no more similar than the others; check the labels")
    platt = _platt(left_out, pairs)
    n, positives = len(pairs.is_match), int(pairs.is_match.sum())
    scorer = replace(fitted.scaled(*platt), origin="fitted", strength=strength, pairs=n, positives=positives)
    return ScorerFit(scorer, platt.move(left_out, levels_of(pairs.alike)))


def refit(scorer: Scorer, pairs: LabelledPairs) -> ScorerFit | None:
    """`fit_scorer`; None where the labels are too few or teach nothing, so that `scorer` stands."""
    try:
        return fit_scorer(pairs, scorer)
    except InputError as error:
        log.info("%s: the %s scorer is used", error, scorer.origin)
        return None


def folds_of(group: np.ndarray) -> np.ndarray:
    """Fold of each pair; it hangs on nothing but the name of its entity."""
    names, place = np.array(sorted(set(map(str, group))), dtype=object), codes_of(group)
    order = np.argsort([zlib.crc32(name.encode("utf-8", "surrogatepass")) % _BUCKETS for name in names], kind="stable")
    fold = np.empty(len(names), dtype=np.int64)
    fold[order] = np.arange(len(names)) % FOLDS
    return np.asarray(fold[place])


def _chosen_strength(pairs: LabelledPairs, start: Scorer) -> float:
    """The pull under which the entities left out are likeliest, judged by the commonest kind of pair."""
    level = levels_of(pairs.alike)
    place = int(np.bincount(level[pairs.is_match]).argmax())
    kinds = tuple(LEVELS)[: place + 1]  # it stands beside those that have more in common
    part = pairs.at(level <= place)
    best = (-np.inf, STRENGTHS[0])
    starts = starts_of(part.query)
    for strength in STRENGTHS:
        logit = _left_out(part, start, strength, kinds)
        set_right = _platt(logit, part).move(logit, levels_of(part.alike))
        likelihood = float(set_right[part.is_match].sum() - log_total(set_right, starts).sum())
        if likelihood > best[0] + 1e-9:
            best = (likelihood, strength)
    return best[1]


def _left_out(pairs: LabelledPairs, start: Scorer, strength: float, kinds: Sequence[str] = tuple(LEVELS)) -> np.ndarray:
    fold = folds_of(pairs.group)
    logit = np.empty(len(pairs.query))
    for number in range(FOLDS):
        out = fold == number
        kept = pairs.at(~out)
        scorer = _fit_levels(kept, start, strength, kinds) if kept.enough else start
        if out.any():
            logit[out] = scorer.logit(pairs.alike[out])
    return logit


def _fit_levels(pairs: LabelledPairs, start: Scorer, strength: float, kinds: Sequence[str] = tuple(LEVELS)) -> Scorer:
    """Fit the kinds of pair on those that have its features at least; kinds with too few pairs stay as they were.

    Further comparisons are fitted with the first kind that can be, and held fixed for the others.
    """
    level = levels_of(pairs.alike)
    names = further(pairs.alike)
    fitted = start
    extras: dict[str, FieldWeight] | None = None
    for place, kind in enumerate(LEVELS):
        part = pairs.at(level <= place)
        if kind not in kinds or not part.enough:
            continue
        problem = _Problem(part, fitted, kind, names if extras is None else [], strength)
        weights, found = problem.solve()
        extras = found if extras is None else extras
        fitted = replace(fitted, extras=start.extras | extras, levels=fitted.levels | {kind: weights})
    return fitted


class _Problem:
    """One kind of pair: design matrix, bounds, and where the penalty pulls."""

    def __init__(self, pairs: LabelledPairs, start: Scorer, kind: str, extras: Sequence[str], strength: float) -> None:
        self.features, self.extras = LEVELS[kind], extras
        self.pairs = pairs
        begun = start.levels[kind]
        known = imputed(pairs.alike[list(FEATURES)].to_numpy(float))
        columns = [np.ones(len(known)), *known[:, [FEATURES.index(name) for name in self.features]].T]
        pull = [begun.intercept, *begun.vector(self.features)]
        bounds: list[tuple[float | None, float | None]] = [(None, None)]
        bounds += [(None if name in FREE else 0.0, None) for name in self.features]
        for name in extras:
            value = pairs.alike[name].to_numpy(float)
            one = start.extra(name)
            columns += [np.nan_to_num(value), (~np.isnan(value)).astype(float)]
            pull += [one.weight, one.shift]
            bounds += [(None if name in PLACES else 0.0, None), (None, None)]
        self.design, self.pull, self.bounds = np.column_stack(columns), np.array(pull), bounds
        self.offset = np.zeros(len(known))
        for name in [name for name in further(pairs.alike) if name not in extras]:
            one = start.extra(name)
            self.offset += np.nan_to_num(one.weight * pairs.alike[name].to_numpy(float) + one.shift)
        # In units of their spread, so that the pull is alike on all and the search goes straight.
        spread = self.design.std(axis=0)
        self.scale = np.maximum(spread, 0.01)
        self.scale[0] = 1.0
        self.penalty = np.full(len(self.scale), strength)
        self.penalty[0] = 1e-6  # the intercept is free: how many rivals there are differs from table to table
        for place in np.flatnonzero(spread[1:] < 1e-9) + 1:  # what is the same in all pairs tells nothing
            self.bounds[place] = (self.pull[place], self.pull[place])

    def solve(self) -> tuple[Weights, dict[str, FieldWeight]]:
        """The coefficients under which the truth is likeliest, less the penalty."""
        bounds = [
            tuple(None if side is None else side * scale for side in pair)
            for pair, scale in zip(self.bounds, self.scale, strict=True)
        ]
        best = _likeliest(
            self.design / self.scale, self.pairs, self.pull * self.scale, self.penalty, bounds, offset=self.offset
        )
        found = (best / self.scale).tolist()
        n = 1 + len(self.features)
        told = zip(self.extras, found[n::2], found[n + 1 :: 2], strict=True)
        extras = {name: FieldWeight(weight, shift) for name, weight, shift in told}
        return Weights(found[0], dict(zip(self.features, found[1:n], strict=True))), extras


def _likeliest(
    design: np.ndarray,
    pairs: LabelledPairs,
    pull: np.ndarray,
    penalty: np.ndarray,
    bounds: Sequence[tuple[float | None, ...]],
    offset: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Coefficients (m,) of a conditional logit: design (n, m) times them, and the offset, are the logits.

    They maximise log likelihood - penalty . (coefficients - pull)^2 / 2 within the bounds, from `pull` on.
    """
    from scipy.optimize import minimize

    starts, truth = starts_of(pairs.query), pairs.is_match

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logit, away = design @ weights + offset, weights - pull
        likelihood = logit[truth].sum() - log_total(logit, starts).sum()
        gradient = design.T @ (shares(logit, pairs.query) - truth) + penalty * away
        return float(penalty @ away**2 / 2 - likelihood) / len(starts), gradient / len(starts)

    begin = np.maximum(pull, [-np.inf if low is None else low for low, *_ in bounds])
    options = {"maxiter": 200, "ftol": 1e-10, "gtol": 1e-6}
    return np.asarray(minimize(loss, begin, jac=True, bounds=bounds, method="L-BFGS-B", options=options).x)


class _Platt(NamedTuple):
    """A stretch (> 0) of logits, and a shift for each of LEVELS (4,)."""

    stretch: float
    shifts: np.ndarray

    def move(self, logit: np.ndarray, level: np.ndarray) -> np.ndarray:
        """The logits (n,) of pairs of these levels, stretched and shifted."""
        return np.asarray(self.stretch * logit + self.shifts[level])


def _platt(logit: np.ndarray, pairs: LabelledPairs) -> _Platt:
    """The stretch and the shifts under which the truth is likeliest.

    Kinds of pair have shifts of their own because rivals of several kinds stand beside each other in one query; a
    kind of which there are few pairs is held near the others.
    """
    kinds = np.eye(len(LEVELS))[levels_of(pairs.alike)]
    design = np.column_stack([logit, np.ones(len(logit)), kinds])
    pull, penalty = np.eye(design.shape[1])[0], np.array([0.0, 0.0, *([1.0] * len(LEVELS))])
    found = _likeliest(design, pairs, pull, penalty, [(1e-3, None), *([(None, None)] * (len(penalty) - 1))])
    if found[0] <= 2e-3:
        raise InputError("scorer: the labelled pairs are no more similar than the others; check the labels")
    return _Platt(float(found[0]), found[1] + found[2:])
