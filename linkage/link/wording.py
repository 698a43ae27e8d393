"""What is known of the wording of records: given texts, own readings and lattices, and how alike two are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from linkage.encode.lattice import Lattice
from linkage.link.likelihood import folded, letters, likelihood
from linkage.text import core, fold

MEASURES = ("string_score", "partial_score", "rarity_score", "likelihood", "confidence", "length")
"""Columns of `alike`, by their names in the links table."""

_NGRAMS = (2, 4)  # characters within words, as in the TF-IDF baseline
_HALF = 8.0  # letters of a text of which `length` is one half


class Wording:
    """The wording of n records.

    Attributes:
        texts: what counts of them (see `text.core`), (n,) objects, "" where there is none.
        readings: the model's own, (n,) objects, likewise.
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
        self._folded = [[fold(text) for text in view] for view in (texts, own)]
        self._packed = np.full(len(texts), None, dtype=object)
        sure = unknown if given is None else np.asarray(given, dtype=np.float64)
        if readings is not None:
            self._packed = readings["lattice"].to_numpy(dtype=object)
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
    def lattices(self) -> list[Lattice | None]:
        """Folded lattices; None where there is no crop.

        Raises:
            ValueError: bytes that are none.
        """
        return [folded(Lattice.unpack(packed)) if packed else None for packed in self._packed]

    @cached_property
    def letters(self) -> list[np.ndarray]:
        """Code points of the given text, or else of the reading."""
        return [letters(text or reading) for text, reading in zip(self.texts, self.readings, strict=True)]


def alike(left: Wording, a: np.ndarray, right: Wording, b: np.ndarray) -> np.ndarray:
    """How alike the wordings of pairs are, in the order of MEASURES.

    The best of the given texts and the readings counts: normalised Levenshtein similarity of the whole; rapidfuzz's
    partial ratio, the shorter in the best part of the longer, which forgives what a region holds beside the name,
    times n / (n + 2) for a shorter one of n characters, since one or two are found anywhere; cosine of the character
    n-grams, weighed by how rare they are on the right; the likelihood of each record's letters under the other's
    lattice, the mean of both directions; and, not of likeness, the lesser confidence and the shorter length.

    Args:
        left, right: wordings.
        a, b: rows of the pairs in them, (m,).

    Returns:
        float64 (m, 6), 0..1; NaN where a text, or any lattice, is missing.
    """
    views = [
        _strings(one[a], other[b])
        for one in (left.texts, left.readings)
        if one.any()
        for other in (right.texts, right.readings)
        if other.any()
    ]
    strings = np.fmax.reduce(views) if views else np.full((len(a), 2), np.nan)
    sure = np.minimum(left.confidence[a], right.confidence[b])
    length = np.minimum(left.length[a], right.length[b])
    return np.column_stack([strings, _rarity(left, a, right, b), _likelihoods(left, a, right, b), sure, length])


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
        """Sparse unit rows (n, features)."""
        return self._vectorizer.transform(texts).tocsr() if any(texts) else None


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


def _strings(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.fuzz import partial_ratio
    from rapidfuzz.process import cpdist

    if not len(left):
        return np.empty((0, 2))
    whole = cpdist(left, right, scorer=Levenshtein.normalized_similarity, dtype=np.float64)
    part = cpdist(left, right, scorer=partial_ratio, dtype=np.float64) / 100.0
    shorter = np.array([min(len(one), len(other)) for one, other in zip(left, right, strict=True)])
    part *= shorter / (shorter + 2.0)
    there = left.astype(bool) & right.astype(bool)
    return np.where(there[:, None], np.column_stack([whole, part]), np.nan)


def _likelihoods(left: Wording, a: np.ndarray, right: Wording, b: np.ndarray) -> np.ndarray:
    ways = [_under(left, a, right, b), _under(right, b, left, a)]
    there = np.sum([~np.isnan(way) for way in ways], axis=0)
    return np.asarray(np.where(there > 0, np.nansum(ways, axis=0) / np.maximum(there, 1), np.nan).round(6))


def _under(seen: Wording, a: np.ndarray, told: Wording, b: np.ndarray) -> np.ndarray:
    """Likelihood of the letters of `told` under the lattices of `seen`."""
    result = np.full(len(a), np.nan)
    rows = np.flatnonzero([seen.lattices[row] is not None for row in a.tolist()])
    lattices = [lattice for row in a[rows].tolist() if (lattice := seen.lattices[row]) is not None]
    result[rows] = likelihood(lattices, [told.letters[row] for row in b[rows].tolist()])
    return result
