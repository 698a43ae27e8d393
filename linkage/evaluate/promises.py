"""Does the promise of few false links hold? Tried on resamples of the labelled entities."""

from __future__ import annotations

from linkage.evaluate.answers import Answers, Asked
from linkage.evaluate.metrics import CONFIDENCE, Figure
from linkage.evaluate.scores import SYSTEM, Scores
from linkage.link.decide import resampled_violations

PROMISED = {"violations of 1 % false links": 0.01, "violations of 5 % false links": 0.05}
"""Shares of false links that a threshold is made to promise, by name of the measure."""

RISK = 0.05
"""Chance that the promise breaks which is allowed for."""

RESAMPLES = 500


def add_violations(scores: Scores, asked: Asked, own: Answers) -> None:
    """Add, on val (else on the first split scored), the share of resamples in which the promise broke.

    All the split's queries are the population; samples of their entities fit a threshold that promises, and the links
    that it calls among all of them are counted (see `resampled_violations`). A promise that keeps its word breaks in
    RISK of the resamples at the most. The interval is that of the drawing (Clopper and Pearson 1934).
    """
    splits = dict(scores.splits(asked.split))
    split = "val" if "val" in splits else next(iter(splits))
    chosen = splits[split]
    if not chosen.any():
        return
    right = own.entities[chosen, 0] == asked.truth[chosen]
    for name, share in PROMISED.items():
        found = resampled_violations(
            own.score[chosen],
            right,
            asked.truth[chosen],
            max_false_links=share,
            risk=RISK,
            seed=scores.seed,
            resamples=RESAMPLES,
        )
        silent = round(found.unpromised * RESAMPLES)
        note = f"{silent} of {RESAMPLES} resamples of the entities could promise nothing at {100 * RISK:.0f} % risk"
        figure = Figure(found.violations, *_interval(found.violations), int(chosen.sum()))
        scores.add(name, SYSTEM, split, figure, note)


def _interval(share: float) -> tuple[float, float]:
    """Clopper-Pearson interval of a share of the resamples."""
    from scipy.special import betaincinv

    n, tail = RESAMPLES, (1 - CONFIDENCE) / 2
    hits = round(share * n)
    low = betaincinv(hits, n - hits + 1, tail) if hits else 0.0
    high = betaincinv(hits + 1, n - hits, 1 - tail) if hits < n else 1.0
    return float(low), float(high)
