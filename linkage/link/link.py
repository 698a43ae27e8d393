"""Link queries to exemplars: candidates ranked by match probability, a threshold, review, and no-match."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from linkage.config import LinkConfig
from linkage.errors import ArtefactError
from linkage.link.assign import assign, groups_of
from linkage.link.candidates import Candidates, Pairs, candidates
from linkage.link.decide import (
    CandidateSets,
    Threshold,
    bound_false_links,
    conformal_cut,
    fit_threshold,
    tied_counts,
)
from linkage.link.fields import check_columns
from linkage.link.fit import MIN_POSITIVES, Labelled, left_out_logits, refit
from linkage.link.index import Index, choose_device, rows_of
from linkage.link.links import links_table, manifest_of, nearest_of, ranked
from linkage.link.scorer import DEFAULT_SCORER, Scorer, shares
from linkage.progress import progress
from linkage.records import Records
from linkage.tables import replacing, write_table
from linkage.text import folding

if TYPE_CHECKING:
    from linkage.encode.embed import Embeddings

log = logging.getLogger(__name__)

DEFAULT_THRESHOLD = 0.5
MIN_VALIDATION = 20
"""Fewer labelled val queries than this do not fit a threshold; the train queries then do."""

_FIT_QUERIES = 5_000  # more labelled queries do not move a dozen coefficients


@dataclass(frozen=True)
class LinkResult:
    """What linking gives.

    Attributes:
        links: one row per query and candidate entity, best first (see the data dictionary); a query without
            candidates has one row without them.
        nearest: the nearest exemplar of each query in each space: record_id, by, exemplar_id, cosine.
        threshold: match probability from which (>=) the best candidate is a match, and what it promises.
        sets: which candidates make up the set of a query, where a coverage was asked for.
        scorer: the scorer that gave the probabilities.
    """

    links: pd.DataFrame
    nearest: pd.DataFrame
    threshold: Threshold
    sets: CandidateSets | None
    scorer: Scorer

    def save(self, path: Path, *, index: Path, queries: Path) -> None:
        """Write the links table and what belongs beside it: `<name>.manifest.json` and `nearest_of(path)`."""
        write_table(self.links, path, twin=path.suffix == ".csv")
        write_table(self.nearest, nearest_of(path))
        manifest = {
            "index": str(index),
            "queries": str(queries),
            "text": folding()._asdict(),
            "threshold": asdict(self.threshold) | {"sentence": self.threshold.sentence},
            "sets": asdict(self.sets) | {"sentence": self.sets.sentence} if self.sets else None,
            "scorer": self.scorer.as_dict(),
        }
        with replacing(manifest_of(path)) as temporary:
            temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def link(
    queries: Records,
    embeddings: Embeddings,
    index: Index,
    config: LinkConfig,
    *,
    scorer: Scorer | None = None,
) -> LinkResult:
    """Link every query to the entities of an index, or to none.

    Queries with a non-empty `entity_id` are labelled. Those of split train (or none) fit the scorer, those of
    split val the threshold (where there are fewer than MIN_VALIDATION of them, those of train help out, with the
    probabilities of scorers that did not see their entity); rows of split test are never looked at. Neither the order
    of queries nor that of exemplars changes the result.

    Args:
        queries: records to link; crops are not read.
        embeddings: hold every query (they may hold more records).
        index: exemplars, pooled with the same model.
        config: candidates per query, blocking, fields, constraint, threshold, device.
        scorer: used where there are too few labels to fit one, and pulled towards where one is fitted; default:
            DEFAULT_SCORER.

    Raises:
        ArtefactError: index and embeddings are of different models, or a query has no embedding.
        DependencyError: the device asked for is not there.
        InputError: a column that the configuration names is missing.
    """
    if index.manifest["model_sha256"] != embeddings.manifest["model_sha256"]:
        raise ArtefactError(
            f"index: made with model {index.manifest['model']!r}, the queries are embedded with "
            f"{embeddings.manifest['model']!r} or another version of it; run `linkage index` again"
        )
    if index.manifest["folding"] != embeddings.manifest["folding"]:
        raise ArtefactError(
            f"index: made with text settings {index.manifest['folding']}, the queries are embedded with "
            f"{embeddings.manifest['folding']}; use the same `text` section for both"
        )
    job = _Job(queries.frame.reset_index(drop=True), embeddings, index, config)
    fitted = job.fit(scorer or DEFAULT_SCORER)
    found, nearest = job.search(fitted)
    found = job.constrained(found)
    threshold, sets = job.threshold(found), job.sets(found)
    log.info("link: scorer %s. %s", fitted.origin, threshold.sentence)
    if sets:
        log.info("link: %s", sets.sentence)
    return LinkResult(job.table(found, threshold, sets), job.named(nearest), threshold, sets, fitted)


def labelled_pairs(
    queries: Records, embeddings: Embeddings, index: Index, config: LinkConfig, scorer: Scorer
) -> Labelled:
    """The best pair of each entity for labelled queries: what a scorer is fitted on; arguments as for `link`."""
    job = _Job(queries.frame.reset_index(drop=True), embeddings, index, config)
    return job.labelled(np.arange(len(job.frame)), scorer)


class _Job:
    def __init__(self, frame: pd.DataFrame, embeddings: Embeddings, index: Index, config: LinkConfig) -> None:
        named = [*config.blocking, *config.fields]
        check_columns(named, {"queries": frame, "index": index.exemplars})
        self.frame = frame
        self.embeddings = embeddings
        self.index = index
        self.config = config
        self.rows = rows_of(frame["record_id"], embeddings)
        self.device = choose_device(config.device)
        self.entities = index.exemplars["entity_id"].to_numpy(dtype=object)
        self.codes = pd.factorize(self.entities, sort=True)[0]
        labels = frame["entity_id"].to_numpy(dtype=object)
        labelled = (labels != "") & (frame["role"] != "exemplar").to_numpy()
        self.labels = labels
        self.is_train = labelled & frame["split"].isin(["train", ""]).to_numpy()
        self.is_val = labelled & (frame["split"] == "val").to_numpy()
        self.is_matchable = pd.Series(labels).isin(set(self.entities)).to_numpy()
        self.left_out: pd.DataFrame | None = None  # the best candidate of train queries, by scorers that saw others

    def candidates(self, queries: np.ndarray, scorer: Scorer) -> Iterator[Candidates]:
        """Candidates of some queries; `query` is the row of the frame."""
        table = self.frame.iloc[queries]
        config, device = self.config, self.device
        found = candidates(self.embeddings, self.rows[queries], table, self.index, config, scorer, device=device)
        for pairs, nearest in found:
            nearest["query"] = queries[nearest["query"].to_numpy(dtype=np.int64)]
            yield Candidates(pairs._replace(query=queries[pairs.query]), nearest)

    def fit(self, scorer: Scorer) -> Scorer:
        """Fit the scorer on labelled train queries if enough of them have a match; else return `scorer`."""
        train = np.flatnonzero(self.is_train)
        train = train[np.argsort(self.frame["record_id"].to_numpy(dtype=object)[train], kind="stable")][:_FIT_QUERIES]
        if self.is_matchable[train].sum() < MIN_POSITIVES:
            return scorer
        pairs = self.labelled(train, scorer)
        fitted = refit(scorer, pairs)
        if fitted is not scorer:
            self.left_out = self._best(pairs, left_out_logits(pairs, scorer, fitted))
        return fitted

    def labelled(self, queries: np.ndarray, scorer: Scorer) -> Labelled:
        """The best pair of each entity, with its truth."""
        pairs = Pairs.join(
            [_best_of_entities(found.pairs, scorer, self.codes)[0] for found in self.candidates(queries, scorer)]
        )
        truth = self.labels[pairs.query]
        order = np.argsort(pairs.query, kind="stable")
        return Labelled(
            pairs.alike.iloc[order].reset_index(drop=True),
            (self.entities[pairs.exemplar] == truth)[order],
            pairs.query[order],
            truth[order],
        )

    def _best(self, pairs: Labelled, logit: np.ndarray) -> pd.DataFrame:
        """Probability of each query's best pair, and whether it is right: probability, right, by query."""
        table = pd.DataFrame({"query": pairs.query, "probability": shares(logit, pairs.query), "right": pairs.is_match})
        return (
            table.sort_values("probability", ascending=False, kind="stable").drop_duplicates("query").set_index("query")
        )

    def search(self, scorer: Scorer) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The best exemplar of each of the best entities of every query (see `ranked`), and the nearest by space."""
        found, nearest = [], []
        wide = self.config.constraint != "many-to-one" or self.config.coverage is not None
        kept = max(self.config.k, self.config.rescored) if wide else max(self.config.k, 2)
        with progress("link", len(self.frame)) as advance:
            for part in self.candidates(np.arange(len(self.frame)), scorer):
                pairs, logit = _best_of_entities(part.pairs, scorer, self.codes)
                table = ranked(pairs, logit, shares(logit, pairs.query))
                found.append(table[table["rank"] <= kept])
                nearest.append(part.nearest)
                advance(len(np.unique(pairs.query)))
        return pd.concat(found, ignore_index=True), pd.concat(nearest, ignore_index=True)

    def constrained(self, found: pd.DataFrame) -> pd.DataFrame:
        """The candidates after the constraint, ranked anew; `free`: the candidate may be called a match."""
        if self.config.constraint == "many-to-one":
            return found.assign(free=True)
        frame = self.frame
        page = frame["page"].to_numpy() if "page" in frame else np.ones(len(frame))
        group = groups_of(self.config.constraint, frame["source"].to_numpy(dtype=object), page)
        query, code = found["query"].to_numpy(), self.codes[found["exemplar"].to_numpy()]
        left = assign(query, code, found["logit"].to_numpy(), group)
        found = found.assign(free=left.linkable, logit=found["logit"].where(left.allowed, -np.inf))
        order = np.lexsort((found["exemplar"], -found["logit"], ~found["free"], query))
        found = found.iloc[order].reset_index(drop=True)
        found["rank"] = found.groupby("query").cumcount() + 1
        return found.assign(probability=shares(found["logit"].to_numpy(), found["query"].to_numpy()))

    def judged(self, found: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
        """Labelled queries to fit decisions on (rows), and probability and right of each one's best candidate.

        They are those of split val; where they are too few, those of split train too, as scorers that did not see
        their entity would have answered.
        """
        first = found[found["rank"] == 1].set_index("query")
        right = self.entities[first["exemplar"].to_numpy()] == self.labels[first.index.to_numpy()]
        best = first[["probability"]].assign(right=right)
        enough = self.is_val.sum() >= MIN_VALIDATION
        if not enough and self.left_out is not None:
            best = pd.concat([self.left_out, best[~best.index.isin(self.left_out.index)]])
        rows = np.flatnonzero(self.is_val if enough else self.is_train | self.is_val)
        best = best.reindex(rows)
        return rows, best.assign(right=best["right"].eq(True))

    def threshold(self, found: pd.DataFrame) -> Threshold:
        """Decide the threshold: given, fitted on labelled queries for the aim, or the default."""
        if self.config.threshold is not None:
            return Threshold(self.config.threshold, "given")
        rows, best = self.judged(found)
        config, probability, right = self.config, best["probability"].to_numpy(float), best["right"].to_numpy(bool)
        if config.aim == "false-links":
            most, risk = config.max_false_links, config.risk
            return bound_false_links(probability, right, self.named_entity(rows), max_false_links=most, risk=risk)
        if len(rows) < MIN_VALIDATION:
            return Threshold(DEFAULT_THRESHOLD, "default")
        return Threshold(fit_threshold(probability, right, self.is_matchable[rows], config.aim), "fitted", config.aim)

    def review_threshold(self, found: pd.DataFrame, threshold: Threshold) -> float:
        """Given; or, under a bound on false links, the threshold of the best accuracy; else there is no review."""
        if self.config.review_threshold is not None:
            return self.config.review_threshold
        value = np.inf if threshold.value is None else threshold.value
        if threshold.aim != "false-links":
            return value
        rows, best = self.judged(found)
        if len(rows) < MIN_VALIDATION:
            return min(value, DEFAULT_THRESHOLD)
        probability, right = best["probability"].to_numpy(float), best["right"].to_numpy(bool)
        return min(value, fit_threshold(probability, right, self.is_matchable[rows]))

    def sets(self, found: pd.DataFrame) -> CandidateSets | None:
        """Which candidates make up a query's set, by labelled queries that have a match."""
        if self.config.coverage is None:
            return None
        rows, _ = self.judged(found)
        rows = rows[self.is_matchable[rows]]
        query = found["query"].to_numpy()
        true = found[self.entities[found["exemplar"].to_numpy()] == self.labels[query]]
        probability = true.drop_duplicates("query").set_index("query")["probability"].reindex(rows)
        return conformal_cut(probability.to_numpy(float), self.labels[rows], coverage=self.config.coverage)

    def named_entity(self, rows: np.ndarray) -> np.ndarray:
        """The unit in which labelled queries are sampled: the entity; one without a match stands for itself."""
        ids = self.frame["record_id"].to_numpy(dtype=object)
        return np.asarray(np.where(self.is_matchable[rows], self.labels[rows], ids[rows]))

    def table(self, found: pd.DataFrame, threshold: Threshold, sets: CandidateSets | None) -> pd.DataFrame:
        """The links table."""
        review = self.review_threshold(found, threshold)
        query, first = found["query"].to_numpy(), (found["rank"] == 1).to_numpy()
        of_first = np.cumsum(first) - 1
        probability = found["probability"].to_numpy()
        best = probability[first][of_first]
        rival = np.full(int(first.sum()), np.nan)
        second = (found["rank"] == 2).to_numpy()
        rival[of_first[second]] = probability[second]
        ties = tied_counts(found["logit"].to_numpy(), query)[of_first]
        tied = (ties > 1) & (found["rank"].to_numpy() <= ties)
        together = np.bincount(of_first, np.where(tied | first, probability, 0.0))[of_first]
        match = first & threshold.passed(together) & found["free"].to_numpy()
        asked = first & ~(match & ~tied) & (match | (together >= review)) & found["free"].to_numpy()
        found = found.assign(
            margin=probability - np.where(first, rival[of_first], best),
            tied=np.where(tied, ties, np.nan),
            in_set=np.nan if sets is None else (probability >= sets.cut).astype(float),
            decision=np.where(asked, "review", np.where(match, "match", "no-match")),
        )
        found = found[(found["rank"] <= self.config.k) | (found["in_set"] == 1)]
        found.attrs = {
            "threshold": np.nan if threshold.value is None else threshold.value,
            "review_threshold": review if np.isfinite(review) else np.nan,
            "threshold_source": threshold.source,
        }
        readings = self.embeddings.readings.iloc[self.rows]
        return links_table(found.drop(columns="free"), self.frame, readings, self.index)

    def named(self, nearest: pd.DataFrame) -> pd.DataFrame:
        """The nearest exemplars by their ids."""
        ids = self.frame["record_id"].to_numpy(dtype=object), self.index.exemplars["record_id"].to_numpy(dtype=object)
        columns: dict[str, Any] = {
            "record_id": ids[0][nearest["query"].to_numpy(dtype=np.int64)],
            "by": nearest["by"],
            "exemplar_id": ids[1][nearest["exemplar"].to_numpy(dtype=np.int64)],
            "cosine": nearest["cosine"].astype(float),
        }
        return pd.DataFrame(columns).sort_values(["record_id", "by"], kind="stable", ignore_index=True)


def _best_of_entities(pairs: Pairs, scorer: Scorer, codes: np.ndarray) -> tuple[Pairs, np.ndarray]:
    """Keep the best exemplar of each entity; best first by logit, then score, then exemplar_id, and the logits."""
    logit = scorer.logit(pairs.alike).round(9)
    order = np.lexsort((pairs.exemplar, -pairs.alike["score"].to_numpy(), -logit, pairs.query))
    named = pd.MultiIndex.from_arrays([pairs.query[order], codes[pairs.exemplar[order]]])
    kept = order[~named.duplicated()]
    return pairs.at(kept), logit[kept]
