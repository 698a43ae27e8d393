"""Link queries to exemplars: candidates ranked by match probability, a threshold, and no-match."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from linkage.config import LinkConfig
from linkage.errors import ArtefactError
from linkage.link.candidates import Pairs, candidate_pairs
from linkage.link.decide import fit_threshold
from linkage.link.index import Index, choose_device, rows_of
from linkage.link.scorer import DEFAULT_SCORER, MIN_POSITIVES, Scorer, calibrate, refit, shares
from linkage.progress import progress
from linkage.records import PROVENANCE, Records
from linkage.tables import replacing, write_table

if TYPE_CHECKING:
    from linkage.encode.embed import Embeddings

log = logging.getLogger(__name__)

DEFAULT_THRESHOLD = 0.5
MIN_VALIDATION = 20
"""Fewer labelled val queries than this do not fit a threshold; the train queries then do."""

_FIT_QUERIES = 10_000  # more labelled queries do not move four coefficients
_COLUMNS = (
    *("record_id", "entity_id", "exemplar_id", "rank", "decision", "probability"),
    *("score", "image_score", "text_score", "cross_score", "string_score", "partial_score", "likelihood", "margin"),
    *(
        "threshold",
        "threshold_source",
        "text",
        "reading",
        "exemplar_text",
        "exemplar_reading",
        "exemplar_source",
        "exemplar_page",
    ),
)


@dataclass(frozen=True)
class LinkResult:
    """What linking gives.

    Attributes:
        links: one row per query and candidate entity, best first (see the data dictionary); a query without
            candidates has one row without them.
        threshold: match probability from which (>=) the best candidate is a match.
        threshold_source: "given", "fitted" or "default".
        scorer: the scorer that gave the probabilities.
    """

    links: pd.DataFrame
    threshold: float
    threshold_source: Literal["given", "fitted", "default"]
    scorer: Scorer

    def save(self, path: Path, *, index: Path) -> None:
        """Write the links table and, beside it, `<name>.manifest.json` naming the index and the scorer."""
        write_table(self.links, path, twin=path.suffix == ".csv")
        manifest = {
            "index": str(index),
            "threshold": self.threshold,
            "threshold_source": self.threshold_source,
            "scorer": asdict(self.scorer),
        }
        with replacing(manifest_of(path)) as temporary:
            temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def link_scorer(links: Path) -> Scorer:
    """The scorer that made a links table, from the manifest beside it.

    Raises:
        ArtefactError: there is none.
    """
    manifest = manifest_of(links)
    try:
        return Scorer.of_values(json.loads(manifest.read_text(encoding="utf-8"))["scorer"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ArtefactError(f"{manifest}: not readable; run `linkage link` again") from None


def manifest_of(links: Path) -> Path:
    """Where a links table says what it was made with."""
    return links.with_name(links.name + ".manifest.json")


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
    split val the threshold (where there are fewer than MIN_VALIDATION of them, those of train help out); rows of
    split test are never looked at. Neither the order of queries nor that of exemplars changes the result.

    Args:
        queries: records to link; crops are not read.
        embeddings: hold every query (they may hold more records).
        index: exemplars, pooled with the same model.
        config: candidates per query, threshold, device.
        scorer: used where there are too few labels to fit one; default: DEFAULT_SCORER.

    Raises:
        ArtefactError: index and embeddings are of different models, or a query has no embedding.
        DependencyError: the device asked for is not there.
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
    scorer = job.fit(scorer or DEFAULT_SCORER)
    best = pd.concat(list(job.ranked(np.arange(len(job.frame)), scorer)), ignore_index=True)
    threshold, source = job.threshold(best)
    log.info("link: threshold %.3f (%s), scorer %s", threshold, source, scorer.origin)
    return LinkResult(job.table(best, threshold, source), threshold, source, scorer)


def calibrated(scorer: Scorer, queries: Records, embeddings: Embeddings, index: Index, config: LinkConfig) -> Scorer:
    """A scorer whose probabilities are set by labelled queries, see `calibrate`; arguments as for `link`."""
    job = _Job(queries.frame.reset_index(drop=True), embeddings, index, config)
    return calibrate(scorer, *job.labelled_pairs(np.arange(len(job.frame)), scorer))


class _Job:
    def __init__(self, frame: pd.DataFrame, embeddings: Embeddings, index: Index, config: LinkConfig) -> None:
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

    def pairs(self, queries: np.ndarray) -> Iterator[Pairs]:
        """Candidate pairs of some queries; `query` is the row of the frame."""
        texts = self.frame["text"].to_numpy(dtype=object)[queries]
        found = candidate_pairs(
            self.embeddings,
            self.rows[queries],
            texts.tolist(),
            self.index,
            neighbours=self.config.neighbours,
            device=self.device,
        )
        return (pairs._replace(query=queries[pairs.query]) for pairs in found)

    def fit(self, scorer: Scorer) -> Scorer:
        """Fit the scorer on labelled train queries if enough of them have a match; else return `scorer`."""
        train = np.flatnonzero(self.is_train)
        train = train[np.argsort(self.frame["record_id"].to_numpy(dtype=object)[train], kind="stable")][:_FIT_QUERIES]
        if self.is_matchable[train].sum() < MIN_POSITIVES:
            return scorer
        return refit(scorer, *self.labelled_pairs(train, scorer))

    def labelled_pairs(self, queries: np.ndarray, scorer: Scorer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Similarities, truth and query of the best pair of each entity: what a scorer is fitted on."""
        found = [_best_of_entities(pairs, scorer, self.codes)[0] for pairs in self.pairs(queries)]
        pairs = Pairs.join(found)
        return pairs.alike, self.entities[pairs.exemplar] == self.labels[pairs.query], pairs.query

    def ranked(self, queries: np.ndarray, scorer: Scorer) -> Iterator[pd.DataFrame]:
        """The best exemplar of each of the k best entities of each query, best first."""
        yield pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _RANKED.items()})
        with progress("link", len(queries)) as advance:
            for pairs in self.pairs(queries):
                yield _rank(pairs, scorer, self.codes, self.config.k)
                advance(len(np.unique(pairs.query)))

    def threshold(self, best: pd.DataFrame) -> tuple[float, Literal["given", "fitted", "default"]]:
        """Decide the threshold: given, fitted on labelled val (else train) queries, or the default."""
        if self.config.threshold is not None:
            return self.config.threshold, "given"
        chosen = self.is_val if self.is_val.sum() >= MIN_VALIDATION else self.is_train | self.is_val
        rows = np.flatnonzero(chosen)
        if len(rows) < MIN_VALIDATION:
            return DEFAULT_THRESHOLD, "default"
        first = best[best["rank"] == 1].set_index("query").reindex(rows)
        found = first["exemplar"].notna().to_numpy()
        correct = np.zeros(len(rows), dtype=bool)
        correct[found] = self.entities[first["exemplar"][found].astype(int)] == self.labels[rows[found]]
        return fit_threshold(first["probability"].to_numpy(float), correct, self.is_matchable[rows]), "fitted"

    def table(self, best: pd.DataFrame, threshold: float, source: str) -> pd.DataFrame:
        """The links table: rows in the order of record_id, then rank."""
        every = pd.DataFrame({"query": np.arange(len(self.frame))})
        rows = every.merge(best, on="query", how="left")
        query, found = rows["query"].to_numpy(), rows["exemplar"].notna().to_numpy()
        exemplars = self.index.exemplars.reindex(rows["exemplar"].to_numpy(dtype=float)).reset_index(drop=True)
        table = rows[[name for name in _RANKED if name in _COLUMNS]].copy()
        table["rank"] = rows["rank"].fillna(1).astype("Int64")
        table["record_id"] = self.frame["record_id"].to_numpy(dtype=object)[query]
        table["text"] = self.frame["text"].to_numpy(dtype=object)[query]
        readings = self.embeddings.readings["reading"].to_numpy(dtype=object)[self.rows]
        table["reading"] = readings[query]
        table["entity_id"] = exemplars["entity_id"].where(found, "")
        table["exemplar_id"] = exemplars["record_id"].where(found, "")
        table["exemplar_text"] = exemplars["text"].where(found, "")
        table["exemplar_reading"] = exemplars["reading"].where(found, "")
        table["exemplar_source"] = exemplars["source"].where(found, "") if "source" in exemplars else ""
        table["exemplar_page"] = exemplars["page"].astype("Int64") if "page" in exemplars else pd.NA
        passed = (table["rank"] == 1) & (table["probability"] >= threshold)
        table["decision"] = np.where(passed.to_numpy(dtype=bool), "match", "no-match")
        table["threshold"], table["threshold_source"] = threshold, source
        table = table[list(_COLUMNS)]
        for name in PROVENANCE:
            if name in self.frame.columns:
                table[name] = self.frame[name].to_numpy()[query]
        return table.sort_values(["record_id", "rank"], kind="stable", ignore_index=True)


