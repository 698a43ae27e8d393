"""All that is alike in two records: cosines of their vectors, wording, and further comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from linkage.compare.fields import FieldComparisons, FieldType, FieldValues, TextCounts
from linkage.compare.scorer import COSINES
from linkage.compare.wording import LIKELIHOODS, MEASURES, Wording, likelihoods, written
from linkage.encode.pooling import Vectors, coefficients

if TYPE_CHECKING:
    from linkage.encode.embeddings import Embeddings
    from linkage.search.index import Index

PARTS = ("image_score", "text_score", "cross_score")
"""What the pooled cosine is the sum of, by their columns in the links table."""


_ROWS_AT_A_TIME = 8192  # whose coefficients are computed at a time: 30 MB


class ComparedRecords:
    """Records on one side of a comparison.

    Attributes:
        source: their vectors.
        rows: int (n,), row of each record in them.
        frame: the records, (n,) rows.
        wording: of the records.
    """

    def __init__(self, source: Embeddings | Index, rows: np.ndarray, frame: pd.DataFrame, wording: Wording) -> None:
        self.source, self.rows, self.frame, self.wording = source, rows, frame, wording
        self._told: dict[Any, Any] = {}

    def shares(self, image_weight: float) -> np.ndarray:
        """The `coefficients` of all records, float32 (n, 2); kept for the next call."""
        if image_weight not in self._told:
            starts = range(0, max(len(self.rows), 1), _ROWS_AT_A_TIME)
            vectors = (Vectors.of(self.source, self.rows[start : start + _ROWS_AT_A_TIME]) for start in starts)
            self._told[image_weight] = np.concatenate([coefficients(*some, image_weight) for some in vectors])
        return np.asarray(self._told[image_weight])

    def told(self, fields: Mapping[str, FieldType]) -> FieldValues:
        """What the records say in the columns compared; kept for the next call."""
        key = tuple(fields.items())
        if key not in self._told:
            self._told[key] = FieldValues(self.frame, fields, self.wording.folding)
        return cast(FieldValues, self._told[key])


class RecordComparison:
    """Compares records of two tables (or of one with itself), a list of pairs at a time."""

    def __init__(
        self,
        left: ComparedRecords,
        right: ComparedRecords,
        image_weight: float,
        fields: Mapping[str, FieldType],
        counts: TextCounts | None = None,
    ) -> None:
        """Take both sides; `counts`: by which n-grams are rare, default: how many records of both sides have them."""
        self._left, self._right = left, right
        self._shares = [side.shares(image_weight) for side in (left, right)]
        self._comparisons = FieldComparisons(left.told(fields), right.told(fields), counts)
        left.wording.terms(right.wording, counts and counts.words)

    def of(self, a: np.ndarray, b: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Compare rows a of the left records with rows b of the right, (m,) each.

        Returns:
            What the scorer weighs (see `scorer.FEATURES`, `fields.FieldComparisons`), and the parts of the pooled
            cosine (columns PARTS), both with m rows.
        """
        alike, parts = self.written(a, b)
        return alike.assign(**self.likelihoods(a, b)), parts

    def written(self, a: np.ndarray, b: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
        """What `of` returns, but the likelihoods, which take longest, are NaN."""
        left, right = self._left, self._right
        cosines, parts = self.cosines(a, b)
        said = pd.DataFrame(written(left.wording, a, right.wording, b), columns=list(MEASURES))
        return pd.concat([cosines, said, self._comparisons.alike(a, b)], axis=1), parts

    def cosines(self, a: np.ndarray, b: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The cosines alone, and the parts of the pooled one, see `split_score`."""
        left, right = self._left, self._right
        asked, place = np.unique(a, return_inverse=True)  # a query has some hundred pairs: it is read once
        queries = Vectors.of(left.source, left.rows[asked])
        vectors = Vectors(queries.image[place], queries.text[place]), Vectors.of(right.source, right.rows[b])
        return split_score(*vectors, self._shares[0][a], self._shares[1][b])

    def likelihoods(self, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
        """The LIKELIHOODS alone, float64 (m,) each, see `wording.likelihoods`."""
        found = likelihoods(self._left.wording, a, self._right.wording, b)
        return dict(zip(LIKELIHOODS, found.T, strict=True))


def split_score(
    queries: Vectors, exemplars: Vectors, share_q: np.ndarray, share_e: np.ndarray
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cosines of n pairs, and what of the pooled one comes from where.

    With q = a_q i_q + b_q t_q the pooled cosine is
    a_q a_e i_q.i_e + b_q b_e t_q.t_e + (a_q b_e i_q.t_e + b_q a_e t_q.i_e).

    Args:
        queries, exemplars: vectors of the pairs.
        share_q, share_e: a and b of both sides, (n, 2) each, see `pooling.coefficients`.

    Returns:
        Columns COSINES (NaN where a modality that they need is missing), and columns PARTS, whose sum is `score`.
    """
    (a_q, b_q), (a_e, b_e) = share_q.T.astype(np.float64), share_e.T.astype(np.float64)
    images, texts = _dots(queries.image, exemplars.image), _dots(queries.text, exemplars.text)
    there, back = _dots(queries.image, exemplars.text), _dots(queries.text, exemplars.image)
    image, text = (a_q * a_e * images).round(6), (b_q * b_e * texts).round(6)
    cross = (a_q * b_e * there + b_q * a_e * back).round(6)
    ways = np.column_stack([there, back])
    ways[np.column_stack([(a_q == 0) | (b_e == 0), (b_q == 0) | (a_e == 0)])] = np.nan
    known = ~np.isnan(ways)
    crossed = np.nansum(ways, axis=1) / np.maximum(known.sum(axis=1), 1)
    columns = (
        (image + text + cross).round(6),
        np.where((a_q == 0) | (a_e == 0), np.nan, images),
        np.where((b_q == 0) | (b_e == 0), np.nan, texts),
        np.where(known.any(axis=1), crossed.round(6), np.nan),
    )
    cosines = pd.DataFrame(dict(zip(COSINES, columns, strict=True)))
    return cosines, pd.DataFrame(dict(zip(PARTS, (image, text, cross), strict=True)))


def _dots(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    # Rounded, so that equal pairs stay equal whatever their place in memory does to the order of a sum.
    return np.asarray(np.einsum("ij,ij->i", left, right), dtype=np.float64).round(6)
