"""Figures of a links table: is the best candidate right, and is "no match" said where there is none?"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from linkage.config import EvaluateConfig
from linkage.errors import ArtefactError, InputError
from linkage.evaluate.baselines import Ranking, rank_by_strings
from linkage.evaluate.metrics import Figure, divide, f1, measure, share, sum_by
from linkage.evaluate.scores import SYSTEM, Scores, fitting_rows
from linkage.evaluate.truth import attach_truth
from linkage.link.decide import fit_threshold
from linkage.link.link import MIN_VALIDATION
from linkage.link.links import manifest_of
from linkage.tables import read_table, require_columns

log = logging.getLogger(__name__)

NEEDED = ("record_id", "entity_id", "exemplar_id", "rank", "decision", "probability", "score", "text")
_BINS = 10


class Answers(NamedTuple):
    """What one system answers to the labelled queries.

    Attributes:
        entities: true entities of the candidates, best first, object (q, k); "" where there is none.
        decided: bool (q,), the best candidate is called a match.
        fitted_on: bool (q,), queries that the threshold was fitted on.
        threshold: False: the system has none, so what hangs on one is not measured.
        note: goes into every row.
    """

    entities: np.ndarray
    decided: np.ndarray
    fitted_on: np.ndarray
    threshold: bool = True
    note: str = ""


def evaluate_links(
    links: pd.DataFrame,
    path: Path,
    truth: pd.DataFrame,
    config: EvaluateConfig,
    scores: Scores,
    index: Path | None,
) -> None:
    """Add the figures of a links table and of its string baselines.

    Queries are the records that the truth gives an entity, or the role `query_nomatch`; those of role `exemplar`
    are left out. A candidate is right when its exemplar's true entity is the query's. Matched accuracy and recall@k
    (beyond k = 1, which is the same) are over the queries whose entity has an exemplar; no-match accuracy is over
    all queries: the best candidate is right and called a match, or there is nothing to match and none is called
    (Arora et al. 2023).

    Raises:
        InputError: a column is missing, or the truth knows none of the records.
        ArtefactError: the index that the links were made with cannot be found.
    """
    require_columns(links, NEEDED, path)
    links = links.sort_values(["record_id", "rank"], kind="stable", ignore_index=True)
    exemplars = read_exemplars(path, index)
    known = attach_truth(exemplars, truth, config.iou)["entity_id"]
    entity_of = dict(zip(exemplars["record_id"], known.where(known != "", exemplars["entity_id"]), strict=True))
    queries = _queries(links, truth, config.iou, path)
    asked = _Asked(queries, set(entity_of.values()))
    rows = links[links["record_id"].isin(set(queries["record_id"]))]
    k = max(config.recall_at)
    systems = {
        SYSTEM: asked.of_table(rows, entity_of, k),
        "pooled embedding": asked.by_score(rows, entity_of, k),
    }
    entities = [entity_of[name] for name in exemplars["record_id"]]
    texts = exemplars["text"].fillna("").tolist()
    for name, ranking in rank_by_strings(queries["text"].fillna("").tolist(), texts, entities, k).items():
        systems[name] = asked.by_ranking(ranking)
    listed = int(rows["rank"].max())
    scores.notes.append(f"{len(queries)} of {links['record_id'].nunique()} queries are labelled")
    for split, chosen in scores.splits(asked.split):
        for name, answers in systems.items():
            from_table = name in (SYSTEM, "pooled embedding") and listed < len(set(entities))
            at = [n for n in config.recall_at if n > 1 and (n <= listed or not from_table)]
            asked.score(scores, name, split, chosen, answers, at)
        scores.add("calibration error", SYSTEM, split, asked.calibration(rows, entity_of, chosen, scores))


def read_exemplars(links: Path, index: Path | None) -> pd.DataFrame:
    """The exemplars that links were made with: from `index`, else from the folder that their manifest names.

    Raises:
        ArtefactError: there is no such folder.
    """
    if index is None:
        manifest = manifest_of(links)
        try:
            named = Path(str(json.loads(manifest.read_text(encoding="utf-8"))["index"]))
        except (OSError, ValueError, KeyError, TypeError):
            raise ArtefactError(
                f"{links}: no readable {manifest.name} beside it; name the index with --index"
            ) from None
        index = named if named.is_absolute() or named.exists() else links.parent / named
    if not (index / "exemplars.parquet").is_file():
        raise ArtefactError(f"{index}: no index here; name the one that {links} was made with (--index)")
    return read_table(index / "exemplars.parquet")


def _queries(links: pd.DataFrame, truth: pd.DataFrame, iou: float, path: Path) -> pd.DataFrame:
    """First row of every labelled query, with the truth's entity_id, split and role."""
    queries = attach_truth(links[~links["record_id"].duplicated()], truth, iou)
    alone = (queries["entity_id"] == "") & (queries["role"] == "query_nomatch")
    queries.loc[alone, "entity_id"] = "\0" + queries.loc[alone, "record_id"].astype(str)
    queries = queries[(queries["entity_id"] != "") & (queries["role"] != "exemplar")].reset_index(drop=True)
    if not len(queries):
        raise InputError(f"{path}: the truth table knows none of its records; check record_id, source and boxes")
    return queries


