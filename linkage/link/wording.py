"""What is known of the wording of records: given texts, own readings and lattices, and how alike two are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from linkage.errors import ArtefactError
from linkage.link.likelihood import Folded, Letters, likelihood
from linkage.text import core, fold

MEASURES = ("string_score", "partial_score", "rarity_score", "likelihood", "confidence", "length")
"""Columns of `alike`, by their names in the links table."""

_NGRAMS = (2, 4)  # characters within words, as in the TF-IDF baseline
_HALF = 8.0  # letters of a text of which `length` is one half
_LEAST = 1e-3  # likelihood per letter that counts as none at all
_RAREST = (200, 1000, 0.02)  # n-grams that more records have do not find neighbours: least, most, share of all


class Words(NamedTuple):
    """One text of each of n records: (n,) objects, and their lengths, int64 (n,), 0 where it is not to be compared."""

    texts: np.ndarray
    lengths: np.ndarray


class Wording:
    """The wording of n records.

    Attributes:
        texts: what counts of them (see `text.core`), (n,) objects, "" where there is none.
        readings: the model's own, (n,) objects, likewise.
        words: both, the readings where they differ.
        confidence: how sure the reading is, float64 (n,), 0..1; 1 for a text that was given without one.
    """

    def __init__(
        self, texts: Sequence[str], readings: pd.DataFrame | None = None, given: np.ndarray | None = None
    ) -> None:
        """Take what is known of n records.

        Args:
            texts: given texts.
            readings: row by row `reading`, `reading_confidence` and `lattice` of an embeddings folder.
            given: confidence of the engine that read the texts, float64 (n,), NaN where unknown.
        """
        empty = np.full(len(texts), "", dtype=object)
        unknown = np.full(len(texts), np.nan)
        own = empty.tolist() if readings is None else readings["reading"].tolist()
        self.texts, self.readings = (_objects([_core(text) for text in view]) for view in (texts, own))
        lengths = [np.array([len(text) for text in view], dtype=np.int64) for view in (self.texts, self.readings)]
        lengths[1][self.texts == self.readings] = 0  # said already
        self.words = [Words(self.texts, lengths[0]), Words(self.readings, lengths[1])]
        self._folded = [[fold(text) for text in view] for view in (texts, own)]
        self._packed = [None] * len(texts) if readings is None else readings["lattice"].tolist()
        sure = unknown if given is None else np.asarray(given, dtype=np.float64)
        if readings is not None:
            read = readings["reading_confidence"].to_numpy(dtype=np.float64)
            sure = np.where(np.isnan(read), sure, read)
        self.confidence = np.nan_to_num(sure, nan=1.0)

    @classmethod
    def of(cls, frame: pd.DataFrame, readings: pd.DataFrame) -> Wording:
        """The wording of records (`text` and, if there, `ocr_confidence`) and their readings, row by row."""
        given = frame["ocr_confidence"].to_numpy(dtype=np.float64) if "ocr_confidence" in frame else None
        return cls(frame["text"].tolist(), readings, given)

    @cached_property
    def length(self) -> np.ndarray:
        """How long the text is, or else the reading: n letters are n / (n + 8), float64 (n,)."""
        letters = np.array([len(text or own) for text, own in zip(self.texts, self.readings, strict=True)], dtype=float)
        return letters / (letters + _HALF)

    @cached_property
    def terms(self) -> _Terms | None:
        """The character n-grams of these records, each the weightier the fewer of them have it; None: no text."""
        return _Terms.of([*self._folded[0], *self._folded[1]])

    def weighed(self, terms: _Terms) -> list[Any]:
        """Texts and readings as sparse unit rows (n, features); [] for a view that is all empty."""
        if self._weighed is None or self._weighed[0] is not terms:
            self._weighed = (terms, [terms.rows(view) for view in self._folded])
        return self._weighed[1]

    _weighed: tuple[_Terms, list[Any]] | None = None

    @cached_property
    def postings(self) -> Any:
        """The rarer n-grams of the text, or else the reading, of each record: sparse (features, n)."""
        matrix = self.rare_rows(self)
        least, most, share = _RAREST
        common = np.diff(matrix.tocsc().indptr) > max(least, min(most, share * matrix.shape[0]))
        matrix.data[common[matrix.indices]] = 0.0
        matrix.eliminate_zeros()
        return matrix.T.tocsr()

    def rare_rows(self, right: Wording) -> Any:
        """The text, or else the reading, of each record under the terms of `right`: sparse (n, features)."""
        said = [text or own for text, own in zip(*self._folded, strict=True)]
        return None if right.terms is None else right.terms.matrix(said)

    @cached_property
    def lattices(self) -> Folded:
        """Folded lattices, unpacked at the first use.

        Raises:
            ArtefactError: bytes that are no lattice.
        """
        try:
            return Folded.of(self._packed)
        except ValueError as error:
            raise ArtefactError(
                f"readings of records: damaged ({error}); run `linkage embed` again, and `linkage index` for exemplars"
            ) from None

    @cached_property
    def letters(self) -> Letters:
        """Code points of the given text, or else of the reading."""
        return Letters.of([text or reading for text, reading in zip(self.texts, self.readings, strict=True)])


def alike(left: Wording, a: np.ndarray, right: Wording, b: np.ndarray) -> np.ndarray:
    """How alike the wordings of pairs are, in the order of MEASURES: `written`, and `likelihoods` between.

    Args:
        left, right: wordings.
        a, b: rows of the pairs in them, (m,).

    Returns:
        float64 (m, 6), 0..1; NaN where a text, or any lattice, is missing.
    """
    known = written(left, a, right, b)
    known[:, MEASURES.index("likelihood")] = likelihoods(left, a, right, b)
    return known


def written(left: Wording, a: np.ndarray, right: Wording, b: np.ndarray) -> np.ndarray:
    """How alike wordings are without their lattices.

    The best of the given texts and the readings counts: normalised Levenshtein similarity of the whole; rapidfuzz's
    partial ratio, the shorter in the best part of the longer, which forgives what a region holds beside the name,
    times n / (n + 2) for a shorter one of n characters, since one or two are found anywhere; cosine of the character
    n-grams, weighed by how rare they are on the right; and, not of likeness, the lesser confidence and the shorter
    length.

    Args:
        left, right, a, b: as for `alike`.

    Returns:
        float64 (m, 6), in the order of MEASURES, 0..1; NaN where a text is missing, and for the likelihood.
    """
    sure = np.minimum(left.confidence[a], right.confidence[b])
    length = np.minimum(left.length[a], right.length[b])
    unknown = np.full(len(a), np.nan)
    return np.column_stack([_strings(left, a, right, b), _rarity(left, a, right, b), unknown, sure, length])


def likelihoods(left: Wording, a: np.ndarray, right: Wording, b: np.ndarray) -> np.ndarray:
    """How likely each record's letters are under the other's lattice, the mean of both directions.

    1 + log(p) / log(1000) of a chance p per letter (see `likelihood.likelihood`): that is what adds up over evidence,
    and what evens out between a text that is a little likelier and one that is far from what was seen.

    Args:
        left, right, a, b: as for `alike`.

    Returns:
        float64 (m,), 0 (a thousandth or less) to 1, in steps of 1e-6; NaN where a text, or any lattice, is missing.

    Raises:
        ArtefactError: bytes that are no lattice.
    """
    chances = likelihood(left.lattices, a, right.letters, b), likelihood(right.lattices, b, left.letters, a)
    ways = [1.0 - np.log(np.maximum(chance, _LEAST)) / np.log(_LEAST) for chance in chances]
    there = np.sum([~np.isnan(way) for way in ways], axis=0)
    return np.asarray(np.where(there > 0, np.nansum(ways, axis=0) / np.maximum(there, 1), np.nan).round(6))


class _Terms:
    """Character n-grams within words, weighed by how rare they are (TF-IDF)."""

    def __init__(self, vectorizer: Any) -> None:
        self._vectorizer = vectorizer

    @classmethod
    def of(cls, texts: list[str]) -> _Terms | None:
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


def nearest_by_rarity(left: Any, right: Wording, rows: np.ndarray, k: int) -> np.ndarray:
    """Records that share the most of what is rare with each query, int64 (q, k), in no order; -1: fewer than k.

    Args:
        left: `Wording.rare_rows` of the queries, sparse (q, features).
        right: where to look; has terms.
        rows: only these rows of it.
        k: how many.
    """
    postings = right.postings if len(rows) == right.postings.shape[1] else right.postings[:, rows]
    shared = (left @ postings).tocsr()
    found = np.full((left.shape[0], k), -1, dtype=np.int64)
    for row, (start, end) in enumerate(zip(shared.indptr[:-1], shared.indptr[1:], strict=True)):
        scores, places = shared.data[start:end].round(6), shared.indices[start:end]
        if len(scores) > k:  # sort those only that are no worse than the k-th
            likely = scores >= np.partition(scores, -k)[-k]
            scores, places = scores[likely], places[likely]
        best = np.lexsort((places, -scores))[:k]
        found[row, : len(best)] = places[best]
    return found


def _rarity(left: Wording, a: np.ndarray, right: Wording, b: np.ndarray) -> np.ndarray:
    """Cosine of the n-grams of the pairs, weighed by their rarity on the right; the best of the views, NaN: no text."""
    best = np.full(len(a), np.nan)
    if right.terms is None or not len(a):
        return best
    for one in left.weighed(right.terms):
        for other in right.weighed(right.terms):
            if one is not None and other is not None:
                here, there = one[a], other[b]
                cosine = np.asarray(here.multiply(there).sum(axis=1), dtype=np.float64).ravel().round(6)
                cosine[(np.diff(here.indptr) == 0) | (np.diff(there.indptr) == 0)] = np.nan
                best = np.fmax(best, cosine)
    return best


def _objects(values: list[str]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _core(text: str) -> str:
    return core(text) or fold(text)


def _strings(left: Wording, a: np.ndarray, right: Wording, b: np.ndarray) -> np.ndarray:
    """Normalised Levenshtein and damped partial ratio, float64 (m, 2), the best of the views; NaN: no text."""
    best = np.full((len(a), 2), np.nan)
    for one in left.words:
        for other in right.words:
            there = np.flatnonzero((one.lengths[a] > 0) & (other.lengths[b] > 0))
            best[there] = np.fmax(best[there], _compared(one, a[there], other, b[there]))
    return best


def _compared(left: Words, a: np.ndarray, right: Words, b: np.ndarray) -> np.ndarray:
    """The two similarities of texts that are there."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.fuzz import partial_ratio
    from rapidfuzz.process import cpdist

    if not len(a):
        return np.empty((0, 2))
    pairs = left.texts[a], right.texts[b]
    workers = len(os.sched_getaffinity(0))
    whole = cpdist(*pairs, scorer=Levenshtein.normalized_similarity, dtype=np.float64, workers=workers)
    part = cpdist(*pairs, scorer=partial_ratio, dtype=np.float64, workers=workers) / 100.0
    shorter = np.minimum(left.lengths[a], right.lengths[b])
    return np.column_stack([whole, part * (shorter / (shorter + 2.0))])
