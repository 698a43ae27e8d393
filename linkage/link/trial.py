"""A promise tried on resamples of the labels that it would be made of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from linkage.errors import InputError
from linkage.link.decide import bound_false_links


class ResampledPromise(NamedTuple):
    """How the promise of `bound_false_links` fares on resamples of the labels.

    Attributes:
        violations: share of resamples whose threshold has more false links than promised over all rows.
        unpromised: share of resamples in which nothing could be promised.
        kept: mean share of all right best candidates that are called a match.
        resamples, queries, entities: how many.
    """

    violations: float
    unpromised: float
    kept: float
    resamples: int
    queries: int
    entities: int


def resampled_violations(
    probability: np.ndarray,
    is_correct: np.ndarray,
    entity: np.ndarray,
    *,
    max_false_links: float,
    risk: float,
    seed: int,
    resamples: int = 500,
) -> ResampledPromise:
    """Try the promise: all rows are the population, samples of their entities are the labels.

    As many entities as there are are drawn with replacement; copies count as different ones.

    Args:
        probability, is_correct, entity, max_false_links, risk: as for `bound_false_links`.
        seed: of the drawing.
        resamples: how many.

    Raises:
        InputError: there are no queries.
    """
    scores, correct = np.asarray(probability, dtype=np.float64), np.asarray(is_correct, bool)
    if not len(scores):
        raise InputError("threshold: there are no labelled queries to resample")
    order = np.argsort(np.where(np.isnan(scores), np.inf, -scores), kind="stable")
    scores, correct = scores[order], correct[order]
    codes = pd.factorize(np.asarray(entity, dtype=object)[order], use_na_sentinel=False)[0]
    rows, sizes = np.argsort(codes, kind="stable"), np.bincount(codes)
    first = np.cumsum(sizes) - sizes
    rng = np.random.default_rng(seed)
    outcome = np.zeros((resamples, 3))
    for resample in outcome:
        drawn = rng.integers(len(sizes), size=len(sizes))
        copies = np.repeat(np.arange(len(drawn)), sizes[drawn])
        within = np.arange(len(copies)) - np.repeat(np.cumsum(sizes[drawn]) - sizes[drawn], sizes[drawn])
        sample = rows[first[drawn][copies] + within]
        found = bound_false_links(scores[sample], correct[sample], copies, max_false_links=max_false_links, risk=risk)
        passed = found.passed(scores)
        false = (passed & ~correct).sum() > max_false_links * passed.sum()
        resample[:] = false, found.value is None, (passed & correct).sum() / max(correct.sum(), 1)
    violations, unpromised, kept = (float(value) for value in outcome.mean(axis=0))
    return ResampledPromise(violations, unpromised, kept, resamples, len(scores), len(sizes))
