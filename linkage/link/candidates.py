"""Candidate pairs of queries and exemplars with all their similarities: retrieve wide, decide late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from linkage.encode.pooling import summands
from linkage.link.index import Index
from linkage.link.wording import Wording, alike

if TYPE_CHECKING:
    from linkage.encode.embed import Embeddings

_QUERIES_AT_A_TIME = 256  # some 40,000 pairs: their gathered vectors stay below 200 MB


class Vectors(NamedTuple):
    """Embeddings of some records: unit rows (n, D) float32, zero where a modality is missing."""

    image: np.ndarray
    text: np.ndarray

    @classmethod
    def of(cls, embeddings: Embeddings | Index, rows: np.ndarray) -> Vectors:
        """Read the given rows into memory."""
        return cls(*(np.asarray(part[rows], dtype=np.float32) for part in (embeddings.image, embeddings.text)))


class Pairs(NamedTuple):
    """Candidate pairs; every array has one entry per pair, ordered by query, then by exemplar row."""

    query: np.ndarray  # int64, position among the queries
    exemplar: np.ndarray  # int64, row of the index
    score: np.ndarray  # float64, cosine of the pooled vectors = image + text + cross
    image: np.ndarray
    text: np.ndarray
    cross: np.ndarray
    string: np.ndarray  # float64 0..1, NaN where a text is missing
    partial: np.ndarray  # likewise
    likelihood: np.ndarray  # likewise, NaN where both lack a picture, too

    @property
    def alike(self) -> np.ndarray:
        """What the scorer weighs: float64 (n, 4)."""
        return np.column_stack([self.score, self.string, self.partial, self.likelihood])

    @classmethod
    def join(cls, parts: Sequence[Pairs]) -> Pairs:
        """Concatenate."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def split_score(queries: Vectors, exemplars: Vectors, image_weight: float) -> tuple[np.ndarray, ...]:
    """Split the pooled cosine of n pairs into what comes from where.

    With q = a_q + b_q (its image and text summands) the cosine is a_q.a_e + b_q.b_e + (a_q.b_e + b_q.a_e).

    Returns:
        score, image, text, cross: float64 (n,) each; score = image + text + cross.
    """
    image_q, text_q = summands(*queries, image_weight)
    image_e, text_e = summands(*exemplars, image_weight)
    image, text = _dots(image_q, image_e), _dots(text_q, text_e)
    cross = _dots(image_q, text_e) + _dots(text_q, image_e)
    return image + text + cross, image, text, cross


def _dots(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    # Rounded, so that equal pairs stay equal whatever their place in memory does to the order of a sum.
    return np.asarray(np.einsum("ij,ij->i", left, right), dtype=np.float64).round(6)


def candidate_pairs(
    vectors: Embeddings,
    rows: np.ndarray,
    texts: Sequence[str],
    index: Index,
    *,
    neighbours: int,
    device: Literal["cpu", "cuda"] = "cpu",
) -> Iterator[Pairs]:
    """The union of the nearest exemplars by pooled, image and text vectors, some hundred queries at a time.

    Args:
        vectors: embeddings of the queries.
        rows: row of each query in them, (q,).
        texts: given text of each query, (q,).
        index: the exemplars.
        neighbours: how many of each kind.
        device: where FAISS searches.

    Yields:
        Pairs; `query` counts from 0 over all queries.
    """
    pooled = vectors.pooled(index.image_weight)[rows]
    wording = Wording(texts, vectors.readings.iloc[rows])
    k = min(neighbours, len(index))
    for start in range(0, len(rows), _QUERIES_AT_A_TIME):
        part = slice(start, start + _QUERIES_AT_A_TIME)
        queries = Vectors.of(vectors, rows[part])
        found = [
            index.search(pooled[part], k, device=device)[1],
            index.search(queries.image, k, by="image", device=device)[1],
            index.search(queries.text, k, by="text", device=device)[1],
        ]
        query, exemplar = _union(np.hstack(found), len(index))
        asking = Vectors(queries.image[query], queries.text[query])
        score, image, text, cross = split_score(asking, Vectors.of(index, exemplar), index.image_weight)
        said = alike(wording, query + start, index.wording, exemplar)
        yield Pairs(query + start, exemplar, score, image, text, cross, *said.T)


def _union(found: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct (query, exemplar) pairs of row numbers (q, m), -1 meaning none."""
    query = np.repeat(np.arange(len(found), dtype=np.int64), found.shape[1])
    exemplar = found.ravel()
    distinct = np.unique((query * n + exemplar)[exemplar >= 0])
    return distinct // n, distinct % n
