"""The 95 % interval of a share whose records come in entities, right or wrong together to an unknown degree."""

from __future__ import annotations

import numpy as np

CONFIDENCE = 0.95

_DOUBT = 10.0
"""As many errors (or right answers, if they are fewer) must be seen until what they say of the entities counts as much
as the worst case; chosen by simulation between 0 and 20: less covers too seldom where entities are of unequal size."""


def share_interval(hits: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """The Clopper-Pearson interval at the effective number of records.

    At n records in entities of unequal size and full agreement within them, a share is worth Kish's
    n^2 / sum(size^2) independent ones (Kish 1965); with no agreement, n. How much they agree shows in the variance
    between entities against the binomial one, if there are errors enough to see it: with e of them, the variance is
    e parts of the estimate and _DOUBT parts of the worst case. Errors are scaled to the effective number alike (Korn
    and Graubard 1998, Survey Methodology 24).

    Args:
        hits: right records of each entity (g,).
        sizes: its records, 1 or more, (g,).

    Returns:
        Lower and upper end, 0..1; the share lies between them.
    """
    n = float(sizes.sum())
    value = float(hits.sum()) / n
    return binomial_interval(value, effective(hits, sizes))


def effective(hits: np.ndarray, sizes: np.ndarray) -> float:
    """As how many independent records those of entities count, between Kish's number and all of them."""
    n, right = float(sizes.sum()), float(hits.sum())
    kish = n * n / float((sizes**2).sum())
    rarer = min(right, n - right)
    if len(sizes) < 2 or rarer <= 0:
        return kish
    value = right / n
    between = len(sizes) / (len(sizes) - 1) * float(((hits - value * sizes) ** 2).sum()) / n**2
    estimate = between / (value * (1 - value))  # one over the effective number
    variance = (rarer * estimate + _DOUBT / kish) / (rarer + _DOUBT)
    return float(np.clip(1 / variance, kish, n))


def binomial_interval(value: float, n: float) -> tuple[float, float]:
    """The Clopper-Pearson interval (1934) of a share of n independent records; n may be a fraction."""
    from scipy.special import betaincinv

    tail, right = (1 - CONFIDENCE) / 2, value * n
    low = betaincinv(right, n - right + 1, tail) if right > 0 else 0.0
    high = betaincinv(right + 1, n - right, 1 - tail) if n - right > 1e-9 else 1.0
    return float(low), float(high)
