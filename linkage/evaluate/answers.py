"""What each system answers to the labelled queries: the linker, every single vector, the strings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from linkage.evaluate.baselines import BaselineRanking
from linkage.evaluate.scores import fitting_rows
from linkage.evaluate.truth import UNKNOWN_RECORDS, UnknownRecordsError, attach_truth
from linkage.link.decide import fit_threshold
from linkage.link.judge import MIN_VALIDATION

SPACES = {"image": "picture alone", "text": "text alone", "pooled": "pooled embedding"}
"""Systems that take the nearest exemplar by one vector, by the vector's name in the table of the nearest."""

SCORER_FITTED = "scorer fitted on these rows"
_NEAREST_NOTE = "the nearest exemplar by this vector, with one threshold on its cosine"


class SystemAnswers(NamedTuple):
    """What one system answers to the labelled queries.

    Attributes:
        entities: true entities of the candidates, best first, object (q, k); "" where there is none.
        score: float64 (q,), how sure it is of the best one, on a scale of its own; NaN where there is none.
        decided: bool (q,), the best candidate is called a match.
        asked: bool (q,), the query is put to a person (review).
        fitted_on: bool (q,), queries that the threshold was fitted on.
        scorer_on: bool (q,), queries that the scorer was fitted on.
        depth: places of `entities` that count: recall@k beyond it is not measured.
        threshold: False: the system has none, so what hangs on one is not measured.
        note: goes into every row.
        seen: further notes, each with the queries (q,) that it is of; see `scores.encoder_notes`.
    """

    entities: np.ndarray
    score: np.ndarray
    decided: np.ndarray
    asked: np.ndarray
    fitted_on: np.ndarray
    scorer_on: np.ndarray
    depth: int
    threshold: bool = True
    note: str = ""
    seen: Sequence[tuple[str, np.ndarray]] = ()

    def told(self, chosen: np.ndarray) -> str:
        """What must be said with every figure of these queries (mask or rows)."""
        seen = [note for note, rows in self.seen if rows[chosen].any()]
        return join_notes(self.note, SCORER_FITTED if self.scorer_on[chosen].any() else "", *seen)


def join_notes(*notes: str) -> str:
    """Several notes of one figure as one; empty ones are left out."""
    return "; ".join(filter(None, notes))


