"""Queries ranked: candidates with probabilities by a scorer that labels correct, under a constraint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from linkage.compare.exhaustive import PAIRS
from linkage.compare.fields import check_columns
from linkage.compare.fit import MIN_POSITIVES, LabelledPairs, refit
from linkage.compare.likeness import ComparedRecords
from linkage.compare.scorer import Scorer, shares
from linkage.compare.wording import Wording
from linkage.config import LinkConfig
from linkage.link.assign import Assignment, assign, groups_of
from linkage.link.candidates import Exemplars, Pairs, candidates
from linkage.link.decide import tied_counts
from linkage.link.links import ranked
from linkage.search.exact import choose_device
from linkage.search.index import Index, rows_of

if TYPE_CHECKING:
    from linkage.encode.embeddings import Embeddings

_FIT_QUERIES = 5_000  # more labelled queries do not move a dozen coefficients


class FittedScorer(NamedTuple):
    """What fitting a scorer on labelled train queries gives.

    Attributes:
        scorer: the fitted one; the one that was there where there are too few labels.
        left_out: candidates of train queries (see `ranked`), by scorers that were fitted without their entity;
            None where no scorer was fitted.
    """

    scorer: Scorer
    left_out: pd.DataFrame | None = None


class Ranking:
    """The ranking of some queries against an index. A query is numbered by its place in the order of record_id.

    Attributes:
        frame: the queries' records, in that order.
        exemplars: the index, as candidates are found in it.
        rows: row of each query in the embeddings, int64 (q,).
        kept: candidates that are kept of a query.
        labels: entity of each query, "" where unknown, object (q,); what is known to be of no exemplar's (role
            `query_nomatch`) and has none has a name of its own.
        is_train, is_val: labelled queries that the scorer, and decisions, are fitted on, bool (q,).
        is_matchable: the index has the query's entity, bool (q,).
        every_pair: queries and exemplars are few enough to compare every pair by likelihood.
    """

    def __init__(self, frame: pd.DataFrame, embeddings: Embeddings, index: Index, config: LinkConfig) -> None:
        named = [*config.blocking, *config.fields]
        check_columns(named, {"queries": frame, "index": index.exemplars})
        order = np.argsort(frame["record_id"].to_numpy(dtype=object), kind="stable")
        self.frame = frame = frame.iloc[order].reset_index(drop=True)
        self.embeddings = embeddings
        self.index = index
        self.config = config
        self.rows = rows_of(frame["record_id"], embeddings)
        self.device = choose_device(config.device)
        self.exemplars = Exemplars(index, config)
        self.entities = index.exemplars["entity_id"].to_numpy(dtype=object)
        wide = config.constraint != "many-to-one" or config.coverage is not None
        self.kept = max(config.k, config.rescored) if wide else max(config.k, 2)
        known, nobody = frame["entity_id"], (frame["role"] == "query_nomatch") & (frame["entity_id"] == "")
        self.labels = known.where(~nobody, "\0" + frame["record_id"].astype(str)).to_numpy(dtype=object)
        labelled = (self.labels != "") & (frame["role"] != "exemplar").to_numpy()
        self.is_train = labelled & frame["split"].isin(["train", ""]).to_numpy()
        self.is_val = labelled & (frame["split"] == "val").to_numpy()
        self.every_pair = len(frame) * len(index) <= PAIRS
        self.is_matchable = pd.Series(self.labels).isin(set(self.entities)).to_numpy()

    def candidates(self, queries: np.ndarray, scorer: Scorer) -> Iterator[Pairs]:
        """Candidates of some queries."""
        rows, frame = self.rows[queries], self.frame.iloc[queries]
        wording = Wording.of(frame, self.embeddings.readings_of(rows), self.index.folding)
        asked = ComparedRecords(self.embeddings, rows, frame, wording)
        for part in candidates(asked, self.exemplars, scorer, device=self.device, every_pair=self.every_pair):
            yield part.pairs._replace(query=queries[part.pairs.query])

    def fit(self, scorer: Scorer) -> FittedScorer:
        """Fit the scorer on labelled train queries if enough of them have a match."""
        train = np.flatnonzero(self.is_train)[:_FIT_QUERIES]
        if self.is_matchable[train].sum() < MIN_POSITIVES:
            return FittedScorer(scorer)
        pairs = self.best_pairs(train, scorer)
        fit = refit(scorer, self.labelled(pairs))
        if fit is None:
            return FittedScorer(scorer)
        logit = fit.left_out.round(9)
        order = np.lexsort((pairs.exemplar, -pairs.alike["score"].to_numpy(), -logit, pairs.query))
        return FittedScorer(fit.scorer, ranked(pairs.at(order), logit[order], shares(logit[order], pairs.query[order])))

    def best_pairs(self, queries: np.ndarray, scorer: Scorer) -> Pairs:
        """The best pair of each query and entity, queries in order."""
        found = [
            best_of_entities(pairs, scorer, self.exemplars.entities)[0] for pairs in self.candidates(queries, scorer)
        ]
        pairs = Pairs.join(found)
        return pairs.at(np.argsort(pairs.query, kind="stable"))

    def labelled(self, pairs: Pairs) -> LabelledPairs:
        """What is known of the pairs of labelled queries."""
        truth = self.labels[pairs.query]
        alike = pairs.alike.reset_index(drop=True)
        return LabelledPairs(alike, self.entities[pairs.exemplar] == truth, pairs.query, truth)

    def assignment(self, found: pd.DataFrame) -> Assignment | None:
        """What the constraint leaves of candidates of all queries (query, exemplar, logit); None: everything."""
        if self.config.constraint == "many-to-one":
            return None
        page = self.frame["page"].to_numpy() if "page" in self.frame else np.ones(len(self.frame))
        group = groups_of(self.config.constraint, self.frame["source"].to_numpy(dtype=object), page)
        entity = self.exemplars.entities[found["exemplar"].to_numpy()]
        return assign(found["query"].to_numpy(), entity, found["logit"].to_numpy(), group)


def settled(found: pd.DataFrame, left: Assignment | None) -> pd.DataFrame:
    """Candidates of some queries with what stands in the way of calling them, ranked anew under a constraint.

    Args:
        found: see `ranked`; the pairs of a query stand together.
        left: what the constraint leaves of them; None: there is none.

    Returns:
        `found` and: tied (as how many entities the candidate is as likely as the query's best; NaN: it is not,
        or the best is alone), free (the constraint leaves it to the query).
    """
    query, logit = found["query"].to_numpy(), found["logit"].to_numpy()
    ties = tied_counts(logit, query)[np.cumsum(np.diff(query, prepend=-1) != 0) - 1]
    tied = (ties > 1) & (found["rank"].to_numpy() <= ties)
    found = found.assign(tied=np.where(tied, ties, np.nan), free=True)
    if left is None:
        return found
    found = found.assign(free=left.linkable, logit=np.where(left.allowed, logit, -np.inf))
    found = found.iloc[np.lexsort((found["exemplar"], -found["logit"], ~found["free"], query))]
    found = found.reset_index(drop=True)
    found["rank"] = found.groupby("query").cumcount() + 1
    return found.assign(probability=shares(found["logit"].to_numpy(), found["query"].to_numpy()))


def best_of_entities(pairs: Pairs, scorer: Scorer, codes: np.ndarray) -> tuple[Pairs, np.ndarray]:
    """Keep the best exemplar of each entity; best first by logit, then score, then exemplar_id, and the logits."""
    logit = scorer.logit(pairs.alike).round(9)
    order = np.lexsort((pairs.exemplar, -pairs.alike["score"].to_numpy(), -logit, pairs.query))
    named = pd.MultiIndex.from_arrays([pairs.query[order], codes[pairs.exemplar[order]]])
    kept = order[~named.duplicated()]
    return pairs.at(kept), logit[kept]
