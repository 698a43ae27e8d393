"""Candidate pairs of queries and exemplars with all that is alike in them: retrieve wide, decide late."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd

from linkage.config import LinkConfig
from linkage.link.exact import TIE, Modality
from linkage.link.fields import Apart, blocks
from linkage.link.index import Index
from linkage.link.likeness import Likeness, Side, Vectors
from linkage.link.scorer import Scorer
from linkage.link.wording import Wording

if TYPE_CHECKING:
    from linkage.encode.embed import Embeddings
    from linkage.link.terms import Terms

_SEARCHED_AT_A_TIME = 2048  # queries: FAISS takes six times as long for each of some hundred as for each of thousands
_QUERIES_AT_A_TIME = 128  # some 15,000 pairs: their gathered vectors stay below 100 MB
_FEW = 1024  # exemplars of a block: for fewer, FAISS takes longer to be set up than all cosines do

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
    left out. A query that is an exemplar of the index is not compared with itself.

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
    free, other = Apart(queries, index.exemplars, config.exclude), Apart(queries, index.exemplars)
    search = _Search(
        vectors, rows, index, asking.wording.terms(index.wording), config.neighbours + free.overlap, device
    )
    for parts in _together(search.found(blocks(queries, index.exemplars, config.blocking))):
        query, exemplar = zip(*(part.pairs(len(index)) for part in parts), strict=True)
        a, b = np.concatenate(query), np.concatenate(exemplar)
        kept = free.of(a, b)
        a, b = a[kept], b[kept]
        alike, split = likeness.written(a, b)
        likeliest = _likeliest(a, b, entities[b], scorer.logit(alike), alike, config)
        pairs = Pairs(a, b, alike, split).at(likeliest)
        alike = pairs.alike.assign(likelihood=likeness.likelihoods(pairs.query, pairs.exemplar))
        yield Candidates(pairs._replace(alike=alike), _nearest(parts, other))


class _Found(NamedTuple):
    """What some queries of one block came near to.

    Attributes:
        query: int64 (q,), rows of the queries.
        near: by space, rows of the index, int64 (q, k), best first, -1: none; and cosines.
        written: rows of the index that share rare n-grams, int64 (q, k), -1: none.
    """

    query: np.ndarray
    near: dict[Modality, tuple[np.ndarray, np.ndarray]]
    written: np.ndarray

    def pairs(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """All distinct pairs (m,), rows of the queries and of an index of n exemplars."""
        place, exemplar = _union(np.hstack([*(rows for rows, _ in self.near.values()), self.written]), n)
        return self.query[place], exemplar


class _Search:
    """The k nearest exemplars of queries within their blocks."""

    def __init__(
        self,
        vectors: Embeddings,
        rows: np.ndarray,
        index: Index,
        terms: Terms,
        k: int,
        device: Literal["cpu", "cuda"],
    ) -> None:
        self._vectors, self._rows = vectors, rows
        self._index, self._terms = index, terms
        self._k, self._device = k, device
        self._alone = _alone(vectors, rows, index)

    def found(self, blocks: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[_Found]:
        """What the queries of each block found, some hundred queries at a time; see `fields.blocks`."""
        for asked, known in blocks:
            inside = self._index if len(known) == len(self._index) else None
            if inside is None and len(known) > _FEW:
                inside = self._index.take(known)
            for start in range(0, max(len(asked), 1), _SEARCHED_AT_A_TIME):  # no query at all finds nothing, once
                query = asked[start : start + _SEARCHED_AT_A_TIME]
                yield from self._found(query, known, inside)

    def _found(self, query: np.ndarray, known: np.ndarray, inside: Index | None) -> Iterator[_Found]:
        k, places = min(self._k, len(known)), np.append(known, -1)  # row -1 of the block is none of the index
        near: dict[Modality, tuple[np.ndarray, np.ndarray]] = {}
        for by, asked in self._asked(self._rows[query]).items():
            if inside:
                cosines, rows = inside.search(asked, k, by=by, device=self._device)
            else:
                cosines, rows = _nearest_of_few(asked, np.asarray(getattr(self._index, by)[known], np.float32), k)
            near[by] = places[rows], cosines
        near = {by: near[by if by in near else self._alone or by] for by in SPACES}
        for start in range(0, max(len(query), 1), _QUERIES_AT_A_TIME):
            part = slice(start, start + _QUERIES_AT_A_TIME)
            some = {by: (rows[part], cosines[part]) for by, (rows, cosines) in near.items()}
            all_found = k == len(known) and any((rows >= 0).all() for rows, _ in some.values())
            written = np.empty((len(query[part]), 0), dtype=np.int64)
            if not all_found:
                written = places[self._terms.nearest(query[part], known, k)]
            yield _Found(query[part], some, written)

    def _asked(self, rows: np.ndarray) -> dict[Modality, np.ndarray]:
        near = Vectors.of(self._vectors, rows)
        asked: dict[Modality, np.ndarray] = {"image": near.image, "text": near.text}
        if not self._alone:
            asked["pooled"] = self._vectors.pooled(self._index.image_weight, rows)
        return asked


def _alone(vectors: Embeddings, rows: np.ndarray, index: Index) -> Modality | None:
    """The modality that queries and exemplars have where none of them has the other: pooled vectors are its own."""
    if not vectors.image[rows].any() and not index.image.any():
        return "text"
    return "image" if not vectors.text[rows].any() and not index.text.any() else None


def _nearest_of_few(queries: np.ndarray, exemplars: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """What `ExactSearch.search` returns, by all cosines of queries (q, D) with exemplars (n, D)."""
    cosines = queries @ exemplars.T
    there = np.logical_and(queries.any(axis=1, keepdims=True), exemplars.any(axis=1))
    order = np.argsort(np.where(there, -np.round(cosines / TIE), np.inf), axis=1, kind="stable")[:, :k]
    there = np.take_along_axis(there, order, axis=1)
    return np.where(there, np.take_along_axis(cosines, order, axis=1), -1.0), np.where(there, order, -1)


def _together(parts: Iterable[_Found]) -> Iterator[list[_Found]]:
    """As many parts as hold some hundred queries: small blocks are not compared one by one."""
    some: list[_Found] = []
    for part in parts:
        if some and sum(len(one.query) for one in [*some, part]) > _QUERIES_AT_A_TIME:
            yield some
            some = []
        some.append(part)
    yield some


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


def _nearest(parts: Sequence[_Found], other: Apart) -> pd.DataFrame:
    """The best exemplar of each query by space, other than itself."""
    tables = []
    for space in SPACES:
        for part in parts:
            rows, cosines = part.near[space]
            place, column = np.nonzero(rows[:, :2] >= 0)
            kept = other.of(part.query[place], rows[place, column])
            first = np.unique(place[kept], return_index=True)[1]
            place, column = place[kept][first], column[kept][first]
            tables.append(
                (part.query[place], np.full(len(place), space, object), rows[place, column], cosines[place, column])
            )
    columns = (np.concatenate(values) for values in zip(*tables, strict=True))
    return pd.DataFrame(dict(zip(("query", "by", "exemplar", "cosine"), columns, strict=True)))


def _union(found: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct (query, exemplar) pairs of row numbers (q, m), -1 meaning none."""
    query = np.repeat(np.arange(len(found), dtype=np.int64), found.shape[1])
    exemplar = found.ravel()
    distinct = np.unique((query * n + exemplar)[exemplar >= 0])
    return distinct // n, distinct % n
