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
from linkage.link.wording import Wording, nearest_by_rarity

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
    """The union of the nearest exemplars by pooled, image and text vectors and by n-grams, a hundred queries at a time.

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
    rare = asking.wording.rare_rows(index.wording)
    alone = _alone(vectors, rows, index)
    for asked, known in blocks(queries, index.exemplars, config.blocking):
        inside = index if len(known) == len(index) else index.take(known)
        for part, found in _searched(vectors, rows[asked], inside, config.neighbours, alone, device):
            query = asked[part]
            views = [near for near, _ in found.values()]
            if rare is not None:
                views.append(nearest_by_rarity(rare[query], index.wording, known, min(config.neighbours, len(known))))
            place, near = _union(np.hstack(views), len(inside))
            a, b = query[place], known[near]
            kept = apart(queries, a, index.exemplars, b, config.exclude)
            a, b = a[kept], b[kept]
            alike, parts = likeness.written(a, b)
            likeliest = _likeliest(a, b, entities[b], scorer.logit(alike), alike, config)
            pairs = Pairs(a, b, alike, parts).at(likeliest)
            alike = pairs.alike.assign(likelihood=likeness.likelihoods(pairs.query, pairs.exemplar))
            yield Candidates(pairs._replace(alike=alike), _nearest(found, query, known))


Found = dict[Modality, tuple[np.ndarray, np.ndarray]]
"""Rows of the index and cosines (q, k) by space."""


def _alone(vectors: Embeddings, rows: np.ndarray, index: Index) -> Modality | None:
    """The modality that queries and exemplars have where none of them has the other: pooled vectors are its own."""
    if not vectors.image[rows].any() and not index.image.any():
        return "text"
    return "image" if not vectors.text[rows].any() and not index.text.any() else None


def _searched(
    vectors: Embeddings, rows: np.ndarray, index: Index, k: int, alone: Modality | None, device: Literal["cpu", "cuda"]
) -> Iterator[tuple[slice, Found]]:
    """Some hundred of the queries at a time, and what was found for them."""
    for start in range(0, max(len(rows), 1), _SEARCHED_AT_A_TIME):  # no query at all: nothing is found, in all columns
        some = rows[start : start + _SEARCHED_AT_A_TIME]
        near = Vectors.of(vectors, some)
        asked: dict[Modality, np.ndarray] = {"image": near.image, "text": near.text}
        if not alone:
            asked["pooled"] = vectors.pooled(index.image_weight, some)
        hits = {by: index.search(asked[by], min(k, len(index)), by=by, device=device) for by in asked}
        hits["pooled"] = hits[alone or "pooled"]
        for first in range(0, max(len(some), 1), _QUERIES_AT_A_TIME):
            part = slice(first, min(first + _QUERIES_AT_A_TIME, len(some)))
            found: Found = {by: (hits[by][1][part], hits[by][0][part]) for by in SPACES}
            yield slice(start + part.start, start + part.stop), found


def _likeliest(
    query: np.ndarray,
    exemplar: np.ndarray,
    entity: np.ndarray,
    logit: np.ndarray,
    alike: pd.DataFrame,
    config: LinkConfig,
) -> np.ndarray:
    """Pairs of each query to go on with, ascending: the `rescored` likeliest, and those of its k likeliest entities.

    Half as many with the likest pictures come along: where handwriting was read wrong the strings say little of the
    true exemplar, but the picture and its lattice do.
    """
    order = np.lexsort((exemplar, -alike["image_cosine"].to_numpy(), query))
    seen = alike["image_cosine"].notna().to_numpy()[order]
    pictured = order[seen & (_places(query[order], seen) <= config.rescored // 2)]
    order = np.lexsort((exemplar, -alike["score"].to_numpy(), -logit.round(9), query))
    query, entity = query[order], entity[order]
    first_of_entity = ~pd.MultiIndex.from_arrays([query, entity]).duplicated()
    likely = _places(query, np.ones(len(query), dtype=bool)) <= config.rescored
    of_entities = first_of_entity & (_places(query, first_of_entity) <= config.k)
    return np.union1d(order[likely | of_entities], pictured)


def _places(query: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """How many of a query's pairs up to each are counted; the pairs of a query stand together."""
    begins = np.diff(query, prepend=-1) != 0
    total = np.cumsum(counted)
    before = np.maximum.accumulate(np.where(begins, total - counted, 0))
    return np.asarray(total - before)


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
