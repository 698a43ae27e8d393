"""What is known of the wording of records: given texts, own readings and lattices, and how alike two are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from linkage.errors import ArtefactError
from linkage.link.likelihood import Folded, Letters, likelihood
from linkage.text import core, fold

MEASURES = ("string_score", "partial_score", "likelihood")
"""Columns of `alike`, by their names in the links table."""


class Words(NamedTuple):
    """One text of each of n records: what counts of it, (n,) objects, "" where there is none; and lengths, (n,)."""

    texts: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str]) -> Words:
        """Take them from texts as they were written."""
        kept = [core(text) or fold(text) for text in texts]
        return cls(np.array(kept, dtype=object), np.array([len(text) for text in kept], dtype=np.int64))


class Wording:
    """The wording of n records.

    Attributes:
        texts: what counts of the given ones (see `text.core`), (n,) objects, "" where there is none.
        words: the given texts, and the model's own readings where they differ.
    """

    def __init__(self, texts: Sequence[str], readings: pd.DataFrame | None = None) -> None:
        """Take the given texts and, row by row, `reading` and `lattice` of an embeddings folder."""
        given = Words.of(texts)
        self.texts = given.texts
        self.words = [given]
        self._packed: list[object] = [None] * len(given.texts)
        if readings is not None:
            own = Words.of(readings["reading"].tolist())
            self.words.append(Words(own.texts, np.where(own.texts == given.texts, 0, own.lengths)))
            self._packed = readings["lattice"].tolist()

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
        known = self.words[-1].texts  # the reading, where there are readings
        return Letters.of([text or reading for text, reading in zip(self.texts, known, strict=True)])


def alike(left: Wording, a: np.ndarray, right: Wording, b: np.ndarray) -> np.ndarray:
    """How alike the wordings of pairs are, in the order of MEASURES: `strings` and `likelihoods`.

    Args:
        left, right: wordings.
        a, b: rows of the pairs in them, (m,).

    Returns:
        float64 (m, 3), 0..1; NaN where a text, or any lattice, is missing.
    """
    return np.column_stack([strings(left, a, right, b), likelihoods(left, a, right, b)])


def strings(left: Wording, a: np.ndarray, right: Wording, b: np.ndarray) -> np.ndarray:
    """Two string similarities of pairs; the best of the given texts and the readings counts.

    Normalised Levenshtein similarity of the whole; and rapidfuzz's partial ratio, the shorter in the best part of the
    longer, which forgives what a region holds beside the name, times n / (n + 2) for a shorter one of n characters,
    since one or two are found anywhere.

    Args:
        left, right, a, b: as for `alike`.

    Returns:
        float64 (m, 2), 0..1; NaN where a text is missing.
    """
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


def likelihoods(left: Wording, a: np.ndarray, right: Wording, b: np.ndarray) -> np.ndarray:
    """Likelihood of each record's letters under the other's lattice, the mean of both directions.

    Args:
        left, right, a, b: as for `alike`.

    Returns:
        float64 (m,), 0..1, in steps of 1e-6; NaN where a text, or any lattice, is missing.

    Raises:
        ArtefactError: bytes that are no lattice.
    """
    ways = [likelihood(left.lattices, a, right.letters, b), likelihood(right.lattices, b, left.letters, a)]
    there = np.sum([~np.isnan(way) for way in ways], axis=0)
    return np.asarray(np.where(there > 0, np.nansum(ways, axis=0) / np.maximum(there, 1), np.nan).round(6))
