"""Candidate pairs of queries and exemplars with all that is alike in them: retrieve wide, decide late."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from linkage.compare.exhaustive import nearest_by_likelihood
from linkage.compare.fields import BlockingKeys, ExclusionRule, PairExclusions, TextCounts, blocks
from linkage.compare.likeness import ComparedRecords, RecordComparison
from linkage.compare.scorer import Scorer
from linkage.compare.terms import Frequencies, Terms
from linkage.compare.wording import Wording
from linkage.config import LinkConfig
from linkage.encode.pooling import Vectors, pool
from linkage.search.exact import TIE, Modality
from linkage.search.index import Index

_SEARCHED_AT_A_TIME = 2048  # queries: FAISS takes six times as long for each of some hundred as for each of thousands
_QUERIES_AT_A_TIME = 128  # some 15,000 pairs: their gathered vectors stay below 100 MB
_FEW = 1024  # exemplars of a block: for fewer, FAISS takes longer to be set up than all cosines do

LIKELY = 16
"""Exemplars of a query that its lattice, or theirs, brings in, where every pair is compared."""
_LOOKED_AT = 65_536  # rows of vectors at a time: 30 MB

SPACES: tuple[Modality, ...] = ("pooled", "image", "text")
_OTHER: dict[Modality, Modality] = {"image": "text", "text": "image"}
_COSINES: dict[Modality, str] = {"pooled": "score", "image": "image_cosine", "text": "text_cosine"}


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


class Exemplars:
    """The index as candidates are found in it: what is made of it once for all queries.

    Attributes:
        index: the exemplars.
        side: they as one side of every comparison.
        entities: number of the entity of each, int64 (n,), in the order of their ids.
        keys: what they are blocked by.
        free, others: which of them a query may be linked to, and which are not the query itself.
        counts: in how many of them each n-gram stands. They alone say what is rare: were queries counted, each one's
            probability would move with those beside it, and those that fit a scorer would not be seen as in use.
        alone: the modality that they have where none has the other; None: there are both, or neither.
    """

    def __init__(self, index: Index, config: LinkConfig, counts: TextCounts | None = None) -> None:
        """Take an index; `counts`: of its exemplars, where they were counted before."""
        self.index = index
        self.config = config
        wording = Wording.of(index.exemplars, index.exemplars, index.folding)
        self.side = ComparedRecords(index, np.arange(len(index)), index.exemplars, wording)
        self.entities = pd.factorize(index.exemplars["entity_id"], sort=True)[0]
        self.keys = BlockingKeys(index.exemplars, config.blocking, index.folding)
        self.free, self.others = ExclusionRule(index.exemplars, config.exclude), ExclusionRule(index.exemplars)
        self.counts = counts or self._counted()
        has = [by for by in _OTHER if _any(getattr(index, by))]
        self.alone = has[0] if len(has) == 1 else None

    def _counted(self) -> TextCounts:
        told = self.side.told(self.config.fields)
        fields = {name: Frequencies().add(told.views(name)) for name in told.texts}
        return TextCounts(Frequencies().add(self.side.wording.folded), fields)


def candidates(
    asked: ComparedRecords,
    exemplars: Exemplars,
    scorer: Scorer,
    *,
    device: Literal["cpu", "cuda"] = "cpu",
    every_pair: bool = False,
) -> Iterator[Candidates]:
    """The union of the nearest exemplars by pooled, image and text vectors and by n-grams, a hundred queries at a time.

    Where every pair is compared, those come along whose text or crop is likeliest to say the same. Lattices are else
    compared last, and only with the exemplars that are likeliest without them: a query's other ones are left out. A
    query that is an exemplar of the index is not compared with itself. The exemplars' configuration says how many
    neighbours there are, how many of them are compared with lattices, what is blocked and excluded. What is found for a
    query does not hang on the others, but that `every_pair` is for so many queries only.

    Args:
        asked: queries: embeddings, records and wording.
        exemplars: what they are compared with.
        scorer: says which are the likeliest.
        device: where FAISS searches.
        every_pair: compare every query's lattice and text with every exemplar's; see `exhaustive.PAIRS`.

    Yields:
        Candidates; `query` is the row of the query in `asked`. Queries stand together, but not in order.
    """
    index, config, queries = exemplars.index, exemplars.config, asked.frame
    likeness = RecordComparison(asked, exemplars.side, index.image_weight, config.fields, exemplars.counts)
    free, other = exemplars.free.apart(queries), exemplars.others.apart(queries)
    search = _Search(asked, exemplars, device, every_pair)
    for parts in _together(search.found(blocks(queries, exemplars.keys, config.blocking))):
        query, exemplar, likely = (
            np.concatenate(each) for each in zip(*(p.pairs(len(index)) for p in parts), strict=True)
        )
        kept = free.of(query, exemplar)
        a, b, likely = query[kept], exemplar[kept], likely[kept]
        alike, split = likeness.written(a, b)
        likeliest = _likeliest(a, b, exemplars.entities[b], scorer.logit(alike), alike, config)
        pairs = Pairs(a, b, alike, split).at(np.union1d(likeliest, np.flatnonzero(likely)))
        alike = pairs.alike.assign(**likeness.likelihoods(pairs.query, pairs.exemplar))
        yield Candidates(pairs._replace(alike=alike), _nearest(parts, other, likeness))


def _any(vectors: np.ndarray) -> bool:
    """Whether any row is not zero, looked at a part at a time."""
    return any(vectors[start : start + _LOOKED_AT].any() for start in range(0, len(vectors), _LOOKED_AT))


class _Neighbours(NamedTuple):
    """What some queries of one block came near to.

    Attributes:
        query: int64 (q,), rows of the queries.
        near: by space, rows of the index, int64 (q, k), best first, -1: none; and cosines.
        written: rows of the index that share rare n-grams, int64 (q, k), -1: none.
        likely: rows of the index that are likeliest by lattice, int64 (q, LIKELY), -1: none.
    """

    query: np.ndarray
    near: dict[Modality, tuple[np.ndarray, np.ndarray]]
    written: np.ndarray
    likely: np.ndarray

    def pairs(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All distinct pairs (m,), rows of the queries and of an index of n exemplars; whether they are likely ones."""
        place, exemplar = _union(np.hstack([*(rows for rows, _ in self.near.values()), self.written, self.likely]), n)
        likely = (self.likely[place] == exemplar[:, None]).any(axis=1)
        return self.query[place], exemplar, likely


