"""Character n-grams weighed by how rare they are (TF-IDF): what rare ones two texts share, and who shares the most."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

_SETTINGS: dict[str, Any] = {"analyzer": "char_wb", "ngram_range": (2, 4), "lowercase": False}  # as the baseline's
_COUNTED_AT_A_TIME = 8192  # texts
_RAREST = (200, 1000, 0.02)  # n-grams that more records have do not find neighbours: least, most, share of all


Views = tuple[Sequence[str], Sequence[str]]
"""Folded texts and readings of n records, "" where there is none."""


class Frequencies:
    """In how many texts each n-gram stands: counted a part at a time, in memory that grows with distinct n-grams alone.

    Attributes:
        texts: how many were counted.
    """

    def __init__(self, counts: dict[str, int] | None = None, texts: int = 0) -> None:
        self._counts = counts or {}
        self.texts = texts

    def add(self, *sides: Views) -> Frequencies:
        """Count the texts and readings of some records; returns itself."""
        from sklearn.feature_extraction.text import CountVectorizer

        texts = [text for side in sides for view in side for text in view if text]
        for start in range(0, len(texts), _COUNTED_AT_A_TIME):
            some = texts[start : start + _COUNTED_AT_A_TIME]
            counter = CountVectorizer(**_SETTINGS, binary=True)
            try:
                held = counter.fit_transform(some)
            except ValueError:  # no word in them
                continue
            each = np.bincount(held.indices, minlength=held.shape[1]).tolist()
            for term, column in counter.vocabulary_.items():
                self._counts[term] = self._counts.get(term, 0) + each[column]
        self.texts += len(texts)
        return self

    @cached_property
    def vectorizer(self) -> Any:
        """What weighs n-grams by these counts (TF-IDF); None where there is no n-gram. No text is counted after it."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        if not self._counts:
            return None
        terms = sorted(self._counts)
        vocabulary = {term: column for column, term in enumerate(terms)}
        weighing = TfidfVectorizer(**_SETTINGS, sublinear_tf=True, dtype=np.float32, vocabulary=vocabulary)
        held = np.array([self._counts[term] for term in terms], dtype=np.float32)
        weighing.idf_ = np.log(np.float32(self.texts + 1) / (held + 1)) + 1
        return weighing

    def save(self, path: Path) -> None:
        """Write as `.npz`."""
        terms = sorted(self._counts)
        counts = np.array([self._counts[term] for term in terms], dtype=np.int64)
        with path.open("wb") as file:
            np.savez(file, terms=np.array(terms, dtype=np.str_), counts=counts, texts=self.texts)

    @classmethod
    def load(cls, path: Path) -> Frequencies:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as parts:
            counts = dict(zip(parts["terms"].tolist(), parts["counts"].tolist(), strict=True))
            return cls(counts, int(parts["texts"]))


class Grams:
    """The n-grams of the records of one table, weighed: what `Terms` compares."""

    def __init__(self, counted: Frequencies, side: Views) -> None:
        self._vectorizer = counted.vectorizer
        self.views = [_rows(self._vectorizer, view) if any(view) else None for view in side]
        self.said = self._said(side[0])

    def _said(self, texts: Sequence[str]) -> Any:
        """The rows of the texts; where there is none, of the readings: sparse (n, features)."""
        from scipy.sparse import vstack

        given, read = self.views
        silent = np.array([not text for text in texts], dtype=bool)
        if given is None or read is None or not silent.any():
            found = given if given is not None else read
            return _rows(self._vectorizer, texts) if found is None else found
        rows = np.arange(len(texts))
        return vstack([given, read], format="csr")[np.where(silent, len(texts) + rows, rows)]

    @cached_property
    def rare(self) -> Any:
        """These records without the commonest n-grams: sparse (n, features)."""
        kept = self.said.copy()
        least, most, share = _RAREST
        common = np.diff(kept.tocsc().indptr) > max(least, min(most, share * kept.shape[0]))
        kept.data[common[kept.indices]] = 0.0
        kept.eliminate_zeros()
        return kept

    @cached_property
    def postings(self) -> Any:
        """Which records have each n-gram, but for the commonest ones: sparse (features, n)."""
        return self.rare.T.tocsr()


class Terms:
    """The n-grams of the records of two tables, each weighing the more the fewer of both tables have it."""

    def __init__(self, left: Grams, right: Grams) -> None:
        self._left, self._right = left, right

    def cosines(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Cosine of rows a of the left table with rows b of the right one, the best of the views.

        Returns:
            float64 (m,), 0..1, in steps of 1e-6; NaN where one has no text.
        """
        best = np.full(len(a), np.nan)
        for one in self._left.views:
            for other in self._right.views:
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
        right = self._right
        postings = right.postings if len(b) == right.rare.shape[0] else right.rare[b].T
        shared = (self._left.said[a] @ postings).tocsr()
        found = np.full((len(a), k), -1, dtype=np.int64)
        for row, (start, end) in enumerate(zip(shared.indptr[:-1], shared.indptr[1:], strict=True)):
            scores, places = shared.data[start:end].round(6), shared.indices[start:end]
            if len(scores) > k:  # sort those only that are no worse than the k-th
                likely = scores >= np.partition(scores, -k)[-k]
                scores, places = scores[likely], places[likely]
            best = np.lexsort((places, -scores))[:k]
            found[row, : len(best)] = places[best]
        return found


def _rows(vectorizer: Any, texts: Sequence[str]) -> Any:
    """Sparse unit rows (n, features)."""
    from scipy.sparse import csr_matrix

    if vectorizer is None or not texts:
        return csr_matrix((len(texts), 1 if vectorizer is None else len(vectorizer.vocabulary_)), dtype=np.float32)
    return vectorizer.transform(texts).tocsr()