_RANKED = {
    "query": "int64",
    "exemplar": "int64",
    "rank": "int64",
    "probability": "float64",
    "score": "float64",
    "image_score": "float64",
    "text_score": "float64",
    "cross_score": "float64",
    "string_score": "float64",
    "partial_score": "float64",
    "likelihood": "float64",
    "margin": "float64",
}


def _best_of_entities(pairs: Pairs, scorer: Scorer, codes: np.ndarray) -> tuple[Pairs, np.ndarray]:
    """Keep the best exemplar of each entity; best first by logit, then score, then exemplar_id, and the logits."""
    logit = scorer.logit(pairs.alike).round(9)
    order = np.lexsort((pairs.exemplar, -pairs.score, -logit, pairs.query))
    named = pd.MultiIndex.from_arrays([pairs.query[order], codes[pairs.exemplar[order]]])
    kept = order[~named.duplicated()]
    return Pairs(*(column[kept] for column in pairs)), logit[kept]


def _rank(pairs: Pairs, scorer: Scorer, codes: np.ndarray, k: int) -> pd.DataFrame:
    """The k best entities of each query, best first, with probability and margin."""
    pairs, logit = _best_of_entities(pairs, scorer, codes)
    table = pd.DataFrame(
        {
            "query": pairs.query,
            "exemplar": pairs.exemplar,
            "rank": 0,
            "probability": shares(logit, pairs.query),
            "score": pairs.score,
            "image_score": pairs.image,
            "text_score": pairs.text,
            "cross_score": pairs.cross,
            "string_score": pairs.string,
            "partial_score": pairs.partial,
            "likelihood": pairs.likelihood,
            "margin": np.nan,
        }
    )
    table["rank"] = table.groupby("query").cumcount() + 1
    best = table["probability"].where(table["rank"] == 1).groupby(table["query"]).transform("max")
    second = table["probability"].where(table["rank"] == 2).groupby(table["query"]).transform("max")
    table["margin"] = table["probability"] - second.where(table["rank"] == 1, best)
    return table[table["rank"] <= k]
