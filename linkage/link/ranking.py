"""Queries ranked: candidates with probabilities by a scorer that labels correct, under a constraint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from linkage.config import LinkConfig
from linkage.link.assign import assign, groups_of
from linkage.link.candidates import Candidates, Pairs, candidates
from linkage.link.decide import tied_counts
from linkage.link.exact import choose_device
from linkage.link.fields import check_columns
from linkage.link.fit import MIN_POSITIVES, Labelled, refit
from linkage.link.index import Index, rows_of
from linkage.link.links import ranked
from linkage.link.scorer import Scorer, shares
from linkage.progress import progress

if TYPE_CHECKING:
    from linkage.encode.embed import Embeddings

_FIT_QUERIES = 5_000  # more labelled queries do not move a dozen coefficients


class Ranking:
    """The ranking of some queries against an index.

    Attributes:
        frame: the queries' records.
        labels: entity of each query, "" where unknown, object (q,).
        is_train, is_val: labelled queries that the scorer, and decisions, are fitted on, bool (q,).
        is_matchable: the index has the query's entity, bool (q,).
        left_out: candidates of train queries as `search` gives them, by scorers that were fitted without their entity;
            None where no scorer was fitted.
    """

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
        self.labels = frame["entity_id"].to_numpy(dtype=object)
        labelled = (self.labels != "") & (frame["role"] != "exemplar").to_numpy()
        self.is_train = labelled & frame["split"].isin(["train", ""]).to_numpy()
        self.is_val = labelled & (frame["split"] == "val").to_numpy()
        self.is_matchable = pd.Series(self.labels).isin(set(self.entities)).to_numpy()
        self.left_out: pd.DataFrame | None = None

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
        pairs = self.best_pairs(train, scorer)
        fit = refit(scorer, self.labelled(pairs))
        if fit is None:
            return scorer
        logit = fit.left_out.round(9)
        order = np.lexsort((pairs.exemplar, -pairs.alike["score"].to_numpy(), -logit, pairs.query))
        self.left_out = ranked(pairs.at(order), logit[order], shares(logit[order], pairs.query[order]))
        return fit.scorer

    def best_pairs(self, queries: np.ndarray, scorer: Scorer) -> Pairs:
        """The best pair of each query and entity, queries in the order of their rows."""
        found = [best_of_entities(part.pairs, scorer, self.codes)[0] for part in self.candidates(queries, scorer)]
        pairs = Pairs.join(found)
        return pairs.at(np.argsort(pairs.query, kind="stable"))

    def labelled(self, pairs: Pairs) -> Labelled:
        """What is known of the pairs of labelled queries."""
        truth = self.labels[pairs.query]
        alike = pairs.alike.reset_index(drop=True)
        return Labelled(alike, self.entities[pairs.exemplar] == truth, pairs.query, truth)

    def search(self, scorer: Scorer) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The best exemplar of each of the best entities of every query (see `ranked`), and the nearest by space."""
        found, nearest = [], []
        wide = self.config.constraint != "many-to-one" or self.config.coverage is not None
        kept = max(self.config.k, self.config.rescored) if wide else max(self.config.k, 2)
        with progress("link", len(self.frame)) as advance:
            for part in self.candidates(np.arange(len(self.frame)), scorer):
                pairs, logit = best_of_entities(part.pairs, scorer, self.codes)
                table = ranked(pairs, logit, shares(logit, pairs.query))
                found.append(table[table["rank"] <= kept])
                nearest.append(part.nearest)
                advance(len(np.unique(pairs.query)))
        return pd.concat(found, ignore_index=True), pd.concat(nearest, ignore_index=True)

    def settled(self, found: pd.DataFrame) -> pd.DataFrame:
        """Candidates with what stands in the way of calling them, ranked anew under the constraint.

        Returns:
            `found` and: tied (as how many entities the candidate is as likely as the query's best; NaN: it is not,
            or the best is alone), free (the constraint leaves it to the query).
        """
        query, logit = found["query"].to_numpy(), found["logit"].to_numpy()
        ties = tied_counts(logit, query)[np.cumsum(np.diff(query, prepend=-1) != 0) - 1]
        tied = (ties > 1) & (found["rank"].to_numpy() <= ties)
        found = found.assign(tied=np.where(tied, ties, np.nan), free=True)
        if self.config.constraint == "many-to-one":
            return found
        page = self.frame["page"].to_numpy() if "page" in self.frame else np.ones(len(self.frame))
        group = groups_of(self.config.constraint, self.frame["source"].to_numpy(dtype=object), page)
        left = assign(query, self.codes[found["exemplar"].to_numpy()], logit, group)
        found = found.assign(free=left.linkable, logit=np.where(left.allowed, logit, -np.inf))
        found = found.iloc[np.lexsort((found["exemplar"], -found["logit"], ~found["free"], query))]
        found = found.reset_index(drop=True)
        found["rank"] = found.groupby("query").cumcount() + 1
        return found.assign(probability=shares(found["logit"].to_numpy(), found["query"].to_numpy()))

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


def best_of_entities(pairs: Pairs, scorer: Scorer, codes: np.ndarray) -> tuple[Pairs, np.ndarray]:
    """Keep the best exemplar of each entity; best first by logit, then score, then exemplar_id, and the logits."""
    logit = scorer.logit(pairs.alike).round(9)
    order = np.lexsort((pairs.exemplar, -pairs.alike["score"].to_numpy(), -logit, pairs.query))
    named = pd.MultiIndex.from_arrays([pairs.query[order], codes[pairs.exemplar[order]]])
    kept = order[~named.duplicated()]
    return pairs.at(kept), logit[kept]