_Found = tuple[np.ndarray, np.ndarray]  # rows of the index and cosines, both (q, k)
_SearchBy = Callable[[Modality, np.ndarray], _Found]


class _Search:
    """The nearest exemplars of queries within their blocks, other than the query itself.

    One more than asked for is searched, and left out again where the query is no exemplar.
    """

    def __init__(
        self, asked: ComparedRecords, exemplars: Exemplars, device: Literal["cpu", "cuda"], every_pair: bool
    ) -> None:
        self._asking, self._device, self._every_pair = asked, device, every_pair
        self._known = exemplars.side
        self._index, self._alone = exemplars.index, exemplars.alone
        self._terms: Terms = asked.wording.terms(exemplars.side.wording, exemplars.counts.words)
        self._k = exemplars.config.neighbours
        self._is_exemplar = asked.frame["record_id"].isin(exemplars.others.ids).to_numpy()

    def found(self, blocks: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[_Neighbours]:
        """What the queries of each block found, some hundred queries at a time; see `fields.blocks`."""
        for asked, known in blocks:
            inside = self._index if len(known) == len(self._index) else None
            if inside is None and len(known) > _FEW:
                inside = self._index.take(known)
            for start in range(0, max(len(asked), 1), _SEARCHED_AT_A_TIME):  # no query at all finds nothing, once
                query = asked[start : start + _SEARCHED_AT_A_TIME]
                yield from self._found(query, known, inside)

    def _found(self, query: np.ndarray, known: np.ndarray, inside: Index | None) -> Iterator[_Neighbours]:
        k, places = min(self._k + 1, len(known)), np.append(known, -1)  # row -1 of the block is none of the index
        vectors = Vectors.of(self._asking.source, self._asking.rows[query])

        def search(by: Modality, asked: np.ndarray) -> _Found:
            if inside:
                cosines, rows = inside.search(asked, k, by=by, device=self._device)
            else:
                cosines, rows = _nearest_of_few(asked, np.asarray(getattr(self._index, by)[known], np.float32), k)
            return places[rows], cosines

        near = {by: search(by, getattr(vectors, by)) for by in _OTHER}
        near["pooled"] = self._by_pooled(vectors, near, search)
        for rows, _ in near.values():
            self._leave_out(rows, query)
        for start in range(0, max(len(query), 1), _QUERIES_AT_A_TIME):
            part = slice(start, start + _QUERIES_AT_A_TIME)
            some = {by: (rows[part], cosines[part]) for by, (rows, cosines) in near.items()}
            all_found = k == len(known) and any((rows >= 0).all() for rows, _ in some.values())
            written = np.empty((len(query[part]), 0), dtype=np.int64)
            if not all_found:
                written = places[self._terms.nearest(query[part], known, k)]
                self._leave_out(written, query[part])
            yield _Neighbours(query[part], some, written, self._likely(query[part], known, places))

    def _likely(self, query: np.ndarray, known: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The likeliest exemplars of a block by lattice, int64 (q, LIKELY); none where not every pair is compared."""
        if not self._every_pair or not len(query):
            return np.empty((len(query), 0), dtype=np.int64)
        wording = self._asking.wording, self._known.wording
        found = nearest_by_likelihood(wording[0], query, wording[1], known, LIKELY + 1)[0]
        rows: np.ndarray = places[found]
        rows[~self._is_exemplar[query], LIKELY:] = -1
        return rows

    def _by_pooled(self, vectors: Vectors, near: dict[Modality, _Found], search: _SearchBy) -> _Found:
        """The nearest by pooled vectors; a query that has but one modality, as all exemplars do, has them already."""
        if self._alone is None:
            return search("pooled", pool(*vectors, self._index.image_weight))
        rows, cosines = (part.copy() for part in near[self._alone])
        both = getattr(vectors, _OTHER[self._alone]).any(axis=1)
        if both.any():
            rows[both], cosines[both] = search("pooled", pool(*vectors, self._index.image_weight)[both])
        return rows, cosines

    def _leave_out(self, rows: np.ndarray, query: np.ndarray) -> None:
        """Leave out the last of the neighbours (q, k + 1) of queries that are not among them themselves."""
        rows[~self._is_exemplar[query], self._k :] = -1


def _nearest_of_few(queries: np.ndarray, exemplars: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """What `ExactSearch.search` returns, by all cosines of queries (q, D) with exemplars (n, D)."""
    cosines = queries @ exemplars.T
    there = np.logical_and(queries.any(axis=1, keepdims=True), exemplars.any(axis=1))
    order = np.argsort(np.where(there, -np.round(cosines / TIE), np.inf), axis=1, kind="stable")[:, :k]
    there = np.take_along_axis(there, order, axis=1)
    return np.where(there, np.take_along_axis(cosines, order, axis=1), -1.0), np.where(there, order, -1)


def _together(parts: Iterable[_Neighbours]) -> Iterator[list[_Neighbours]]:
    """As many parts as hold some hundred queries: small blocks are not compared one by one."""
    some: list[_Neighbours] = []
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


def _nearest(parts: Sequence[_Neighbours], other: PairExclusions, likeness: RecordComparison) -> pd.DataFrame:
    """The best exemplar of each query by space, other than itself."""
    tables = []
    for space in SPACES:
        for part in parts:
            rows = part.near[space][0]
            place, column = np.nonzero(rows[:, :2] >= 0)
            kept = other.of(part.query[place], rows[place, column])
            first = np.unique(place[kept], return_index=True)[1]
            place, column = place[kept][first], column[kept][first]
            tables.append((part.query[place], np.full(len(place), space, object), rows[place, column]))
    query, by, exemplar = (np.concatenate(values) for values in zip(*tables, strict=True))
    cosines = likeness.cosines(query, exemplar)[0]  # those of searches differ in their last bits
    cosine = np.select([by == space for space in SPACES], [cosines[_COSINES[space]] for space in SPACES])
    return pd.DataFrame({"query": query, "by": by, "exemplar": exemplar, "cosine": cosine})


def _union(found: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct (query, exemplar) pairs of row numbers (q, m), -1 meaning none."""
    query = np.repeat(np.arange(len(found), dtype=np.int64), found.shape[1])
    exemplar = found.ravel()
    distinct = np.unique((query * n + exemplar)[exemplar >= 0])
    return distinct // n, distinct % n
