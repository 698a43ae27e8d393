"""Candidate pairs of queries and exemplars with all that is alike in them: retrieve wide, decide late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd

from linkage.config import LinkConfig
from linkage.link.fields import apart, blocks
from linkage.link.index import Index, Modality
from linkage.link.likeness import Likeness, Side, Vectors
from linkage.link.scorer import Scorer
from linkage.link.wording import Wording

if TYPE_CHECKING:
    from linkage.encode.embed import Embeddings

_SEARCHED_AT_A_TIME = 2048  # queries: FAISS takes six times as long for each of some hundred as for each of thousands
_QUERIES_AT_A_TIME = 128  # some 15,000 pairs: their gathered vectors stay below 100 MB

SPACES: tuple[Modality, ...] = ("pooled", "image", "text")


class Pairs(NamedTuple):
    """Candidate pairs, ordered by query, then by exemplar row.

    Attributes:
        query: int64 (n,), row among the queries.
        exemplar: int64 (n,), row of the index.
        alike: what the scorer weighs (see `scorer.FEATURES`, `fields.Comparisons`), one row per pair.
        parts: of the pooled cosine, columns PARTS.
    """

    query: np.ndarray
    exemplar: np.ndarray
    alike: pd.DataFrame
    parts: pd.DataFrame

    def at(self, rows: np.ndarray) -> Pairs:
        """Some of the pairs, by mask or position."""
        alike, parts = (table[rows] if rows.dtype == bool else table.iloc[rows] for table in (self.alike, self.parts))
        return Pairs(self.query[rows], self.exemplar[rows], alike, parts)

    @classmethod
    def join(cls, parts: Sequence[Pairs]) -> Pairs:
        """Concatenate."""
        query, exemplar, alike, split = zip(*parts, strict=True)
        return cls(
            np.concatenate(query),
            np.concatenate(exemplar),
            pd.concat(alike, ignore_index=True),
            pd.concat(split, ignore_index=True),
        )


class Candidates(NamedTuple):
    """What was found for some queries.

    Attributes:
        pairs: with every exemplar that is among the nearest in one of the SPACES.
        nearest: the nearest exemplar in each of them: query, by (one of SPACES), exemplar, cosine.
    """

    pairs: Pairs
    nearest: pd.DataFrame


def candidates(
    vectors: Embeddings,
    rows: np.ndarray,
    queries: pd.DataFrame,
    index: Index,
    config: LinkConfig,
    scorer: Scorer,
    *,
    device: Literal["cpu", "cuda"] = "cpu",
) -> Iterator[Candidates]:
    """The union of the nearest exemplars by pooled, image and text vectors, some hundred queries at a time.

    Lattices are compared last, and only with the exemplars that are likeliest without them: a query's other ones are
    left out.

    Args:
        vectors: embeddings of the queries.
        rows: row of each query in them, (q,).
        queries: their records, (q,) rows: text, provenance, the columns that `config` names.
        index: the exemplars.
        config: how many neighbours, how many of them are compared with lattices, blocking, exclusions, fields.
        scorer: says which are the likeliest.
        device: where FAISS searches.

    Yields:
        Candidates; `query` is the row among `queries`. Queries stand together, but not in order.
    """
    asking = Side(vectors, rows, queries, Wording.of(queries, vectors.readings.iloc[rows]))
    known_ones = Side(index, np.arange(len(index)), index.exemplars, index.wording)
    likeness = Likeness(asking, known_ones, index.image_weight, config.fields)
    entities = pd.factorize(index.exemplars["entity_id"])[0]
    for asked, known in blocks(queries, index.exemplars, config.blocking):
        inside = index if len(known) == len(index) else index.take(known)
        for query, found in _searched(vectors, rows, asked, inside, config.neighbours, device):
            place, near = _union(np.hstack([near for near, _ in found.values()]), len(inside))
            a, b = query[place], known[near]
            kept = apart(queries, a, index.exemplars, b, config.exclude)
            a, b = a[kept], b[kept]
            alike, parts = likeness.written(a, b)
            likeliest = _likeliest(a, b, entities[b], scorer.logit(alike), alike["score"].to_numpy(), config)
            pairs = Pairs(a, b, alike, parts).at(likeliest)
            alike = pairs.alike.assign(likelihood=likeness.likelihoods(pairs.query, pairs.exemplar))
            yield Candidates(pairs._replace(alike=alike), _nearest(found, query, known))


Found = dict[Modality, tuple[np.ndarray, np.ndarray]]
"""Rows of the index and cosines (q, k) by space."""


def _searched(
    vectors: Embeddings, rows: np.ndarray, asked: np.ndarray, index: Index, k: int, device: Literal["cpu", "cuda"]
) -> Iterator[tuple[np.ndarray, Found]]:
    """Some hundred of the asked queries at a time, and what was found for them."""
    for start in range(0, len(asked), _SEARCHED_AT_A_TIME):
        several = asked[start : start + _SEARCHED_AT_A_TIME]
        found = _search(vectors, rows[several], index, k, device)
        for first in range(0, len(several), _QUERIES_AT_A_TIME):
            some = slice(first, first + _QUERIES_AT_A_TIME)
            yield several[some], {space: (near[some], cosines[some]) for space, (near, cosines) in found.items()}


def _likeliest(
    query: np.ndarray,
    exemplar: np.ndarray,
    entity: np.ndarray,
    logit: np.ndarray,
    score: np.ndarray,
    config: LinkConfig,
) -> np.ndarray:
    """The `rescored` likeliest pairs of each query and the likeliest one of its k likeliest entities, ascending."""
    order = np.lexsort((exemplar, -score, -logit.round(9), query))
    query, entity = query[order], entity[order]
    first_of_entity = ~pd.MultiIndex.from_arrays([query, entity]).duplicated()
    return np.sort(
        order[
            (_places(query, np.ones(len(query), dtype=bool)) <= config.rescored)
            | (first_of_entity & (_places(query, first_of_entity) <= config.k))
        ]
    )


def _places(query: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """How many of a query's pairs up to each are counted; the pairs of a query stand together."""
    begins = np.diff(query, prepend=-1) != 0
    total = np.cumsum(counted)
    before = np.maximum.accumulate(np.where(begins, total - counted, 0))
    return np.asarray(total - before)


def _search(
    vectors: Embeddings, rows: np.ndarray, index: Index, neighbours: int, device: Literal["cpu", "cuda"]
) -> Found:
    """What the index finds in each of the SPACES."""
    near = Vectors.of(vectors, rows)
    asked = {"pooled": vectors.pooled(index.image_weight, rows), "image": near.image, "text": near.text}
    found: Found = {}
    for space in SPACES:
        cosines, exemplars = index.search(asked[space], min(neighbours, len(index)), by=space, device=device)
        found[space] = exemplars, cosines
    return found


def _nearest(found: Found, query: np.ndarray, known: np.ndarray) -> pd.DataFrame:
    tables = [pd.DataFrame(columns=["query", "by", "exemplar", "cosine"])]
    for space, (near, cosines) in found.items():
        if near.shape[1]:
            there = near[:, 0] >= 0
            table = pd.DataFrame({"query": query[there], "by": space, "exemplar": known[near[there, 0]]})
            tables.append(table.assign(cosine=cosines[there, 0]))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def _union(found: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct (query, exemplar) pairs of row numbers (q, m), -1 meaning none."""
    query = np.repeat(np.arange(len(found), dtype=np.int64), found.shape[1])
    exemplar = found.ravel()
    distinct = np.unique((query * n + exemplar)[exemplar >= 0])
    return distinct // n, distinct % n
