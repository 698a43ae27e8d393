"""Do promises hold? That of few false links on resamples of the labels, that of candidate sets on the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from linkage.evaluate.answers import LabelledQueries, SystemAnswers, join_notes
from linkage.evaluate.intervals import binomial_interval
from linkage.evaluate.metrics import Figure, ratio, share
from linkage.evaluate.scores import SYSTEM, Scores
from linkage.link.trial import resampled_violations

PROMISED = {"violations of 1 % false links": 0.01, "violations of 5 % false links": 0.05}
"""Shares of false links that a threshold is made to promise, by name of the measure."""

SET_COVERAGE, SET_SIZE = "set coverage", "set size"

RISK = 0.05
"""Chance that the promise breaks which is allowed for."""

RESAMPLES = 500

LEAST_RESAMPLES, MOST_QUERIES = 200, 4000
"""What many queries are tried on: about a second a promise, where 500 resamples of 20,000 took ten."""


def add_violations(scores: Scores, asked: LabelledQueries, own: SystemAnswers) -> None:
    """Add, on val (else on the first split scored), the share of resamples in which the promise broke.

    All the split's queries are the population; samples of their entities fit a threshold that promises, and the links
    that it calls among all of them are counted (see `resampled_violations`). A promise that keeps its word breaks in
    RISK of the resamples at the most. The interval is that of the drawing (Clopper and Pearson 1934). Of more than
    MOST_QUERIES only those of entities drawn at random are taken, and fewer resamples of many; the note says so.
    """
    splits = dict(scores.splits(asked.split))
    split = "val" if "val" in splits else next(iter(splits))
    chosen = splits[split]
    if not chosen.any():
        return
    population = _drawn(np.flatnonzero(chosen), asked.truth, scores.seed)
    resamples = max(LEAST_RESAMPLES, min(RESAMPLES, LEAST_RESAMPLES * MOST_QUERIES // len(population)))
    right = own.entities[population, 0] == asked.truth[population]
    part = f"on {len(population)} of {chosen.sum()} queries, drawn by entity" if len(population) < chosen.sum() else ""
    for name, most in PROMISED.items():
        found = resampled_violations(
            own.score[population],
            right,
            asked.truth[population],
            max_false_links=most,
            risk=RISK,
            seed=scores.seed,
            resamples=resamples,
        )
        silent = round(found.unpromised * resamples)
        note = f"{silent} of {resamples} resamples of the entities could promise nothing at {100 * RISK:.0f} % risk"
        figure = Figure(found.violations, *binomial_interval(found.violations, resamples), len(population))
        scores.add(name, SYSTEM, split, figure, join_notes(note, part, own.told(chosen)))


def _drawn(rows: np.ndarray, truth: np.ndarray, seed: int) -> np.ndarray:
    """These rows, or, of too many, all those of some entities drawn at random."""
    if len(rows) <= MOST_QUERIES:
        return rows
    codes = pd.factorize(truth[rows], use_na_sentinel=False)[0]
    sizes = np.bincount(codes)
    order = np.random.default_rng(seed).permutation(len(sizes))
    fits = np.cumsum(sizes[order]) <= MOST_QUERIES
    fits[0] = True  # be it as large as it is
    return rows[np.isin(codes, order[fits])]


def add_sets(scores: Scores, asked: LabelledQueries, promise: dict[str, Any]) -> None:
    """Add, where the links have candidate sets, the share of them that hold the true entity, and their size.

    Set coverage is over the queries whose entity has an exemplar; set size, the mean number of entities in a set, over
    all queries. Each query counts once, whereas the promise is over entities; both intervals are over entities.

    Args:
        scores: takes the figures.
        asked: the labelled queries.
        promise: `sets` of the links' manifest; empty: not known.
    """
    found = asked.sets()
    if found is None:
        return
    held, size = found
    draws = {"bootstrap": scores.bootstrap, "seed": scores.seed}
    said = f"{promise['coverage']:.1%} promised" if promise.get("promised") else "nothing promised"
    for split, chosen in scores.splits(asked.split):
        fitted = "sets fitted on these rows" if (chosen & (asked.split != "test")).any() else ""
        inside = chosen & asked.is_matchable
        truth = asked.truth[inside]
        scores.add(SET_COVERAGE, SYSTEM, split, share(held[inside], truth), join_notes(said, fitted))
        mean = ratio(size[chosen], np.ones(int(chosen.sum())), asked.truth[chosen], within=None, **draws)
        scores.add(SET_SIZE, SYSTEM, split, mean, fitted)