class _Asked:
    """The labelled queries."""

    def __init__(self, queries: pd.DataFrame, entities: set[str]) -> None:
        self.ids = queries["record_id"]
        self.truth = queries["entity_id"].to_numpy(dtype=object)
        self.split = queries["split"].to_numpy(dtype=object)
        self.matchable = np.array([name in entities for name in self.truth], dtype=bool)
        self.fitted_on = fitting_rows(self.split, np.ones(len(queries), dtype=bool), MIN_VALIDATION)
        fitted = "threshold_source" in queries and (queries["threshold_source"] == "fitted").any()
        self.linker_fitted_on = self.split != "test" if fitted else np.zeros(len(queries), dtype=bool)

    def _candidates(self, rows: pd.DataFrame, entity_of: dict[str, str], k: int) -> np.ndarray:
        """True entities of the candidates, in the order of `rows` (sorted by query), object (q, k)."""
        place = rows["record_id"].map(dict(zip(self.ids, range(len(self.ids)), strict=True))).to_numpy()
        rank = rows.groupby("record_id").cumcount().to_numpy()
        found = np.full((len(self.ids), max(k, int(rank.max(initial=0)) + 1)), "", dtype=object)
        found[place, rank] = [entity_of.get(name, "") for name in rows["exemplar_id"].fillna("")]
        return found

    def of_table(self, rows: pd.DataFrame, entity_of: dict[str, str], k: int) -> Answers:
        first = rows[~rows["record_id"].duplicated()].set_index("record_id")
        decided = (first["decision"].reindex(self.ids) == "match").to_numpy(dtype=bool)
        return Answers(self._candidates(rows, entity_of, k), decided, self.linker_fitted_on)

    def by_score(self, rows: pd.DataFrame, entity_of: dict[str, str], k: int) -> Answers:
        """The candidates of the table in the order of their pooled cosine."""
        ranked = rows.sort_values(["record_id", "score"], ascending=[True, False], kind="stable")
        best = ranked[~ranked["record_id"].duplicated()].set_index("record_id")["score"].reindex(self.ids)
        ranking = Ranking(self._candidates(ranked, entity_of, k), best.to_numpy(dtype=float).clip(0.0, 1.0))
        return self.by_ranking(ranking)._replace(note="candidates of linkage, ordered by cosine")

    def by_ranking(self, ranking: Ranking) -> Answers:
        """Decide by a threshold of the baseline's own, fitted as the linker's is."""
        chosen = self.fitted_on
        if not chosen.any():
            return Answers(ranking.entities, np.zeros(len(chosen), dtype=bool), chosen, threshold=False)
        right = ranking.entities[:, 0] == self.truth
        threshold = fit_threshold(ranking.score[chosen], right[chosen], self.matchable[chosen])
        decided = np.nan_to_num(ranking.score, nan=-1.0) >= threshold
        return Answers(ranking.entities, decided, chosen)

    def score(
        self, scores: Scores, system: str, split: str, chosen: np.ndarray, answers: Answers, at: Sequence[int]
    ) -> None:
        """Add the figures of one system on the chosen queries."""
        hits = answers.entities == self.truth[:, None]
        right, inside = hits[:, 0], chosen & self.matchable

        def add(name: str, values: np.ndarray, rows: np.ndarray, note: str = answers.note) -> None:
            figure = share(values[rows], self.truth[rows], bootstrap=scores.bootstrap, seed=scores.seed)
            scores.add(name, system, split, figure, note)

        add("matched accuracy", right, inside)
        for k in at:
            add(f"recall@{k}", hits[:, :k].any(axis=1), inside)
        if not answers.threshold:
            return
        overlapping = (answers.fitted_on & chosen).any()
        notes = [answers.note, "threshold fitted on these rows" if overlapping else ""]
        note = "; ".join(part for part in notes if part)
        add("no-match accuracy", np.where(answers.decided, right, ~self.matchable), chosen, note)
        sums = sum_by(
            self.truth[chosen],
            *(column[chosen] for column in (right & answers.decided, answers.decided, self.matchable)),
        )
        figures = measure(sums, LINKING, int(chosen.sum()), bootstrap=scores.bootstrap, seed=scores.seed)
        for name, figure in figures.items():
            scores.add(name, system, split, figure, note)

    def calibration(self, rows: pd.DataFrame, entity_of: dict[str, str], chosen: np.ndarray, scores: Scores) -> Figure:
        """Expected calibration error of the best candidates' probabilities in ten bins of equal size."""
        first = rows[~rows["record_id"].duplicated()].set_index("record_id").reindex(self.ids)
        probability = first["probability"].to_numpy(dtype=float)
        right = np.array([entity_of.get(name) for name in first["exemplar_id"]], dtype=object) == self.truth
        kept = np.flatnonzero(chosen & ~np.isnan(probability))
        kept = kept[np.argsort(probability[kept], kind="stable")]
        bins = np.arange(len(kept)) * _BINS // max(len(kept), 1)
        gaps = np.zeros((len(kept), _BINS + 1))
        gaps[np.arange(len(kept)), bins] = probability[kept] - right[kept]
        gaps[:, _BINS] = 1
        sums = sum_by(self.truth[kept], *gaps.T)
        formulas = {"ece": lambda t: divide(np.abs(t[..., :_BINS]).sum(-1), t[..., _BINS], np.nan)}
        return measure(sums, formulas, len(kept), bootstrap=scores.bootstrap, seed=scores.seed)["ece"]


def _precision(t: np.ndarray) -> np.ndarray:
    return divide(t[..., 0], t[..., 1], 1.0)


def _recall(t: np.ndarray) -> np.ndarray:
    return divide(t[..., 0], t[..., 2], 1.0)


LINKING = {
    "link precision": _precision,
    "link recall": _recall,
    "link F1": lambda t: f1(_precision(t), _recall(t)),
}
"""Of totals: right matches, matches called, queries that have a match."""