class LabelledQueries:
    """The labelled queries of a links table.

    Attributes:
        rows: their rows of the table, by query, then rank.
        first: their first rows, with the truth's entity_id, split and role.
        truth: entity of each, object (q,); those that have none hold a name of their own.
        split: object (q,).
        is_matchable: bool (q,), the entity has an exemplar.
    """

    def __init__(
        self, links: pd.DataFrame, path: Path, truth: pd.DataFrame, iou: float, entity_of: dict[str, str]
    ) -> None:
        """Find the labelled queries.

        Args:
            links: links table, sorted by query and rank.
            path: its file, for messages.
            truth: from `read_truth`.
            iou: overlap from which a truth box is a region.
            entity_of: true entity of every exemplar.

        Raises:
            InputError: the truth knows none of the records.
        """
        self.first = _labelled(links, truth, iou, path)
        self.rows = links[links["record_id"].isin(set(self.first["record_id"]))]
        self.truth = self.first["entity_id"].to_numpy(dtype=object)
        self.split = self.first["split"].to_numpy(dtype=object)
        entities = set(entity_of.values())
        self.is_matchable = np.array([name in entities for name in self.truth], dtype=bool)
        self._entity_of = entity_of
        self._place = dict(zip(self.first["record_id"], range(len(self.first)), strict=True))
        self._fitted_on = fitting_rows(self.split, np.ones(len(self.first), dtype=bool), MIN_VALIDATION)

    def by_linker(self, k: int, made: dict[str, Any]) -> SystemAnswers:
        """The table's own ranking and decisions, at least k places wide; `made`: the links' manifest."""
        rank = self.rows.groupby("record_id").cumcount().to_numpy()
        found = np.full((len(self.truth), max(k, int(rank.max(initial=0)) + 1)), "", dtype=object)
        found[self._places(self.rows), rank] = self._entities(self.rows)
        decision = self.first["decision"].to_numpy(dtype=object)
        listed = self._listed(rank + 1)
        fitted = "threshold_source" in self.first and (self.first["threshold_source"] == "fitted").any()
        nobody = np.zeros(len(found), dtype=bool)
        own_scorer = made.get("scorer", {}).get("origin") == "fitted"
        return SystemAnswers(
            found,
            self.first["probability"].to_numpy(dtype=float),
            np.asarray(decision == "match", dtype=bool),
            np.asarray(decision == "review", dtype=bool),
            self.split != "test" if fitted else nobody,
            pd.Series(self.split).isin(["", "train"]).to_numpy() if own_scorer else nobody,
            listed if listed < len(set(self._entity_of.values())) else k,
        )

    def sets(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Whether each query's candidate set holds its entity, bool (q,), and how many it holds, int64 (q,).

        None where the table has no sets.
        """
        if "in_set" not in self.rows or not self.rows["in_set"].notna().any():
            return None
        inside = self.rows[(self.rows["in_set"].fillna(0) == 1).to_numpy(dtype=bool)]
        place = self._places(inside)
        right = np.array(self._entities(inside), dtype=object) == self.truth[place]
        n = len(self.truth)
        return np.bincount(place[right], minlength=n) > 0, np.bincount(place, minlength=n)

    def _listed(self, rank: np.ndarray) -> int:
        """Places down to which the table lists every candidate; below them it lists only members of sets."""
        if "in_set" not in self.rows:
            return int(rank.max())
        shortest = int(self.rows["record_id"].value_counts().min())
        outside = (self.rows["in_set"].fillna(0) != 1).to_numpy(dtype=bool)
        return max(shortest, int(rank[outside].max(initial=0)))

    def by_nearest(self, nearest: pd.DataFrame, by: str) -> SystemAnswers | None:
        """The nearest exemplar by one vector; None where no labelled query has such a vector.

        Args:
            nearest: record_id, by (see SPACES), exemplar_id, cosine.
            by: which vector.
        """
        rows = nearest[(nearest["by"] == by) & nearest["record_id"].isin(self._place)]
        if not len(rows):
            return None
        found = np.full((len(self.truth), 1), "", dtype=object)
        cosine = np.full(len(self.truth), np.nan)
        found[self._places(rows), 0] = self._entities(rows)
        cosine[self._places(rows)] = rows["cosine"].to_numpy(dtype=float)
        # A cosine below 0 is no likeness; thresholds lie between 0 and 1.
        return self.by_ranking(BaselineRanking(found, cosine.clip(0.0, 1.0)))._replace(score=cosine, note=_NEAREST_NOTE)

    def by_ranking(self, ranking: BaselineRanking) -> SystemAnswers:
        """A ranking with a threshold of its own: the one with the best no-match accuracy on the rows to fit on."""
        chosen, nobody = self._fitted_on, np.zeros(len(self.truth), dtype=bool)
        answers = SystemAnswers(
            ranking.entities, ranking.score, nobody, nobody, chosen, nobody, ranking.entities.shape[1], threshold=False
        )
        if not chosen.any():
            return answers
        right = ranking.entities[:, 0] == self.truth
        threshold = fit_threshold(ranking.score[chosen], right[chosen], self.is_matchable[chosen])
        return answers._replace(decided=np.nan_to_num(ranking.score, nan=-1.0) >= threshold, threshold=True)

    def _places(self, rows: pd.DataFrame) -> np.ndarray:
        return rows["record_id"].map(self._place).to_numpy(dtype=np.int64)

    def _entities(self, rows: pd.DataFrame) -> list[str]:
        return [self._entity_of.get(name, "") for name in rows["exemplar_id"].fillna("")]


def _labelled(links: pd.DataFrame, truth: pd.DataFrame, iou: float, path: Path) -> pd.DataFrame:
    """First row of every labelled query, with the truth's entity_id, split and role."""
    queries = attach_truth(links[~links["record_id"].duplicated()], truth, iou)
    alone = (queries["entity_id"] == "") & (queries["role"] == "query_nomatch")
    queries.loc[alone, "entity_id"] = "\0" + queries.loc[alone, "record_id"].astype(str)
    queries = queries[(queries["entity_id"] != "") & (queries["role"] != "exemplar")].reset_index(drop=True)
    if not len(queries):
        raise UnknownRecordsError(f"{path}: {UNKNOWN_RECORDS}")
    return queries
