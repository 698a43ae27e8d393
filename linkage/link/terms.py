"""Character n-grams weighed by how rare they are (TF-IDF): what rare ones two texts share, and who shares the most."""

from __future__ import annotations

from typing import Any

import numpy as np

_NGRAMS = (2, 4)  # characters within words, as in the TF-IDF baseline
_RAREST = (200, 1000, 0.02)  # n-grams that more records have do not find neighbours: least, most, share of all


class Terms:
    """Character n-grams within words, weighed by how rare they are (TF-IDF)."""

    def __init__(self, vectorizer: Any) -> None:
        self._vectorizer = vectorizer

    @classmethod
    def of(cls, texts: list[str]) -> Terms | None:
        """Count the n-grams of texts; None where there are none."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=_NGRAMS, lowercase=False, dtype=np.float32)
        try:
            return cls(vectorizer.fit(text for text in texts if text))
        except ValueError:  # no text, or none with a word in it
            return None

    def rows(self, texts: list[str]) -> Any:
        """Sparse unit rows (n, features); None where there is no text at all."""
        return self.matrix(texts) if any(texts) else None

    def matrix(self, texts: list[str]) -> Any:
        """Sparse unit rows (n, features)."""
        return self._vectorizer.transform(texts).tocsr() if texts else _no_rows(len(self._vectorizer.vocabulary_))


def _no_rows(features: int) -> Any:
    from scipy.sparse import csr_matrix

    return csr_matrix((0, features), dtype=np.float32)


def cosines(left: Any, a: np.ndarray, right: Any, b: np.ndarray) -> np.ndarray:
    """Cosine of rows a of `left` with rows b of `right` (`Terms.matrix`), float64 (m,), 0..1; NaN: one is empty."""
    here, there = left[a], right[b]
    cosine = np.asarray(here.multiply(there).sum(axis=1), dtype=np.float64).ravel().round(6)
    cosine[(np.diff(here.indptr) == 0) | (np.diff(there.indptr) == 0)] = np.nan
    return cosine


def rarest(matrix: Any) -> Any:
    """Who has each n-gram, but for the commonest ones: sparse (features, n) of `Terms.matrix` (n, features)."""
    least, most, share = _RAREST
    common = np.diff(matrix.tocsc().indptr) > max(least, min(most, share * matrix.shape[0]))
    kept = matrix.copy()
    kept.data[common[kept.indices]] = 0.0
    kept.eliminate_zeros()
    return kept.T.tocsr()


def nearest(left: Any, postings: Any, k: int) -> np.ndarray:
    """Rows that share the most of what is rare with each query, int64 (q, k), in no order; -1: fewer than k.

    Args:
        left: `Terms.matrix` of the queries, sparse (q, features).
        postings: `rarest` of the rows to look among, sparse (features, n).
        k: how many.
    """
    shared = (left @ postings).tocsr()
    found = np.full((left.shape[0], k), -1, dtype=np.int64)
    for row, (start, end) in enumerate(zip(shared.indptr[:-1], shared.indptr[1:], strict=True)):
        scores, places = shared.data[start:end].round(6), shared.indices[start:end]
        best = np.lexsort((places, -scores))[:k]
        found[row, : len(best)] = places[best]
    return found
