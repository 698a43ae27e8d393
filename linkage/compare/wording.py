"""What is known of the wording of records: given texts, own readings and lattices, and how alike two are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from linkage.compare.likelihood import CHARACTERS, FoldedLattices, Letters, likelihood
from linkage.compare.terms import Frequencies, Grams, Terms, Views
from linkage.errors import ArtefactError
from linkage.machine import cores
from linkage.text import FOLDING, Folding, is_core

MEASURES = ("string_score", "partial_score", "rarity_score", "likelihood", "log_likelihood", "confidence", "length")
"""Columns of `written`, by their names in the links table."""
LIKELIHOODS = ("likelihood", "log_likelihood")
"""Those of them that need a lattice: see `likelihoods`."""

_HALF = 8.0  # letters of a text of which `length` is one half
_LEAST = 1e-3  # likelihood per letter that counts as none at all
MOST_AGAINST = 200.0
"""Natural logarithm, of both ways together: a text that is more unlikely is none that could have been meant.

Of true pairs of badly read hands (character error 0.43, thirty letters) half lie beyond 50."""
_COUNTED = 2000  # characters of which the n-grams are counted: of a text of 1 MB they would take seconds


class TextView(NamedTuple):
    """One text of each of n records: (n,) objects, and their lengths, int64 (n,), 0 where it is not to be compared.

    No text is longer than CHARACTERS: what two of n cost grows with n^2 and more, for one pair to half a minute at
    10,000, and a region of so many is a column or a page, not a name.
    """

    texts: np.ndarray
    lengths: np.ndarray


class Wording:
    """The wording of n records.

    Attributes:
        texts: what counts of them (see `Folding.core`), (n,) objects, "" where there is none.
        readings: the model's own, (n,) objects, likewise.
        words: both, the readings where they differ.
        folding: what makes two texts equal.
        folded: the beginnings of texts and readings with what stands between the letters, two lists of n.
        given: bool (n,), whether there is a given text.
        confidence: how sure the reading is, float64 (n,), 0..1; 1 for a text that was given without one.
    """

    def __init__(
        self,
        texts: Sequence[str],
        readings: pd.DataFrame | None = None,
        given: np.ndarray | None = None,
        folding: Folding = FOLDING,
    ) -> None:
        """Take what is known of n records.

        Args:
            texts: given texts.
            readings: row by row `reading`, `reading_confidence` and `lattice` of an embeddings folder.
            given: confidence of the engine that read the texts, float64 (n,), NaN where unknown.
            folding: what makes two texts equal.
        """
        empty = np.full(len(texts), "", dtype=object)
        unknown = np.full(len(texts), np.nan)
        own = empty.tolist() if readings is None else readings["reading"].tolist()
        folded = [[folding.fold(text) for text in view] for view in (texts, own)]
        self.folding = folding
        self.texts, self.readings = (np.array([_core(text) for text in view], dtype=object) for view in folded)
        views = [np.array([text[:CHARACTERS] for text in view], dtype=object) for view in (self.texts, self.readings)]
        lengths = [np.array([len(text) for text in view], dtype=np.int64) for view in views]
        lengths[1][self.texts == self.readings] = 0  # said already
        self.words = [TextView(view, length) for view, length in zip(views, lengths, strict=True)]
        self.given = self.texts != ""
        self.folded = _cut(folded)
        self._packed = [None] * len(texts) if readings is None else readings["lattice"].tolist()
        sure = unknown if given is None else np.asarray(given, dtype=np.float64)
        if readings is not None:
            read = readings["reading_confidence"].to_numpy(dtype=np.float64)
            sure = np.where(np.isnan(read), sure, read)
        self.confidence = np.nan_to_num(sure, nan=1.0)

    @classmethod
    def of(cls, frame: pd.DataFrame, readings: pd.DataFrame, folding: Folding) -> Wording:
        """The wording of records (`text` and, if there, `ocr_confidence`) and their readings, row by row."""
        given = frame["ocr_confidence"].to_numpy(dtype=np.float64) if "ocr_confidence" in frame else None
        return cls(frame["text"].tolist(), readings, given, folding)

    @cached_property
    def length(self) -> np.ndarray:
        """How long the text is, or else the reading: n letters are n / (n + 8), float64 (n,)."""
        letters = np.array([len(text or own) for text, own in zip(self.texts, self.readings, strict=True)], dtype=float)
        return letters / (letters + _HALF)

    def terms(self, right: Wording, counted: Frequencies | None = None) -> Terms:
        """The n-grams of these records (left) and of those of `right`, made at the first call.

        Args:
            right: the other records.
            counted: by which n-grams are rare, at the first call; default: of these records and those of `right`.
        """
        if self._terms is None or self._terms[0] is not right:
            counted = counted or Frequencies().add(self.folded, right.folded)
            self._terms = (right, Terms(self._weighed(counted), right._weighed(counted)))
        return self._terms[1]

    def _weighed(self, counted: Frequencies) -> Grams:
        """The n-grams of these records alone, kept for the next that they are compared with."""
        if self._grams is None or self._grams[0] is not counted:
            self._grams = (counted, Grams(counted, self.folded))
        return self._grams[1]

    _terms: tuple[Wording, Terms] | None = None
    _grams: tuple[Frequencies, Grams] | None = None

    @cached_property
    def lattices(self) -> FoldedLattices:
        """Folded lattices, unpacked at the first use.

        Raises:
            ArtefactError: bytes that are no lattice.
        """
        try:
            return FoldedLattices.of(self._packed, self.folding)
        except ValueError as error:
            raise ArtefactError(
                f"readings of records: damaged ({error}); run `linkage embed` again, and `linkage index` for exemplars"
            ) from None

    @cached_property
    def letters(self) -> Letters:
        """Code points of the reading, or else of the given text."""
        said = [reading or text for text, reading in zip(self.texts, self.readings, strict=True)]
        return Letters.of(said, self.folding)


def written(left: Wording, a: np.ndarray, right: Wording, b: np.ndarray) -> np.ndarray:
    """How alike wordings are without their lattices, by the beginnings of long texts.

    The best of the given texts and the readings counts: normalised Levenshtein similarity of the whole; rapidfuzz's
    partial ratio, the shorter in the best part of the longer, which forgives what a region holds beside the name,
    times n / (n + 2) for a shorter one of n characters, since one or two are found anywhere; cosine of the character
    n-grams, weighed by how rare they are (see `Wording.terms`); and, not of likeness, the lesser confidence and the
    shorter length.

    Args:
        left, right: wordings.
        a, b: rows of the pairs in them, (m,).

    Returns:
        float64 (m, 7), in the order of MEASURES, 0..1; NaN where a text is missing, and for the likelihoods.
    """
    sure = np.minimum(left.confidence[a], right.confidence[b])
    length = np.minimum(left.length[a], right.length[b])
    unknown = np.full(len(a), np.nan)
    return np.column_stack(
        [_strings(left, a, right, b), left.terms(right).cosines(a, b), unknown, unknown, sure, length]
    )


def likelihoods(left: Wording, a: np.ndarray, right: Wording, b: np.ndarray) -> np.ndarray:
    """How likely each record's letters are under the other's lattice.

    By letter: 1 + log(p) / log(1000) of a chance p per letter (see `likelihood.likelihood`), the mean of both ways:
    what evens out between a text that is a little likelier and one that is far from what was seen. And as a whole:
    1 + the sum of both ways' log ratios / 200 (twice the one where the other is missing): the evidence as it adds up,
    letter upon letter, by which a long text that fits says more than a short one. It is for pairs of which one at least
    has no given text, so that all that is known of it is its crop: between two given texts the strings tell better
    (drawn Japanese names, Tesseract's character error 0.28: hit@1 0.977 without it, 0.91 with it).

    Args:
        left, right, a, b: as for `written`.

    Returns:
        float64 (m, 2), in the order of LIKELIHOODS, 0..1 in steps of 1e-6; NaN: a text, or any lattice, is missing; the
        second also where both texts are given.

    Raises:
        ArtefactError: bytes that are no lattice.
    """
    chances = likelihood(left.lattices, a, right.letters, b), likelihood(right.lattices, b, left.letters, a)
    letters = np.stack([1.0 - np.log(np.maximum(way.by_letter, _LEAST)) / np.log(_LEAST) for way in chances])
    whole = np.stack([way.log_ratio for way in chances])  # (2, m)
    told = left.given[a] & right.given[b]
    return np.column_stack([_mean(letters), np.where(told, np.nan, scaled_evidence(_mean(whole)))]).round(6)


def scaled_evidence(mean: np.ndarray) -> np.ndarray:
    """`log_likelihood` of the mean of both ways' log ratios."""
    return np.asarray(np.clip(1.0 + 2.0 * mean / MOST_AGAINST, 0.0, 1.0))


def _mean(ways: np.ndarray) -> np.ndarray:
    """Of (2, m) by column, without NaN; NaN where both are."""
    there = (~np.isnan(ways)).sum(axis=0)
    return np.asarray(np.where(there > 0, np.nansum(ways, axis=0) / np.maximum(there, 1), np.nan))


def _cut(folded: Sequence[Sequence[str]]) -> Views:
    texts, readings = ([text[:_COUNTED] for text in view] for view in folded)
    return texts, readings


def _core(folded: str) -> str:
    return "".join(filter(is_core, folded)) or folded


def _strings(left: Wording, a: np.ndarray, right: Wording, b: np.ndarray) -> np.ndarray:
    """Normalised Levenshtein and damped partial ratio, float64 (m, 2), the best of the views; NaN: no text."""
    best = np.full((len(a), 2), np.nan)
    for one in left.words:
        for other in right.words:
            there = np.flatnonzero((one.lengths[a] > 0) & (other.lengths[b] > 0))
            best[there] = np.fmax(best[there], _compared(one, a[there], other, b[there]))
    return best


def _compared(left: TextView, a: np.ndarray, right: TextView, b: np.ndarray) -> np.ndarray:
    """The two similarities of texts that are there."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.fuzz import partial_ratio
    from rapidfuzz.process import cpdist

    if not len(a):
        return np.empty((0, 2))
    pairs = left.texts[a], right.texts[b]
    workers = cores()
    whole = cpdist(*pairs, scorer=Levenshtein.normalized_similarity, dtype=np.float64, workers=workers)
    part = cpdist(*pairs, scorer=partial_ratio, dtype=np.float64, workers=workers) / 100.0
    shorter = np.minimum(left.lengths[a], right.lengths[b])
    return np.column_stack([whole, part * (shorter / (shorter + 2.0))])
