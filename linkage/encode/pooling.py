"""Pooling: one vector for a record from its picture's and its text's."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np


class VectorSource(Protocol):
    """What holds the vectors of records: image and text, (n, D) each."""

    image: np.ndarray
    text: np.ndarray


class Vectors(NamedTuple):
    """Embeddings of some records: unit rows (n, D) float32, zero where a modality is missing."""

    image: np.ndarray
    text: np.ndarray

    @classmethod
    def of(cls, embeddings: VectorSource, rows: np.ndarray) -> Vectors:
        """Read the given rows into memory, from embeddings or an index."""
        return cls(*(np.asarray(part[rows], dtype=np.float32) for part in (embeddings.image, embeddings.text)))


def coefficients(image: np.ndarray, text: np.ndarray, weight: float | np.ndarray) -> np.ndarray:
    """What image and text are multiplied by in the pooled embedding: z = a image + b text, of length one.

    Args:
        image, text: unit rows (n, D); a row of zeros is a missing modality and is left out.
        weight: w of the image, 0..1; one, or one of each row (n,).

    Returns:
        a and b as float32 (n, 2); both 0 where both are missing or cancel each other out.
    """
    image, text = np.asarray(image, dtype=np.float32), np.asarray(text, dtype=np.float32)
    has_image, has_text = image.any(axis=1), text.any(axis=1)
    weights = np.broadcast_to(np.asarray(weight, dtype=np.float32), has_image.shape)
    share = np.where(has_image & has_text, weights, has_image.astype(np.float32))
    length = np.linalg.norm(share[:, None] * image + (1 - share)[:, None] * text, axis=1)
    length[length == 0] = 1
    return np.column_stack([share / length, (1 - share) * has_text / length])


def pool(image: np.ndarray, text: np.ndarray, weight: float | np.ndarray) -> np.ndarray:
    """Pooled embeddings: normalise(w image + (1-w) text) (CLIPPINGS, section 3).

    Args:
        image, text, weight: as for `coefficients`.

    Returns:
        float32 (n, D): unit rows, zero where both are missing.
    """
    parts = coefficients(image, text, weight)
    image, text = np.asarray(image, dtype=np.float32), np.asarray(text, dtype=np.float32)
    return np.asarray(parts[:, :1] * image + parts[:, 1:] * text)
