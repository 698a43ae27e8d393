"""Judged queries: what the labels say of the answers, and the decisions that are fitted on that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from linkage.config import LinkConfig
from linkage.link.assign import Assignment
from linkage.link.decide import CandidateSets, Threshold, bound_false_links, conformal_cut
from linkage.link.ranking import Ranking, settled
from linkage.link.shrinkage import MovedThreshold, move_threshold

DEFAULT_THRESHOLD = 0.5
MIN_VALIDATION = 20
"""Fewer labelled val queries than this do not fit a threshold; the train queries then do, if they are as many."""


@dataclass(frozen=True)
class LabelledAnswers:
    """Labelled queries that decisions are fitted on, (n,) arrays.

    Attributes:
        probability: of the best candidate; NaN where it cannot be called a match: there is none, it is tied, or the
            constraint gives it to another query.
        right: the best candidate is of the query's entity.
        matchable: the index has the query's entity.
        entity: the query's entity, the unit in which queries are sampled.
        true_probability: of the query's own entity among its candidates; NaN: it is not among them.
        held_out: their labels did not fit the scorer. If False, each was answered by a scorer that did not see its
            entity, but pull and calibration were chosen with it.
        unseen: bool (n,), the encoder was not made with them: they are evidence for a promise.
    """

    probability: np.ndarray
    right: np.ndarray
    matchable: np.ndarray
    entity: np.ndarray
    true_probability: np.ndarray
    held_out: bool
    unseen: np.ndarray

    @classmethod
    def of(
        cls,
        ranking: Ranking,
        found: pd.DataFrame,
        left: Assignment | None,
        left_out: pd.DataFrame | None,
        encoder_saw: Sequence[str] = (),
    ) -> LabelledAnswers:
        """The queries of split val; where they are too few, those of split train as well.

        Args:
            ranking: of the queries.
            found: candidates of all that compete with them or are labelled (see `ranked`).
            left: what a constraint leaves of them.
            left_out: see `FittedScorer`.
            encoder_saw: splits that the encoder was trained on, or its epoch chosen by.
        """
        rows = np.flatnonzero(ranking.is_val)
        held_out = True
        if len(rows) < MIN_VALIDATION and left_out is not None:
            answered = left_out["query"].unique()
            others = found[~found["query"].isin(answered)]
            found = pd.concat([others, left_out[list(found.columns)]], ignore_index=True)
            left = ranking.assignment(found)
            rows, held_out = np.union1d(rows, answered), False
        elif len(rows) < MIN_VALIDATION:  # no label fitted the scorer
            rows = np.flatnonzero(ranking.is_val | ranking.is_train)
        judged = found["query"].isin(rows).to_numpy()
        found = settled(found[judged].reset_index(drop=True), left.at(judged) if left else None)
        query, entity = found["query"].to_numpy(), ranking.entities[found["exemplar"].to_numpy()]
        true = found[entity == ranking.labels[query]].drop_duplicates("query").set_index("query")["probability"]
        first = found[found["rank"] == 1].set_index("query")
        named = pd.Series(entity[(found["rank"] == 1).to_numpy()], index=first.index).reindex(rows)
        called = first["probability"].where(first["free"] & first["tied"].isna())
        return cls(
            called.reindex(rows).to_numpy(float),
            (named.to_numpy(dtype=object) == ranking.labels[rows]).astype(bool),
            ranking.is_matchable[rows],
            ranking.labels[rows],
            true.reindex(rows).to_numpy(float),
            held_out,
            ~ranking.frame["split"].iloc[rows].isin(encoder_saw).to_numpy(dtype=bool),
        )

    def threshold(self, config: LinkConfig) -> Threshold:
        """Decide the threshold: given, fitted for the aim, or the default."""
        if config.threshold is not None:
            return Threshold(config.threshold, "given")
        if config.aim == "false-links":
            most, risk = config.max_false_links, config.risk
            assert most is not None  # the configuration gives it to this aim
            evidence = (column[self.unseen] for column in (self.probability, self.right, self.entity))
            found = bound_false_links(*evidence, max_false_links=most, risk=risk)
            return found.judged(held_out=self.held_out, spent=int((~self.unseen).sum()))
        moved = self._moved(config.aim)
        source: Literal["default", "fitted"] = "default" if moved.pull is None else "fitted"
        aim = config.aim if source == "fitted" else None
        return Threshold(moved.value, source, aim, queries=len(self.right), pull=moved.pull)

    def review_threshold(self, config: LinkConfig, threshold: Threshold) -> float:
        """Given; or, under a bound on false links, the threshold of the best accuracy; else there is no review."""
        if config.review_threshold is not None:
            return config.review_threshold
        value = np.inf if threshold.value is None else threshold.value
        if threshold.aim != "false-links":
            return value
        return min(value, self._moved("accuracy").value)

    def _moved(self, aim: Literal["accuracy", "f1"]) -> MovedThreshold:
        """The default, moved as far as these labels are evidence for it."""
        if len(self.right) < MIN_VALIDATION:
            return MovedThreshold(DEFAULT_THRESHOLD, None)
        columns = self.probability, self.right, self.matchable, self.entity
        return move_threshold(*columns, aim, start=DEFAULT_THRESHOLD)

    def sets(self, config: LinkConfig) -> CandidateSets | None:
        """Which candidates make up a query's set, by the queries that have a match."""
        if config.coverage is None:
            return None
        there = self.matchable & self.unseen
        found = conformal_cut(self.true_probability[there], self.entity[there], coverage=config.coverage)
        return found.judged(held_out=self.held_out, spent=int((self.matchable & ~self.unseen).sum()))
