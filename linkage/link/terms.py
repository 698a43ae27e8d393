"""Character n-grams weighed by how rare they are (TF-IDF): what rare ones two texts share, and who shares the most."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

_NGRAMS = (2, 4)  # characters within words, as in the TF-IDF baseline
_RAREST = (200, 1000, 0.02)  # n-grams that more records have do not find neighbours: least, most, share of all


Views = tuple[Sequence[str], Sequence[str]]
"""Folded texts and readings of n records, "" where there is none."""


class Terms:
    """The n-grams of the records of two tables, each weighing the more the fewer of both tables have it."""

    def __init__(self, left: Views, right: Views) -> None:
        vectorizer = _counted([text for side in (left, right) for view in side for text in view if text])
        self._left, self._right = (
            [_rows(vectorizer, view) if any(view) else None for view in side] for side in (left, right)
        )
        self._said = [
            _rows(vectorizer, [text or own for text, own in zip(*side, strict=True)]) for side in (left, right)
        ]

    def cosines(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Cosine of rows a of the left table with rows b of the right one, the best of the views.

        Returns:
            float64 (m,), 0..1, in steps of 1e-6; NaN where one has no text.
        """
        best = np.full(len(a), np.nan)
        for one in self._left:
            for other in self._right:
                if one is not None and other is not None:
                    here, there = one[a], other[b]
                    cosine = np.asarray(here.multiply(there).sum(axis=1), dtype=np.float64).ravel().round(6)
                    cosine[(np.diff(here.indptr) == 0) | (np.diff(there.indptr) == 0)] = np.nan
                    best = np.fmax(best, cosine)
        return best

    def nearest(self, a: np.ndarray, b: np.ndarray, k: int) -> np.ndarray:
        """Which of rows b of the right table share the most of what is rare with each of rows a of the left.

        Texts are compared, or else readings, without the commonest n-grams.

        Returns:
            Places in b, int64 (len(a), k), in no order; -1: fewer than k share any.
        """
        postings = self._postings if len(b) == self._rare.shape[0] else self._rare[b].T
        shared = (self._said[0][a] @ postings).tocsr()
        found = np.full((len(a), k), -1, dtype=np.int64)
        for row, (start, end) in enumerate(zip(shared.indptr[:-1], shared.indptr[1:], strict=True)):
            scores, places = shared.data[start:end].round(6), shared.indices[start:end]
            if len(scores) > k:  # sort those only that are no worse than the k-th
                likely = scores >= np.partition(scores, -k)[-k]
                scores, places = scores[likely], places[likely]
            best = np.lexsort((places, -scores))[:k]
            found[row, : len(best)] = places[best]
        return found

    @cached_property
    def _postings(self) -> Any:
        """Who on the right has each n-gram, but for the commonest ones: sparse (features, n)."""
        return self._rare.T.tocsr()

    @cached_property
    def _rare(self) -> Any:
        """The right table without the commonest n-grams: sparse (n, features)."""
        kept = self._said[1].copy()
        least, most, share = _RAREST
        common = np.diff(kept.tocsc().indptr) > max(least, min(most, share * kept.shape[0]))
        kept.data[common[kept.indices]] = 0.0
        kept.eliminate_zeros()
        return kept


def _counted(texts: list[str]) -> Any:
    """The vectorizer of these texts; None where there is no n-gram in them."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        analyzer="char_wb", ngram_range=_NGRAMS, lowercase=False, sublinear_tf=True, dtype=np.float32
    )
    try:
        return vectorizer.fit(texts)
    except ValueError:  # no text, or none with a word in it
        return None


def _rows(vectorizer: Any, texts: Sequence[str]) -> Any:
    """Sparse unit rows (n, features)."""
    from scipy.sparse import csr_matrix

    if vectorizer is None or not texts:
        return csr_matrix((len(texts), 1 if vectorizer is None else len(vectorizer.vocabulary_)), dtype=np.float32)
    return vectorizer.transform(texts).tocsr()
