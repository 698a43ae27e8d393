"""What is known of the wording of records: given texts, own readings and lattices, and how alike two are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from linkage.encode.lattice import Lattice
from linkage.link.likelihood import folded, letters, likelihood
from linkage.text import core, fold

MEASURES = ("string_score", "partial_score", "likelihood")
"""Columns of `alike`, by their names in the links table."""


class Wording:
    """The wording of n records.

    Attributes:
        texts: what counts of them (see `text.core`), (n,) objects, "" where there is none.
        readings: the model's own, (n,) objects, likewise.
    """

    def __init__(self, texts: Sequence[str], readings: pd.DataFrame | None = None) -> None:
        """Take the given texts and, row by row, `reading` and `lattice` of an embeddings folder."""
        self.texts = np.array([_core(text) for text in texts], dtype=object)
        self.readings = np.full(len(self.texts), "", dtype=object)
        self._packed = np.full(len(self.texts), None, dtype=object)
        if readings is not None:
            self.readings = np.array([_core(text) for text in readings["reading"]], dtype=object)
            self._packed = readings["lattice"].to_numpy(dtype=object)

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
    times n / (n + 2) for a shorter one of n characters, since one or two are found anywhere; and the likelihood of each
    record's letters under the other's lattice, the mean of both directions.

    Args:
        left, right: wordings.
        a, b: rows of the pairs in them, (m,).

    Returns:
        float64 (m, 3), 0..1; NaN where a text, or any lattice, is missing.
    """
    views = [
        _strings(one[a], other[b])
        for one in (left.texts, left.readings)
        if one.any()
        for other in (right.texts, right.readings)
        if other.any()
    ]
    strings = np.fmax.reduce(views) if views else np.full((len(a), 2), np.nan)
    return np.column_stack([strings, _likelihoods(left, a, right, b)])


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
