"""Character n-grams weighed by how rare they are (TF-IDF): what rare ones two texts share, and who shares the most."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_LENGTHS = (2, 3, 4)  # of n-grams: the baseline's
_RAREST = (200, 1000, 0.02)  # n-grams that more records have do not find neighbours: least, most, share of all


Views = tuple[Sequence[str], Sequence[str]]
"""Folded texts and readings of n records, "" where there is none."""


def ngrams(text: str) -> Iterator[str]:
    """The n-grams of a text within its words, each with a space at either end: scikit-learn's `char_wb`."""
    for word in text.split():
        padded = f" {word} "
        for n in _LENGTHS:
            if n > len(padded):  # the word as a whole is counted already
                break
            for start in range(len(padded) - n + 1):
                yield padded[start : start + n]


class Frequencies:
    """In how many texts each n-gram stands: counted in memory that grows with distinct n-grams alone.

    Attributes:
        texts: how many were counted.
    """

    def __init__(self, counts: dict[str, int] | None = None, texts: int = 0) -> None:
        self._counts = Counter(counts or {})
        self.texts = texts

    def add(self, *sides: Views) -> Frequencies:
        """Count the texts and readings of some records; returns itself."""
        for text in (text for side in sides for view in side for text in view if text):
            self._counts.update(set(ngrams(text)))
            self.texts += 1
        return self

    @cached_property
    def columns(self) -> dict[str, int]:
        """A column for each n-gram, in their order. No text is counted after it."""
        return {term: column for column, term in enumerate(sorted(self._counts))}

    @cached_property
    def weights(self) -> np.ndarray:
        """What n-grams weigh by their rarity (IDF), float64 (columns + 1,); the last: one that no text has."""
        held = np.array([*(self._counts[term] for term in self.columns), 0], dtype=np.float64)
        return np.asarray(np.log((self.texts + 1) / (held + 1)) + 1)

    def save(self, path: Path) -> None:
        """Write as `.npz`."""
        counts = np.array([self._counts[term] for term in self.columns], dtype=np.int64)
        with path.open("wb") as file:
            np.savez(file, terms=np.array(list(self.columns), dtype=np.str_), counts=counts, texts=self.texts)

    @classmethod
    def load(cls, path: Path) -> Frequencies:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as parts:
            counts = dict(zip(parts["terms"].tolist(), parts["counts"].tolist(), strict=True))
            return cls(counts, int(parts["texts"]))


class _Rows(NamedTuple):
    """Weighed n-grams of n texts.

    Attributes:
        weights: sparse rows (n, columns), of length 1 with the n-grams that have no column.
        there: whether a text has any n-gram, bool (n,).
    """

    weights: Any
    there: np.ndarray


class Grams:
    """The n-grams of the records of one table, weighed: what `Terms` compares."""

    def __init__(self, counted: Frequencies, side: Views) -> None:
        self.views = [_rows(counted, view) if any(view) else None for view in side]
        self.said = self._said(side[0], counted)

    def _said(self, texts: Sequence[str], counted: Frequencies) -> Any:
        """The rows of the texts; where there is none, of the readings: sparse (n, features)."""
        from scipy.sparse import vstack

        given, read = self.views
        silent = np.array([not text for text in texts], dtype=bool)
        if given is None or read is None or not silent.any():
            found = given or read or _rows(counted, texts)
            return found.weights
        rows = np.arange(len(texts))
        return vstack([given.weights, read.weights], format="csr")[np.where(silent, len(texts) + rows, rows)]

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
    """The n-grams of the records of two tables, each weighing the more the fewer of the texts counted have it."""

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
                    shared = one.weights[a].multiply(other.weights[b])
                    cosine = np.asarray(shared.sum(axis=1), dtype=np.float64).ravel().round(6)
                    cosine[~(one.there[a] & other.there[b])] = np.nan
                    best = np.fmax(best, cosine)
        return best

    def nearest(self, a: np.ndarray, b: np.ndarray, k: int) -> np.ndarray:
        """Which of rows b of the right table share the most of what is rare with each of rows a of the left.

        Texts are compared, or else readings, without the commonest n-grams.

        Returns:
            Places in b, int64 (len(a), k), best first; -1: fewer than k share any.
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


def _rows(counted: Frequencies, texts: Sequence[str]) -> _Rows:
    """Weigh the n-grams of texts.

    Those that were not counted are rare, and part of a row's length, but no column is theirs: no text compared has
    them. Each row hangs on its text and the counts alone, to the last bit.
    """
    from scipy.sparse import csr_matrix

    columns, unknown = counted.columns, len(counted.columns)
    places, times, sizes = array("q"), array("q"), array("q")
    for text in texts:
        held = Counter(ngrams(text))
        places.extend(columns.get(term, unknown) for term in held)
        times.extend(held.values())
        sizes.append(len(held))
    place, size = np.array(places, dtype=np.int64), np.array(sizes, dtype=np.int64)
    row = np.repeat(np.arange(len(texts)), size)
    weight = (1 + np.log(np.array(times, dtype=np.float64))) * counted.weights[place]
    weight /= np.sqrt(np.bincount(row, weight**2, minlength=len(texts)))[row]
    known = place < unknown
    ends = np.append(0, np.cumsum(np.bincount(row[known], minlength=len(texts))))
    shape = (len(texts), max(unknown, 1))
    rows = csr_matrix((weight[known].astype(np.float32), place[known], ends), shape=shape)
    rows.sort_indices()
    return _Rows(rows, size > 0)
